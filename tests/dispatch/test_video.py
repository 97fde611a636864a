"""The numbers are published before the video is drawn, and nothing that happens to the video touches them."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from backend.dispatch.retention import expire
from backend.job import Cancelled, Job
from shared.errors import PermanentError, RetryableError
from shared.records import JobId
from shared.store import Store
from tests.dispatch.back_end import eventually, state


@pytest.fixture
def drawing():
    """A drawing that begins, and ends when it may, or when it is cancelled: ``begun``, ``go``, ``draws``."""

    class Drawing:
        def __init__(self) -> None:
            self.begun, self.go, self.count = threading.Event(), threading.Event(), 0

        def draws(self, job: Job) -> None:
            self.count += 1
            self.begun.set()
            while not self.go.wait(0.01):
                if job.cancelled():
                    raise Cancelled

    made = Drawing()
    yield made
    made.go.set()


def video(store: Store, job: JobId) -> str:
    """What the published result says of the video."""
    return json.loads((store.report(job) / "result.json").read_text())["video"]


def test_numbers_are_there_while_the_video_is_drawn_and_the_video_follows(store, submit, dispatcher_for, drawing):
    dispatcher_for(draws=drawing.draws)
    job = submit()
    assert drawing.begun.wait(5)
    status = store.read_status(job)
    assert (status.state, status.video, store.stage_of(job)) == ("done", "pending", "active")
    assert video(store, job) == "pending"
    finished = status.finished
    assert finished is not None
    drawing.go.set()
    eventually(lambda: store.stage_of(job) == "done")
    status = store.read_status(job)
    assert (status.state, status.video, status.finished) == ("done", None, finished)
    assert video(store, job) == "ready"
    assert (store.report(job) / "video.mp4").read_text() == "pictures"


def test_a_stopped_back_end_goes_on_at_the_video_and_never_takes_the_numbers_back(
    store, submit, dispatcher_for, drawing
):
    first = dispatcher_for(draws=drawing.draws)
    job = submit()
    assert drawing.begun.wait(5)
    finished = store.read_status(job).finished
    first.end()
    assert (state(store, job), store.read_status(job).video, store.attempts(job)) == ("done", "pending", 0)
    seen = []
    drawing.go.set()
    judged = []
    second = dispatcher_for(lambda job: judged.append(job.id), draws=lambda job: seen.append(state(store, job.id)))
    eventually(lambda: store.stage_of(job) == "done")
    assert (seen, judged, second.pipeline.ran) == (["done"], [], [job])
    assert (video(store, job), store.read_status(job).finished) == ("ready", finished)


def test_a_machine_without_the_scratch_of_the_first_draws_from_what_is_published(
    store, submit, dispatcher_for, drawing, settings
):
    first = dispatcher_for(draws=drawing.draws)
    job = submit()
    assert drawing.begun.wait(5)
    first.end()
    drawing.go.set()
    judged = []
    dispatcher_for(lambda job: judged.append(job.id), draws=drawing.draws, scratch=settings.data / "another")
    eventually(lambda: store.stage_of(job) == "done")
    assert (judged, video(store, job)) == ([], "ready")


@pytest.mark.parametrize("error", [PermanentError("media_changed"), PermanentError("worker_died")])
def test_a_video_that_fails_leaves_the_numbers(store, submit, dispatcher_for, error):
    def fails(job: Job) -> None:
        raise error

    dispatcher_for(draws=fails)
    job = submit()
    eventually(lambda: store.stage_of(job) == "done")
    assert (state(store, job), store.read_status(job).video, video(store, job)) == ("done", None, error.code)


@pytest.mark.parametrize("error", [RetryableError("worker_died"), ValueError("a mistake of ours")])
def test_a_video_that_breaks_off_three_times_is_given_up_and_the_numbers_stay(store, submit, dispatcher_for, error):
    tried = []

    def breaks(job: Job) -> None:
        tried.append(job.id)
        raise error

    dispatcher_for(draws=breaks)
    job = submit()
    eventually(lambda: store.stage_of(job) == "done")
    assert (tried, state(store, job), video(store, job)) == ([job] * 3, "done", "video_given_up")


def test_the_numbers_of_another_visitor_come_before_a_video(store, submit, dispatcher_for, drawing):
    judged = []

    def works(job: Job) -> None:
        judged.append(job.id)
        assert drawing.count < 2, "the video goes on before the numbers of the other job"

    dispatcher_for(works, draws=drawing.draws, jobs=1)
    first = submit()
    assert drawing.begun.wait(5)
    second = submit()
    eventually(lambda: second in judged)
    assert state(store, first) == "done", "it does not wait in the queue again"
    drawing.go.set()
    eventually(lambda: store.stage_of(first) == "done" and store.stage_of(second) == "done")
    assert (video(store, first), video(store, second), store.read_status(first).attempt) == ("ready", "ready", 1)


def test_a_video_that_has_waited_long_gives_way_no_more(store, submit, dispatcher_for, drawing, monkeypatch):
    for place in ("run", "backlog"):
        monkeypatch.setattr(f"backend.dispatch.{place}.VIDEO_WAITS_S", 0.0)
    dispatcher_for(draws=drawing.draws, jobs=1)
    first = submit()
    assert drawing.begun.wait(5)
    second = submit()
    time.sleep(0.5)
    assert (drawing.count, state(store, second)) == (1, "queued")
    drawing.go.set()
    eventually(lambda: store.stage_of(first) == "done" and store.stage_of(second) == "done")


def test_deleting_the_job_ends_its_drawing_and_nothing_comes_back(store, submit, dispatcher_for, drawing, settings):
    dispatcher_for(draws=drawing.draws)
    job = submit()
    assert drawing.begun.wait(5)
    store.remove_report(job)  # as the portal does
    store.remove_submission("active", job)
    eventually(lambda: not list((settings.scratch_folder / "jobs").glob(f"*/{job}")))
    assert not drawing.go.is_set()
    assert store.stage_of(job) is None
    assert not store.report(job).exists()


@pytest.mark.parametrize("restarts", [False, True])
def test_a_report_that_expires_before_its_video_stays_expired(
    store, submit, dispatcher_for, drawing, settings, restarts
):
    back_end = dispatcher_for(draws=drawing.draws)
    job = submit()
    assert drawing.begun.wait(5)
    if restarts:
        back_end.end()
    expire(store, settings, cache=None, now=datetime.now(UTC) + timedelta(days=settings.keep_results_days + 1))
    drawing.go.set()
    if restarts:
        dispatcher_for(draws=drawing.draws)
    eventually(lambda: store.stage_of(job) == "done")
    assert state(store, job) == "expired"
    assert not store.report(job).exists()
