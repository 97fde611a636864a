"""What is deleted when; a sweep that broke off is finished by the next."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from backend.dispatch.retention import expire
from shared import durable
from shared.records import Status

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
    from shared.records import new_id

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
