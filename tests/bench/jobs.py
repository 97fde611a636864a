"""Whole jobs for the benchmarks, judged as a running portal judges them: workers stay warm, scores are never taken from the cache."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.board import SilentBoard
from backend.job import Job
from backend.workers.pool import WorkerPool
from deepfake_o_meter import build_backend
from shared.digest import sha256_of
from shared.records import new_id
from shared.results import Result
from shared.settings import read_settings
from tests.bench.networks import install

ROOT = Path(__file__).resolve().parents[2]
RESEARCH = ROOT.parent / "shared"
#: Ten seconds of 1080p, 300 frames, one face: the clip that the targets are written for.
CLIP = RESEARCH / "media" / "dfdc_fake_widuwuoiur.mp4"
#: A few seconds of a face at 480p, for many jobs.
SHORT = RESEARCH / "media" / "ffpp_deepfakes_519_515.mp4"
#: Four detectors whose networks take a few milliseconds a face.
LIGHT = ("mesonet", "classnseg", "va", "selfblend")


@dataclass(frozen=True)
class Judged:
    """One job: its result, and its wall-clock seconds from the file to the finished report."""

    result: Result
    wall_s: float


@dataclass(frozen=True)
class Site:
    """A back-end with warm workers. ``judge(clip, detectors, mode, video=True)`` runs one job."""

    judge: Callable[..., Judged]
    pool: WorkerPool

    def evicted(self) -> int:
        """Workers ended so far because another one needed their memory."""
        return int(self.pool.ended["budget"])


@contextlib.contextmanager
def site(folder: Path, **settings: Any) -> Iterator[Site]:
    """A back-end of this checkout with the research weights; ended with the block."""
    read = read_settings(
        **{"data": folder / "var", "weights": installed_weights(folder, LIGHT), "runner": "process"} | settings
    )
    backend = build_backend(read, cached=False)

    def judge(clip: Path, detectors: Sequence[str], mode: str = "standard", *, video: bool = True) -> Judged:
        name = new_id()
        started = time.perf_counter()
        job = Job(
            id=name,
            source=clip.resolve(),
            sha256=sha256_of(clip),
            bytes=clip.stat().st_size,
            name=clip.name,
            detectors=tuple(detectors),
            mode=mode,  # type: ignore[arg-type]
            video_per_detector=False,
            video=video,
            stability="fast",  # as in a portal
            folder=(read.scratch_folder / "jobs" / name).absolute(),
        )
        try:
            result = backend.pipeline.run(job, SilentBoard())
            wall = time.perf_counter() - started
        finally:
            job.remove()
        failed = [f"{item.id}: {item.code}" for item in result.detectors if item.status != "ok"]
        if failed:
            raise SystemExit(f"a detector gave no score for {clip.name}, so its time says nothing: {', '.join(failed)}")
        return Judged(result, wall)

    try:
        yield Site(judge, backend.pool)
    finally:
        backend.pool.close()


def installed_weights(folder: Path, detectors: Sequence[str]) -> Path:
    """A weights folder for ``detectors``: the published files where the research data have them, else the recipe's numbers."""
    for name in detectors:
        target = folder / "weights" / name
        if not target.exists():
            target.mkdir(parents=True)
            install(name, target)
    return folder / "weights"
