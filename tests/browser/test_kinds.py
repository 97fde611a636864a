"""Voices, whole pictures and clips with sound in a real browser: what is offered for a file, and what its result shows."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from frontend.portal import portal
from shared.clock import utc_now
from shared.results import Result
from tests.e2e.test_upload_to_bundle import eventually
from tests.frontend.stories import PIN, Uploader, catalog, finish
from tests.units import as_sound_file, pictures_only, with_pictures, with_sound

pytestmark = pytest.mark.browser

FIXTURES = Path(__file__).parent.parent / "fixtures"
VOICE = b"ID3\x04" + bytes(3000)
ALL = ["aasist", "mesonet", "classnseg", "va", "ferretnet"]


def look(page: Any, name: str) -> None:
    """Keep pictures of the page on a phone and on a screen in the folder SCREENSHOTS, when that is set."""
    if folder := os.environ.get("SCREENSHOTS"):
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(700)
            page.screenshot(path=f"{folder}/{name}-{width}.png", full_page=True)


def offered(page: Any) -> list[str]:
    """Asked in one go: a script may hide boxes between two questions."""
    boxes = page.locator("input[name=detectors]:enabled:visible")
    return boxes.evaluate_all("boxes => boxes.map(box => box.value)")


def unfold(page: Any) -> None:
    """Open the folded parts of the form."""
    for words in ("Choose detectors and thoroughness", "Or give the web address of a file"):
        page.get_by_text(words).click()


def drawn(page: Any, lines: int) -> None:
    page.wait_for_selector("#curve-part[data-ready]")
    assert page.locator("#curve g[data-unit]").count() == lines


@pytest.fixture
def all_kinds(site: Any) -> Any:
    """The portal with detectors of faces, sound and whole pictures."""
    app, url = site
    portal(app).store.write_catalog(catalog(utc_now(), all_kinds=True))
    return app, url


def png(mode: str) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (4, 4)).save(file, "PNG")
    return file.getvalue()


ANY = "application/octet-stream"
#: Name and type as the browser has them, first bytes, and who judges that: the bytes decide, where they say it for sure.
FITTING = [
    ("voice.mp3", "audio/mpeg", VOICE, ["aasist"]),
    ("voice.bin", ANY, VOICE, ["aasist"]),
    ("photo.jpg", "image/jpeg", b"\xff\xd8\xff\xe0" + bytes(90), ["mesonet", "classnseg", "va"]),
    ("named.png", "image/png", b"\xff\xd8\xff\xe0" + bytes(90), ["mesonet", "classnseg", "va"]),
    ("made.png", "image/png", png("RGB"), ["mesonet", "classnseg", "va", "ferretnet"]),
    ("palette.png", "image/png", png("P"), ["mesonet", "classnseg", "va"]),
    ("clip.mp4", "video/mp4", b"\0\0\0\x20ftypisom" + bytes(90), ["aasist", "mesonet", "classnseg", "va"]),
    ("song.ogg", "audio/ogg", b"OggS" + bytes(90), ALL),
]


def test_only_detectors_that_fit_the_chosen_file_are_offered(all_kinds: Any, watched: Any) -> None:
    _, url = all_kinds
    page = watched().page
    page.goto(url)
    unfold(page)
    assert offered(page) == ALL, "the recommended one first"
    for name, kind, content, fitting in FITTING:
        with page.expect_response("**/kind"):
            page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": content})
        eventually(lambda fitting=fitting: offered(page) == fitting, within_s=20, told=lambda name=name: name)
        if fitting != ALL:
            assert f"{len(fitting)} of 5 detectors here judge" in page.inner_text("#fitting")
        compressed = name in ("photo.jpg", "named.png", "palette.png")
        assert ("With the original file" in page.inner_text("#fitting")) is compressed, "what the others need is said"
        assert page.is_visible("#of-clips") is (name.split(".")[0] in ("voice", "photo", "named")), name
    page.fill("#url", "https://example.org/clip")  # takes the place of the file, and nobody knows what it leads to
    assert offered(page) == ALL
    assert page.is_hidden("#fitting")
    assert page.is_hidden("#of-clips")


def test_without_scripts_all_detectors_are_offered(all_kinds: Any, watched: Any) -> None:
    _, url = all_kinds
    page = watched(java_script_enabled=False).page
    page.goto(url)
    unfold(page)
    assert offered(page) == ALL
    assert "sound" in page.inner_text("label:has([value=aasist])")
    assert "whole pictures, lossless files only" in page.inner_text("label:has([value=ferretnet])")


def test_a_voice_is_sent_and_its_result_speaks_of_sound(all_kinds: Any, watched: Any, astronaut_clip: Path) -> None:
    app, url = all_kinds
    seen = watched(width=390)
    page = seen.page
    page.goto(url)
    page.set_input_files("#file", {"name": "voice_message.mp3", "mimeType": "audio/mpeg", "buffer": VOICE})
    page.fill("#pin", PIN)
    page.check("input[name=consent]")
    look(page, "front-sound")
    page.get_by_role("button", name="Analyse").click()
    page.wait_for_url("**/r/*")
    job = page.url.rsplit("/", 1)[-1]
    assert portal(app).store.read_submission("new", job).detectors == ("aasist",)
    finish(app, job, video=astronaut_clip, change=as_sound_file)
    page.wait_for_selector("#pin")
    _open(page)
    drawn(page, 1)
    look(page, "result-sound")
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")  # folded on a phone
    words = page.inner_text("main")
    assert "Sound, 10 s" in words
    assert "speech in 9.1 s of it" in words
    assert "Steps are pieces of sound" in words
    assert re.search(r"Not for this file: .*MesoInception4.*\. The file has no pictures to look at\.", words)
    assert page.locator(".scores > li").count() == 1, "detectors of faces have no rows of their own"
    assert "gave no score" not in words
    for wrong in ("0 × 0", "marked faces", "Person", "no face", "how much a face", "Consensus"):
        assert wrong not in words, wrong
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert seen.trouble == []


def test_a_picture_judged_as_a_whole_has_no_gallery_of_persons(all_kinds: Any, watched: Any) -> None:
    page, seen = result_page(all_kinds, watched, pictures_only, kind="image")
    look(page, "result-picture")
    words = page.inner_text("main")
    assert "the whole picture" in words
    assert "The picture and its scores" in words
    assert page.locator(".persons").count() == 0
    for wrong in ("no face", "persons in this file", "framed", "how much a face"):
        assert wrong not in words, wrong
    assert seen.trouble == []


def test_a_clip_with_a_voice_has_curves_of_faces_pictures_and_sound(
    all_kinds: Any, watched: Any, astronaut_clip: Path
) -> None:
    def change(result: Result) -> Result:
        return with_sound(with_pictures(result, [0.9, 0.7, None, 0.8]), [0.2, 0.9, None, 0.8, 0.7])

    page, seen = result_page(all_kinds, watched, change, video=astronaut_clip)
    drawn(page, 4)
    shapes = "groups => groups.map(g => [g.dataset.title, g.dataset.unit, g.getAttribute('class')])"
    assert page.locator("#curve g[data-unit]").evaluate_all(shapes) == [
        ["MesoInception4", "face", "of-line"],
        ["ClassNSeg", "face", "of-line"],
        ["AASIST", "sound", "of-steps"],
        ["FerretNet", "picture", "of-dots"],
    ]
    page.select_option("#who", "2")
    page.wait_for_selector("#curve-part[data-ready^='2 ']")
    drawn(page, 4)  # the sound and the pictures are those of all persons
    look(page, "result-all")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert "AASIST (sound)" in page.inner_text("#h-summary"), "what is above its threshold is the voice"
    assert "consensus" not in page.inner_text("main").lower()
    assert seen.trouble == []


def result_page(site: Any, watched: Any, change: Callable[[Result], Result], **more: Any) -> tuple[Any, Any]:
    app, url = site
    job = Uploader(app.test_client()).submit()
    finish(app, job, portrait=FIXTURES / "astronaut.jpg", change=change, **more)
    seen = watched(width=390)
    seen.page.goto(f"{url}/r/{job}")
    _open(seen.page)
    seen.page.wait_for_selector("#h-summary")
    return seen.page, seen


def _open(page: Any) -> None:
    page.fill("#pin", PIN)
    page.get_by_role("button", name="Open the result").click()
