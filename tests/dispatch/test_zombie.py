"""A dispatcher that was stopped for a while and wakes up beside its successor: it touches nothing that is not its own, and stands down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.dispatch.heartbeat import Heartbeat, Superseded
from backend.dispatch.hold import Hold, NotOurs, Unclaimed
from backend.job import Cancelled, Job
from shared import durable
from shared.errors import PermanentError, RetryableError, StoreTrouble
from shared.records import JobId, Status
from shared.store import Store
from tests.dispatch.back_end import eventually, state


class Successor:
    """Takes the folder over as another machine would, and begins the job anew."""

    def __init__(self, store: Store) -> None:
        self.store = store
        for claim in store.results.glob(".dispatcher-*"):
            claim.write_text('{"token": "as seen from elsewhere"}')
        self.heartbeat = Heartbeat(store.results, stale_s=-1)

    def takes_over(self, job: JobId) -> None:
        """Claim, count an attempt, show it."""
        self.heartbeat.claim()
        self.store.count_attempt(job)
        status = self.store.read_status(job)
        self.store.write_status(status.model_copy(update={"attempt": 2, "step": "of the successor"}))


@pytest.fixture
def asleep(store, submit, dispatcher_for) -> Iterator[Callable]:
    """A dispatcher that sleeps in the middle of a job whose work then ends with ``last``."""
    go = threading.Event()

    def fall_asleep(last: Callable[[Job], None]):
        working = threading.Event()

        def works(job: Job) -> None:
            working.set()
            go.wait(10)
            last(job)

        back_end = dispatcher_for(works)
        job = submit()
        assert working.wait(5)
        return back_end, job, go

    yield fall_asleep
    go.set()


def breaks(error: BaseException) -> Callable[[Job], None]:
    def last(job: Job) -> None:
        raise error

    return last


@pytest.mark.parametrize(
    "last",
    [
        lambda job: None,
        breaks(Cancelled()),
        breaks(PermanentError("media_unreadable")),
        breaks(RetryableError("engine_unavailable")),
        breaks(ValueError("a mistake of ours")),
    ],
    ids=["publishes", "was stopped", "gives up", "breaks off", "fails"],
)
def test_a_woken_dispatcher_touches_nothing_and_stands_down(store, asleep, last):
    back_end, job, go = asleep(last)
    successor = Successor(store)
    successor.takes_over(job)
    before = store.read_status(job)
    go.set()
    back_end.thread.join(10)
    assert back_end.superseded
    assert store.attempts(job) == 2
    assert store.read_status(job) == before
    assert store.stage_of(job) == "active"
    assert not store.report(job).exists()
    successor.heartbeat.beat()


def test_its_scan_begins_nothing_either(store, submit, dispatcher_for):
    back_end = dispatcher_for(scan_s=0.05)
    eventually(lambda: list(store.results.glob(".dispatcher-*")))
    successor = Successor(store)
    successor.heartbeat.claim()
    job = submit()
    back_end.thread.join(10)
    assert back_end.superseded
    assert store.stage_of(job) == "new"
    successor.heartbeat.beat()


def test_the_successor_goes_on_when_a_woken_one_counted_an_attempt(store, submit, dispatcher_for, monkeypatch):
    """A woken one may be in the middle of its write: check, stop, go on."""
    monkeypatch.setattr("backend.dispatch.dispatcher.HELD_UP_S", 0.05)
    counted = threading.Event()

    def works(job: Job) -> None:
        if not counted.is_set():
            for _ in range(2):
                store.count_attempt(JobId(job.id))
            counted.set()

    dispatcher_for(works)
    job = submit()
    eventually(lambda: state(store, job) == "done" and store.stage_of(job) == "done")


def test_a_status_left_behind_by_a_woken_one_does_not_hide_the_ending(store, submit, dispatcher_for):
    dispatcher_for()
    done, failed = submit(), submit(sha256="0" * 64)
    eventually(lambda: store.stage_of(done) == "done" and store.stage_of(failed) == "failed")
    for job in (done, failed):
        old = store.read_status(job)
        store.write_status(Status(id=job, state="working", step="media", updated=old.updated, attempt=1))
        assert state(store, job) == "working"
    now = old.updated
    assert store.owners_status(done, now=now).state == "done"
    assert (store.owners_status(failed, now=now).state, store.owners_status(failed, now=now).code) == (
        "failed",
        "internal",
    )


def test_a_job_that_was_deleted_during_its_work_is_dropped_and_others_go_on(store, submit, asleep, settings):
    back_end, job, go = asleep(lambda job: None)
    store.remove_submission("active", job)
    go.set()
    other = submit()
    eventually(lambda: state(store, other) == "done")
    assert back_end.thread.is_alive()
    assert not store.report(job).exists()
    assert not list((settings.scratch_folder / "jobs").glob(f"*/{job}"))


@pytest.mark.parametrize("step", ["publish", "complete"])
def test_one_that_was_frozen_between_its_check_and_the_rename_shows_nothing(step, store, submit, tmp_path, monkeypatch):
    job = submit()
    store.move(job, "new", "active")

    def report(words: str) -> Path:
        folder = tmp_path / words
        folder.mkdir()
        (folder / "result.json").write_text(words)
        return folder

    if step == "complete":
        store.count_attempt(job)
        store.publish(job, report("numbers"))
    frozen, current = (
        Hold(job, attempt=store.count_attempt(job), store=store, heartbeat=Unclaimed()) for _ in range(2)
    )
    store.uncount_attempt(job)  # the frozen one's is the current attempt until it stops
    checked, name = [], {"publish": "move_directory", "complete": "move_file"}[step]

    def stops_here(source: Path, target: Path) -> None:
        if target.parent in (store.result(job), store.report(job)) and not checked:
            checked.append(target)
            store.count_attempt(job)
        moves(source, target)

    moves = getattr(durable, name)
    monkeypatch.setattr(durable, name, stops_here)
    with pytest.raises(NotOurs):
        getattr(frozen, step)(report("of the frozen one"))
    assert checked, "it had passed its last check"
    seen = [path.read_text() for path in store.result(job).rglob("*") if path.is_file()]
    assert seen == (["numbers"] if step == "complete" else [])
    getattr(current, step)(report("of its successor"))
    assert (store.report(job) / "result.json").read_text() == "of its successor"


# ------------------------------------------------------------------ the claim


def test_a_claim_that_was_deleted_is_made_again_and_is_no_second_dispatcher(tmp_path: Path):
    heartbeat = Heartbeat(tmp_path)
    heartbeat.claim()
    for claim in tmp_path.glob(".dispatcher-*"):
        claim.unlink()
    with pytest.raises(OSError, match="claim"):
        heartbeat.check()
    heartbeat.beat()
    heartbeat.check()
    with pytest.raises(PermanentError, match="second_dispatcher"):
        Heartbeat(tmp_path).claim()


def test_a_folder_that_is_away_is_no_second_dispatcher(tmp_path: Path):
    folder = tmp_path / "results"
    folder.mkdir()
    heartbeat = Heartbeat(folder)
    heartbeat.claim()
    folder.rename(tmp_path / "elsewhere")
    for ask in (heartbeat.check, heartbeat.beat):
        with pytest.raises((StoreTrouble, FileNotFoundError)):
            ask()
    (tmp_path / "elsewhere").rename(folder)
    heartbeat.beat()


def test_another_one_with_the_same_number_is_seen(tmp_path: Path):
    """All claims were deleted, and another dispatcher began to count anew."""
    first = Heartbeat(tmp_path)
    first.claim()
    next(tmp_path.glob(".dispatcher-*")).unlink()
    Heartbeat(tmp_path).claim()
    with pytest.raises(Superseded):
        first.beat()


def test_a_third_one_leaves_no_claim_by_which_the_first_could_pass_for_the_newest(tmp_path: Path):
    first, second, third = (Heartbeat(tmp_path, stale_s=-1) for _ in range(3))
    for heartbeat in (first, second, third):
        heartbeat.claim()
        newest = max(tmp_path.glob(".dispatcher-*"))
        content = newest.read_text()
        newest.write_text(content.replace('"boot"', '"elsewhere"'))
    assert len(list(tmp_path.glob(".dispatcher-*"))) == 1
    for heartbeat in (first, second):
        with pytest.raises(Superseded):
            heartbeat.check()
    third.check()


def test_a_claim_made_again_is_never_taken_for_a_rival(tmp_path: Path):
    heartbeat, wrong, stop = Heartbeat(tmp_path), [], threading.Event()
    heartbeat.claim()

    def asks() -> None:
        while not stop.is_set():
            try:
                heartbeat.check()
            except OSError:
                pass
            except Superseded as error:
                wrong.append(error)

    thread = threading.Thread(target=asks)
    thread.start()
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        for claim in tmp_path.glob(".dispatcher-*"):
            claim.unlink(missing_ok=True)
        heartbeat.beat()
    stop.set()
    thread.join()
    assert not wrong


def test_a_dead_process_of_this_machine_that_nobody_reaped_counts_as_dead(tmp_path: Path):
    import subprocess
    import sys

    code = "import sys; from pathlib import Path; from backend.dispatch.heartbeat import Heartbeat; Heartbeat(Path(sys.argv[1])).claim()"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2])
    eventually(lambda: list(tmp_path.glob(".dispatcher-*")))
    eventually(lambda: "Z" in Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0])
    Heartbeat(tmp_path).claim()
    process.wait()


def test_a_process_of_another_container_on_this_machine_is_not_called_dead(tmp_path: Path):
    heartbeat = Heartbeat(tmp_path)
    heartbeat.claim()
    claim = next(tmp_path.glob(".dispatcher-*"))
    claim.write_text(claim.read_text().replace('"pids": "pid:', '"pids": "another:').replace('"pid": ', '"pid": 9'))
    with pytest.raises(PermanentError, match="second_dispatcher"):
        Heartbeat(tmp_path).claim()


def test_a_woken_one_sees_a_dispatcher_that_began_after_its_successor_had_ended(tmp_path: Path):
    """After a release the numbers begin again, so the claim that holds may have a lower number than the woken one's."""
    woken = Heartbeat(tmp_path)
    woken._make(5, older=())
    (tmp_path / ".dispatcher-5.json").unlink()  # the successor claimed 6, removed this, and released in good order
    now_working = Heartbeat(tmp_path)
    now_working.claim()
    with pytest.raises(Superseded):
        woken.beat()
    now_working.beat()
