"""One machine of a cluster, without Ray: which attempts it makes, which it refuses, and what it writes after it slept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from backend.dispatch.heartbeat import Heartbeat
from backend.dispatch.node import Ended, Node, Task
from backend.job import Cancelled, Job
from shared.records import JobId
from tests.dispatch.back_end import ScriptedPipeline, eventually, wired


class Work:
    """Jobs of the node wait here until ``go``."""

    def __init__(self) -> None:
        self.begun: list[Job] = []
        self.go = threading.Event()

    def __call__(self, job: Job) -> None:
        self.begun.append(job)
        while not self.go.wait(0.01):
            if job.cancelled():
                raise Cancelled


@pytest.fixture
def claim(store) -> Heartbeat:
    heartbeat = Heartbeat(store.results)
    heartbeat.claim()
    return heartbeat


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def node(settings, tmp_path: Path, claim: Heartbeat, work: Work) -> Iterator[Node]:
    pipeline = ScriptedPipeline(work)
    pipeline.pool.available = lambda spec: None
    pipeline.pool.close = lambda: None
    node = Node(lambda: wired(settings, pipeline, tmp_path), claim=claim.token)
    yield node
    node.close(grace_s=10)


@pytest.fixture
def begin(store, submit, node: Node) -> Iterator[Callable[..., tuple[Task, Future[Ended]]]]:
    """Give the node an attempt, as the dispatcher counts it."""
    with ThreadPoolExecutor(4) as threads:

        def begin(job: JobId | None = None) -> tuple[Task, Future[Ended]]:
            if job is None:
                job = submit()
                store.move(job, "new", "active")
            number = store.count_attempt(job)
            task = Task(job, number, store.begun(job).at, draws=True)
            return task, threads.submit(node.perform, task)

        yield begin
        node.close(grace_s=10)


def test_an_attempt_is_made_and_published(store, begin, work, node):
    work.go.set()
    task, ended = begin()
    assert ended.result(20) == Ended("done")
    assert store.read_status(task.job).state == "done"
    assert (store.report(task.job) / "result.json").is_file()
    assert not node._folder(task.job).exists()


def test_what_a_woken_node_did_for_an_attempt_that_counts_no_more_is_dropped(store, begin, work, node):
    task, ended = begin()
    eventually(lambda: work.begun)
    store.count_attempt(task.job)  # it was begun elsewhere
    status = store.read_status(task.job)
    work.go.set()
    assert ended.result(20) == Ended("not_ours")
    assert (store.stage_of(task.job), store.read_status(task.job)) == ("active", status)
    assert not store.report(task.job).exists()
    assert not node._folder(task.job).exists()


def test_an_attempt_that_was_taken_back_and_counted_again_is_another_one(store, begin, work):
    task, ended = begin()
    eventually(lambda: work.begun)
    store.uncount_attempt(task.job)
    assert store.count_attempt(task.job) == task.attempt
    work.go.set()
    assert ended.result(20) == Ended("not_ours")
    assert not store.report(task.job).exists()


def test_a_second_attempt_on_the_same_node_waits_until_the_first_has_ended(store, begin, work):
    task, first = begin()
    eventually(lambda: work.begun)
    _, second = begin(task.job)
    assert first.result(20) == Ended("not_ours")
    work.go.set()
    assert second.result(20) == Ended("done")
    assert len(work.begun) == 2


@pytest.mark.parametrize(
    ("why", "ending", "stage"), [("withdrawn", "failed", "failed"), ("yield", "released", "active")]
)
def test_a_cancelled_attempt_ends_as_its_reason_says(store, begin, work, node, why, ending, stage):
    task, ended = begin()
    eventually(lambda: work.begun)
    node.cancel(task.job, task.begun, why)
    assert ended.result(20).ending == ending
    assert store.stage_of(task.job) == stage


def test_a_cancel_that_comes_before_its_attempt_is_remembered(store, submit, work, node):
    job = submit()
    store.move(job, "new", "active")
    task = Task(job, store.count_attempt(job), store.begun(job).at, draws=True)
    node.cancel(job, task.begun, "withdrawn")
    assert node.perform(task) == Ended("failed", "deleted")
    assert not work.go.is_set()


def test_a_node_takes_no_jobs_while_its_folders_are_not_the_dispatchers(store, begin, claim, node):
    assert node.report().trouble is None
    claim.release()
    node._refresh()
    assert "is not the folder the dispatcher works on" in node.report().trouble
    assert begin()[1].result(20) == Ended("refused")
    (store.results / ".deepfake-o-meter").unlink()  # as an empty mount point
    node._refresh()
    assert "away" in node.report().trouble


def test_a_node_says_what_it_lacks(node):
    assert node.report().offers["mesonet"].unavailable is None
    node._backend.catalog._availability = lambda card: "image_missing" if card.id == "mesonet" else None
    node._refresh()
    offers = node.report().offers
    assert (offers["mesonet"].unavailable, offers["xception"].unavailable) == ("image_missing", None)
    assert offers["media"].memory_mb > 0


def test_a_closing_node_returns_its_jobs(store, begin, work, node):
    task, ended = begin()
    eventually(lambda: work.begun)
    assert node.close(grace_s=20)
    assert ended.result(20) == Ended("released")
    assert (store.stage_of(task.job), store.attempts(task.job)) == ("active", 0)


def test_measured_times_are_handed_over_once(node):
    node._backend.pipeline.durations.add("media", mode="quick", seconds=1.5)
    assert node.report().measured == [("media", "quick", 1.5)]
    assert node.report().measured == []
