"""The published programs beside our ports, with the same weights on the same clip.

Their code is not part of this project. Whoever has it puts one executable a detector into a folder, named by the detector's id
(``deepware``, ``selim``): ``FOLDER/<id> CLIP WEIGHTS`` judges the clip on the CPU as the published program does and prints one line
of JSON, ``{"score": S, "faces": N}``. Its time is that of the whole process, as ours is: a new command with its own workers.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.jobs import installed_weights, site

#: How many times faster a port must be than the published program.
LIMITS = {"deepware": 3.0, "selim": 2.5}


@dataclass(frozen=True)
class Beside:
    """How many times faster our port is, and both programs' scores."""

    what: str
    ratio: float
    limit: float
    against: str


def measure(clip: Path, scratch: Path, *, programs: Path | None) -> Iterator[Beside]:
    """One line a program that is in ``programs``; nothing without it."""
    for name, limit in LIMITS.items():
        program = programs / name if programs else None
        if program is None or not program.is_file():
            print(f"the published program of {name} is not here (--peers), so target 6 is not measured for it")
            continue
        weights = installed_weights(scratch, [name])
        started = time.perf_counter()
        said = subprocess.run([program, clip, weights / name], check=True, stdout=subprocess.PIPE, text=True).stdout
        theirs, answer = time.perf_counter() - started, json.loads(said.strip().splitlines()[-1])
        with site(scratch, weights=weights) as here:  # cold: its workers start in the measured time
            judged = here.judge(clip, (name,), video=False)
        ours = judged.result.detectors[0]
        words = (
            f"{theirs:.1f} s for {answer['faces']} faces, score {answer['score']:.3f}; "
            f"ours {judged.wall_s:.1f} s for {ours.units_scored}, {ours.fake_score:.3f}"
        )
        yield Beside(f"{name} against the published program", theirs / judged.wall_s, limit, words)
