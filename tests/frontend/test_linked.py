"""The address of a page in the form: it is taken without media when the back-end offers its site, and refused with a reason when not."""

from __future__ import annotations

import re
from typing import Any

import pytest

from frontend.linked import from_address
from frontend.portal import portal
from shared.clock import utc_now
from tests.frontend.stories import PIN, Uploader, catalog


@pytest.fixture
def offering(app: Any) -> Any:
    """A portal whose back-end fetches clips of X and YouTube."""
    offered = catalog(utc_now()).model_copy(update={"links": ("x", "youtube")})
    portal(app).store.write_catalog(offered)
    return app


def test_a_page_becomes_a_submission_without_media(offering: Any) -> None:
    job = Uploader(offering.test_client()).submit(media=None, url="https://X.com/a/status/1?s=20&t=secret#top")
    store = portal(offering).store
    page = offering.test_client()
    token = re.search(r'name="csrf_token" value="([^"]+)"', page.get(f"/r/{job}").text)
    page.post(f"/r/{job}/pin", data={"pin": PIN, "csrf_token": token[1]})  # type: ignore[index]
    words = page.get(f"/r/{job}").text
    assert "https://x.com/a/status/1" in words
    assert "None" not in words
    kept = store.read_submission("new", job)
    assert (kept.link, kept.source_url, kept.sha256, kept.bytes) == ("x", "https://x.com/a/status/1", None, None)
    assert {path.name for path in store.job("new", job).iterdir()} == {"submission.json"}


@pytest.mark.parametrize("stage", ["new", "active", "failed"])
def test_a_page_whose_clip_never_came_is_not_judged_again_and_can_be_deleted(offering: Any, stage: Any) -> None:
    visitor = Uploader(offering.test_client())
    job = visitor.submit(media=None, url="https://x.com/a/status/1")
    store = portal(offering).store
    visitor.enter_pin(job)
    if stage != "new":
        store.move(job, "new", "active")
    if stage == "failed":
        store.move(job, "active", "failed")
    assert visitor.get(f"/r/{job}/again").status_code == 410
    again = visitor.post(f"/r/{job}/again", {"detectors": ["mesonet"], "mode": "quick"}, form_on="/")
    assert again.status_code == 410
    assert [path.name for path in (store.submissions / "tmp").iterdir()] == []
    assert visitor.post(f"/r/{job}/delete", {}, form_on="/").status_code == 303
    if stage == "active":  # the fetch is asked to end, and the deletion follows it
        assert store.is_withdrawn(job)
        store.move(job, "active", "failed")
        portal(offering).postman.tick()
    assert store.stage_of(job) is None
    assert [path.name for path in store.result(job).iterdir()] == ["status.json"]


def test_what_names_the_clip_stays_in_the_address(offering: Any) -> None:
    with offering.app_context():
        page, source = from_address(portal(offering), "youtube.com/watch?si=who&v=abc_1")
    assert source == "https://youtube.com/watch?v=abc_1"
    with page:  # not kept: nothing is left
        assert portal(offering).store.stage_of(page.id) == "tmp"
    assert portal(offering).store.stage_of(page.id) is None


def test_the_same_page_sent_twice_from_one_form_is_one_submission(offering: Any) -> None:
    visitor = Uploader(offering.test_client())
    jobs = [visitor.submit(media=None, url=f"https://x.com/a/status/{number}", key="k" * 22) for number in (1, 1, 2)]
    assert jobs[0] == jobs[1] != jobs[2]


def test_the_form_says_which_pages_are_fetched_here_and_that_none_are(offering: Any) -> None:
    client = offering.test_client()
    assert "X (Twitter) and YouTube" in client.get("/").text
    portal(offering).store.write_catalog(catalog(utc_now()))
    assert "Links to pages" in client.get("/").text
    assert "YouTube" not in client.get("/").text
