"""A thousand visitors wait: each sees a place and an estimate, and the loop still comes round."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.catalog.durations import Durations, Limits
from backend.dispatch.order import in_order
from backend.dispatch.places import Places
from backend.job import Cancelled, Job
from shared import durable
from shared.records import JobId, Submission, new_id
from tests.dispatch.back_end import eventually, state

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LIMITS = Limits(media_s=100, detector_s=1000)


def waiting(minute: int, *, visitor: str = "", priority: int = 0) -> Submission:
    return Submission(
        id=new_id(), received=NOON + timedelta(minutes=minute), email=None, pin_hash=None, detectors=("mesonet",),
        original_name="x", sha256="0" * 64, bytes=1, priority=priority, visitor=visitor,
    )  # fmt: skip


def by_the_rule(items: list[Submission], begun: list[str], resumed: set[str]) -> list[Submission]:
    """The order as the rule says it, one after the other."""
    counts = {name: begun.count(name) for name in [item.visitor for item in items]}
    left, ordered = list(items), []
    while left:
        best = min(left, key=lambda i: (-i.priority, i.id not in resumed, counts[i.visitor], i.received, i.id))
        left.remove(best)
        counts[best.visitor] += 1
        ordered.append(best)
    return ordered


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abc"), st.integers(-1, 1), st.booleans()), max_size=30),
    st.lists(st.sampled_from("abc"), max_size=5),
)
def test_the_quick_order_is_the_order_of_the_rule(drawn, begun):
    items = [waiting(minute, visitor=visitor, priority=priority) for minute, visitor, priority, _ in drawn]
    resumed = {item.id for item, (_, _, _, again) in zip(items, drawn, strict=True) if again}
    assert in_order(items, begun=begun, resumed=resumed) == by_the_rule(items, begun, resumed)


def test_four_thousand_waiting_are_put_in_order_in_a_blink():
    items = [waiting(minute, visitor=str(minute % 700)) for minute in range(4000)]
    began = time.perf_counter()
    in_order(items, begun=[])
    assert time.perf_counter() - began < 5


def test_a_change_of_places_is_one_write_however_many_wait(store, submit, tmp_path, monkeypatch):
    places = Places(store, durations=Durations(tmp_path / "d.json"), limits=LIMITS, title=str, jobs=lambda: 1)
    items = [store.read_submission("new", submit()) for _ in range(30)]
    for item in items:
        places.greet(item)
    places.show(items, running=[])
    assert [store.read_status(JobId(item.id)).queue_position for item in items] == list(range(1, 31))
    writes = []
    really = durable.replace_bytes
    monkeypatch.setattr(
        durable, "replace_bytes", lambda path, *a, **k: (writes.append(path.name), really(path, *a, **k))
    )
    places.show(items[1:], running=[])
    assert writes == ["queue.json"]
    assert [store.read_status(JobId(item.id)).queue_position for item in items[1:]] == list(range(1, 30))
    places.show(items[1:], running=[])
    assert writes == ["queue.json"], "nothing changed, nothing is written"


def test_an_estimate_reaches_the_waiting_one(store, submit, tmp_path):
    durations = Durations(tmp_path / "d.json")
    for step in ("media", "mesonet", "report"):
        durations.add(step, mode="standard", seconds=10)
    places = Places(store, durations=durations, limits=LIMITS, title=str, jobs=lambda: 1)
    items = [store.read_submission("new", submit()) for _ in range(3)]
    for item in items:
        places.greet(item)
    running = SimpleNamespace(submission=items[0], board=SimpleNamespace(progress=0.5))
    places.show(items[1:], running=[running])
    assert [store.read_status(JobId(item.id)).estimated_wait_s for item in items[1:]] == [15, 45]
    assert [store.read_status(JobId(item.id)).longest_wait_s for item in items[1:]] == [15, 45]
    unmeasured = SimpleNamespace(
        submission=items[0].model_copy(update={"detectors": ("mesonet", "va")}), board=SimpleNamespace(progress=0.5)
    )
    places.show(items[1:], running=[unmeasured])
    assert [store.read_status(JobId(item.id)).estimated_wait_s for item in items[1:]] == [0, 30]
    assert [store.read_status(JobId(item.id)).longest_wait_s for item in items[1:]] == [1030, 1060]
    assert store.read_status(JobId(items[1].id)).detectors[0].title == "mesonet"


def test_a_scan_of_a_thousand_waiting_jobs_takes_less_than_a_beat(store, submit, dispatcher_for):
    go = threading.Event()
    back_end = dispatcher_for(lambda job: go.wait(60), scan_s=60)
    try:
        jobs = [submit() for _ in range(1000)]
        eventually(lambda: state(store, jobs[-1]) == "queued", within_s=60)
        began = time.perf_counter()
        back_end.dispatcher.tick()
        took = time.perf_counter() - began
        assert store.read_status(jobs[-1]).queue_position == 999
        assert took < 2.5, f"a scan took {took:.2f} s"
    finally:
        go.set()
        back_end.dispatcher.stop()


# ------------------------------------------------------------------ priority and cancelling


def works_until_cancelled(job: Job) -> None:
    while not job.cancelled():
        time.sleep(0.005)
    raise Cancelled


def test_a_batch_gives_its_place_to_a_visitor_and_goes_on_afterwards(store, submit, dispatcher_for):
    ran, free = [], threading.Event()

    def works(job: Job) -> None:
        ran.append(job.id)
        while job.id == batch and not free.is_set():
            if job.cancelled():
                raise Cancelled
            time.sleep(0.005)

    batch = submit(priority=-1, visitor="batch")
    dispatcher_for(works)
    eventually(lambda: ran == [batch])
    another_batch = submit(priority=-1, visitor="batch")
    visitor = submit()
    eventually(lambda: state(store, visitor) == "done")
    free.set()
    eventually(lambda: state(store, batch) == state(store, another_batch) == "done")
    assert ran == [batch, visitor, batch, another_batch]
    assert store.read_status(batch).attempt == 1, "giving way is no failed attempt"


def test_equals_do_not_take_each_others_place(store, submit, dispatcher_for):
    go = threading.Event()
    cancelled = []

    def works(job: Job) -> None:
        go.wait(10)
        cancelled.append(job.cancelled())

    dispatcher_for(works)
    first = submit()
    eventually(lambda: state(store, first) == "working")
    second = submit(visitor="other")
    eventually(lambda: state(store, second) == "queued")
    time.sleep(0.2)
    go.set()
    eventually(lambda: state(store, second) == "done")
    assert cancelled == [False, False]


@pytest.mark.parametrize("jobs", [1, 2])
def test_deleting_a_submission_in_work_ends_its_work(store, submit, dispatcher_for, settings, jobs: int):
    dispatcher_for(works_until_cancelled, jobs=jobs)
    job = submit()
    eventually(lambda: state(store, job) == "working")
    assert store.ask_for_end(job)
    eventually(lambda: store.stage_of(job) == "failed", within_s=5)
    assert store.read_status(job).code == "deleted"
    assert not list((settings.scratch_folder / "jobs").glob(f"*/{job}"))


def test_a_withdrawn_job_is_not_taken_up_again(store, submit, dispatcher_for):
    job = submit()
    store.move(job, "new", "active")
    assert store.ask_for_end(job)
    back_end = dispatcher_for()
    eventually(lambda: store.stage_of(job) == "failed")
    assert store.read_status(job).code == "deleted"
    assert back_end.pipeline.ran == []
    assert not store.ask_for_end(job), "it is not in work any more: the portal deletes it itself"
