"""Timeline and curve by mouse and by keys: playhead, cells, shots, zoom, legend; each side hears the other by events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.test_journey import FIXTURES, _open, _until
from tests.frontend.stories import Uploader, finish

pytestmark = pytest.mark.browser


@pytest.fixture
def opened(site: Any, watched: Any, astronaut_clip: Path) -> Any:
    app, url = site
    job = Uploader(app.test_client()).submit()
    finish(app, job, video=astronaut_clip, portrait=FIXTURES / "astronaut.jpg")
    seen = watched(reduced_motion="reduce")
    seen.page.goto(f"{url}/r/{job}")
    _open(seen.page)
    seen.page.wait_for_selector("#curve-part[data-ready]")
    _until(seen.page, "document.getElementById('video').readyState >= 1")
    seen.page.evaluate(
        "window.told = []; for (const name of ['person', 'seek', 'shot'])"
        " document.addEventListener(`dfom:${name}`, (event) => told.push([name, event.detail]))"
    )
    yield seen
    assert seen.trouble == []


def test_a_cell_by_mouse_or_keys_seeks_chooses_its_lane_and_is_read_out(opened: Any) -> None:
    page = opened.page
    strip = page.locator(".lane[data-who='2'] .strip")
    box = strip.bounding_box()
    assert box["height"] >= 24
    strip.click(position={"x": box["width"] * 1.5 / 12, "y": 10})
    page.wait_for_selector("#curve-part[data-ready^='2 ']")
    assert page.evaluate("told") == [["person", {"person": 1}], ["seek", {"time_s": 1}]]
    assert page.evaluate("document.getElementById('who').value") == "2"
    _until(page, "Math.abs(document.getElementById('video').currentTime - 1) < 0.05")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("told.at(-1)") == ["seek", {"time_s": 2, "still": True}]
    assert strip.get_attribute("aria-valuetext").startswith("0:02.0 to 0:03.0: ")
    assert "detectors above their thresholds" in strip.get_attribute("aria-valuetext")
    page.keyboard.press("End")
    assert "nobody judged" in strip.get_attribute("aria-valuetext"), "person 2 leaves after 8 s"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    page.wait_for_selector("#curve-part[data-ready^='1 ']")
    assert page.evaluate("document.activeElement.dataset.name") == "Person 1"
    assert page.locator(".strip[tabindex='0']").count() == 1, "one stop of the tab key for all lanes"


def test_shots_are_chosen_and_events_of_others_are_heard(opened: Any) -> None:
    page = opened.page
    page.locator(".strip[data-shots]").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("told") == [["shot", {"shot": 1}], ["seek", {"time_s": 6, "still": True}]]
    page.evaluate("document.dispatchEvent(new CustomEvent('dfom:person', {detail: {person: 0}}))")
    page.wait_for_selector("#curve-part[data-ready^='1 ']")
    page.evaluate("document.dispatchEvent(new CustomEvent('dfom:seek', {detail: {time_s: 1.5}}))")
    _until(page, "Math.abs(document.getElementById('video').currentTime - 1.5) < 0.05")
    assert abs(float(page.get_attribute("#curve > .playhead", "x1").rstrip("%")) - 12.5) < 0.1
    page.evaluate("document.dispatchEvent(new CustomEvent('dfom:person', {detail: {person: null}}))")
    page.wait_for_selector("#curve-part[data-ready^='everyone ']")


def test_the_curve_is_read_zoomed_and_its_lines_are_switched_off_by_keys(opened: Any) -> None:
    page = opened.page
    page.locator("#plot").focus()
    for _ in range(2):
        page.keyboard.press("PageDown")
    assert page.evaluate(
        "(box => box.top < innerHeight && box.bottom > 0)(document.activeElement.getBoundingClientRect())"
    ), "what has the focus stays in sight"
    read = page.inner_text("#readout")
    assert read.startswith("0:04.8")
    assert "MesoInception4 0." in read
    assert page.get_attribute("#plot", "aria-valuetext").startswith("0:04.8: MesoInception4 0.")
    page.keyboard.press("+")
    page.wait_for_selector("#curve-part[data-ready='everyone 2.4-8.4']")
    assert page.evaluate("document.activeElement.id") == "plot", "the focus is where it was"
    page.keyboard.press("0")
    page.wait_for_selector("#curve-part[data-ready='everyone 0.0-12.0']")
    box = page.locator("#plot").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50, steps=3)
    page.mouse.up()
    page.wait_for_selector("#curve-part[data-ready='everyone 3.0-6.0']")
    button = page.get_by_role("button", name="MesoInception4")
    button.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    assert not page.locator("#curve g[data-detector=mesonet] .line").is_visible()
    page.get_by_role("button", name="All of it").click()
    page.wait_for_selector("#curve-part[data-ready='everyone 0.0-12.0']")
    assert not page.locator("#curve g[data-detector=mesonet] .line").is_visible(), "stays off"
