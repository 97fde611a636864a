"""Short clips that differ, made of the project's portrait, and the command line of a batch, for the tests of this folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from tests.media.clips import encode, moving

ROOT = Path(__file__).resolve().parents[2]


def tiny_clips(folder: Path, portrait: np.ndarray, *, count: int, faces: int = 1, scale: int = 1) -> list[Path]:
    """``count`` clips of two pictures, no two of the same content; one in ``faces`` shows a face, of some 30 pixels times ``scale``, the
    others are smaller and dull."""
    folder.mkdir(parents=True)
    small = portrait[:: 4 // scale, :: 4 // scale]
    made = []
    for number in range(count):
        if number % faces:
            pictures = [np.full((80, 96, 3), 60, np.uint8) for _ in range(2)]
        else:
            pictures = moving(
                small, count=2, width=160 * scale, height=120 * scale, side=110 * scale, step=1 + number % 9
            )
        for bit in range(12):  # its number, in blocks that survive the encoder
            for picture in pictures:
                picture[:8, 8 * bit : 8 * bit + 8] = 230 if number >> bit & 1 else 20
        made.append(encode(folder / f"{number:04d}.mp4", pictures, options={"preset": "ultrafast"}))
    return made


def command(*arguments: object) -> list[str]:
    """The command line ``batch`` with ``arguments``."""
    return [sys.executable, "-m", "deepfake_o_meter", "batch", *map(str, arguments)]


def environment(data: Path, **settings: object) -> dict[str, str]:
    """Settings of such a command; workers are processes."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("DFOM_")}
    own = {"data": data, "runner": "process", "worker_memory_mb": 16000} | settings
    return bare | {f"DFOM_{name.upper()}": str(value) for name, value in own.items()}
