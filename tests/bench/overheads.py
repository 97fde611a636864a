"""What the platform adds to the work itself: a warm worker's round trip, a container, memory that stays after a job, a cold start."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.admission.practice import PracticePacks
from backend.admission.template import SAMPLES
from backend.media.extract import extract_pack
from backend.workers.calls import judge_pack, make_pack
from backend.workers.pool import WorkerPool
from backend.workers.spec import WorkerSpec, detector_spec, media_spec
from backend.workers.worker import Worker
from base_detector import Card
from shared.settings import Settings, read_settings
from tests.bench.jobs import ROOT, installed_weights

#: A detector with a small network, so that what is around it shows.
DETECTOR = "mesonet"
FACES = 32


def quick_s(clip: Path, scratch: Path) -> float:
    """Seconds of ``deepfake-o-meter analyze --quick`` as a new process that starts its own workers."""
    command = [sys.executable, "-m", "deepfake_o_meter", "analyze", "--quick", "--detectors", "selfblend", str(clip)]
    own = {"DFOM_DATA": str(scratch / "cold"), "DFOM_RUNNER": "process"}
    started = time.perf_counter()
    subprocess.run(
        [*command, "--out", str(scratch / "cold-out")],
        cwd=ROOT,
        env=os.environ | own,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def round_trip_ms(scratch: Path) -> float:
    """Median milliseconds of a warm worker's job that are neither its preprocessing nor its network."""
    with _pool(scratch) as (pool, settings):
        pack, added = practice(scratch, FACES), []
        for turn in range(23):
            wall, inside = _judged(pool, settings, pack, name=f"trip-{turn}")
            added.append(1000 * (wall - inside))
    return statistics.median(added[3:])


def container_cost(scratch: Path) -> float | None:
    """Seconds of a warm worker's job in a container, as a multiple of those of a process; None without an engine or its image."""
    pack = practice(scratch, 200)
    with _pool(scratch) as (process, plain), _pool(scratch, runner="docker") as (docker, contained):
        if docker.available(_spec(contained)):
            return None
        walls: dict[str, list[float]] = {"process": [], "docker": []}
        for turn in range(7):
            walls["process"].append(_judged(process, plain, pack, name=f"plain-{turn}")[0])
            walls["docker"].append(_judged(docker, contained, pack, name=f"contained-{turn}")[0])
    return statistics.median(walls["docker"][2:]) / statistics.median(walls["process"][2:])


def growth(scratch: Path, *, clip: Path, jobs: int) -> dict[str, float]:
    """Resident memory of the media worker and of a detector's after ``jobs`` jobs, as a multiple of that after the third."""
    pack = practice(scratch, FACES)
    with _pool(scratch) as (pool, settings):

        def media(turn: int) -> None:
            with pool.lease(media_spec(settings)) as worker:
                target = scratch / f"grown-{turn}"
                make_pack(
                    worker,
                    clip,
                    target,
                    name=f"media-{turn}",
                    wanted={"samplings": ["frames:32"]},
                    mode="standard",
                    settings=settings,
                )

        def detector(turn: int) -> None:
            _judged(pool, settings, pack, name=f"detector-{turn}")

        return {
            "the media worker": _grown(pool, media_spec(settings), media, jobs=jobs),
            "a detector's worker": _grown(pool, _spec(settings), detector, jobs=jobs),
        }


def practice(scratch: Path, faces: int) -> Path:
    """A face pack of one person who moves a little."""
    portrait = scratch / "portrait"
    if not portrait.exists():
        extract_pack(SAMPLES / "portrait.jpg", portrait, samplings=["every_frame"], context=3.0)
    return PracticePacks(scratch / "packs", portrait=portrait).clip(faces)


@contextmanager
def _pool(scratch: Path, *, runner: str = "process") -> Iterator[tuple[WorkerPool, Settings]]:
    settings = read_settings(data=scratch / runner, weights=installed_weights(scratch, [DETECTOR]), runner=runner)
    pool = WorkerPool(settings)
    try:
        yield pool, settings
    finally:
        pool.close()


def _spec(settings: Settings) -> WorkerSpec:
    return detector_spec(Card.read(ROOT / "detectors" / DETECTOR), settings)


def _judged(pool: WorkerPool, settings: Settings, pack: Path, *, name: str) -> tuple[float, float]:
    """Wall-clock seconds of one job, and those inside the detector."""
    started = time.perf_counter()
    with pool.lease(_spec(settings)) as worker:
        seconds = judge_pack(worker, pack, name=name, timeout_s=300, take=_seconds)
    return time.perf_counter() - started, sum(seconds.values())


def _seconds(out: Path) -> dict[str, float]:
    seconds: dict[str, float] = json.loads((out / "scores.json").read_text(encoding="utf-8"))["seconds"]
    return seconds


def _grown(pool: WorkerPool, spec: WorkerSpec, job: Callable[[int], None], *, jobs: int) -> float:
    third = 0
    for turn in range(jobs):
        job(turn)
        if turn == 2:
            third = _resident(pool, spec)
    return _resident(pool, spec) / third


def _resident(pool: WorkerPool, spec: WorkerSpec) -> int:
    """Kilobytes that a worker's process holds now."""
    with pool.lease(spec) as worker:
        status = Path(f"/proc/{_pid(worker)}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0])


def _pid(worker: Worker) -> int:
    return int(worker._running.pid)  # type: ignore[attr-defined]
