"""The whole journey in a real browser: upload, progress, PIN, result; on a screen and on a phone; without scripts too."""

from __future__ import annotations

import os
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from frontend.portal import portal
from shared.clock import utc_now
from tests.frontend.stories import JPEG, PIN, Uploader, add_video, finish, working
from tests.frontend.test_record import note

pytestmark = pytest.mark.browser

FIXTURES = Path(__file__).parent.parent / "fixtures"


def _until(page: Any, expression: str) -> None:
    """Wait until a JavaScript expression is true (Playwright's own wait needs eval, which our policy forbids)."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never true: {expression}")


def _fill(page: Any, url: str, media: Path, *, pin: str = PIN) -> None:
    page.goto(url)
    page.set_input_files("#file", str(media))
    page.fill("#email", "alex@example.org")
    page.fill("#pin", pin)
    page.check("input[name=consent]")


def _open(page: Any, pin: str = PIN) -> None:
    page.fill("#pin", pin)
    page.get_by_role("button", name="Open the result").click()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_upload_progress_pin_result_and_download(
    site: Any, watched: Any, astronaut_clip: Path, tmp_path: Path, width: int, scheme: str
) -> None:
    app, url = site
    seen = watched(width=width, color_scheme=scheme)
    page = seen.page
    _fill(page, url, astronaut_clip)
    assert astronaut_clip.name in page.inner_text("#drop-text")
    page.get_by_role("button", name="Analyse").click()
    page.wait_for_url("**/r/*")
    job = page.url.rsplit("/", 1)[-1]
    store = portal(app).store
    assert (store.job("new", job) / "media").read_bytes() == astronaut_clip.read_bytes()

    store.write_status(working(job, utc_now()))
    _until(page, "document.getElementById('percent').textContent === '46 %'")
    assert page.locator("#live").get_attribute("data-live") == "events"
    assert page.inner_text("#stages [aria-current]") == "Detectors"
    assert page.locator("#bars li").count() == 0, "nothing about the file without the PIN"

    finish(app, job, video=astronaut_clip, portrait=FIXTURES / "astronaut.jpg")
    page.wait_for_selector("#pin")  # the page reloads itself and asks for the PIN
    _open(page)
    page.wait_for_selector("#curve-part[data-ready]")
    _check_curve(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    _until(page, "document.getElementById('video').readyState >= 1")
    assert abs(page.evaluate("document.getElementById('video').duration") - 2) < 0.2

    with page.expect_download() as download:
        page.get_by_role("link", name="Download everything (zip)").click()
    download.value.save_as(tmp_path / "bundle.zip")
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle:
        assert bundle.testzip() is None
        assert bundle.read("video/side_by_side.mp4") == astronaut_clip.read_bytes()
    assert seen.trouble == []


@pytest.mark.parametrize("width", [1280, 390])
def test_numbers_come_first_and_the_video_joins_them_on_the_open_page(
    site: Any, watched: Any, astronaut_clip: Path, tmp_path: Path, width: int
) -> None:
    app, url = site
    job = Uploader(app.test_client()).submit()
    finish(app, job, portrait=FIXTURES / "astronaut.jpg", state="pending")
    seen = watched(width=width)
    page = seen.page
    page.goto(f"{url}/r/{job}")
    _open(page)
    page.wait_for_selector("#curve-part[data-ready]")
    assert "is being prepared" in page.inner_text("main")
    assert page.get_by_role("link", name="Download everything (zip)").count() == 0
    _look(page, f"pending-{width}")
    page.select_option("#who", "2")
    page.evaluate("scrollTo(0, 300)")
    add_video(app, job, astronaut_clip)
    _until(page, "document.getElementById('video')?.readyState >= 1")
    assert "being prepared" not in page.inner_text("main")
    assert page.evaluate("[scrollY > 200, document.getElementById('who').value]") == [True, "2"], "not reloaded"
    page.wait_for_selector("#curve-part[data-ready^='2 ']")
    _click_at(page, 1.4)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    _look(page, f"complete-{width}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download everything (zip)").click()
    download.value.save_as(tmp_path / "bundle.zip")
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle:
        assert "video/side_by_side.mp4" in bundle.namelist()
    assert seen.trouble == []


def test_without_scripts_the_video_is_there_after_a_reload(site: Any, watched: Any, astronaut_clip: Path) -> None:
    app, url = site
    job = Uploader(app.test_client()).submit()
    finish(app, job, portrait=FIXTURES / "astronaut.jpg", state="pending")
    page = watched(java_script_enabled=False).page
    page.goto(f"{url}/r/{job}")
    _open(page)
    assert page.get_by_text("Reload this page in a moment to see it.").is_visible()
    assert not page.get_by_text("appears here when it is ready").is_visible()
    add_video(app, job, astronaut_clip)
    page.reload()
    assert page.locator("#video").is_visible()


def _look(page: Any, name: str) -> None:
    """Keep a picture of the page in the folder SCREENSHOTS, when that is set."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def _check_curve(page: Any) -> None:
    """The curve of everyone is drawn inside its card, and choosing a person draws that person's, without a reload."""
    path = "document.querySelector('#curve [data-detector=mesonet] .line').getAttribute('d')"
    assert page.locator("#curve g[data-unit]").count() == 2
    card, legend = page.locator("section:has(#curve)").bounding_box(), page.locator("#curve-legend").bounding_box()
    assert card["y"] <= legend["y"]
    assert legend["y"] + legend["height"] <= card["y"] + card["height"] + 1
    everyone = page.evaluate(path)
    page.select_option("#who", "2")
    page.wait_for_selector("#curve-part[data-ready^='2 ']")
    assert page.evaluate(path) != everyone


def _click_at(page: Any, seconds: float) -> None:
    """Click into the curve at that moment of twelve; the video goes there."""
    _until(page, "document.getElementById('video').readyState >= 1")
    box = page.locator("#plot").bounding_box()
    page.locator("#plot").click(position={"x": box["width"] * seconds / 12, "y": 60})
    _until(page, f"Math.abs(document.getElementById('video').currentTime - {seconds}) < 0.05")


def test_wrong_form_is_told_at_the_field_and_nothing_is_lost(site: Any, watched: Any, astronaut_clip: Path) -> None:
    _, url = site
    seen = watched(width=390)
    page = seen.page
    _fill(page, url, astronaut_clip, pin="1234")
    page.get_by_role("button", name="Analyse").click()
    page.wait_for_selector("#wrong-pin:visible")
    assert "are in order" in page.inner_text("#wrong-pin")
    assert page.evaluate("document.getElementById('file').files.length") == 1
    page.get_by_role("button", name="Another").click()
    _until(page, "/^[0-9]{6}$/.test(document.getElementById('pin').value)")
    page.get_by_role("button", name="Analyse").click()
    page.wait_for_url("**/r/*")
    assert [line for line in seen.trouble if "422" not in line] == []


def test_wrong_type_is_refused_before_the_upload(site: Any, watched: Any, tmp_path: Path) -> None:
    app, url = site
    page = watched().page
    sound = tmp_path / "interview.mp4"  # the content counts, not the suffix
    sound.write_bytes(b"#!AMR\n" + bytes(5000))
    _fill(page, url, sound)
    page.wait_for_selector("#wrong-media:visible")
    assert "This kind of sound file (AMR" in page.inner_text("#wrong-media")
    assert page.get_attribute("#file", "aria-invalid") == "true"
    page.get_by_role("button", name="Analyse").click()
    assert "This kind of sound file (AMR" in page.inner_text("#problems")
    assert portal(app).store.ids("new") == []
    picture = tmp_path / "a.bin"
    picture.write_bytes(JPEG)
    page.set_input_files("#file", str(picture))
    _until(page, "document.getElementById('wrong-media').hidden")
    assert page.get_attribute("#file", "aria-invalid") is None
    page.get_by_role("button", name="Analyse").click()
    page.wait_for_url("**/r/*")


@pytest.mark.parametrize("scripts", [True, False])
def test_troubles_are_listed_in_the_order_of_the_page_and_marked_at_their_fields(
    site: Any, watched: Any, tmp_path: Path, scripts: bool
) -> None:
    _, url = site
    page = watched(java_script_enabled=scripts).page
    media = tmp_path / "a.jpg"
    media.write_bytes(JPEG)
    _fill(page, url, media, pin="1234")
    page.fill("#email", "a@b@c")
    page.uncheck("input[name=consent]")
    page.get_by_role("button", name="Analyse").click()
    page.wait_for_selector("#wrong-pin:visible")
    listed = page.locator("#problems a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert listed == ["#field-pin", "#field-email", "#field-consent"]
    marked = page.locator("[aria-invalid=true]").evaluate_all("fields => fields.map(field => field.name)")
    assert marked == ["pin", "email", "consent"]


def test_journey_without_scripts(site: Any, watched: Any, tmp_path: Path) -> None:
    app, url = site
    media = tmp_path / "a.jpg"
    media.write_bytes(JPEG)
    seen = watched(java_script_enabled=False)
    page = seen.page
    _fill(page, url, media)
    page.get_by_role("button", name="Analyse").click()
    page.wait_for_url("**/r/*")
    job = page.url.rsplit("/", 1)[-1]
    finish(app, job, portrait=FIXTURES / "astronaut.jpg")
    page.reload()
    _open(page)
    page.wait_for_selector("h2:has-text('1 of 2 detectors is at or above its threshold: MesoInception4')")
    assert page.locator("#curve .line").count() == 2, "the server made it"
    page.get_by_role("link", name="Person 2", exact=True).click()
    page.wait_for_selector("#curve:has-text('Person 2')", state="attached")
    page.get_by_text("The numbers as a table").click()
    assert page.locator("#curve-table tbody tr").count() == 8
    assert not page.get_by_role("button", name="Zoom in").is_visible()
    assert seen.trouble == []


@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_fits_its_screen_and_is_silent(site: Any, watched: Any, width: int) -> None:
    app, url = site
    job = Uploader(app.test_client()).submit()
    note(app, "a" * 26, fake=False)
    seen = watched(width=width)
    for path in ("/", "/detectors", "/help", "/how-sure", "/record", f"/r/{job}"):
        seen.page.goto(url + path)
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    assert seen.trouble == []


def test_keyboard_alone_fills_the_whole_form_and_sends_it(site: Any, watched: Any) -> None:
    """From the top of the page: the example, the folded parts opened, detector, mode, PIN, guess, consent, and the button."""
    app, url = site
    seen = watched()
    page = seen.page
    page.goto(url)
    focused = "document.activeElement.id || document.activeElement.name || document.activeElement.textContent.trim()"

    def tab_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate(focused) == name:
                return
        pytest.fail(f"the keyboard does not reach {name}")

    tab_to("file")
    tab_to("Or give the web address of a file")
    page.keyboard.press("Enter")
    tab_to("url")
    tab_to("Choose detectors and thoroughness")
    page.keyboard.press("Enter")
    tab_to("detectors")
    page.keyboard.press("Space")
    tab_to("mode")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#check-words") == "2 of the 3 detectors that fit, mode: Quick."
    tab_to("pin")
    assert re.fullmatch("[0-9]{6}", page.input_value("#pin")), "a PIN is there already"
    for name in ("copy-pin", "generate", "email", "guess"):
        tab_to(name)
    page.keyboard.press("ArrowDown")
    tab_to("consent")
    page.keyboard.press("Space")
    tab_to("send")
    tab_to("example")
    page.keyboard.press("Enter")
    _until(page, "document.getElementById('file').files.length === 1 && document.activeElement.id === 'file'")
    tab_to("send")
    page.keyboard.press("Enter")
    page.wait_for_url("**/r/*")
    sent = portal(app).store.read_submission("new", page.url.rsplit("/", 1)[-1])
    assert (sent.original_name, sent.mode, sent.guess) == ("example.jpg", "quick", "fake")
    assert sent.detectors == ("classnseg", "va")
    assert seen.trouble == []


def test_the_chosen_file_is_shown_and_a_clip_beyond_the_limit_is_refused_at_once(
    tmp_path: Path, site: Any, watched: Any, astronaut_clip: Path
) -> None:
    app, url = site
    seen = watched(width=390)
    page = seen.page
    page.goto(url)
    page.set_input_files("#file", str(FIXTURES / "astronaut.jpg"))
    page.wait_for_selector("#preview img:visible")
    page.set_input_files("#file", str(astronaut_clip))
    page.wait_for_selector("#preview video:visible")
    _until(page, "/, 2 s\\)/.test(document.getElementById('drop-text').textContent)")
    assert page.locator("#preview > *").count() == 1
    page.route("**/", lambda route: _with_limit(route, seconds=1))
    page.goto(url)
    page.set_input_files("#file", str(astronaut_clip))
    assert _soon(page, "#wrong-media", "This is 2 s long; the most this site takes is 1 s.")
    page.click("#send")
    assert _soon(page, "#problems", "the most this site takes is 1 s")
    assert portal(app).store.ids("new") == []
    assert seen.trouble == []


def _with_limit(route: Any, *, seconds: int) -> None:
    answer = route.fetch()
    route.fulfill(response=answer, body=answer.text().replace('data-longest="1800.0"', f'data-longest="{seconds}"'))


def test_fields_have_names_for_screen_readers(site: Any, watched: Any) -> None:
    app, url = site
    job = Uploader(app.test_client()).submit()
    finish(app, job, portrait=FIXTURES / "astronaut.jpg")
    page = watched().page
    for path in ("/", f"/r/{job}"):
        page.goto(url + path)
        unnamed = page.evaluate(
            "[...document.querySelectorAll('input:not([type=hidden]):not(:disabled), select, button')]"
            ".filter(e => !(e.labels && e.labels.length) && !e.ariaLabel && !e.textContent.trim()).map(e => e.outerHTML)"
        )
        assert unnamed == []
        assert page.locator("h1").count() == 1
        assert page.locator("img:not([alt])").count() == 0


def test_what_cannot_be_sent_is_said_at_once(site: Any, watched: Any, tmp_path: Path) -> None:
    """By the server, which knows the kinds; folders and several files by the page."""
    _, url = site
    page = watched().page
    page.goto(url)
    (tmp_path / "empty.mp4").touch()
    page.set_input_files("#file", str(tmp_path / "empty.mp4"))
    assert _soon(page, "#wrong-media", "The file is empty")
    (tmp_path / "photo.jpg").write_bytes(b"\0\0\0\x18ftypavci\0\0\0\0mif1avci")
    page.set_input_files("#file", str(tmp_path / "photo.jpg"))
    assert _soon(page, "#wrong-media", "HEIF")
    page.set_input_files("#file", str(FIXTURES / "astronaut.jpg"))
    page.wait_for_timeout(300)
    assert page.inner_text("#wrong-media") == ""
    page.evaluate(
        """() => {
            const dropped = new DataTransfer();
            for (const name of ["a.jpg", "b.jpg"]) dropped.items.add(new File(["x"], name));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true }));
        }"""
    )
    assert page.inner_text("#wrong-media") == "One file at a time, please."


def test_file_that_changes_before_it_is_sent_is_not_called_a_lost_connection(
    site: Any, watched: Any, tmp_path: Path
) -> None:
    _, url = site
    page = watched().page
    (tmp_path / "a.jpg").write_bytes(JPEG)
    _fill(page, url, tmp_path / "a.jpg")
    page.wait_for_timeout(300)
    (tmp_path / "a.jpg").write_bytes(JPEG * 3)
    later = time.time() + 5
    os.utime(tmp_path / "a.jpg", (later, later))  # Chromium compares whole seconds
    page.click("#send")
    assert _soon(page, "#problems", "can no longer be read")


def test_back_button_shows_the_file_that_is_still_chosen(site: Any, watched: Any) -> None:
    _, url = site
    page = watched().page
    _fill(page, url, FIXTURES / "astronaut.jpg")
    page.click("#send")
    page.wait_for_url("**/r/*")
    page.go_back()
    page.wait_for_timeout(300)
    assert page.evaluate("document.getElementById('file').files.length") == page.locator("#drop.has").count()
    assert page.locator("#send").is_visible()


def _soon(page: Any, place: str, words: str) -> bool:
    for _ in range(60):
        if words in page.inner_text(place):
            return True
        page.wait_for_timeout(50)
    pytest.fail(f"{place} never says {words!r}: {page.inner_text(place)!r}")


def test_without_scripts_a_file_beyond_the_limit_gets_the_page_that_names_the_limit(
    site: Any, watched: Any, tmp_path: Path
) -> None:
    """Chromium sends all of the file before it reads the answer."""
    _, url = site
    with (tmp_path / "phone.mp4").open("wb") as file:
        file.write(b"\0\0\0\x20ftypisom")
        file.truncate(70_000_000)
    page = watched(java_script_enabled=False).page
    _fill(page, url, tmp_path / "phone.mp4")
    page.click("#send")
    assert page.get_by_role("heading", name="File too large").is_visible()
    assert page.get_by_text("larger than 50 MB, the most this site takes").is_visible()
    page.goto(f"{url}/submit")  # reloaded by hand
    assert page.locator("#upload").is_visible()
