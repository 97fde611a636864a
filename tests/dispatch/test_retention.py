"""What is deleted when; a sweep that broke off is finished by the next."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from backend.dispatch.retention import expire
from shared import durable
from shared.errors import StoreTrouble
from shared.marker import MARKER
from shared.records import Status, new_id
from tests.shared.damage import DAMAGES

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"keep_media_days": 7, "keep_results_days": 30, "keep_address_days": 14})


def finished(store, submit, *, days: float, state="done"):
    received = NOW - timedelta(days=days)
    job = submit(received=received)
    store.move(job, "new", "active")
    store.move(job, "active", state)
    store.write_status(Status(id=job, state=state, updated=received, finished=received))
    (store.report(job)).mkdir()
    (store.report(job) / "result.json").touch()
    return job


@pytest.mark.parametrize("state", ["done", "failed"])
def test_media_goes_first_then_the_address_then_all(settings, store, submit, state):
    jobs = {days: finished(store, submit, days=days, state=state) for days in (6, 8, 15, 31)}
    gone = expire(store, settings, cache=None, now=NOW)
    assert (gone.media, gone.addresses, gone.results) == (3, 2, 1)
    kept = {days for days, job in jobs.items() if (store.job(state, job) / "media").exists()}
    addressed = {
        days for days, job in jobs.items() if store.job(state, job).exists() and store.read_submission(state, job).email
    }
    reported = {days for days, job in jobs.items() if store.report(job).exists()}
    assert (kept, addressed, reported) == ({6}, {6, 8}, {6, 8, 15})
    assert store.read_status(jobs[31]).state == "expired"


def test_the_link_can_say_expired_for_a_while_and_then_nothing(settings, store, submit):
    job = finished(store, submit, days=31)
    expire(store, settings, cache=None, now=NOW)
    expire(store, settings, cache=None, now=NOW + timedelta(days=29))
    assert store.read_status(job).state == "expired"
    expire(store, settings, cache=None, now=NOW + timedelta(days=31))
    assert not store.result(job).exists()


def test_jobs_in_work_and_in_the_queue_are_never_touched(settings, store, submit):
    old = NOW - timedelta(days=400)
    waiting, working = submit(received=old), submit(received=old)
    store.move(working, "new", "active")
    store.write_status(Status(id=working, state="working", updated=old))
    expire(store, settings, cache=None, now=NOW)
    assert (store.job("new", waiting) / "media").exists()
    assert (store.job("active", working) / "media").exists()
    assert store.read_status(working).state == "working"


def test_broken_off_uploads_and_crash_leftovers_are_swept(settings, store):
    job = new_id()
    folder = store.open_submission(job)
    (store.results / ".removed-x-1").mkdir()
    assert expire(store, settings, cache=None, now=datetime.now(UTC)).uploads == 0
    os.utime(folder, (1, 1))
    assert expire(store, settings, cache=None, now=datetime.now(UTC)).uploads == 1
    assert not (store.results / ".removed-x-1").exists()


def test_a_sweep_that_died_in_the_middle_is_continued(settings, store, submit, monkeypatch):
    job = finished(store, submit, days=15)
    real = durable.replace_json

    def dies(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(durable, "replace_json", dies)
    with pytest.raises(KeyboardInterrupt):
        expire(store, settings, cache=None, now=NOW)
    monkeypatch.setattr(durable, "replace_json", real)
    gone = expire(store, settings, cache=None, now=NOW)
    assert (gone.media, gone.addresses) == (0, 1)
    assert store.read_submission("done", job).email is None


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("what", ["submission.json", "status.json", "media"])
def test_a_bad_record_is_skipped_and_the_others_have_their_turn(settings, store, submit, damage, what):
    """Names sort by chance, so damaged ones are on both sides of the whole one."""
    damaged = [finished(store, submit, days=31) for _ in range(4)]
    whole = finished(store, submit, days=31)
    for job in damaged:
        path = (store.result(job) if what == "status.json" else store.job("done", job)) / what
        if what == "media":
            path.write_bytes(b"{}")  # some damages read JSON
        damage(path)
    if what != "media":
        with capture_logs() as logged:
            expire(store, settings, cache=None, now=NOW)
        assert {entry["job"] for entry in logged if entry["event"] == "record_skipped"} == set(damaged)
    expire(store, settings, cache=None, now=NOW)
    assert store.read_status(whole).state == "expired"
    assert not store.job("done", whole).exists()
    age(store, damaged, days=40)
    expire(store, settings, cache=None, now=NOW)
    for job in damaged:
        assert not store.job("done", job).exists()
        assert not store.report(job).exists()
        assert store.read_status(job).state == "expired"


def age(store, jobs, *, days):
    """Let the folders of jobs be ``days`` old on the folders' own clock."""
    for job in jobs:
        for folder in (store.job("done", job), store.result(job)):
            if folder.exists():
                then = store.now() - days * 86400
                os.utime(folder, (then, then))


def test_a_record_that_cannot_be_read_takes_media_and_address_along_in_time(settings, store, submit):
    """The address may be in what cannot be parsed, so the whole folder goes with the first of the two."""
    young, old = finished(store, submit, days=1), finished(store, submit, days=1)
    for job in (young, old):
        (store.job("done", job) / "submission.json").write_text('{"email": "visitor@example.org')
    age(store, [young], days=6.9)
    age(store, [old], days=7.1)
    expire(store, settings, cache=None, now=datetime.now(UTC))
    assert store.job("done", young).exists()
    assert not store.job("done", old).exists()


def test_the_age_of_a_folder_is_measured_on_its_own_clock(settings, store, monkeypatch):
    """A file server an hour, or ten years, off must not delete what is fresh."""
    job = new_id()
    folder = store.open_submission(job)
    ahead = store.now() + 10 * 365 * 86400
    os.utime(folder, (ahead, ahead))
    monkeypatch.setattr(type(store), "now", lambda self: ahead + 60)
    assert expire(store, settings, cache=None, now=datetime.now(UTC)).uploads == 0
    monkeypatch.setattr(type(store), "now", lambda self: ahead + 90_000)
    assert expire(store, settings, cache=None, now=datetime.now(UTC)).uploads == 1


def test_what_was_set_aside_goes_with_the_shortest_retention_time(settings, store, submit):
    job = submit()
    store.set_aside("new", job)
    aside = next(store.submissions.joinpath("new").glob(".damaged-*"))
    (store.results / ".damaged-x-1").symlink_to("/etc/passwd")
    expire(store, settings, cache=None, now=NOW)
    assert aside.exists()
    then = store.now() - 7.1 * 86400
    for path in (aside, store.results / ".damaged-x-1"):
        os.utime(path, (then, then), follow_symlinks=False)
    expire(store, settings, cache=None, now=NOW)
    assert not os.path.lexists(aside)
    assert not os.path.lexists(store.results / ".damaged-x-1")
    assert os.path.exists("/etc/passwd")


def test_files_that_a_crash_left_in_the_making_go_after_a_day_and_nothing_else_with_a_dot(settings, store, submit):
    job = finished(store, submit, days=1)
    leftovers = [
        store.results / ".catalog.json.0123456789ab",
        store.result(job) / ".status.json.0123456789ab",
        store.result(job) / ".report.part",
        store.results / ".probe-0123456789ab",
    ]
    others = [store.results / ".dispatcher-7.json", store.results / MARKER, store.results / ".nfs0001"]
    for path in (*leftovers, *others):
        path.touch()
    expire(store, settings, cache=None, now=NOW)
    assert all(path.exists() for path in (*leftovers, *others))
    for path in (*leftovers, *others):
        os.utime(path, (1, 1))
    expire(store, settings, cache=None, now=NOW)
    assert not any(path.exists() for path in leftovers)
    assert all(path.exists() for path in others)


def test_a_result_without_a_status_or_without_its_job_does_not_stay_for_ever(settings, store, submit):
    lost, vanished, waiting = new_id(), new_id(), submit(received=NOW - timedelta(days=400))
    store.result(lost).mkdir()
    for job in (vanished, waiting):
        store.write_status(Status(id=job, state="queued", updated=NOW - timedelta(days=400)))
    then = store.now() - 400 * 86400
    os.utime(store.result(lost), (then, then))
    expire(store, settings, cache=None, now=NOW)
    states = {
        name: store.read_status(job).state
        for name, job in (("lost", lost), ("vanished", vanished), ("waiting", waiting))
    }
    assert states == {"lost": "expired", "vanished": "expired", "waiting": "queued"}


def test_trouble_with_one_job_keeps_no_other_from_its_turn(settings, store, submit, monkeypatch):
    jobs = [finished(store, submit, days=31) for _ in range(5)]
    real = durable.remove_directory

    def fails(folder):
        if folder == store.job("done", jobs[2]):
            raise OSError(errno.EIO, "Input/output error")
        real(folder)

    monkeypatch.setattr(durable, "remove_directory", fails)
    expire(store, settings, cache=None, now=NOW)
    assert [job for job in jobs if store.job("done", job).exists()] == [jobs[2]]
    assert all(store.read_status(job).state == "expired" for job in jobs)


def test_nothing_is_deleted_while_a_folder_is_away(settings, store, submit):
    job = finished(store, submit, days=31)
    (store.submissions / MARKER).unlink()
    with pytest.raises(StoreTrouble):
        expire(store, settings, cache=None, now=NOW)
    assert store.report(job).exists()
