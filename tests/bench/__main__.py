"""``make bench``: the published design against ours on the same clips, in one run, for one, two and three detectors.

Ours is measured twice: cold (workers start in the measured time) and warm (as a running portal judges the next upload). Every
face is scored by both; the figures are wall-clock seconds of this machine, only their ratios carry over. Writes
``var/bench.json`` and prints a table, with what the two do not have in common below it.

    python -m tests.bench [--frames 100] [--clips A.mp4 B.mp4] [--runner process|docker]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from tests.bench import jobs

ROOT = Path(__file__).resolve().parents[2]
RESEARCH = ROOT.parent / "shared"
DETECTORS = ("mesonet", "classnseg", "va")
#: What is not the same on both sides; the first two are in our favour, the others in that of the published design.
UNLIKE = """\
Not alike: the published design searches every frame for faces, ours every fifth and follows them in between; its result picture is larger.
It scores only the first face of a frame, runs our compiled networks instead of its own eager ones, and each of its processes pays its
imports, as our cold figure does; our warm figure does not."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100, help="first frames of each clip that are used")
    parser.add_argument("--clips", type=Path, nargs="*", help="default: one 1080p and one 480p clip")
    parser.add_argument("--runner", choices=["process", "docker"], default="process")
    parser.add_argument("--out", type=Path, default=Path("var/bench.json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = Path(scratch)
        weights = installed_weights(folder)
        clips = [cut(path, folder, frames=args.frames) for path in args.clips or default_clips(folder, args.frames)]
        rows = []
        for clip in clips:
            for count in range(1, len(DETECTORS) + 1):
                rows.append(measure(clip, DETECTORS[:count], weights, folder, runner=args.runner))
                show(rows)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def measure(clip: Path, detectors: Sequence[str], weights: Path, folder: Path, *, runner: str) -> dict:
    """Seconds of the published design and of ours for ``detectors`` on ``clip``."""
    decode = min(decode_s(clip) for _ in range(3))
    published = published_s(clip, detectors, weights, folder)
    cold, warm, parts = ours_s(clip, detectors, weights, folder, runner=runner)
    height, width, frames = shape(clip)
    return {
        "clip": clip.name,
        "size": f"{width}x{height}",
        "frames": frames,
        "detectors": list(detectors),
        "runner": runner,
        "decode_s": round(decode, 2),
        "published_s": round(published, 2),
        "cold_s": round(cold, 2),
        "warm_s": round(statistics.median(warm), 2),
        "warm_all_s": [round(value, 2) for value in warm],
        "times_faster_cold": round(published / cold, 1),
        "times_faster_warm": round(published / statistics.median(warm), 1),
        "parts_s": parts,
    }


def published_s(clip: Path, detectors: Sequence[str], weights: Path, folder: Path) -> float:
    """A fresh process for each detector, one after the other, as the published dispatcher starts its containers."""
    started = time.perf_counter()
    for name in detectors:
        command = [sys.executable, "-m", "tests.bench.published", f"detectors.{name}", str(clip)]
        command += ["--weights", str(weights), "--out", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def ours_s(clip: Path, detectors: Sequence[str], weights: Path, folder: Path, *, runner: str):
    """(cold seconds, [warm seconds] of three jobs, parts of the last one) of the real pipeline, scores never cached."""
    with jobs.site(folder, weights=weights, runner=runner) as here:
        judged = [here.judge(clip, detectors) for _ in range(4)]
    seconds = [job.wall_s for job in judged]
    return seconds[0], seconds[1:], judged[-1].result.seconds


def decode_s(clip: Path) -> float:
    """The floor: decoding every frame once with two threads, no conversion."""
    import av

    started = time.perf_counter()
    with av.open(str(clip)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for _ in container.decode(video=0):
            pass
    return time.perf_counter() - started


def shape(clip: Path) -> tuple[int, int, int]:
    """Height, width and frames of a clip."""
    import av

    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        return stream.height, stream.width, stream.frames


def default_clips(folder: Path, frames: int) -> list[Path]:
    """Research clips where they are, else a portrait moving over a grey ground at both sizes."""
    found = [RESEARCH / "media" / name for name in ("dfdc_fake_widuwuoiur.mp4", "ffpp_deepfakes_519_515.mp4")]
    if all(path.is_file() for path in found):
        return found
    return [portrait(folder / f"portrait_{h}p.mp4", w, h, frames) for w, h in ((1920, 1080), (640, 480))]


def portrait(path: Path, width: int, height: int, frames: int) -> Path:
    """A clip of one real face that moves slowly."""
    from tests.conftest import FIXTURES, write_clip

    picture = cv2.cvtColor(cv2.imread(str(FIXTURES / "astronaut.jpg")), cv2.COLOR_BGR2RGB)
    picture = cv2.resize(picture, (height, height), interpolation=cv2.INTER_AREA)

    def pictures():
        for index in range(frames):
            canvas = np.full((height, width, 3), 60, np.uint8)
            left = index % (width - height)
            canvas[:, left : left + height] = picture
            yield canvas

    return write_clip(path, pictures())


def cut(clip: Path, folder: Path, *, frames: int) -> Path:
    """The first ``frames`` frames of ``clip``, encoded anew with its size and rate."""
    import av

    target = folder / clip.name
    if target == clip:
        return clip
    with av.open(str(clip)) as source, av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=source.streams.video[0].average_rate, options={"crf": "20"})
        stream.width, stream.height = source.streams.video[0].width, source.streams.video[0].height
        stream.pix_fmt = "yuv420p"
        for index, frame in enumerate(source.decode(video=0)):
            if index == frames:
                break
            frame.pts = None
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())
    return target


def installed_weights(folder: Path) -> Path:
    """``var/weights`` when something is installed there, else the research copies laid out the same way."""
    if all((ROOT / "var/weights" / name).is_dir() for name in DETECTORS):
        return ROOT / "var/weights"
    if not (RESEARCH / "weights").is_dir():
        raise SystemExit("weights are missing: run 'deepfake-o-meter weights fetch' first")
    return jobs.installed_weights(folder, DETECTORS)


def show(rows: Sequence[dict]) -> None:
    """Print what was measured so far."""
    table = Table(
        "clip", "detectors", "decode s", "published s", "ours cold s", "ours warm s", "times faster (cold, warm)"
    )
    for row in rows:
        clip = f"{row['clip']} {row['size']} x {row['frames']}"
        seconds = [str(row[name]) for name in ("decode_s", "published_s", "cold_s", "warm_s")]
        table.add_row(
            clip, str(len(row["detectors"])), *seconds, f"{row['times_faster_cold']}, {row['times_faster_warm']}"
        )
    Console().print(table)
    print(UNLIKE)


if __name__ == "__main__":
    main()
