"""The operator's page in Chromium: nothing to reproach for axe-core, on a phone and a screen, light and dark; without scripts it works."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from frontend import create_app
from frontend.operator.office import office
from frontend.portal import portal
from shared.clock import utc_now
from shared.records import JobId
from shared.settings import Settings
from tests.browser.conftest import served
from tests.frontend.stories import Uploader, catalog, status
from tests.frontend.test_record import note
from tests.operator.vitals import TOKEN, vitals

pytestmark = pytest.mark.browser

#: Of WCAG 2.2 A and AA, and what axe-core calls best practice.
OPTIONS = {"resultTypes": ["violations"]}


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Flask, str]]:
    """A portal with an operator, jobs, noted truths, and a back-end that spoke just now."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    settings = Settings(data=tmp_path / "var", operator_token=TOKEN, access_log=False)
    app = create_app(settings, background=False)
    site = portal(app)
    site.store.write_catalog(catalog(utc_now()))
    uploader = Uploader(app.test_client())
    jobs = [uploader.submit(email=f"{number}@example.org") for number in range(3)]
    site.store.move(JobId(jobs[0]), "new", "active")
    site.store.write_status(status(jobs[0], utc_now(), step="detectors", progress=0.45))
    note(app, jobs[2], fake=False)
    office(app).desk.write_vitals(vitals(utc_now()))
    with served(app, settings) as url:
        yield app, url


def clean(page: Any, name: str) -> None:
    """No violation of any impact, and nothing wider than the window."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options=OPTIONS)
    assert found.violations_count == 0, found.generate_report()
    if folder := os.environ.get("OPERATOR_SHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)
    wide = page.evaluate(
        "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > innerWidth)"
        ".map(e => e.outerHTML.slice(0, 120))"
    )
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), wide


def enter(page: Any, url: str) -> None:
    page.goto(f"{url}/operator")
    page.fill("#token", TOKEN)
    page.get_by_role("button", name="Open").click()
    page.get_by_role("heading", name="How the site is doing").wait_for()


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark"), (390, "light"), (1440, "dark")])
def test_axe_finds_nothing(watch: Any, watched: Any, width: int, scheme: str) -> None:
    app, url = watch
    seen = watched(width=width, color_scheme=scheme, bypass_csp=True)  # axe-core is a script of ours in the page
    page = seen.page
    page.goto(f"{url}/operator")
    clean(page, f"open-{width}-{scheme}")
    enter(page, url)
    clean(page, f"page-{width}-{scheme}")
    office(app).intake.pause("We move to a larger machine and are back at noon.")
    page.goto(f"{url}/")
    assert "back at noon" in page.inner_text("main")
    clean(page, f"front-paused-{width}-{scheme}")
    page.goto(f"{url}/operator")
    clean(page, f"paused-{width}-{scheme}")
    assert seen.trouble == []


def test_it_works_with_the_keyboard_and_without_scripts(watch: Any, watched: Any) -> None:
    app, url = watch
    page = watched(java_script_enabled=False).page
    enter(page, url)
    page.fill("#notice", "Back at noon.")
    page.focus("#minutes")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Take files again").wait_for()
    pause = office(app).intake.paused()
    assert pause
    assert (pause.notice, pause.minutes) == ("Back at noon.", 15)
    page.get_by_role("button", name="Take files again").click()
    page.get_by_role("button", name="Pause the intake").wait_for()
    page.get_by_label("New state of MesoInception4").select_option("disabled")
    page.get_by_role("button", name="Change the state of MesoInception4").click()
    page.get_by_text("1 request waits for the back-end").wait_for()
    [name] = office(app).desk.waiting()
    assert office(app).desk.read_request(name).to == "disabled"
    page.get_by_role("button", name="Close").click()
    page.get_by_label("Token").wait_for()
