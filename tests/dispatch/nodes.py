"""A Ray cluster on this machine, whose nodes run a scripted pipeline: for tests of the engine, of failures and of speed."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import tempfile
import threading
import time
from collections import Counter
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from backend.catalog.durations import Durations
from backend.dispatch.dispatcher import Dispatcher
from backend.job import Cancelled, Job
from shared.settings import read_settings
from shared.store import Store
from tests.dispatch.back_end import ScriptedPipeline, wired

#: of all processes of the cluster
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_NUM_REDIS_GET_RETRIES": "120",  # seconds the head may need to start on a busy machine
}

#: of each node
SMALL = {"object_store_memory": 80 * 2**20, "include_log_monitor": False}

#: in place of seconds: until ``Notes.go``
GO = "go"


def need_ray() -> None:
    """Skip where the extra is not installed. Ray reads its environment once, when it is imported, so this comes before any import of it."""
    if find_spec("ray") is None:
        pytest.skip("the extra [cluster] is not installed: make cluster")
    os.environ.update(ENVIRONMENT)
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def wait_as_told(notes: Path, job: Job) -> None:
    """Wait for the seconds that the media names, or until ``Notes.go``, and note the begin: who had which job."""
    raylet = os.getppid()
    note = notes / f"{job.id}-{raylet}-{time.monotonic_ns()}"
    note.write_text("begun")
    told = job.media.read_text()
    seconds = told.split()[0]
    until = time.monotonic() + (600 if seconds == GO else float(seconds))
    while time.monotonic() < until and not (seconds == GO and (notes / GO).exists()):
        if job.cancelled():
            note.write_text("cancelled")
            raise Cancelled
        time.sleep(0.01)
    note.write_text("worked")


def back_end(data: str, notes: str, *, lacks: dict[int, str] | None = None) -> SimpleNamespace:
    """The back-end of one node; ``lacks``: process id of a raylet -> the detector its node has no image of."""
    settings = read_settings(data=Path(data), runner="process")
    pipeline = ScriptedPipeline(partial(wait_as_told, Path(notes)))
    pipeline.pool.available = lambda spec: None
    parts = wired(settings, pipeline, Path(tempfile.mkdtemp(dir=notes)))
    missing = (lacks or {}).get(os.getppid())
    parts.catalog._availability = lambda card: "image_missing" if card.id == missing else None
    return parts


class Machines:
    """``count`` nodes with one core each, beside a head that takes no jobs."""

    def __init__(self, count: int) -> None:
        need_ray()
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **SMALL}
        )
        self.address, self.nodes = self._cluster.address, []
        self.grow(count)

    def grow(self, count: int) -> None:
        """Start further nodes, until there are so many."""
        for _ in range(count - len(self.nodes)):
            self.nodes.append(self._cluster.add_node(wait=False, num_cpus=1, memory=8 * 10**9, **SMALL))

    def raylets(self) -> list[int]:
        """Process ids."""
        return [_raylet(node) for node in self.nodes]

    def close(self) -> None:
        """End all its processes."""
        for raylet in self.raylets():
            wake(raylet)
        self._cluster.shutdown()


def _raylet(node) -> int:
    return node.all_processes["raylet"][0].process.pid


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += _family(int(child))
    return found


def _send(raylet: int, number: int) -> None:
    for pid in _family(raylet):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def kill(raylet: int) -> None:
    """As a power cut does: all processes of the node at once."""
    _send(raylet, signal.SIGKILL)


def freeze(raylet: int) -> None:
    """As a paused virtual machine."""
    _send(raylet, signal.SIGSTOP)


def wake(raylet: int) -> None:
    """Let it go on."""
    _send(raylet, signal.SIGCONT)


class Notes:
    """Who began what."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def go(self) -> None:
        """Let the jobs end that wait for it."""
        (self.folder / GO).touch()

    def begun(self) -> list[tuple[str, int, str]]:
        """(job, raylet of its node, begun | worked | cancelled) in the order of their begin."""
        found = []
        for path in self.folder.iterdir():
            if match := re.fullmatch(r"([a-z2-7]{26})-(\d+)-(\d+)", path.name):
                found.append((int(match[3]), match[1], int(match[2]), path.read_text()))
        return [(job, raylet, how) for _, job, raylet, how in sorted(found)]

    def begins(self) -> Counter[str]:
        """How often each job was begun."""
        return Counter(job for job, _, _ in self.begun())

    def states(self, raylet: int) -> set[str]:
        """What became of the jobs of one node."""
        return {how for _, where, how in self.begun() if where == raylet}

    def moments(self) -> list[float]:
        """When each job was begun, seconds on the clock of this machine."""
        names = (re.fullmatch(r"([a-z2-7]{26})-(\d+)-(\d+)", path.name) for path in self.folder.iterdir())
        return [int(match[3]) / 1e9 for match in names if match]

    def at(self, raylet: int) -> list[str]:
        """Jobs begun on one node."""
        return [job for job, where, _ in self.begun() if where == raylet]


class Site:
    """A dispatcher in a thread, with the engine under test."""

    def __init__(self, settings, store: Store, machines: Machines, folder: Path, *, lacks, jobs) -> None:
        from backend.dispatch.ray_engine import RayEngine

        self.notes = Notes(folder / "notes")
        self.notes.folder.mkdir()
        changed = settings.model_copy(update={"engine": "ray", "ray_address": machines.address})
        build = partial(back_end, str(settings.data), str(self.notes.folder), lacks=lacks)
        durations = Durations(folder / "durations.json")
        self.engine = RayEngine(changed, build=build, durations=durations, jobs=jobs)
        pipeline = ScriptedPipeline(lambda job: pytest.fail("a job ran on the dispatcher's machine"))
        parts = wired(changed, pipeline, folder)
        self.dispatcher = Dispatcher(parts, store=store, engine=self.engine.connected, retry_s=(0.0,))
        self.thread = threading.Thread(target=self.dispatcher.run)
        self.thread.start()

    def end(self) -> None:
        self.dispatcher.stop()
        self.thread.join(60)
        assert not self.thread.is_alive()
