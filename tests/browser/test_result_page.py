"""The result page in a real browser: the submitted clip with its boxes, the choice of a person, what stands in for a clip that cannot be
played, and that every state of the page is accessible."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
from axe_playwright_python.sync_playwright import Axe

from shared.results import Result
from tests.browser.test_journey import _until
from tests.frontend.stories import PIN, Uploader, finish
from tests.told import told
from tests.units import as_sound_file, pictures_only, with_sound

pytestmark = pytest.mark.browser

FIXTURES = Path(__file__).parent.parent / "fixtures"
PLAYER = "document.getElementById('video')"


def submitted(app: Any, media: Path | None = None, **more: Any) -> str:
    """A finished submission of ``media`` (else of a small JPEG)."""
    changed = {"media": (io.BytesIO(media.read_bytes()), media.name)} if media else {}
    job = Uploader(app.test_client()).submit(**changed)
    finish(app, job, portrait=FIXTURES / "astronaut.jpg", **more)
    return job


def opened(page: Any, address: str) -> None:
    page.goto(address)
    page.fill("#pin", PIN)
    page.get_by_role("button", name="Open the result").click()
    page.wait_for_selector("#h-summary")


def boxes(page: Any) -> list[list[Any]]:
    """Person, place in the picture (percent of its width) and words of each box."""
    return page.evaluate(
        "[...document.querySelectorAll('#boxes .box')].map(box => [Number(box.dataset.person), parseFloat(box.style.left), box.innerText])"
    )


def test_the_submitted_clip_plays_with_boxes_and_a_person_can_be_chosen_by_keyboard(
    site: Any, watched: Any, astronaut_clip: Path
) -> None:
    app, url = site
    job = submitted(app, astronaut_clip, video=astronaut_clip)
    seen = watched()
    page = seen.page
    opened(page, f"{url}/r/{job}")
    _until(page, "document.querySelectorAll('#boxes .box').length === 2")
    assert page.evaluate(f"{PLAYER}.currentSrc").split("#")[0].endswith(f"/r/{job}/original")
    assert boxes(page) == [[0, 6.25, "1: 1 of 2"], [1, 12.5, "2: 1 of 2"]]
    page.uncheck("#show-boxes")
    assert page.locator("#boxes").evaluate("place => getComputedStyle(place).visibility") == "hidden"
    page.check("#show-boxes")

    before = page.evaluate(f"{PLAYER}.currentTime")
    page.focus("#speed")
    page.select_option("#speed", "0.5")
    assert page.evaluate(f"{PLAYER}.playbackRate") == 0.5
    page.get_by_role("button", name="One frame on").press("Enter")
    _until(page, f"{PLAYER}.currentTime > {before}")
    page.focus("#frame-on")
    at = page.evaluate(f"{PLAYER}.currentTime")
    page.keyboard.press("l")
    _until(page, f"{PLAYER}.currentTime > {at + 0.5}")
    page.evaluate("document.getElementById('brightness').value = 2")
    page.dispatch_event("#brightness", "input")
    assert page.evaluate(f"{PLAYER}.style.filter") == "brightness(2) contrast(1)"

    page.get_by_role("button", name=re.compile("Show only this one.*Person 2")).press("Enter")
    assert page.locator("#persons li.chosen h3").inner_text().startswith("Person 2")
    shown = page.locator("#gallery figure:visible").evaluate_all("figures => figures.map(it => it.dataset.person)")
    assert shown
    assert set(shown) == {"1"}
    page.evaluate("document.dispatchEvent(new CustomEvent('dfom:shot', {detail: {shot: 0}}))")
    assert page.locator("#gallery .shot:visible").count() == 1
    page.evaluate("document.dispatchEvent(new CustomEvent('dfom:seek', {detail: {time_s: 0.4}}))")
    _until(page, f"Math.abs({PLAYER}.currentTime - 0.4) < 0.05")
    page.locator("#boxes .box").nth(1).click()  # the face of person 2 once more: everyone
    assert page.locator("#persons li.chosen").count() == 0
    page.locator("#boxes .box").nth(0).click(position={"x": 4, "y": 20})  # beside the other one
    assert page.locator("#persons li.chosen h3").inner_text().startswith("Person 1")
    page.get_by_role("button", name="Show everyone").click()
    assert page.locator("#gallery figure").evaluate_all("figures => figures.every(it => it.checkVisibility())")
    assert seen.trouble == []


def test_a_clip_that_the_browser_cannot_play_gives_way_to_the_rendered_one(
    site: Any, watched: Any, astronaut_clip: Path
) -> None:
    app, url = site
    job = submitted(app, video=astronaut_clip)  # what was submitted is no clip
    for scripts in (True, False):
        page = watched(java_script_enabled=scripts).page
        opened(page, f"{url}/r/{job}")
        if scripts:
            _until(page, f"{PLAYER}.readyState >= 1")
            assert page.evaluate(f"{PLAYER}.currentSrc").split("#")[0].endswith("/files/video/side_by_side.mp4")
            assert page.get_by_text("boxes and curves are drawn in").is_visible()
            assert not page.locator("#boxes").is_visible()
        else:
            addresses = page.locator("#video source").evaluate_all(
                "sources => sources.map(it => it.getAttribute('src'))"
            )
            assert addresses == [f"/r/{job}/original#t=0.01", f"/r/{job}/files/video/side_by_side.mp4#t=0.01"]
            assert page.get_by_role("link", name="the clip with its faces marked").is_visible()
            assert not page.locator("#tools").is_visible()


def from_told(case: str) -> Callable[[Result], Result]:
    return lambda usual: told(case, id=usual.id, created=usual.created)


#: States of the page: how a submission is made, and what is shown of it.
STATES: dict[str, dict[str, Any]] = {
    "clip": {},
    "splice": {"change": from_told("splice")},
    "nothing": {"change": from_told("nothing")},
    "pending": {"state": "pending"},
    "earlier version": {"curves": False},
    "still": {"kind": "image"},
    "whole picture": {"kind": "image", "change": pictures_only},
    "sound": {"change": as_sound_file},
    "voice and faces": {"change": lambda result: with_sound(result, [0.2, 0.9, None, 0.8, 0.7])},
}


@pytest.mark.parametrize("state", STATES)
def test_every_state_is_accessible_on_phone_and_screen_light_and_dark(
    site: Any, watched: Any, astronaut_clip: Path, state: str
) -> None:
    app, url = site
    options = STATES[state]
    media = None if options.get("kind") == "image" else astronaut_clip
    job = submitted(app, media, video=astronaut_clip, **options)
    page = watched().page
    opened(page, f"{url}/r/{job}")
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        for scheme, rules in (
            ("light", {}),
            ("dark", {"runOnly": ["color-contrast"]}),
        ):  # only colours depend on the scheme
            page.emulate_media(color_scheme=scheme)
            found = Axe().run(page, options={"resultTypes": ["violations"]} | rules)
            assert found.violations_count == 0, f"{width} {scheme}\n{found.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{width}: nothing scrolls sideways"


def test_the_submitted_clip_plays_when_the_script_is_faster_than_the_player(
    site: Any, watched: Any, astronaut_clip: Path
) -> None:
    """A player that has not looked at its sources yet has the state of one whose sources all failed."""
    app, url = site
    job = submitted(app, astronaut_clip, video=astronaut_clip)
    page = watched().page
    page.add_init_script(
        """const real = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'networkState').get;
        let asked = false;
        Object.defineProperty(HTMLMediaElement.prototype, 'networkState', {get() {
            const early = !asked; asked = true; return early ? HTMLMediaElement.NETWORK_NO_SOURCE : real.call(this);
        }});"""
    )
    opened(page, f"{url}/r/{job}")
    _until(page, f"{PLAYER}.readyState >= 1")
    page.wait_for_timeout(1500)  # longer than the script waits before it looks again
    assert page.evaluate(f"{PLAYER}.currentSrc").split("#")[0].endswith(f"/r/{job}/original")


def test_times_are_those_of_the_first_picture_where_the_sound_begins_before_it(
    site: Any, watched: Any, astronaut_clip: Path, tmp_path: Path
) -> None:
    """A browser counts from the beginning of the file, a result from its first picture: boxes were drawn that much too early."""
    late = tmp_path / "late.mp4"
    with av.open(str(astronaut_clip)) as given, av.open(str(late), "w") as made:
        outs = {stream.index: made.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "video":
                packet.pts, packet.dts = (time + round(1 / packet.time_base) for time in (packet.pts, packet.dts))
            packet.stream = outs[packet.stream.index]
            made.mux(packet)

    def change(usual: Result) -> Result:
        heard = with_sound(usual, [0.2, 0.9, None, 0.8, 0.7])
        assert heard.sound is not None
        return heard.model_copy(update={"sound": replace(heard.sound, start_s=-1.0)})

    app, url = site
    job = submitted(app, late, video=astronaut_clip, change=change)
    page = watched().page
    opened(page, f"{url}/r/{job}")
    _until(page, f"{PLAYER}.readyState >= 1")
    assert page.evaluate(f"{PLAYER}.currentSrc").split("#")[0].endswith(f"/r/{job}/original")
    page.evaluate("document.dispatchEvent(new CustomEvent('dfom:seek', {detail: {time_s: 0.5}}))")
    _until(page, f"Math.abs({PLAYER}.currentTime - 1.5) < 0.05")
    page.evaluate("document.addEventListener('dfom:time', (event) => { window.told = event.detail.time_s; })")
    page.evaluate(f"{PLAYER}.currentTime = 1.8")
    _until(page, "Math.abs(window.told - 0.8) < 0.05")
    page.evaluate(f"{PLAYER}.currentTime = 0.5")  # before the first picture, which is shown
    _until(page, "window.told === 0")
