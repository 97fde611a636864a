"""Workers stay warm, one caller at a time, within the memory budget; a broken one is never handed out again."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from backend.workers.pool import WorkerPool
from backend.workers.spec import WorkerError, WorkerSpec
from backend.workers.worker import Worker
from base_detector import NotApplicable
from shared.errors import DfomError, PermanentError
from shared.settings import Settings

Make = Callable[..., WorkerPool]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_pool(settings: Settings, acting: None, clock: Clock) -> Iterator[Make]:
    """Make pools with some settings changed."""
    pools: list[WorkerPool] = []

    def make(**changes: object) -> WorkerPool:
        pools.append(WorkerPool(settings.model_copy(update=changes), clock=clock))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def pid(pool: WorkerPool, spec: WorkerSpec) -> int:
    with pool.lease(spec) as worker:
        return int(worker.call("echo", timeout_s=5)["pid"])


def runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_worker_is_kept_warm_between_jobs(make_pool: Make, spec: WorkerSpec) -> None:
    pool = make_pool()
    assert pid(pool, spec) == pid(pool, spec)


def test_nothing_starts_before_the_first_lease(make_pool: Make, settings: Settings, spec: WorkerSpec) -> None:
    pool = make_pool()
    assert (pool.runner_kind(spec), pool.available(spec), pool.image_digest(spec)) == ("process", None, None)
    assert not settings.scratch_folder.exists()


def test_a_cold_worker_is_started_for_each_job(make_pool: Make, spec: WorkerSpec) -> None:
    pool = make_pool(cold=["acting"])
    first = pid(pool, spec)
    assert not runs(first)
    assert pid(pool, spec) != first


def test_an_idle_worker_goes_after_its_time_and_a_hot_one_stays(
    make_pool: Make, spec: WorkerSpec, clock: Clock
) -> None:
    pool = make_pool(hot=["hot"], warm_s=600)
    warm, hot = pid(pool, spec), pid(pool, replace(spec, name="hot"))
    clock.now += 599
    pool.sweep()
    assert runs(warm)
    clock.now += 1
    pool.sweep()
    assert not runs(warm)
    assert runs(hot)


def test_the_least_recently_used_goes_when_memory_is_short(make_pool: Make, spec: WorkerSpec, clock: Clock) -> None:
    pool = make_pool(worker_memory_mb=500)  # two of 200 MB
    pids = []
    for name in ("one", "two"):
        clock.now += 1
        pids.append(pid(pool, replace(spec, name=name)))
    clock.now += 1
    pid(pool, replace(spec, name="one"))
    clock.now += 1
    third = pid(pool, replace(spec, name="three"))
    assert [runs(item) for item in (*pids, third)] == [True, False, True]


def test_a_hot_worker_goes_last(make_pool: Make, spec: WorkerSpec, clock: Clock) -> None:
    pool = make_pool(worker_memory_mb=500, hot=["hot"])
    hot = pid(pool, replace(spec, name="hot"))
    clock.now += 1
    warm = pid(pool, spec)
    clock.now += 1
    pid(pool, replace(spec, name="third"))
    assert (runs(hot), runs(warm)) == (True, False)


def job(pool: WorkerPool, spec: WorkerSpec, names: str, clock: Clock) -> list[int]:
    """A job whose steps need these workers, one after the other; the process of each."""
    specs = [replace(spec, name=f"acting-{name}") for name in names]
    pids = []
    with pool.needs(specs) as over:
        for item in specs:
            clock.now += 1
            pids.append(pid(pool, item))
            over(item)
    return pids


def test_what_a_later_step_of_a_job_needs_is_ended_last(make_pool: Make, spec: WorkerSpec, clock: Clock) -> None:
    """With the least recently used first, a set slightly above the budget would find none of its workers again."""
    pool = make_pool(worker_memory_mb=650)  # three of 200 MB
    first, second = (job(pool, spec, "abcd", clock) for _ in range(2))
    assert [one == two for one, two in zip(first, second, strict=True)] == [False, True, True, False]
    assert pool.ended == {"budget": 3}


def test_what_no_job_needs_is_ended_before_what_is_needed_even_when_it_was_used_later(
    make_pool: Make, spec: WorkerSpec, clock: Clock
) -> None:
    pool = make_pool(worker_memory_mb=500)
    needed, other, third = (replace(spec, name=name) for name in ("needed", "other", "third"))
    with pool.needs([third, needed]):
        pids = []
        for item in (needed, other, third):
            clock.now += 1
            pids.append(pid(pool, item))
    assert [runs(item) for item in pids] == [True, False, True]


def test_a_hot_worker_makes_way_for_one_that_a_later_step_needs(
    make_pool: Make, spec: WorkerSpec, clock: Clock
) -> None:
    pool = make_pool(worker_memory_mb=500, hot=["hot"])
    hot, needed, third = (replace(spec, name=name) for name in ("hot", "needed", "third"))
    with pool.needs([third, needed]):
        pids = []
        for item in (needed, hot, third):
            clock.now += 1
            pids.append(pid(pool, item))
    assert [runs(item) for item in pids] == [True, False, True]


def test_each_end_of_a_worker_is_logged_and_counted_with_its_reason(
    make_pool: Make, spec: WorkerSpec, clock: Clock
) -> None:
    pool = make_pool(worker_memory_mb=300, cold=["cold"], warm_s=600)
    with structlog.testing.capture_logs() as logs:
        pid(pool, spec)
        pid(pool, replace(spec, memory_mb=100))  # its card changed
        pid(pool, replace(spec, name="large", memory_mb=250))  # takes its memory
        with pytest.raises(PermanentError), pool.lease(replace(spec, name="large", memory_mb=250)):
            raise PermanentError("detector_bad_output")
        pid(pool, replace(spec, name="cold"))
        pid(pool, spec)
        clock.now += 600
        pool.sweep()
        pid(pool, spec)
        pool.close()
    lines = [line for line in logs if line["event"] == "worker_ended"]
    assert [line["reason"] for line in lines] == ["changed", "budget", "broken", "cold", "idle", "closed"]
    assert (lines[1]["wanted"], lines[1]["budget_mb"]) == ("large", 300)
    assert pool.ended == dict.fromkeys(("changed", "budget", "broken", "cold", "idle", "closed"), 1)


def test_a_lease_waits_for_the_worker_that_is_being_warmed(make_pool: Make, spec: WorkerSpec) -> None:
    """Otherwise a second one would be started where two jobs may be in work."""
    pool = make_pool(jobs=2)
    thread = threading.Thread(target=pool.warm, args=[spec])
    thread.start()
    deadline = time.monotonic() + 10
    while not pool._places and time.monotonic() < deadline:
        time.sleep(0.001)
    first = pid(pool, spec)
    thread.join(10)
    assert pid(pool, spec) == first
    assert len(pool._places) == 1


def test_warming_takes_no_memory_from_a_later_step(make_pool: Make, spec: WorkerSpec) -> None:
    pool = make_pool(worker_memory_mb=300)
    needed, other = replace(spec, name="needed"), replace(spec, name="other")
    kept = pid(pool, needed)
    with pool.needs([other, needed]):
        pool.warm(other)
    assert runs(kept)
    assert pid(pool, needed) == kept


def test_loading_ahead_ends_no_worker_and_stops_at_the_budget(make_pool: Make, spec: WorkerSpec) -> None:
    pool = make_pool(worker_memory_mb=500)
    specs = [replace(spec, name=name) for name in ("one", "two", "three")]
    assert pool.load_ahead(specs) == ["one", "two"]
    assert pool.ended == {}


def test_a_worker_that_cannot_be_loaded_ahead_keeps_no_other_from_it(make_pool: Make, spec: WorkerSpec) -> None:
    pool = make_pool()
    foreign = replace(spec, name="foreign", bundled=False)
    assert pool.load_ahead([foreign, spec]) == ["acting"]


def test_what_is_loaded_ahead_makes_way_at_once_for_a_job_that_does_not_need_it(
    make_pool: Make, spec: WorkerSpec, settings: Settings
) -> None:
    """A job that comes while a worker is being loaded waits no longer than without."""
    pool = make_pool(worker_memory_mb=300)
    slow = replace(spec, name="slow", version="never-asked")
    never = settings.scratch_folder / "workers" / "main" / "never"  # it does not listen at all: acting.py
    pool._open()
    never.touch()
    ready: list[list[str]] = []
    thread = threading.Thread(target=lambda: ready.append(pool.load_ahead([slow, replace(spec, name="next")])))
    thread.start()
    deadline = time.monotonic() + 10
    while not any(place.worker for place in pool._places) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert pool._places, "it is being loaded"
    never.unlink()
    began = time.monotonic()
    with pool.needs([spec]) as over:
        assert runs(pid(pool, spec))
        over(spec)
        thread.join(10)
    assert time.monotonic() - began < 5
    assert ready == [[]]
    assert pool.ended["unwanted"] == 1


def test_a_worker_larger_than_the_budget_runs_alone(make_pool: Make, spec: WorkerSpec) -> None:
    pool = make_pool(worker_memory_mb=300)
    small = pid(pool, spec)
    assert runs(pid(pool, replace(spec, name="large", memory_mb=1000)))
    assert not runs(small)


def test_a_second_caller_waits_for_the_worker(make_pool: Make, spec: WorkerSpec) -> None:
    pool = make_pool()
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with pool.lease(spec):
            order.append("second")

    with pool.lease(spec):
        thread = threading.Thread(target=second)
        thread.start()
        waiting.wait(5)
        thread.join(0.1)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_two_jobs_at_once_have_a_worker_each(make_pool: Make, spec: WorkerSpec) -> None:
    pool = make_pool(jobs=2)
    with pool.lease(spec) as one, pool.lease(spec) as two:
        assert one.call("echo", timeout_s=5)["pid"] != two.call("echo", timeout_s=5)["pid"]


def test_a_caller_waits_for_memory_that_is_in_use(make_pool: Make, spec: WorkerSpec) -> None:
    pool = make_pool(worker_memory_mb=300, jobs=2)
    other = replace(spec, name="other")
    got: list[int] = []
    with pool.lease(spec):
        thread = threading.Thread(target=lambda: got.append(pid(pool, other)))
        thread.start()
        thread.join(0.2)
        assert got == []
    thread.join(10)
    assert len(got) == 1


@pytest.mark.parametrize("trouble", ["dies", "times out", "refused output"])
def test_a_broken_worker_is_replaced(make_pool: Make, spec: WorkerSpec, trouble: str) -> None:
    pool = make_pool()
    first = pid(pool, spec)

    def work(worker: Worker) -> None:
        if trouble == "dies":
            worker.call("die", timeout_s=5)
        elif trouble == "times out":
            worker.call("sleep", timeout_s=0.1, seconds=60)
        else:
            raise PermanentError("detector_bad_output")  # as the harvest does

    with pytest.raises(DfomError), pool.lease(spec) as worker:
        work(worker)
    assert not runs(first)
    assert pid(pool, spec) != first


@pytest.mark.parametrize("verb", ["refuse", "fail"])
def test_a_worker_that_says_no_is_kept(make_pool: Make, spec: WorkerSpec, verb: str) -> None:
    pool = make_pool()
    first = pid(pool, spec)
    with pytest.raises((WorkerError, NotApplicable)), pool.lease(spec) as worker:
        worker.call(verb, timeout_s=5, reason="no_face", code="weights_missing")
    assert pid(pool, spec) == first


def test_a_worker_that_died_idle_is_replaced(make_pool: Make, spec: WorkerSpec) -> None:
    pool = make_pool()
    first = pid(pool, spec)
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    assert pid(pool, spec) != first


def test_a_changed_card_gets_a_new_worker(make_pool: Make, spec: WorkerSpec) -> None:
    pool = make_pool()
    assert pid(pool, spec) != pid(pool, replace(spec, memory_mb=300))


def test_closing_ends_all_workers_and_leaves_no_folder(make_pool: Make, spec: WorkerSpec, settings: Settings) -> None:
    pool = make_pool()
    pids = [pid(pool, replace(spec, name=name)) for name in ("one", "two")]
    pool.close()
    assert not any(map(runs, pids))
    left = [path for path in (settings.scratch_folder / "workers/main").iterdir() if path.is_dir()]
    assert left == []


def test_closing_takes_the_worker_from_a_job_in_work(make_pool: Make, spec: WorkerSpec) -> None:
    pool = make_pool()
    caught: list[str] = []
    began = threading.Event()

    def job() -> None:
        try:
            with pool.lease(spec) as worker:
                began.set()
                worker.call("sleep", timeout_s=60, seconds=60)
        except WorkerError as error:
            caught.append(error.code)

    thread = threading.Thread(target=job)
    thread.start()
    began.wait(10)
    pool.close()
    thread.join(60)
    assert caught == ["worker_died"]


def test_a_job_that_waits_when_the_pool_closes_is_told(make_pool: Make, spec: WorkerSpec) -> None:
    pool = make_pool()
    pool.close()
    with pytest.raises(WorkerError, match="cancelled"), pool.lease(spec):
        pass


def test_two_back_ends_on_one_scratch_never_share_a_folder(make_pool: Make, spec: WorkerSpec) -> None:
    portal, analyze = make_pool(), make_pool()
    first, second = pid(portal, spec), pid(analyze, spec)
    assert first != second
    analyze.close()
    assert runs(first)


def test_what_a_dead_back_end_left_in_the_scratch_is_removed(
    make_pool: Make, spec: WorkerSpec, settings: Settings
) -> None:
    workers = settings.scratch_folder / "workers"
    for place in ("main/acting-0/job", "main/gone-0/job", "extra-1234/acting-0/job"):
        (workers / place).mkdir(parents=True)
        (workers / place / "media").write_text("private")
    (workers / "extra-1234/lock").touch()
    pool = make_pool()
    pid(pool, spec)
    assert list(workers.rglob("media")) == []
    assert sorted(path.name for path in workers.iterdir()) == ["main"]


def test_only_our_user_gets_into_the_workers_folder(make_pool: Make, spec: WorkerSpec, settings: Settings) -> None:
    pid(make_pool(), spec)
    assert (settings.scratch_folder / "workers").stat().st_mode & 0o077 == 0


def test_a_detector_that_is_not_ours_needs_a_container(make_pool: Make, spec: WorkerSpec) -> None:
    pool = make_pool()
    foreign = replace(spec, bundled=False)
    assert pool.available(foreign) == "container_required"
    with pytest.raises(WorkerError, match="container_required"), pool.lease(foreign):
        pass


@pytest.mark.parametrize(("change", "code"), [({"version": "1"}, None), ({"version": "2"}, "image_outdated")])
def test_a_worker_must_be_of_the_cards_version(
    make_pool: Make, spec: WorkerSpec, change: dict[str, str], code: str | None
) -> None:
    pool, wanted = make_pool(), replace(spec, **change)  # type: ignore[arg-type]
    if code is None:
        assert runs(pid(pool, wanted))
    else:
        with pytest.raises(WorkerError, match=code), pool.lease(wanted):
            pass
