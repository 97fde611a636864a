"""Voices, pictures and a clip with a voice, from the upload to the result in Chromium, by real detectors with their published weights.

Nothing is stood in for: ``serve`` in a process of its own, workers, networks. ``test_kinds`` has the finer points, on made-up results.
Set ``SCREENSHOTS`` to a folder to keep pictures of the pages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from shared.results import Result
from shared.rounding import score
from shared.statement import statement_of
from tests.browser.test_kinds import drawn, look, offered, unfold
from tests.conftest import write_clip
from tests.e2e.test_upload_to_bundle import Site, eventually

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

PIN = "4711"
READY = ("aasist", "ferretnet", "selfblend")
#: Of each voice and clip: four windows of AASIST, which needs three.
SECONDS = 9
#: Seconds that a job may take on a busy machine.
PATIENCE_S = 240


@pytest.fixture(scope="module")
def real_site(weights_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """``serve`` with the weights of three small detectors: of sound, of whole pictures, of faces."""
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "weights").mkdir()
    for name in READY:
        (folder / "weights" / name).symlink_to(weights_folder / name)
    (folder / "var").mkdir()
    made = Site(folder / "var", folder / "weights", runner="process")
    made.start()
    yield made
    assert made.stop() == 0


class Walk:
    """One visitor's way from a file to its result, on a phone."""

    def __init__(self, site: Site, seen: Any) -> None:
        self.site, self.seen, self.page = site, seen, seen.page

    def choose(self, media: Path) -> list[str]:
        """Choose the file; the detectors that are offered for it."""

        def ready() -> bool:
            self.page.goto(self.site.address)
            unfold(self.page)
            return set(READY) <= set(offered(self.page))

        eventually(ready, within_s=60, told=self.site.told)
        self.page.set_input_files("#file", str(media))
        look(self.page, f"{media.stem}-front")
        return offered(self.page)

    def send(self) -> Result:
        """Send it in quick mode and open the result, with its video; what the page's numbers come from."""
        page = self.page
        page.check("input[name=mode][value=quick]")
        page.fill("#pin", PIN)
        page.check("input[name=consent]")
        page.get_by_role("button", name="Analyse").click()
        page.wait_for_url("**/r/*")
        page.wait_for_selector("#pin", timeout=1000 * PATIENCE_S)
        page.fill("#pin", PIN)
        page.get_by_role("button", name="Open the result").click()
        page.wait_for_selector("text=Everything (zip)", timeout=1000 * PATIENCE_S)
        page.evaluate(
            "document.querySelectorAll('details').forEach((part) => { part.open = true; })"
        )  # folded on a phone
        result = Result.model_validate(json.loads(self._file("result.json")))
        for detector in result.detectors:
            shown = page.inner_text(f"li:has(strong:text-is('{detector.title}')) .number b")
            assert shown == score(detector.fake_score, threshold=detector.threshold), (
                "page and file have the same score"
            )
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than a phone"
        assert "DeepFake-o-meter" in self._file("summary.html")
        look(page, f"{result.media.name}-result")
        assert self.seen.trouble == []
        return result

    def says(self, result: Result, *, detector: str, label: str) -> None:
        """The page leads with the statement of the result; the row of a detector has the label of its published threshold."""
        said = statement_of(result)
        assert said is not None
        assert self.page.inner_text("#h-summary") == said.headline
        assert self.page.inner_text(f"li:has(strong:text-is('{detector}')) .chip") == label

    def _file(self, name: str) -> str:
        return str(self.page.context.request.get(f"{self.page.url}/files/{name}").text())

    def plays(self, *, seconds: float) -> None:
        """The player has as many seconds as the file."""
        player = "document.querySelector('#video, #listen')"
        eventually(lambda: self.page.evaluate(f"{player}.readyState >= 1"), within_s=60)
        assert self.page.evaluate(f"{player}.duration") == pytest.approx(seconds, abs=0.3)

    def sounds_by_keyboard(self, *, seconds: float) -> None:
        """The player of the sound alone has the whole sound; the space bar starts and stops it."""
        player = self.page.get_by_label("The submitted sound")
        eventually(lambda: player.evaluate("it => it.readyState >= 1"), within_s=60)
        assert player.evaluate("it => it.duration") == pytest.approx(seconds, abs=0.3)
        player.focus()
        self.page.keyboard.press("Space")
        eventually(lambda: player.evaluate("it => !it.paused && it.currentTime > 0"), within_s=60)
        self.page.keyboard.press("Space")
        eventually(lambda: player.evaluate("it => it.paused"), within_s=60)


@pytest.fixture
def walk(real_site: Site, watched: Any) -> Walk:
    return Walk(real_site, watched(width=390))


@pytest.mark.parametrize(
    ("name", "start_s", "label"),
    [
        ("speech_fake_0ghm5Cqpfwk.mp3", 7.0, "at or above its threshold"),
        ("read_real_2033-164914-0000.flac", 0.0, "below its threshold"),
    ],
)
def test_a_cloned_and_a_genuine_voice_are_told_apart(
    walk: Walk, research: Path, tmp_path: Path, name: str, start_s: float, label: str
) -> None:
    voice = cut(research / "media" / "audio" / name, tmp_path / name, start_s=start_s)
    assert walk.choose(voice) == ["aasist"]
    result = walk.send()
    walk.says(result, detector="AASIST", label=label)
    drawn(walk.page, 1)
    walk.plays(seconds=result.media.duration_s)
    walk.sounds_by_keyboard(seconds=result.media.duration_s)
    words = walk.page.inner_text("main").replace(walk.page.inner_text(".looked"), "")  # names what nobody looked for
    assert "pieces of sound" in words
    for wrong in ("face", "person", "frames", "0 × 0", "picture"):
        assert wrong not in words.lower(), wrong


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("gan_fake_biggan.png", "at or above its threshold"),
        ("gan_real_cyclegan.png", "no trace found"),
    ],
)
def test_a_generated_picture_and_a_photograph_are_told_apart(walk: Walk, research: Path, name: str, label: str) -> None:
    assert walk.choose(research / "media" / "pictures" / name) == ["ferretnet", "selfblend"]
    result = walk.send()
    walk.says(result, detector="FerretNet", label=label)
    assert [item.code for item in result.detectors if item.id == "selfblend"] == ["no_face"]
    words = walk.page.inner_text("main")
    assert "The picture and its scores" in words
    assert "speech" not in words


def test_a_clip_with_a_voice_is_judged_by_its_faces_and_its_sound(
    walk: Walk, research: Path, astronaut: np.ndarray, tmp_path: Path
) -> None:
    clip = spoken_clip(tmp_path / "clip.mp4", astronaut, research / "media" / "audio" / "speech_fake_0ghm5Cqpfwk.mp3")
    assert walk.choose(clip) == ["aasist", "selfblend"], "a frame of a video is lossy, which FerretNet cannot judge"
    result = walk.send()
    assert {item.id: item.status for item in result.detectors} == {"aasist": "ok", "selfblend": "ok"}
    assert result.consensus == (), "a face and a voice have no mean"
    drawn(walk.page, 2)
    walk.plays(seconds=SECONDS)
    assert "with its faces marked" in walk.page.inner_text("main")


def spoken_clip(path: Path, portrait: np.ndarray, voice: Path) -> Path:
    """A portrait that moves a little, with a part of a voice."""
    moving = (np.roll(portrait[::2, ::2], index // 2, axis=1) for index in range(5 * SECONDS))
    silent = write_clip(path.with_name("silent.mp4"), moving, fps=5, sound=False)
    return cut(voice, path, start_s=7.0, pictures=silent)


def cut(voice: Path, path: Path, *, start_s: float, pictures: Path | None = None) -> Path:
    """SECONDS of a voice from ``start_s`` on, as they are in its file; with the ``pictures`` of a clip."""
    with ExitStack() as opened:
        container = opened.enter_context(av.open(str(path), "w"))
        heard = opened.enter_context(av.open(str(voice))).streams.audio[0]
        sources = [(heard, start_s)]
        if pictures:
            sources.append((opened.enter_context(av.open(str(pictures))).streams.video[0], 0.0))
        made = [(source, start, container.add_stream_from_template(source)) for source, start in sources]
        for source, start, stream in made:
            first = round(start / source.time_base)
            for packet in source.container.demux(source):
                if packet.dts is None or not first <= packet.pts < first + SECONDS / source.time_base:
                    continue
                packet.pts, packet.dts, packet.stream = packet.pts - first, packet.dts - first, stream
                container.mux(packet)
    return path
