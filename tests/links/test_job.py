"""A submission that names a page: its clip is fetched once, kept beside the record, and then judged as an upload is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backend.job import Job
from backend.links.fetching import FetchedClip
from shared.errors import PermanentError, RetryableError
from shared.records import JobId, Submission, new_id
from shared.store import Store
from tests.dispatch.back_end import eventually, state
from tests.dispatch.conftest import dispatcher_for, settings, store  # noqa: F401  fixtures

CLIP = b"the clip of the page"


def page(store: Store) -> JobId:  # noqa: F811
    """Submit the address of a page."""
    job = new_id()
    store.open_submission(job)
    store.submit(
        Submission(
            id=job,
            received=datetime.now(UTC),
            email=None,
            pin_hash="x",
            detectors=("mesonet",),
            original_name="x.com",
            source_url="https://x.com/a/status/1",
            link="x",
            sha256=None,
            bytes=None,
        )
    )
    return job


def fetching(outcomes: list[Any]) -> Callable[..., FetchedClip]:
    """What the pipeline's ``fetch`` does, time after time."""

    def fetch(submission: Submission, folder: Path, board: Any, *, cancelled: Callable[[], bool]) -> FetchedClip:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        folder.mkdir(parents=True, exist_ok=True)
        board.step("fetch", done=1, total=2)
        (folder / "fetched").write_bytes(CLIP)
        return FetchedClip(folder / "fetched", hashlib.sha256(CLIP).hexdigest(), len(CLIP), "x_1.mp4")

    return fetch


def test_the_clip_is_kept_with_its_sum_and_judged(store: Store, dispatcher_for: Any) -> None:  # noqa: F811
    judged: list[tuple[str, bytes]] = []

    def script(job: Job) -> None:
        judged.append((job.name, job.media.read_bytes()))

    back_end = dispatcher_for(script)
    back_end.pipeline.fetch = fetching(["clip"])
    job = page(store)
    eventually(lambda: state(store, job) == "done" and store.stage_of(job) == "done")
    assert judged == [("x_1.mp4", CLIP)]
    kept = store.read_submission("done", job)
    assert (kept.sha256, kept.bytes) == (hashlib.sha256(CLIP).hexdigest(), len(CLIP))
    assert kept.source_url == "https://x.com/a/status/1"


def test_an_attempt_that_breaks_off_after_the_fetch_does_not_fetch_again(store: Store, dispatcher_for: Any) -> None:  # noqa: F811
    begun: list[JobId] = []

    def script(job: Job) -> None:
        begun.append(job.id)
        if len(begun) == 1:
            raise RetryableError("worker_died")

    outcomes = ["clip"]
    back_end = dispatcher_for(script)
    back_end.pipeline.fetch = fetching(outcomes)
    job = page(store)
    eventually(lambda: state(store, job) == "done")
    assert begun == [job, job]
    assert outcomes == []


@pytest.mark.parametrize("code", ["link_without_clip", "link_too_large", "links_unavailable"])
def test_a_page_without_a_clip_ends_the_job_with_the_reason(store: Store, dispatcher_for: Any, code: str) -> None:  # noqa: F811
    back_end = dispatcher_for()
    back_end.pipeline.fetch = fetching([PermanentError(code)])
    job = page(store)
    eventually(lambda: state(store, job) == "failed" and store.stage_of(job) == "failed")
    assert store.read_status(job).code == code  # type: ignore[union-attr]
    store.forget_address("failed", store.read_submission("failed", job))
    assert store.read_submission("failed", job).source_url is None, "its record can still be read"


def test_a_submission_needs_media_or_a_page() -> None:
    members = {"id": new_id(), "received": datetime.now(UTC), "email": None, "pin_hash": None, "detectors": ("va",)}
    with pytest.raises(ValueError, match="neither media nor a page"):
        Submission(**members, original_name="a", sha256=None, bytes=None)
    with pytest.raises(ValueError, match="neither media nor a page"):
        Submission(**members, original_name="a", link="x", sha256="0" * 64, bytes=None)
