"""The back-end of a batch on the nodes of a Ray cluster on this machine, for tests: it judges as ``stand_in`` does, when it is told to."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from backend.catalog.detectors import DetectorCatalog
from backend.job import Cancelled, Job
from shared.settings import Settings
from tests.batch.stand_in import StandIn


def back_end(notes: str, settings: Settings) -> Any:
    """All begins are noted, with the process of their node. Contents that begin with ``wait`` wait until ``notes/go`` is there, those that
    begin with ``pause S`` for S seconds."""
    pipeline: Any = StandIn(settings.data, partial(_work, Path(notes)))
    pipeline.settings = settings
    pipeline.catalog = DetectorCatalog(settings.detectors, availability=lambda card: None)
    pipeline.pool.runner_kind, pipeline.pool.image_digest = (lambda spec: "process"), (lambda spec: None)
    return SimpleNamespace(settings=settings, catalog=pipeline.catalog, pool=pipeline.pool, pipeline=pipeline)


def _work(notes: Path, job: Job) -> None:
    (notes / f"{job.sha256[:8]}-{os.getppid()}-{time.monotonic_ns()}").touch()
    content = job.source.read_bytes()
    if content.startswith(b"pause "):
        time.sleep(float(content.split()[1]))
    until = time.monotonic() + 300
    while content.startswith(b"wait") and not (notes / "go").exists():
        if job.cancelled() or time.monotonic() > until:
            raise Cancelled
        time.sleep(0.02)


def moments(notes: Path) -> list[tuple[float, int]]:
    """(monotonic seconds, the process of its node) of each begin, in order."""
    parts = [path.name.split("-") for path in notes.iterdir() if path.name.count("-") == 2]
    return sorted((int(moment) / 1e9, int(raylet)) for _, raylet, moment in parts)


def begun(notes: Path) -> list[tuple[str, int]]:
    """(the first digits of the content, the process of its node) of each begin."""
    parts = [path.name.split("-") for path in notes.iterdir() if path.name.count("-") == 2]
    return [(digits, int(raylet)) for digits, raylet, _ in parts]
