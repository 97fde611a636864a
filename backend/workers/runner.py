"""How workers are started: in containers where an engine answers, else as processes.

Owns ``Runner`` (what both ways can do) and ``choose_runner``. Imported by the pool.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from backend.catalog.detectors import BUNDLED, read_cards
from backend.workers.endings import RunnerKind, Running
from backend.workers.exchange import Exchange
from backend.workers.process_runner import ProcessRunner
from backend.workers.spec import WorkerSpec, detector_spec, media_spec
from shared.errors import UserError
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


def choose_runner(settings: Settings) -> Runner:
    """The runner ``settings.runner`` asks for; ``auto``: containers when an engine and the images are there."""
    threads = settings.threads or min(MOST_THREADS, len(os.sched_getaffinity(0)))
    if settings.runner == "process":
        return ProcessRunner(threads=threads)
    try:
        docker = docker_runner(threads=threads)
    except UserError:
        if settings.runner == "docker":
            raise
        log.info("runner_chosen", runner="process", why="the Python package docker is not installed")
        return ProcessRunner(threads=threads)
    if settings.runner == "docker":
        return docker
    missing = {spec: code for spec in _bundled(settings) if (code := docker.available(spec))}
    if not missing:
        log.info("runner_chosen", runner="docker")
        return docker
    docker.close()
    unavailable = "engine_unavailable" in missing.values()
    why = (
        "no container engine answers" if unavailable else "images missing: " + ", ".join(spec.image for spec in missing)
    )
    log.info("runner_chosen", runner="process", why=why)
    return ProcessRunner(threads=threads)


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


def _bundled(settings: Settings) -> list[WorkerSpec]:
    specs = [
        detector_spec(card, settings)
        for card in read_cards(settings.detectors)
        if card.folder.resolve().parent == BUNDLED
    ]
    return [media_spec(settings), *specs]
