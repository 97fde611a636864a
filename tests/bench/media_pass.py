"""The media pass against its floor: decoding alone, plus detection at half size on every fifth picture.

``python -m tests.bench.media_pass [CLIP]`` prints both times and their ratio. Without CLIP it takes one from the research
data, or draws one.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np

from backend.media.extract import extract_pack, warm_detector

#: Of the standard and of the thorough mode.
TARGETS = {"standard": 1.25, "thorough": 2.0}
ROUNDS = 3
_RESEARCH_CLIP = Path(__file__).parents[2].parent / "shared" / "media" / "dfdc_fake_widuwuoiur.mp4"
_PORTRAIT = Path(__file__).parents[1] / "fixtures" / "astronaut.jpg"


def decode_floor(clip: Path) -> float:
    """Seconds to decode every picture with two threads, and nothing else."""
    started = time.perf_counter()
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", 2
        for _ in container.decode(stream):
            pass
    return time.perf_counter() - started


def detect_floor(clip: Path) -> float:
    """Seconds for MTCNN alone on every fifth picture at half size (conversion not counted)."""
    detector, spent = warm_detector(), 0.0
    with av.open(str(clip)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % 5 == 0:
                picture = frame.to_ndarray(format="rgb24")
                half = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
                started = time.perf_counter()
                detector.detect(half)
                spent += time.perf_counter() - started
    return spent


def media_pass(clip: Path, *, mode: str = "standard") -> float:
    """Seconds for the whole media pass, every picture sampled, pack written."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        extract_pack(clip, Path(folder) / "pack", samplings=["every_frame"], mode=mode)
        return time.perf_counter() - started


def drawn_clip(folder: Path) -> Path:
    """Ten seconds of 1080p with one moving face."""
    portrait = cv2.imread(str(_PORTRAIT))
    noise = np.random.default_rng(0).integers(0, 255, (54, 96, 3), np.uint8)
    scene = cv2.resize(noise, (1920, 1080), interpolation=cv2.INTER_CUBIC)
    path = folder / "drawn.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for index in range(300):
            picture = scene.copy()
            left = 200 + 3 * index
            picture[300 : 300 + 512, left : left + 512] = portrait
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    return path


def measure(clip: Path, *, mode: str = "standard", rounds: int = ROUNDS) -> dict[str, float]:
    """Medians over interleaved runs: ``decode``, ``detect``, ``pass`` in seconds, and ``ratio``."""
    runs = {"decode": decode_floor, "detect": detect_floor, "pass": partial(media_pass, mode=mode)}
    media_pass(clip, mode=mode)  # warm
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            found[name].append(run(clip))
    result = {name: statistics.median(values) for name, values in found.items()}
    return result | {"ratio": result["pass"] / (result["decode"] + result["detect"])}


def main(argv: list[str]) -> int:
    """Measure and print; 1 when the target is missed."""
    with tempfile.TemporaryDirectory() as folder:
        known = _RESEARCH_CLIP if _RESEARCH_CLIP.is_file() else None
        clip = Path(argv[0]) if argv else known or drawn_clip(Path(folder))
        results = {mode: measure(clip, mode=mode) for mode in TARGETS}
    for mode, result in results.items():
        print(
            f"media pass on {clip.name}, {mode}: decode {result['decode']:.2f} s + detection {result['detect']:.2f} s, "
            f"whole pass {result['pass']:.2f} s, ratio {result['ratio']:.2f} (target {TARGETS[mode]})"
        )
    return 0 if all(result["ratio"] <= TARGETS[mode] for mode, result in results.items()) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
