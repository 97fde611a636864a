"""README's picture and the tour, from a real result: ``make pictures`` (weights of mesonet and selfblend have to be there).

Starts ``deepfake-o-meter serve`` on an empty folder and sends a clip made of the portrait of the fixtures (NASA, public domain), whose face
is blended with a copy of itself for some seconds. Writes ``docs/result.png``, ``docs/tour/<name>.webp`` and ``docs/tour.md``. With
``--shots FOLDER`` it also keeps whole pages there, on a phone and on a screen, light and dark, to be looked at.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser.pictures import CHOOSE, CHROMIUM, PIN, ROOT, running
from tests.conftest import FIXTURES, write_clip
from tests.example import example

DOCS: Final = ROOT / "docs"
#: Of the files of the pictures.
MOST_BYTES, MOST_BYTES_README = 80_000, 250_000
#: Those that have their weights judge the clip; the first two have to.
DETECTORS: Final = ("selfblend", "mesonet", "classnseg", "va")
TOKEN: Final = "only for the pictures of the tour"
SECONDS, FPS = 8, 10
#: Until the browser's player shows its picture without the sign that it loads, and the boxes are drawn.
SETTLES_MS: Final = 2000
#: The face is blended from here to there; the player stands in the middle.
BLENDED_S: Final = (3, 6)


class Stop(NamedTuple):
    """One picture of the tour: its file's name, heading, what it shows, and what is cut out of the page (None: all)."""

    name: str
    title: str
    text: str
    part: str | None = None


BEFORE: Final = (
    Stop(
        "front",
        "Choose a file",
        "Choose a video, picture or sound. The recommended check suits most files. Below, you can choose detectors yourself.",
    ),
    Stop(
        "progress",
        "Wait, or come back later",
        "The page shows how far the analysis is. Keep the link: with your PIN it leads to the result.",
        "main .narrow",
    ),
)
RESULT: Final = (
    Stop(
        "finding",
        "Start with the finding",
        "The first lines say what was found, how much was judged, and what nobody looked for.",
        "main section:has(#h-summary)",
    ),
    Stop(
        "player",
        "Look at the moment itself",
        "Your file plays here. Each face has a frame with its person's number and what the detectors say at that moment.",
        "#player",
    ),
    Stop(
        "persons",
        "See who is meant",
        "Each person in the file has a row, the one to look at first on top. Choosing one chooses it for the whole page.",
        "section:has(#h-persons)",
    ),
    Stop(
        "timeline",
        "See when",
        "The timeline has a lane for each person. The higher a bar, the more detectors are at or above their own thresholds.",
        "#timeline",
    ),
    Stop(
        "curves",
        "Compare the curves",
        "One curve for each detector. The dashed line is its own threshold. Scores of different detectors cannot be compared.",
        "section:has(#h-curves)",
    ),
    Stop(
        "detectors",
        "Ask each detector",
        "Each row has a detector's score, its threshold, and how much it judged. Unfold it to read what it can and cannot see.",
        "section:has(#h-detectors)",
    ),
    Stop(
        "gallery",
        "Look at the faces",
        "Faces of each shot, the worst shots first. A click goes to the moment in the clip.",
        "#gallery",
    ),
    Stop(
        "data",
        "Take the report with you",
        "The report as PDF or as a page, the numbers as JSON and tables, and everything in one zip.",
        "section:has(#h-files)",
    ),
)
AFTER: Final = (
    Stop("pdf", "The report on paper", "The first page of `report.pdf`."),
    Stop("phone", "On a phone", "The same result on a phone."),
    Stop("how-sure", "How sure is this?", "Where the counts behind a finding come from, and what they do not say."),
    Stop(
        "help",
        "Help",
        "Short pages: how to read a result, what to do before you publish, what is kept, and how programs use the site.",
    ),
    Stop("api", "For programs", "The REST API, with a page that tries each call."),
    Stop(
        "operator",
        "For the operator",
        "Jobs, workers, detectors, errors and disks on one page; intake can be paused here.",
    ),
)


def text() -> str:
    """``docs/tour.md``."""
    head = (
        "# A tour\n\n"
        "From a file to a result, in pictures. The clip is made of a portrait of Eileen Collins (NASA, public domain);\n"
        "her face is blended with a copy of itself for three of its eight seconds. The numbers are what the detectors said.\n"
        "`make pictures` makes this page anew.\n"
    )
    parts = (
        f"\n## {stop.title}\n\n{stop.text}\n\n![{stop.title}](tour/{stop.name}.webp)\n"
        for stop in (*BEFORE, *RESULT, *AFTER)
    )
    return head + "".join(parts)


def main() -> None:
    """Make all pictures anew."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shots", type=Path, help="keep whole pages in this folder as well")
    shots = parser.parse_args().shots
    (DOCS / "tour").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, running(operator_token=TOKEN) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1100, "height": 900}, color_scheme="light", locale="en-GB")
        page = context.new_page()
        page.set_default_timeout(60_000)
        result = _judged(page, url, clip=_clip(Path(folder) / "interview.mp4"))
        for stop in RESULT:
            _keep(page.locator(stop.part).first.screenshot(animations="disabled"), stop.name)
        _for_readme(page)
        _on_paper(context, result, folder=Path(folder))
        _others(page, url, result=result)
        if shots:
            shots.mkdir(parents=True, exist_ok=True)
            _whole_pages(page, url, result=result, folder=shots)
        browser.close()
    (DOCS / "tour.md").write_text(text(), encoding="utf-8")


def _clip(path: Path) -> Path:
    """The portrait, moving slowly; blended for a while."""
    plain, blended = np.asarray(Image.open(FIXTURES / "astronaut.jpg").convert("RGB")), np.asarray(example())

    def pictures() -> Iterator[Any]:
        for index in range(SECONDS * FPS):
            canvas = np.full((480, 640, 3), 60, np.uint8)
            left = 20 + index
            canvas[:, left : left + 512] = (blended if BLENDED_S[0] <= index / FPS < BLENDED_S[1] else plain)[:480]
            yield canvas

    return write_clip(path, pictures(), fps=FPS, sound=False)


def _judged(page: Any, url: str, *, clip: Path) -> str:
    """Send the clip; its result is open, with the video at a blended face. The address of the result."""
    page.goto(url)
    page.set_input_files("#file", str(clip))
    page.wait_for_selector("#preview video:visible, #preview img:visible")
    page.wait_for_timeout(SETTLES_MS)
    _keep(page.screenshot(animations="disabled"), "front")
    page.evaluate(CHOOSE, list(DETECTORS))
    page.fill("#pin", PIN)
    page.check("input[name=consent]")
    page.click("#send")
    page.wait_for_url("**/r/*")
    page.evaluate("document.querySelectorAll('main details').forEach(part => { part.open = true; })")
    page.fill("input[name=pin] >> nth=0", PIN)
    page.get_by_role("button", name="Show").click()
    page.wait_for_selector("#bars li[data-state=working], #bars li[data-state=ok]", timeout=400_000)
    _keep(page.locator(BEFORE[1].part).screenshot(animations="disabled"), "progress")
    page.wait_for_selector("#h-summary", timeout=600_000)
    page.wait_for_selector(".rendered a", timeout=400_000)
    page.reload()
    _at_the_blend(page)
    return str(page.url)


def _at_the_blend(page: Any) -> None:
    """Lead the player to the middle of the blended seconds."""
    page.wait_for_selector("#curve-part[data-ready]")
    page.locator("#video").evaluate(
        "(video, at) => new Promise(done => { video.addEventListener('seeked', done, {once: true}); video.currentTime = at; })",
        sum(BLENDED_S) / 2,
    )
    page.wait_for_timeout(SETTLES_MS)


def _for_readme(page: Any) -> None:
    """The upper part of the result, as on a usual screen."""
    page.set_viewport_size({"width": 1440, "height": 900})
    bottom = page.evaluate(
        "scrollTo(0, 0), Math.ceil(document.getElementById('timeline').getBoundingClientRect().bottom) + 20"
    )
    page.set_viewport_size({"width": 1440, "height": bottom})
    page.wait_for_timeout(SETTLES_MS)
    picture = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    _few_colours(picture).save(DOCS / "result.png", optimize=True)
    if (DOCS / "result.png").stat().st_size > MOST_BYTES_README:
        raise SystemExit(f"result.png is larger than {MOST_BYTES_README} bytes")


def _few_colours(picture: Image.Image) -> Image.Image:
    """The picture in 256 colours: the page's own, many of the clip's, and some rare ones, as those of a legend are."""
    common = sorted(picture.getcolors(picture.width * picture.height) or (), reverse=True)[:64]
    palette = [value for _, colour in common for value in colour]  # type: ignore[union-attr]  # of RGB, so a tuple
    for count, method in ((144, Image.Quantize.MEDIANCUT), (48, Image.Quantize.MAXCOVERAGE)):
        palette += (picture.quantize(count, method=method).getpalette() or [])[: 3 * count]
    holder = Image.new("P", (1, 1))
    holder.putpalette(palette)
    return picture.quantize(palette=holder, dither=Image.Dither.NONE)


def _on_paper(context: Any, result: str, *, folder: Path) -> None:
    """The first page of the report; stays as it is where pdftoppm (Debian: poppler-utils) is not installed."""
    if shutil.which("pdftoppm") is None:
        print("pdftoppm is not installed, so docs/tour/pdf.webp stays as it is")
        return
    (folder / "report.pdf").write_bytes(context.request.get(f"{result}/files/report.pdf").body())
    command = [
        "pdftoppm",
        "-png",
        "-r",
        "90",
        "-f",
        "1",
        "-l",
        "1",
        "-singlefile",
        folder / "report.pdf",
        folder / "page",
    ]
    subprocess.run(command, check=True)
    _keep((folder / "page.png").read_bytes(), "pdf")


def _others(page: Any, url: str, *, result: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(result)
    _at_the_blend(page)
    page.evaluate("scrollTo(0, 0)")
    _keep(page.screenshot(animations="disabled"), "phone")
    page.set_viewport_size({"width": 1100, "height": 900})
    for name, path in {"how-sure": "/how-sure", "help": "/help", "api": "/api/v1/docs"}.items():
        page.goto(url + path, wait_until="networkidle")
        _keep(page.screenshot(animations="disabled"), name)
    _operate(page, url)
    _keep(page.screenshot(animations="disabled"), "operator")


def _operate(page: Any, url: str) -> None:
    page.goto(f"{url}/operator")
    page.fill("#token", TOKEN)
    page.click("main button.primary")
    page.wait_for_selector("#intake")


def _whole_pages(page: Any, url: str, *, result: str, folder: Path) -> None:
    """Every page of a real site, whole; ``tests/browser/test_accessible.py`` keeps the states of made-up ones with SCREENSHOTS."""
    paths = [
        "/",
        "/detectors",
        "/detectors/selfblend",
        "/help",
        "/help/publish",
        "/help/privacy",
        "/help/programs",
        "/how-sure",
    ]
    paths += ["/record", "/api/v1/docs", "/operator", "/nothing"]
    addresses = [*(url + path for path in paths), result, f"{result}/again"]
    for width in (390, 1440):
        for scheme in ("light", "dark"):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            for address in addresses:
                page.goto(address, wait_until="load")
                if address == result:
                    _at_the_blend(page)
                name = "result" if address == result else address.removeprefix(result).removeprefix(url).strip("/")
                target = folder / f"real-{name.replace('/', '_') or 'front'}-{width}-{scheme}.png"
                page.screenshot(path=target, full_page=True, animations="disabled")


def _keep(taken: bytes, name: str) -> None:
    """Keep a picture of the tour, small."""
    path = DOCS / "tour" / f"{name}.webp"
    picture = Image.open(io.BytesIO(taken)).convert("RGB")
    for quality in (85, 70, 55, 40, 25):
        picture.save(path, "WEBP", quality=quality, method=6)
        if path.stat().st_size <= MOST_BYTES:
            return
    raise SystemExit(f"{path.name} is larger than {MOST_BYTES} bytes")


if __name__ == "__main__":
    main()
