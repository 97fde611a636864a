"""Draws and encodes the clips the media tests read, with PyAV, when they run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np


def scene(portrait: np.ndarray, *, width: int = 320, height: int = 240, left: int = 40, side: int = 220) -> np.ndarray:
    """A dull picture with the portrait, scaled to ``side`` pixels, its top left corner at (left, 10)."""
    canvas = np.full((height, width, 3), 60, np.uint8)
    small = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
    shown = small[: height - 10, : width - left]
    canvas[10 : 10 + shown.shape[0], left : left + shown.shape[1]] = shown
    return canvas


def moving(portrait: np.ndarray, *, count: int = 15, step: int = 2, **where: int) -> list[np.ndarray]:
    """``count`` scenes, the portrait ``step`` pixels further right in each."""
    return [scene(portrait, left=20 + step * index, **where) for index in range(count)]


def encode(
    path: Path,
    pictures: Iterable[np.ndarray],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    fps: int = 25,
    stamps: Sequence[int] | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode RGB pictures; ``stamps`` are presentation times in milliseconds, ``rotation`` is counter-clockwise."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        if rotation:
            stream.set_display_rotation(rotation)
        for index, picture in enumerate(pictures):
            if not index:
                stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], pix_fmt
                if stamps is not None:
                    stream.codec_context.time_base = Fraction(1, 1000)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def add_tone(container: av.container.OutputContainer, seconds: float = 0.5, *, codec: str = "aac") -> None:
    """Write a quiet tone, as AAC unless told otherwise."""
    tone = container.add_stream(codec, rate=44100)
    for block in range(int(44100 * seconds) // 1024):
        wave = 0.1 * np.sin(2 * np.pi * 440 / 44100 * np.arange(block * 1024, (block + 1) * 1024))
        samples = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format="fltp", layout="mono")
        samples.rate, samples.pts, samples.time_base = 44100, block * 1024, Fraction(1, 44100)
        container.mux(tone.encode(samples))
    container.mux(tone.encode())
