"""How much the result video costs beyond decoding the clip and encoding the same pictures.

    python tests/bench/render.py [CLIP] [--detectors N] [--rounds N]

Interleaved rounds, medians. Without CLIP, a generated 1080p clip. The goal is a ratio of at most 1.0: encoding is
measured with x264's preset ``superfast`` and crf 21, which made the result video before, so that ratios can be compared.
"""

from __future__ import annotations

import argparse
import json
import runpy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from backend.media.limits import UNLIMITED  # noqa: E402
from backend.media.opening import open_medium  # noqa: E402
from backend.media.render import render  # noqa: E402
from backend.report.plan import build_plan  # noqa: E402


def measure(clip: Path, *, detectors: int = 3, rounds: int = 3) -> dict[str, float]:
    """Seconds for decoding, encoding and rendering ``clip``, and the ratio of the last to the first two."""
    made = runpy.run_path(str(ROOT / "tests" / "report" / "conftest.py"))
    with av.open(str(clip)) as source:
        stream = source.streams.video[0]
        size, fps = (stream.width, stream.height), float(stream.average_rate)
        frames = sum(1 for _ in source.decode(stream))
    box = (size[0] * 0.3, size[1] * 0.2, size[0] * 0.6, size[1] * 0.8)

    def scores(faces: list[Any]) -> list[Any]:
        return [made["detector"](f"number_{i}", faces=faces, level=0.9 - 0.8 * i / detectors) for i in range(detectors)]

    result = made["make_result"](size=size, frames=frames, fps=fps, boxes=[box], detectors=scores)
    with tempfile.TemporaryDirectory() as scratch:
        plan, out = Path(scratch) / "plan.json", Path(scratch) / "out.mp4"
        plan.write_text(json.dumps(build_plan(result, None)), encoding="utf-8")
        render(clip, plan, out, limits=UNLIMITED)
        with av.open(str(out)) as drawn:
            pictures = [frame.to_ndarray() for frame in drawn.decode(video=0)]
        spent: dict[str, list[tuple[float, float]]] = {"decode": [], "encode": [], "render": []}
        for _ in range(rounds):
            spent["decode"].append(_timed(lambda: _decode(clip)))
            spent["encode"].append(_timed(lambda: _encode(pictures, fps, out)))
            spent["render"].append(_timed(lambda: render(clip, plan, out, limits=UNLIMITED)))
    wall = {name: statistics.median(seconds for seconds, _ in values) for name, values in spent.items()}
    cpu = {name: statistics.median(seconds for _, seconds in values) for name, values in spent.items()}
    ratios = {
        f"{name}_ratio": part["render"] / (part["decode"] + part["encode"])
        for name, part in (("wall", wall), ("cpu", cpu))
    }
    return {**wall, "frames": float(frames), **ratios}


def _timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall-clock and processor seconds; the second hardly depends on what else the machine does."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _decode(clip: Path) -> None:
    with open_medium(clip, limits=UNLIMITED) as medium:
        for _ in medium.pictures():
            pass


def _encode(pictures: list[np.ndarray], fps: float, out: Path) -> None:
    height, width = pictures[0].shape[0] * 2 // 3, pictures[0].shape[1]
    with av.open(str(out), "w", format="mp4", options={"movflags": "+faststart"}) as target:
        stream = target.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1001), options={"preset": "superfast", "crf": "21"}
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in pictures:
            target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        target.mux(stream.encode())


def _generated(folder: Path) -> Path:
    """Six seconds of a moving portrait with grain, 1080p."""
    import cv2
    from PIL import Image

    portrait = np.asarray(Image.open(ROOT / "tests" / "fixtures" / "astronaut.jpg").convert("RGB"))
    wide = cv2.resize(portrait, (2200, 1280))
    grain = np.random.default_rng(0).integers(-6, 7, (1280, 2200, 1), np.int16)
    wide = np.clip(wide + grain, 0, 255).astype(np.uint8)
    with av.open(str(folder / "clip.mp4"), "w") as target:
        stream = target.add_stream("libx264", rate=25, options={"crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for step in range(150):
            part = np.ascontiguousarray(wide[step : step + 1080, step : step + 1920])
            target.mux(stream.encode(av.VideoFrame.from_ndarray(part, format="rgb24")))
        target.mux(stream.encode())
    return folder / "clip.mp4"


def main() -> None:
    """Print one line a measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", nargs="?", type=Path)
    parser.add_argument("--detectors", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        clip = asked.clip or _generated(Path(scratch))
        for name, value in measure(clip, detectors=asked.detectors, rounds=asked.rounds).items():
            print(f"{name:10} {value:8.3f}")


if __name__ == "__main__":
    main()
