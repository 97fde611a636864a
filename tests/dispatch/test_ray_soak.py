"""``make soak``: the full counts of nodes that die and freeze, and how throughput grows with the nodes."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from shared.records import JobId
from shared.store import Store
from tests.bench import nodes as bench
from tests.dispatch import nodes
from tests.dispatch.back_end import eventually

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800), pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture
def waits(submit) -> Callable[[float], JobId]:
    return lambda seconds: submit(f"{seconds} s {secrets.token_hex(4)}".encode())


@pytest.fixture
def site(settings, store, tmp_path) -> Iterator[Callable[[int], tuple[nodes.Machines, nodes.Site]]]:
    """A cluster of so many nodes, and a dispatcher that uses it."""
    ending: list[Callable[[], None]] = []

    def make(count: int) -> tuple[nodes.Machines, nodes.Site]:
        machines = nodes.Machines(count)
        ending.append(machines.close)
        here = nodes.Site(settings, store, machines, tmp_path, lacks=None, jobs=None)
        ending.append(here.end)
        eventually(lambda: len(here.engine._willing()) == count, within_s=300)
        return machines, here

    yield make
    for end in reversed(ending):
        end()


def test_thirty_jobs_end_once_each_though_one_node_dies_and_one_freezes_for_twenty_seconds(store, site, waits, capsys):
    machines, here = site(3)
    jobs = [waits(3.0) for _ in range(30)]
    eventually(lambda: sum(how == "worked" for _, _, how in here.notes.begun()) >= 6, within_s=300)
    frozen, killed = machines.raylets()[:2]
    eventually(lambda: all("begun" in here.notes.states(raylet) for raylet in (frozen, killed)), within_s=60)
    nodes.freeze(frozen)
    nodes.kill(killed)
    struck = time.monotonic()
    lost = {job for job, raylet, how in here.notes.begun() if raylet in (frozen, killed) and how == "begun"}
    threading.Timer(20.0, nodes.wake, [frozen]).start()
    eventually(lambda: all(here.notes.begins()[job] >= 2 for job in lost), within_s=30)
    again_s = time.monotonic() - struck
    all_done(store, jobs)
    assert {store.read_status(job).state for job in jobs} == {"done"}
    assert len(list(store.results.glob("*/report/result.json"))) == 30
    assert not list(store.results.glob("*/.report*")), "nothing half published is left"
    attempts = Counter(json.loads((store.job("done", job) / "attempts.json").read_text())["attempts"] for job in jobs)
    assert set(attempts) <= {1, 2, 3}
    assert sum(attempts[count] for count in attempts if count > 1) >= len(lost) >= 2
    with capsys.disabled():
        print(f"\n30 jobs, {len(lost)} lost: begun again after at most {again_s:.1f} s; attempts {dict(attempts)}")


def test_throughput_grows_with_the_nodes(tmp_path, capsys):
    rates = bench.scaling(tmp_path, (1, 2, 4, 8))
    with capsys.disabled():
        for count, rate in rates.items():
            print(f"\n{count} nodes: {rate:.3f} jobs/s, {rate / rates[1] / count:.3f} of linear", end="")
    assert all(rate >= 0.95 * count * rates[1] for count, rate in rates.items())


def test_a_job_on_a_node_costs_little_more_than_one_in_a_thread(tmp_path, capsys):
    on_a_node, in_a_thread = bench.between_jobs_s(tmp_path)
    with capsys.disabled():
        print(f"\nbetween two jobs: {1000 * on_a_node:.1f} ms on a node, {1000 * in_a_thread:.1f} ms in a thread")
    assert on_a_node - in_a_thread < 0.05


def all_done(store: Store, jobs: list[JobId]) -> None:
    """Wait until the jobs have ended well."""
    eventually(lambda: all(store.stage_of(job) == "done" for job in jobs), within_s=600)
