"""The published programs beside our ports, with the same weights on the same clip.

Their code is not part of this project. Whoever has it puts one executable a detector into a folder, named by the detector's id
(``deepware``, ``selim``): ``FOLDER/<id> CLIP WEIGHTS`` judges the clip on the CPU as the published program does and prints one line
of JSON, ``{"score": S, "faces": N}``. Its time is that of the whole process, as ours is: a new command with its own workers.

``networks`` gives both sides the first so many files of an ensemble's weights alone: seven EfficientNet-B7 in eager torch take a quarter
of an hour on a machine that has other work. Processor seconds stand beside the clock's, which other work disturbs more.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.bench.jobs import Judged, installed_weights, site

#: How many times faster a port must be than the published program.
LIMITS = {"deepware": 3.0, "selim": 2.5}

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Beside:
    """How many times faster our port is, and both programs' scores."""

    what: str
    ratio: float
    limit: float
    against: str


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock, and of all processors for this process and those it started and waited for."""

    wall: float
    cpu: float


def measure(clip: Path, scratch: Path, *, programs: Path | None, networks: int | None = None) -> Iterator[Beside]:
    """One line a program that is in ``programs``; nothing without it."""
    for name, limit in LIMITS.items():
        program = programs / name if programs else None
        if program is None or not program.is_file():
            print(f"the published program of {name} is not here (--peers), so target 6 is not measured for it")
            continue
        with tempfile.TemporaryDirectory(dir=scratch) as own:
            weights, count = first_of(installed_weights(scratch, [name]) / name, Path(own), networks=networks)
            answer, theirs = timed(lambda: published(program, clip, weights / name))  # noqa: B023  called here
            judged, ours = timed(lambda: cold(name, clip, Path(own), weights))  # noqa: B023
        result = judged.result.detectors[0]
        words = (
            f"{theirs.wall:.1f} s ({theirs.cpu:.1f} of processors) for {answer['faces']} faces, score {answer['score']:.3f}; "
            f"ours {ours.wall:.1f} s ({ours.cpu:.1f}) for {result.units_scored}, {result.fake_score:.3f}; "
            f"by processors {theirs.cpu / ours.cpu:.2f} x"
        )
        what = f"{name} against the published program, {count} network{'s' * (count > 1)}"
        yield Beside(what, theirs.wall / ours.wall, limit, words)


def published(program: Path, clip: Path, weights: Path) -> dict[str, float]:
    """What the published program says of ``clip``."""
    said = subprocess.run([program, clip, weights], check=True, stdout=subprocess.PIPE, text=True).stdout
    answer: dict[str, float] = json.loads(said.strip().splitlines()[-1])
    return answer


def cold(name: str, clip: Path, folder: Path, weights: Path) -> Judged:
    """Our port's answer, without a video; its workers start and end in the measured time."""
    with site(folder, weights=weights) as here:
        return here.judge(clip, (name,), video=False)


def first_of(folder: Path, target: Path, *, networks: int | None) -> tuple[Path, int]:
    """A folder of weights with the first ``networks`` files of the detector's ``folder``, all where None; and how many those are."""
    files = sorted(item for item in folder.iterdir() if item.is_file())[:networks]
    own = target / "weights" / folder.name
    own.mkdir(parents=True)
    for file in files:
        os.link(file, own / file.name)
    return target / "weights", len(files)


def timed(work: Callable[[], Answer]) -> tuple[Answer, Spent]:
    """The answer of ``work`` and what it took."""
    wall, cpu = time.perf_counter(), _processors()
    answer = work()
    return answer, Spent(time.perf_counter() - wall, _processors() - cpu)


def _processors() -> float:
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)
