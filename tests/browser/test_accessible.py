"""The pages around a result are accessible in each state: axe finds nothing, and what can be clicked is large enough (WCAG 2.2, 2.5.8)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from frontend.access import LOCKED_AT, Attempts
from frontend.portal import portal
from shared.clock import utc_now
from shared.records import JobId
from tests.browser.conftest import OPERATOR
from tests.frontend.stories import PIN, Uploader, finish, status, working

pytestmark = pytest.mark.browser

FIXTURES = Path(__file__).parent.parent / "fixtures"

#: Links and buttons below 24 by 24 pixels that are not in a line of text, where WCAG allows them.
TOO_SMALL = """[...document.querySelectorAll('a[href], button, summary, input:not([type=hidden])')].filter(e => {
    const box = e.getBoundingClientRect();
    const inLine = getComputedStyle(e).display === 'inline' && e.closest('p, li, dd, label, figcaption, td, th');
    const labelled = e.labels && [...e.labels].some(label => label.getBoundingClientRect().height >= 24);
    return box.width && box.height && !e.disabled && !e.matches('.skip') && !inLine && !labelled && (box.width < 24 || box.height < 24);
}).map(e => e.outerHTML.slice(0, 120))"""


API_DOCS = "API docs"
#: Faults of the pages that Swagger UI draws, which we take as it is published.
OF_SWAGGER_UI = {
    "nested-interactive": "the line of a request is a button that has links and a copy button in it; its mark-up is made by the library",
}


def enter(page: Any, field: str, value: str, *, button: str) -> None:
    """Fill one field and send its form."""
    page.fill(field, value)
    page.get_by_role("button", name=button).click()


def states(page: Any, app: Any, url: str) -> Iterator[str]:
    """Lead the page from one state to the next; the name of each."""
    someone, store = Uploader(app.test_client()), portal(app).store
    page.goto(url)
    yield "front"
    page.set_input_files("#file", str(FIXTURES / "astronaut.jpg"))
    page.wait_for_selector("#preview img:visible")
    page.evaluate("document.querySelectorAll('main details').forEach(part => { part.open = true; })")
    yield "front, a file chosen and all unfolded"
    page.click("#send")
    page.wait_for_selector("#problems:visible")
    yield "front, with troubles"

    job = someone.submit()
    waits = {"queue_position": 2, "estimated_wait_s": 60.0, "longest_wait_s": 1800.0}
    store.write_status(status(job, utc_now(), state="queued", **waits))
    page.goto(f"{url}/r/{job}")
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    yield "progress, waiting"
    store.write_status(working(job, utc_now()))
    enter(page, "input[name=pin] >> nth=0", PIN, button="Show")
    page.wait_for_selector("#bars li")
    yield "progress, in work and open"
    finish(app, job, portrait=FIXTURES / "astronaut.jpg")
    page.context.clear_cookies()
    page.goto(f"{url}/r/{job}")
    yield "PIN"
    enter(page, "#pin", "000000", button="Open the result")
    page.wait_for_selector("[role=alert]")
    yield "PIN, wrong"
    enter(page, "#pin", PIN, button="Open the result")
    page.goto(f"{url}/r/{job}/again")
    yield "judge again"
    page.get_by_role("button", name="Judge again").click()
    page.wait_for_selector("#live")
    new = page.url.rsplit("/", 1)[-1]
    finish(app, new, portrait=FIXTURES / "astronaut.jpg")
    page.goto(f"{url}/compare/{job}/{new}")
    page.wait_for_selector("#h-rows")
    yield "compare"
    page.goto(f"{url}/nothing")
    yield "error"
    page.goto(f"{url}/detectors#va")
    page.wait_for_function("document.getElementById('va').closest('details').open")
    yield "detectors, one unfolded by its address"
    page.goto(f"{url}/api/v1/docs")
    page.wait_for_selector("#api .opblock", timeout=30_000)
    yield API_DOCS
    page.goto(f"{url}/operator")
    page.wait_for_selector("#token")
    yield "operator, closed"
    enter(page, "#token", "wrong", button="Open")
    page.wait_for_selector("[role=alert]")
    yield "operator, wrong token"
    enter(page, "#token", OPERATOR, button="Open")
    page.wait_for_selector("#token", state="detached")
    yield "operator"
    failed = someone.submit(mode="quick")
    store.write_status(status(failed, utc_now(), state="failed", step="failed", code="media_unreadable"))
    page.goto(f"{url}/r/{failed}")
    yield "failed"
    portal(app).access._write(JobId(job), Attempts(wrong=LOCKED_AT))
    page.context.clear_cookies()
    page.goto(f"{url}/r/{job}")
    enter(page, "#pin", PIN, button="Open the result")
    page.wait_for_selector("text=locked")
    yield "PIN, locked"
    page.goto(f"{url}/unlock/{job}/token")
    yield "unlock"
    store.write_status(status(job, utc_now(), state="expired", step="expired", code="deleted"))
    store.remove_report(JobId(job))
    page.goto(f"{url}/r/{job}")
    yield "deleted"


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (1440, "light"), (1440, "dark")])
def test_no_state_has_a_barrier(site: Any, watched: Any, look_at: Callable[..., None], width: int, scheme: str) -> None:
    app, url = site
    page = watched(width=width, color_scheme=scheme).page
    found, seen = [], []
    for name in states(page, app, url):
        seen.append(name)
        look_at(page, f"{name}-{width}-{scheme}")
        found += [
            f"{name}: {item['id']}: {item['nodes'][0]['html'][:160]}"
            for item in Axe().run(page).response["violations"]
            if name != API_DOCS or item["id"] not in OF_SWAGGER_UI
        ]
        found += [f"{name}: small: {item}" for item in page.evaluate(TOO_SMALL) if name != API_DOCS]
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"{name}: wider than the screen")
    assert len(seen) == 19
    assert found == [], "\n".join(found)


@pytest.fixture
def look_at() -> Callable[..., None]:
    """Keep pictures of the states in the folder SCREENSHOTS, when that is set."""
    folder = os.environ.get("SCREENSHOTS")

    def keep(page: Any, name: str) -> None:
        if folder:
            page.screenshot(path=f"{folder}/{name.replace(', ', '-').replace(' ', '_')}.png", full_page=True)

    return keep
