"""Jobs on the nodes of a Ray cluster: placed by what nodes have, begun again when a node is lost, ended when asked, never done twice."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from backend.catalog.durations import Durations
from shared.errors import UserError
from shared.records import JobId
from shared.store import Store
from tests.dispatch import nodes
from tests.dispatch.back_end import eventually

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # of Ray's own sockets and files


@pytest.fixture(scope="module")
def machines() -> Iterator[nodes.Machines]:
    """Three nodes."""
    made = nodes.Machines(3)
    yield made
    made.close()


@pytest.fixture
def site(settings, store, machines, tmp_path) -> Iterator[Callable[..., nodes.Site]]:
    """Start a dispatcher on the cluster, and wait for its nodes."""
    started: list[nodes.Site] = []

    def make(*, lacks: dict[int, str] | None = None, jobs: int | None = None) -> nodes.Site:
        here = nodes.Site(settings, store, machines, tmp_path, lacks=lacks, jobs=jobs)
        started.append(here)
        eventually(lambda: len(here.engine._willing()) == 3, within_s=120)
        return here

    yield make
    for each in started:
        each.end()


@pytest.fixture
def waits(submit) -> Callable[..., JobId]:
    """Submit a job that waits so many seconds, or until ``nodes.GO``."""
    return lambda seconds, **members: submit(f"{seconds} s {secrets.token_hex(4)}".encode(), **members)


def ended(store: Store, jobs: list[JobId]) -> Counter:
    """State of the jobs by what their owners see."""
    return Counter((store.stage_of(job), store.read_status(job).state) for job in jobs if store.read_status(job))


def test_jobs_go_where_their_images_are_and_end_as_they_should(store, site, waits, machines):
    without = machines.raylets()[2]
    early = waits(0.3)  # before any machine is known: it reserves four cores, which none has
    here = site(lacks={without: "xception"}, jobs=5)
    eventually(lambda: store.stage_of(early) == "done", within_s=60)
    assert here.engine.unavailable("xception", otherwise=lambda: "not asked") is None
    jobs = [waits(0.3) for _ in range(4)] + [waits(0.3, detectors=("xception",)) for _ in range(4)]
    eventually(lambda: ended(store, jobs) == {("done", "done"): 8}, within_s=60)
    assert sorted(job for job, _, _ in here.notes.begun()) == sorted([early, *jobs]), "each begins once"
    assert {raylet for _, raylet, _ in here.notes.begun()} == set(machines.raylets())
    assert not set(here.notes.at(without)) & set(jobs[4:])

    working = [waits(600) for _ in range(3)]
    eventually(lambda: len(here.notes.begun()) == 12, within_s=60)
    pending = waits(600)
    eventually(lambda: pending in here.engine.running())
    for job in (pending, working[0]):
        store.ask_for_end(job)
        eventually(lambda job=job: store.stage_of(job) == "failed")
        assert store.read_status(job).code == "deleted"
    assert not [job for job, _, _ in here.notes.begun() if job == pending], "it was never placed"

    here.end()
    assert {job: how for job, _, how in here.notes.begun() if job in working} == dict.fromkeys(working, "cancelled")
    assert [(store.stage_of(job), store.attempts(job)) for job in working[1:]] == [("active", 0), ("active", 0)]


def test_lost_nodes_lose_no_job_and_publish_nothing_afterwards(store, site, waits, machines, monkeypatch):
    monkeypatch.setattr("backend.dispatch.ray_engine.LOST_S", 6.0)
    here = site()
    assert here.engine.places() == 3
    frozen, killed = machines.raylets()[:2]
    jobs = [waits(nodes.GO) for _ in range(6)]
    eventually(lambda: here.notes.at(frozen) and here.notes.at(killed), within_s=60)
    lost = {job for job, raylet, how in here.notes.begun() if raylet in (frozen, killed) and how == "begun"}
    nodes.freeze(frozen)
    nodes.kill(killed)
    here.notes.go()
    eventually(lambda: {job for job, count in here.notes.begins().items() if count == 2} == lost, within_s=60)
    nodes.wake(frozen)
    eventually(lambda: ended(store, jobs) == {("done", "done"): 6}, within_s=60)
    eventually(lambda: not [how for _, raylet, how in here.notes.begun() if raylet == frozen and how == "begun"])
    attempts = {job: json.loads((store.job("done", job) / "attempts.json").read_text())["attempts"] for job in jobs}
    assert attempts == {job: 2 if job in lost else 1 for job in jobs}


def test_ray_gets_these_options_and_no_others(settings, store, submit, tmp_path):
    nodes.need_ray()
    from backend.dispatch.ray_engine import RayEngine, actor_options, connection, task_options

    assert connection(settings, namespace="x") == {
        "address": "auto",
        "namespace": "x",
        "log_to_driver": False,
        "configure_logging": False,
    }
    actor = actor_options("ab" * 28)
    where = actor.pop("scheduling_strategy")
    assert (where.node_id, where.soft) == ("ab" * 28, False)
    assert actor == {
        "name": f"node-{'ab' * 28}",
        "num_cpus": 0,
        "max_restarts": 0,
        "max_task_retries": 0,
        "max_concurrency": 64,
        "runtime_env": {"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}},
    }
    task = task_options(JobId("abcdefgh"), cores=4, memory_mb=2000, gpus=0.5, on=None, never_on=frozenset({"n2", "n1"}))
    assert task == {
        "name": "job-abcdef",
        "num_cpus": 4,
        "memory": 2_000_000_000,
        "num_gpus": 0.5,
        "max_retries": 0,
        "num_returns": "streaming",
        "label_selector": {"ray.io/node-id": "!in(n1,n2)"},
    }
    engine = RayEngine(
        settings.model_copy(update={"job_gpus": 0.5, "ray_address": "10.0.0.5:6379"}),
        build=lambda: None,
        durations=Durations(tmp_path / "d.json"),
    )
    assert engine._demand(store.read_submission("new", submit()))["gpus"] == 0.5
    assert connection(engine._settings, namespace="x")["address"] == "10.0.0.5:6379"
    there = task_options(JobId("abcdefgh"), cores=4, memory_mb=2000, gpus=0, on="cd" * 28, never_on=frozenset({"n1"}))
    where = there.pop("scheduling_strategy")
    assert (where.node_id, where.soft, "label_selector" in there) == ("cd" * 28, False, False)


def test_a_cluster_that_asks_for_no_token_is_refused(settings, tmp_path, monkeypatch):
    nodes.need_ray()
    from backend.dispatch.ray_engine import RayEngine

    monkeypatch.setattr("backend.dispatch.ray_engine.is_token_auth_enabled", lambda: False)
    engine = RayEngine(settings, build=lambda: None, durations=Durations(tmp_path / "d.json"))
    with pytest.raises(UserError, match="token"):
        engine.connected(1, lambda: None)
