"""What goes wrong with one job stays with it; what goes wrong with a shared folder is waited for; nothing ends the loop."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from backend.dispatch.engine import LocalEngine
from backend.dispatch.heartbeat import Heartbeat
from backend.dispatch.periodic import Periodic, Trouble
from backend.job import Job
from shared import durable
from shared.errors import PermanentError, RetryableError, StoreTrouble
from tests.dispatch.back_end import eventually, state
from tests.shared.damage import DAMAGES, Damage, replaced_by


def inflict(damage: Damage, path: Path) -> None:
    """Damage a file as if it had been a record before."""
    if path.name and not path.is_dir() and path.suffix != ".json":
        path.write_text("{}")
    damage(path)


# ------------------------------------------------------------------ one job


@pytest.mark.parametrize("stage", ["new", "active"])
@pytest.mark.parametrize("file", ["submission.json", "attempts.json", "media", ""])
def test_a_damaged_job_ends_with_a_reason_and_the_others_go_on(store, submit, dispatcher_for, stage: str, file: str):
    victims = {}
    for name, damage in DAMAGES.items():
        job = submit()
        if stage == "active":
            store.move(job, "new", "active")
            store.count_attempt(job)
        inflict(damage, store.job(stage, job) / file)
        victims[job] = name
    back_end = dispatcher_for(jobs=4)
    good = submit()
    eventually(lambda: state(store, good) == "done")
    harmless = {"attempts.json"} if stage == "new" else set()

    def ended(job: str) -> bool:
        return store.stage_of(job) not in ("new", "active") and state(store, job) in ("done", "failed")

    eventually(lambda: all(ended(job) for job in victims), within_s=30)
    assert back_end.thread.is_alive()
    for job, name in victims.items():
        status = store.read_status(job)
        if status.state == "done":
            # a media folder that was put back empty, an attempts file never read in new: nothing of the job was lost
            assert file in harmless or (file, name) in {("", "directory")}, name
        else:
            assert status.code in ("record_invalid", "media_changed", "too_many_attempts", "internal"), name


def test_a_damaged_status_is_written_anew(store, submit, dispatcher_for):
    jobs = {}
    for name, damage in DAMAGES.items():
        job = submit()
        store.result(job).mkdir()
        damage(store.result(job) / "status.json")
        jobs[job] = name
    folder = submit()
    store.result(folder).symlink_to("/etc")
    dispatcher_for(jobs=4)
    for job in [*jobs, folder]:
        eventually(lambda: store.stage_of(job) == "done")  # noqa: B023
        assert state(store, job) == "done", jobs.get(job)


@pytest.mark.parametrize("name", [".dispatcher-1.json", "catalog.json", "queue.json", "model_cards/mesonet.md"])
def test_damage_beside_the_jobs_holds_up_nobody(store, submit, dispatcher_for, name: str, monkeypatch):
    monkeypatch.setattr("backend.dispatch.dispatcher.BEAT_S", 0.05)
    back_end = dispatcher_for()
    eventually(lambda: (store.results / name).exists())
    for damage in DAMAGES.values():
        durable.remove(store.results / name)
        inflict(replaced_by(b"{}"), store.results / name)
        damage(store.results / name)
        job = submit()
        eventually(lambda: store.stage_of(job) == "done")  # noqa: B023
    assert back_end.thread.is_alive()


def test_a_damaged_claim_of_somebody_else_counts_by_its_age_alone(store):
    for name, damage in DAMAGES.items():
        claim = store.results / ".dispatcher-7.json"
        inflict(replaced_by(b"{}"), claim)
        damage(claim)
        with pytest.raises(PermanentError, match="second_dispatcher"):
            Heartbeat(store.results).claim()
        os.utime(claim, (1, 1), follow_symlinks=False)
        heartbeat = Heartbeat(store.results)
        heartbeat.claim()
        heartbeat.beat()
        heartbeat.release()
        durable.remove(claim)
        assert not list(store.results.glob(".dispatcher-*")), name


# ------------------------------------------------------------------ the folders


@pytest.mark.parametrize("which", ["results", "submissions"])
def test_a_folder_that_is_away_for_a_moment_ends_nobody(store, submit, dispatcher_for, monkeypatch, which: str):
    monkeypatch.setattr("backend.dispatch.dispatcher.BEAT_S", 0.05)
    monkeypatch.setattr("backend.dispatch.dispatcher.HELD_UP_S", 0.05)
    working, go = threading.Event(), threading.Event()

    def works(job: Job) -> None:
        working.set()
        go.wait(10)

    back_end = dispatcher_for(works)
    job = submit()
    assert working.wait(5)
    folder: Path = getattr(store, which)
    away = folder.with_name("elsewhere")
    with capture_logs() as logs:
        folder.rename(away)
        folder.mkdir()  # the mount point
        go.set()
        time.sleep(0.6)
        assert back_end.thread.is_alive()
        assert list(folder.iterdir()) == [], "nothing is written into the mount point"
        folder.rmdir()
        away.rename(folder)
        eventually(lambda: state(store, job) == "done" and store.stage_of(job) == "done")
    assert store.read_status(job).attempt == 1, "the outage is no fault of the job"
    told = [line for line in logs if line["event"] == "trouble"]
    assert {line["work"] for line in told} >= {"beat", "scan"}
    works = Counter(line["work"] for line in told)
    assert max(works.values()) <= 2, "a line for each reason of each kind of work, not one for each try"
    assert [line["work"] for line in logs if line["event"] == "trouble_over"].count("scan") == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_folder_that_takes_no_writes_is_waited_for(store, submit, dispatcher_for, monkeypatch, number: int):
    monkeypatch.setattr("backend.dispatch.dispatcher.BEAT_S", 0.05)
    monkeypatch.setattr("backend.dispatch.dispatcher.HELD_UP_S", 0.05)
    working, go, refusing = threading.Event(), threading.Event(), threading.Event()
    really = os.open

    def refuses(path, flags, *more, **named):
        if refusing.is_set() and flags & os.O_CREAT and str(path).startswith(str(store.results)):
            raise OSError(number, os.strerror(number))
        return really(path, flags, *more, **named)

    def works(job: Job) -> None:
        working.set()
        go.wait(10)

    back_end = dispatcher_for(works)
    job = submit()
    assert working.wait(5)
    monkeypatch.setattr(os, "open", refuses)
    refusing.set()
    go.set()
    later = submit()
    time.sleep(0.6)
    assert back_end.thread.is_alive()
    assert state(store, job) == "working"
    refusing.clear()
    eventually(lambda: state(store, job) == "done" and state(store, later) == "done")
    assert store.read_status(job).attempt == 1


def test_a_failure_that_could_not_be_written_is_written_later(store, submit, dispatcher_for, monkeypatch):
    monkeypatch.setattr("backend.dispatch.dispatcher.HELD_UP_S", 0.05)
    refusing = threading.Event()
    really = store.write_status

    def refuses(status) -> None:
        if refusing.is_set():
            raise StoreTrouble(OSError(errno.ENOSPC, "full"))
        really(status)

    def fails(job: Job) -> None:
        refusing.set()
        raise PermanentError("media_unreadable")

    monkeypatch.setattr(store, "write_status", refuses)
    back_end = dispatcher_for(fails)
    job = submit()
    eventually(lambda: back_end.pipeline.ran == [job])
    time.sleep(0.3)
    assert store.stage_of(job) == "active"
    refusing.clear()
    eventually(lambda: store.stage_of(job) == "failed")
    assert store.read_status(job).code == "media_unreadable"
    assert back_end.pipeline.ran == [job], "the work is not done again for that"


def test_an_engine_that_is_restarted_costs_no_attempt(store, submit, dispatcher_for, monkeypatch):
    monkeypatch.setattr("backend.dispatch.dispatcher.HELD_UP_S", 0.02)
    tries = []

    def works(job: Job) -> None:
        tries.append(1)
        if len(tries) < 8:
            raise RetryableError("engine_unavailable")

    dispatcher_for(works)
    job = submit()
    eventually(lambda: state(store, job) == "done")
    assert store.read_status(job).attempt == 1


def test_an_attempt_that_broke_off_is_followed_by_a_pause(store, submit, dispatcher_for):
    def breaks(job: Job) -> None:
        raise RetryableError("worker_died")

    back_end = dispatcher_for(breaks, retry_s=(0.3, 0.6))
    began = time.monotonic()
    job = submit()
    eventually(lambda: store.stage_of(job) == "failed")
    assert time.monotonic() - began >= 0.9
    assert back_end.pipeline.ran == [job] * 3


def test_a_dispatcher_starts_when_its_folders_are_mounted(store, submit, dispatcher_for):
    away = store.results.with_name("elsewhere")
    store.results.rename(away)
    back_end = dispatcher_for()
    time.sleep(0.3)
    assert back_end.thread.is_alive()
    away.rename(store.results)
    job = submit()
    eventually(lambda: state(store, job) == "done")


# ------------------------------------------------------------------ our own mistakes


def test_a_mistake_in_a_scan_ends_nothing_and_is_logged_ever_less_often(store, submit, dispatcher_for, monkeypatch):
    tries = []

    def fails(*_, **__) -> None:
        tries.append(1)
        raise KeyError("a mistake of ours")

    monkeypatch.setattr("backend.dispatch.places.Places.show", fails)
    with capture_logs() as logs:
        dispatcher_for(scan_s=0.005)
        job = submit()
        eventually(lambda: state(store, job) == "done")
        eventually(lambda: len(tries) >= 20)
    told = [line for line in logs if line["event"] == "trouble" and line["work"] == "scan"]
    assert [line["times"] for line in told][:5] == [1, 2, 4, 8, 16]
    assert all(line["exc_info"] for line in told)


def test_a_chore_that_fails_is_done_again():
    done, calls = threading.Event(), []

    def chore() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise ValueError("not yet")
        done.set()

    with capture_logs() as logs:
        periodic = Periodic("chore", chore, every_s=0.01)
        assert done.wait(5)
        periodic.close()
    assert [line["event"] for line in logs] == ["trouble", "trouble", "trouble_over"]


def test_trouble_is_told_when_it_begins_changes_and_ends():
    trouble = Trouble("scan")
    with capture_logs() as logs:
        for error in [OSError(errno.EIO, "I/O error")] * 3 + [OSError(errno.ESTALE, "stale")]:
            trouble.note(error)
        assert trouble.now
        trouble.over()
        trouble.over()
    assert [(line["event"], line["reason"]) for line in logs] == [
        ("trouble", "I/O error"),
        ("trouble", "stale"),
        ("trouble_over", "stale"),
    ]


# ------------------------------------------------------------------ one file of one job that does not answer


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO], ids=["another owner", "a bad sector"])
@pytest.mark.parametrize("stage", ["new", "active"])
def test_a_job_whose_record_cannot_be_read_holds_up_nobody(store, submit, dispatcher_for, monkeypatch, stage, code):
    bad = submit()
    if stage == "active":
        store.move(bad, "new", "active")
        store.count_attempt(bad)
    read = type(store).read_submission

    def refused(self, place, job):
        if job == bad:
            raise StoreTrouble(OSError(code, os.strerror(code)))
        return read(self, place, job)

    monkeypatch.setattr(type(store), "read_submission", refused)
    back_end = dispatcher_for()
    good = submit()
    eventually(lambda: state(store, good) == "done")
    assert back_end.thread.is_alive()
    assert store.stage_of(bad) == stage


def test_a_job_whose_media_cannot_be_read_ends_after_its_attempts(store, submit, dispatcher_for, monkeypatch):
    monkeypatch.setattr("backend.dispatch.dispatcher.HELD_UP_S", 0.05)

    def unreadable(job: Job) -> None:
        raise StoreTrouble(OSError(errno.EIO, "a bad sector"))

    dispatcher_for(unreadable)
    job = submit()
    eventually(lambda: state(store, job) == "failed")
    assert store.read_status(job).code == "too_many_attempts"


def test_a_full_scratch_costs_no_attempt(store, submit, dispatcher_for, monkeypatch):
    monkeypatch.setattr("backend.dispatch.dispatcher.HELD_UP_S", 0.05)
    full, stage = [True] * 5, Job._stage

    def staged(self: Job) -> None:
        if full:
            full.pop()
            raise OSError(errno.ENOSPC, "the disk is full")
        stage(self)

    monkeypatch.setattr(Job, "_stage", staged)
    dispatcher_for()
    job = submit()
    eventually(lambda: state(store, job) == "done")
    assert not full


def test_a_thread_that_cannot_start_leaves_its_place_free(monkeypatch):
    engine = LocalEngine(1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError("no more threads")))
        with pytest.raises(RuntimeError):
            engine.submit("a" * 26, lambda cancelled: None)
    assert (engine.free(), engine.running()) == (1, frozenset())


def test_scratch_of_versions_before_is_removed(store, settings, dispatcher_for):
    old = settings.scratch_folder / "jobs" / ("a" * 26)
    old.mkdir(parents=True)
    (old / "media").write_bytes(b"a visitor's")
    dispatcher_for()
    eventually(lambda: not old.exists())
