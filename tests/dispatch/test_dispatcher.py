"""The dispatcher on real folders. The pipeline is scripted here; tests/crash runs the real one in its own process."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from backend.dispatch.dispatcher import HUNG, HUNG_S, Dispatcher
from backend.dispatch.heartbeat import Heartbeat
from backend.job import Cancelled, Job
from shared.errors import PermanentError, RetryableError
from shared.records import JobId, Status
from tests.dispatch.back_end import ScriptedPipeline, eventually, state, wired


def test_a_submission_becomes_a_published_result(store, submit, dispatcher_for, settings):
    dispatcher_for()
    job = submit()
    eventually(lambda: state(store, job) == "done" and store.stage_of(job) == "done")
    assert (store.report(job) / "result.json").is_file()
    eventually(lambda: not (settings.scratch_folder / "jobs" / "main" / job).exists())


def test_work_begins_within_half_a_second_of_the_upload(store, submit, dispatcher_for):
    begun = threading.Event()
    dispatcher_for(lambda job: begun.set(), scan_s=60)
    eventually(lambda: list(store.results.glob(".dispatcher-*")))
    submit()
    assert begun.wait(0.5)


def test_the_scan_finds_what_no_event_announced(store, submit, dispatcher_for):
    job = submit()
    dispatcher_for()
    eventually(lambda: state(store, job) == "done")


def test_a_second_dispatcher_on_the_folder_refuses_to_start(store, submit, dispatcher_for, settings, tmp_path):
    dispatcher_for()
    eventually(lambda: list(store.results.glob(".dispatcher-*")))
    rival = Dispatcher(wired(settings, ScriptedPipeline(lambda job: None), tmp_path / "other"), store=store)
    with pytest.raises(PermanentError, match="second_dispatcher"):
        rival.run()


@pytest.mark.parametrize("error", [RetryableError("worker_died"), ValueError("a mistake of ours")])
def test_work_that_breaks_off_is_begun_three_times_and_then_given_up(store, submit, dispatcher_for, error):
    def breaks(job: Job) -> None:
        raise error

    pipeline = dispatcher_for(breaks).pipeline
    job = submit()
    eventually(lambda: state(store, job) == "failed" and store.stage_of(job) == "failed")
    assert pipeline.ran == [job] * 3
    assert store.read_status(job).code == "too_many_attempts"


def test_a_permanent_failure_is_not_tried_again(store, submit, dispatcher_for):
    def fails(job: Job) -> None:
        raise PermanentError("media_unreadable")

    pipeline = dispatcher_for(fails).pipeline
    job = submit()
    eventually(lambda: store.stage_of(job) == "failed")
    assert pipeline.ran == [job]
    assert store.read_status(job).code == "media_unreadable"


def test_an_attempt_is_counted_before_the_work(store, submit, dispatcher_for):
    seen = []
    dispatcher_for(lambda job: seen.append(store.attempts(JobId(job.id))))
    submit()
    eventually(lambda: seen == [1])


def test_a_job_left_active_by_a_dead_dispatcher_is_taken_up(store, submit, dispatcher_for):
    job = submit()
    store.move(job, "new", "active")
    store.count_attempt(job)
    dispatcher_for()
    eventually(lambda: store.stage_of(job) == "done")
    assert store.read_status(job).attempt == 2


def test_a_fourth_attempt_never_begins(store, submit, dispatcher_for):
    job = submit()
    store.move(job, "new", "active")
    for _ in range(3):
        store.count_attempt(job)
    pipeline = dispatcher_for().pipeline
    eventually(lambda: store.stage_of(job) == "failed")
    assert pipeline.ran == []


def test_a_broken_record_is_set_aside_and_holds_up_nobody(store, submit, dispatcher_for):
    broken, good = submit(), submit()
    (store.job("new", broken) / "submission.json").write_text("{")
    dispatcher_for()
    eventually(lambda: store.stage_of(good) == "done" and store.stage_of(broken) == "failed")
    assert store.read_status(broken).code == "record_invalid"


def test_a_media_file_that_changed_since_the_upload_is_not_judged(store, submit, dispatcher_for):
    job = submit()
    (store.job("new", job) / "media").write_bytes(b"other")
    dispatcher_for()
    eventually(lambda: state(store, job) == "failed")
    assert store.read_status(job).code == "media_changed"


def test_stopping_puts_the_running_job_back_without_counting_it(store, submit, dispatcher_for):
    working = threading.Event()

    def works(job: Job) -> None:
        working.set()
        while not job.cancelled():
            time.sleep(0.01)
        raise Cancelled

    dispatcher = dispatcher_for(works).dispatcher
    job = submit()
    assert working.wait(5)
    dispatcher.stop()
    eventually(lambda: store.attempts(job) == 0)
    assert store.stage_of(job) == "active"


def test_waiting_jobs_see_their_place_and_an_honest_wait(store, submit, dispatcher_for):
    go = threading.Event()
    dispatcher_for(lambda job: go.wait(10))
    try:
        first = submit()
        eventually(lambda: state(store, first) == "working")
        second, third = submit(), submit()

        def place(job: JobId) -> Status | None:
            return store.read_status(job)

        eventually(lambda: place(second) and place(third) and place(third).queue_position == 2)
        assert place(second).queue_position == 1
        assert (place(second).estimated_wait_s, place(second).longest_wait_s) == (0, None), "nothing was measured yet"
    finally:
        go.set()
    eventually(lambda: state(store, third) == "done")
    assert place(third).queue_position is None


def test_the_catalog_says_what_is_offered_and_that_the_back_end_lives(store, dispatcher_for):
    dispatcher_for()
    eventually(lambda: store.read_catalog() is not None)
    assert store.read_catalog().runner == "process"


def test_one_line_says_what_runs_how_and_another_one_when_that_changes(store, dispatcher_for):
    """An image that is built while the back-end runs is picked up, and that is said."""
    with capture_logs() as logs:
        dispatcher = dispatcher_for().dispatcher
        eventually(lambda: store.read_catalog() is not None)
        dispatcher._backend.catalog._way = lambda card: "docker" if card.id == "mesonet" else None
        for _ in range(2):
            dispatcher._write_catalog()
        lines = [line for line in logs if line["event"] == "workers"]
    assert [(line["in_containers"], line["as_processes"]) for line in lines] == [
        ("none", "media"),
        ("mesonet", "media"),
    ]
    assert {entry.id: entry.runner for entry in store.read_catalog().detectors}["mesonet"] == "docker"


@pytest.mark.parametrize("ended", ["done", "failed"])
def test_a_job_that_ended_before_a_crash_is_moved_and_not_worked_on_again(
    store, submit, dispatcher_for, tmp_path, ended
):
    job = submit()
    store.move(job, "new", "active")
    store.count_attempt(job)
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "result.json").write_text("{}")
    if ended == "done":
        store.publish(job, tmp_path / "report")
    now = datetime.now(UTC)
    last = Status(id=job, state=ended, step=ended, updated=now, finished=now, attempt=1, code=None)
    store.write_status(last)
    pipeline = dispatcher_for().pipeline
    eventually(lambda: store.stage_of(job) == ended)
    assert pipeline.ran == []
    assert store.read_status(job) == last


def test_a_dispatcher_that_waits_leaves_the_scratch_of_the_one_that_works_alone(store, settings, submit, tmp_path):
    """It takes the folder over with the finished parts of the other one's jobs."""
    first = Heartbeat(store.results)
    first.claim()
    job = submit()
    store.move(job, "new", "active")
    finished = settings.scratch_folder / "jobs" / "main" / job / "report"
    finished.mkdir(parents=True)
    (finished / "result.json").write_text("{}")
    standing_by = Dispatcher(wired(settings, pipeline := ScriptedPipeline(lambda job: None), tmp_path), store=store)
    thread = threading.Thread(target=standing_by.run, kwargs={"stand_by": True})
    thread.start()
    try:
        time.sleep(0.2)
        assert finished.exists()
        assert not (settings.scratch_folder / "jobs" / "main" / "lock").exists()
        first.release()
        eventually(lambda: store.stage_of(job) == "done")
        assert pipeline.ran == [job]
    finally:
        standing_by.stop()
        thread.join(20)


def test_a_hanging_loop_ends_its_process_so_that_the_supervisor_starts_another(
    store, settings, submit, tmp_path, monkeypatch
):
    ended = []
    monkeypatch.setattr("os._exit", ended.append)
    clock = [0.0]
    dispatcher = Dispatcher(
        wired(settings, ScriptedPipeline(lambda job: None), tmp_path), store=store, clock=lambda: clock[0]
    )
    dispatcher._heartbeat.claim()
    dispatcher._beat()
    clock[0] += HUNG_S + 1
    dispatcher._beat()
    assert ended == [HUNG]


def test_a_stand_by_that_waited_for_an_hour_is_not_taken_for_hanging(store, settings, submit, tmp_path, monkeypatch):
    ended, clock = [], [0.0]
    monkeypatch.setattr("os._exit", ended.append)
    dispatcher = Dispatcher(
        wired(settings, ScriptedPipeline(lambda job: None), tmp_path), store=store, clock=lambda: clock[0]
    )
    claimed = dispatcher._claimed

    def after_an_hour(*, stand_by: bool) -> bool:
        clock[0] += 3600
        return claimed(stand_by=stand_by)

    monkeypatch.setattr(dispatcher, "_claimed", after_an_hour)
    tick, beat = dispatcher.tick, dispatcher._beat
    monkeypatch.setattr(dispatcher, "tick", lambda: (beat(), tick(), dispatcher.stop()))
    dispatcher.run(stand_by=True)
    assert ended == []
