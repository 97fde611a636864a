"""How workers are started: each in a container where an engine answers and its image is there, else as a process.

Owns ``Runner`` (what both ways can do), ``Runners`` (which way each worker goes) and ``choose_runners``. Imported by the pool.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from backend.workers.endings import Running
from backend.workers.exchange import Exchange
from backend.workers.process_runner import ProcessRunner
from backend.workers.spec import ENGINE_AWAY, WorkerSpec
from shared.errors import UserError
from shared.machine import cores
from shared.records import RunnerKind
from shared.settings import Settings

if TYPE_CHECKING:
    from backend.workers.docker_runner import DockerRunner

log = structlog.get_logger()

#: More threads than this do not help with one face, and count against the limit of processes.
MOST_THREADS: Final = 32


class Runner(Protocol):
    """One way of starting workers."""

    @property
    def kind(self) -> RunnerKind:
        """``process`` or ``docker``."""

    def available(self, spec: WorkerSpec) -> str | None:
        """None, or the code that says why this worker cannot run here."""

    def image_digest(self, spec: WorkerSpec) -> str | None:
        """The image the worker would run from."""

    def exchange(self, folder: Path, spec: WorkerSpec) -> Exchange:
        """The exchange folder of a worker, with the rights for the user it runs as."""

    def start(self, spec: WorkerSpec, exchange: Exchange, *, gpu: str | None = None) -> Running:
        """Start a worker or adopt the one that runs on this folder; WorkerError when that fails."""

    def sweep(self, folder: Path) -> dict[str, int]:
        """Remove workers of dead back-ends; those left in ``folder``, which is ours, are returned: exchange folder -> memory in MB."""

    def remove(self, exchange: Path) -> None:
        """Remove a worker that ``sweep`` returned."""

    def close(self) -> None:
        """Close the connection to the engine. The workers have been ended before."""


@dataclass(frozen=True)
class Runners:
    """The ways that are open here, and which of them each worker goes. With both: a worker with an image runs in its container; one of
    the platform's own without an image runs as a process; a third party's never does. Images are looked up each time, so one that
    is built while the back-end runs is used from the next start of its worker.
    """

    docker: Runner | None
    process: Runner | None
    #: images that were missing when the engine last answered: their workers do not need the engine
    _without: set[str] = field(default_factory=set)

    def of(self, spec: WorkerSpec) -> Runner:
        """The way this worker goes now."""
        if self.docker is None or self.process is None:
            only = self.docker or self.process
            assert only is not None
            return only
        code = self.docker.available(spec)
        if code == "image_missing":
            self._without.add(spec.image)
        elif code != ENGINE_AWAY:
            self._without.discard(spec.image)
        return self.process if spec.bundled and spec.image in self._without else self.docker

    def available(self, spec: WorkerSpec) -> str | None:
        """None, or the code that says why this worker cannot run here."""
        return self.of(spec).available(spec)

    def sweep(self, folder: Path) -> dict[str, int]:
        """Remove workers of dead back-ends; those left in ``folder``, which is ours, are returned: exchange folder -> memory in MB."""
        return {name: memory for runner in self._open() for name, memory in runner.sweep(folder).items()}

    def remove(self, exchange: Path) -> None:
        """Remove a worker that ``sweep`` returned."""
        for runner in self._open():
            runner.remove(exchange)

    def close(self) -> None:
        """Close the connection to the engine. The workers have been ended before."""
        for runner in self._open():
            runner.close()

    def _open(self) -> list[Runner]:
        return [runner for runner in (self.docker, self.process) if runner is not None]


def choose_runners(settings: Settings) -> Runners:
    """The ways ``settings.runner`` allows; ``auto``: containers when an engine answers, and processes. UserError: no package docker."""
    # jobs in work together share the cores: two networks with a thread for each core hinder one another
    threads = settings.threads or min(MOST_THREADS, max(1, cores() // settings.jobs))
    if settings.runner == "process":
        return Runners(None, ProcessRunner(threads=threads))
    try:
        docker = docker_runner(threads=threads)
    except UserError:
        if settings.runner == "docker":
            raise
        return _without_engine(threads, why="the Python package docker is not installed")
    if settings.runner == "docker":
        return Runners(docker, None)
    if not docker.answers():
        docker.close()
        return _without_engine(threads, why="no container engine answers")
    return Runners(docker, ProcessRunner(threads=threads))


def _without_engine(threads: int, *, why: str) -> Runners:
    log.info("no_containers", why=why)
    return Runners(None, ProcessRunner(threads=threads))


def docker_runner(*, threads: int) -> DockerRunner:
    """A runner for containers; UserError when the extra [docker] is not installed."""
    try:
        from backend.workers.docker_runner import DockerRunner
    except ModuleNotFoundError:
        raise UserError(
            "engine_unavailable",
            "The Python package 'docker' is missing. Install it with: pip install 'deepfake-o-meter[docker]'",
        ) from None
    return DockerRunner(threads=min(threads, os.cpu_count() or 1))
