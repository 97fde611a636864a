"""A folder of short clips through ``deepfake-o-meter analyze FOLDER``: clips a minute, CPU seconds a clip, busy share of the cores.

    python -m tests.bench.folder [--clips 20] [--jobs N ...] [--detectors selfblend] [--before CHECKOUT] [--rounds 1]

The clips are twenty of the research data, 0.5 to 5 s long, of 256 to 1280 pixels; more of them are the same again under other names, so
that folders of 20 and of 200 have the same work a clip. ``--before`` measures another checkout on the same folder, in turns with this
one. Every figure includes the start of the command and of its workers. Needs the research data.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.machine import cores

ROOT = Path(__file__).resolve().parents[2]
RESEARCH = ROOT.parent / "shared"
#: Clips that differ.
KINDS = 20


@dataclass(frozen=True)
class Run:
    """One call of ``analyze``: clips, wall-clock and CPU seconds (of the whole process tree), and each file's scores."""

    clips: int
    wall_s: float
    cpu_s: float
    scores: dict[str, dict[str, float | None]]

    @property
    def figures(self) -> dict[str, float]:
        """What is compared."""
        return {
            "clips_a_minute": 60 * self.clips / self.wall_s,
            "cpu_s_a_clip": self.cpu_s / self.clips,
            "busy": self.cpu_s / (self.wall_s * cores()),
            "wall_s": self.wall_s,
        }


def folder_of_clips(target: Path, *, clips: int) -> Path:
    """``target`` with ``clips`` short clips of the research data."""
    every = sorted((RESEARCH / "media" / "clips").glob("*.mp4"))
    kinds = [every[index * len(every) // KINDS] for index in range(KINDS)]
    target.mkdir(parents=True)
    for number in range(clips):
        source = kinds[number % KINDS]
        shutil.copy(source, target / f"{number:03d}_{source.name}")
    return target


def analyze(
    clips: Path,
    scratch: Path,
    *,
    checkout: Path = ROOT,
    jobs: int | None = None,
    detectors: str = "selfblend",
    options: Sequence[str] = (),
) -> Run:
    """One call of the command line of ``checkout`` on the folder ``clips``; RuntimeError when not all clips were judged."""
    out = Path(tempfile.mkdtemp(dir=scratch))
    command = [str(checkout / ".venv/bin/python"), "-m", "deepfake_o_meter", "analyze", str(clips), "--json"]
    command += (
        ["--detectors", detectors, "--out", str(out / "out")] + (["--jobs", str(jobs)] if jobs else []) + list(options)
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DFOM_")}
    environment |= {"DFOM_DATA": str(out / "var"), "DFOM_RUNNER": "process"}
    before, began = _cpu_of_children(), time.perf_counter()
    said = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    wall, cpu = time.perf_counter() - began, _cpu_of_children() - before
    shutil.rmtree(out)
    if said.returncode:
        raise RuntimeError(said.stderr)
    answers = json.loads(said.stdout)
    failed = [item["file"] for item in answers if "detectors" not in item]
    if failed:
        raise RuntimeError(f"not judged: {', '.join(failed)}")
    scores = {
        Path(item["file"]).name: {name: answer["fake_score"] for name, answer in item["detectors"].items()}
        for item in answers
    }
    return Run(len(answers), wall, cpu, scores)


def measure(
    scratch: Path, *, clips: int = KINDS, alone: bool = True, before: Path | None = None, detectors: str = "selfblend"
) -> dict[str, float]:
    """Figures of this checkout with its default number at once; with ``alone`` also ``speed_up`` over ``before``, an earlier checkout
    with its own environment, or else over this one with one clip after the other."""
    folder = folder_of_clips(scratch / f"clips-{clips}", clips=clips)
    earlier = {"checkout": before} if before else {"jobs": 1}
    one = analyze(folder, scratch, detectors=detectors, **earlier) if alone else None  # type: ignore[arg-type]
    found = analyze(folder, scratch, detectors=detectors)
    return found.figures | ({"speed_up": one.wall_s / found.wall_s} if one else {})


def largest_difference(runs: Sequence[Run]) -> float:
    """Largest difference of one score between runs; inf when one has a score and another has none."""
    largest = 0.0
    for run in runs[1:]:
        for file, scores in runs[0].scores.items():
            for name, score in scores.items():
                other = run.scores[file][name]
                if score is None or other is None:
                    largest = largest if score is other else float("inf")
                else:
                    largest = max(largest, abs(score - other))
    return largest


def _cpu_of_children() -> float:
    """CPU seconds of all processes that we, and they, started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure in turns and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=KINDS)
    parser.add_argument("--jobs", type=int, nargs="*", help="numbers of clips at once; default: the command's own")
    parser.add_argument("--detectors", default="selfblend")
    parser.add_argument("--before", type=Path, help="another checkout with its own .venv")
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    ways: dict[str, tuple[Path, int | None]] = {"before": (asked.before.resolve(), None)} if asked.before else {}
    ways |= {f"jobs {number or 'default'}": (ROOT, number) for number in asked.jobs or [None]}
    runs: dict[str, list[Run]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory(prefix="bench-folder-") as temporary:
        scratch = Path(temporary)
        folder = folder_of_clips(scratch / "clips", clips=asked.clips)
        for _ in range(asked.rounds):
            for way, (checkout, jobs) in ways.items():
                runs[way].append(analyze(folder, scratch, checkout=checkout, jobs=jobs, detectors=asked.detectors))
                print(way, {name: round(value, 3) for name, value in runs[way][-1].figures.items()}, flush=True)
    for way, found in runs.items():
        names = found[0].figures
        print(way, {name: round(statistics.median(run.figures[name] for run in found), 3) for name in names})
    print("largest difference of a score:", largest_difference([run for found in runs.values() for run in found]))


if __name__ == "__main__":
    main()
