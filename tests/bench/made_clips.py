"""Clips with known truth by frame, for measuring stretches: made of labelled clips, encoded with x264.

Half of them show a manipulation from one moment to another between real parts, the others nothing but real faces. All random choices of a
clip come from its number, so that a run that was stopped goes on with the same clips.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import av
import cv2
import numpy as np

from base_detector import Array
from detectors.training.clip_blends import blended_frames
from detectors.training.clips import Clip, Seen, frames_of, read_clips, seen_in

LENGTHS_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
CRFS: Final = (18, 24, 30, 36)
FPS: Final = 25
#: seconds of real pictures before and after the manipulated part
AROUND_S: Final = 1.6
#: pictures are made this high at most
_MOST_HEIGHT: Final = 400
#: ``self_blend``: the own face blended into itself; ``pair``: a fake whose original is at hand, in its place; ``cut``: a fake of another
#: scene between two cuts; ``clean``: nothing
Way = Literal["self_blend", "pair", "cut", "clean"]
_WAYS: Final[tuple[Way, ...]] = ("self_blend", "pair", "self_blend", "cut")


@dataclass(frozen=True)
class Made:
    """One made clip. ``side``: where the manipulated person is, ``whole`` for the only one; ``start_s`` to ``end_s``: the manipulated part
    (of a clean clip: that in the same place, across a cut where ``cuts``)."""

    file: str
    way: Way
    length_s: float
    crf: int
    side: Literal["whole", "left", "right"]
    start_s: float
    end_s: float
    seconds: float
    cuts: bool
    sources: tuple[str, ...]


def make(number: int, clips: Sequence[Clip], out: Path) -> Made | None:
    """Write clip ``number`` into the folder ``out``, with its truth beside it (JSON); None where its source shows no face."""
    known = out / f"made_{number:04d}.json"
    if known.is_file():
        told = json.loads(known.read_text())
        return Made(**told | {"sources": tuple(told["sources"])}) if told else None
    rng = np.random.default_rng([18, number])
    turn = number // 2
    way: Way = _WAYS[turn % len(_WAYS)]
    length_s, crf = LENGTHS_S[turn % len(LENGTHS_S)], CRFS[int(rng.integers(len(CRFS)))]
    parts = _parts(clips, way, clean=number % 2 == 1, length_s=length_s, rng=rng)
    made = None
    if parts is not None:
        frames, sources = parts
        side: Literal["whole", "left", "right"] = "whole"
        if turn % 3 == 2:
            side = "left" if rng.random() < 0.5 else "right"
            other = _real(clips, rng, without=sources)
            beside = _played(_pictures(other), len(frames))
            frames, sources = [_beside(a, b, side) for a, b in zip(frames, beside, strict=True)], (*sources, other.name)
        name = f"made_{number:04d}.mp4"
        _encode(frames, out / name, crf=crf)
        clean: Way = "clean"
        made = Made(
            name, clean if number % 2 else way, length_s, crf, side, AROUND_S, AROUND_S + round(length_s * FPS) / FPS,
            len(frames) / FPS, way == "cut", sources,
        )  # fmt: skip
    part = known.with_suffix(".part")
    part.write_text(json.dumps(asdict(made) if made else None))
    part.replace(known)
    return made


def _parts(
    clips: Sequence[Clip], way: Way, *, clean: bool, length_s: float, rng: np.random.Generator
) -> tuple[list[Array], tuple[str, ...]] | None:
    """The frames of a clip and the files they are from."""
    around, count = round(AROUND_S * FPS), round(length_s * FPS)
    if way == "pair":
        originals = {clip.identity: clip for clip in clips if not clip.fake}
        fakes = [clip for clip in clips if clip.fake and clip.pair in originals]
        fake = fakes[int(rng.integers(len(fakes)))]
        real = originals[fake.pair]
        theirs = _pictures(real if clean else fake)
        own = _pictures(real)
        theirs = [_holding(frame, own[0].shape) for frame in theirs]
        whole, middle = _played(own, 2 * around + count), _played(theirs, 2 * around + count)
        sources = (real.name,) if clean else (real.name, fake.name)
        return [*whole[:around], *middle[around : around + count], *whole[around + count :]], sources
    real = _real(clips, rng, without=())
    own = _pictures(real)
    whole = _played(own, 2 * around + count)
    if way == "cut":
        others = [clip for clip in clips if clip.fake is not clean and clip.scene != real.scene]
        other = others[int(rng.integers(len(others)))]
        middle = [_holding(frame, own[0].shape) for frame in _played(_pictures(other), count)]
        return [*whole[:around], *middle, *whole[around + count :]], (real.name, other.name)
    if clean:
        return whole, (real.name,)
    seen = _seen(real.path)
    if seen is None:
        return None
    blended = _played(list(blended_frames(own, seen, seed=int(rng.integers(2**32)))), 2 * around + count)
    return [*whole[:around], *blended[around : around + count], *whole[around + count :]], (real.name,)


def _real(clips: Sequence[Clip], rng: np.random.Generator, *, without: Sequence[str]) -> Clip:
    scenes = {clip.scene for clip in clips if clip.name in without}
    able = [clip for clip in clips if not clip.fake and clip.scene not in scenes]
    return able[int(rng.integers(len(able)))]


@lru_cache(maxsize=64)
def _seen(path: Path) -> Seen | None:
    seen = seen_in(path)
    return None if isinstance(seen, str) or np.isnan(seen.points).any() else seen


def _pictures(clip: Clip) -> list[Array]:
    """The frames of a clip, (h, w, 3) uint8 RGB, both even, at most ``_MOST_HEIGHT`` high."""
    return [_even(frame, min(1.0, _MOST_HEIGHT / frame.shape[0])) for frame in frames_of(clip.path, count=8 * FPS)]


def _even(frame: Array, scale: float) -> Array:
    height, width = (max(2, 2 * round(side * scale / 2)) for side in frame.shape[:2])
    made: Array = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return made


def _played(frames: Sequence[Array], count: int) -> list[Array]:
    """``count`` frames: forwards, backwards and so on, so that no cut is where they begin anew."""
    there_and_back = [*frames, *list(frames)[-2:0:-1]]
    return list(itertools.islice(itertools.cycle(there_and_back), count))


def _holding(frame: Array, shape: Sequence[int]) -> Array:
    """``frame`` on a black picture of ``shape``, as large as fits."""
    scale = min(shape[0] / frame.shape[0], shape[1] / frame.shape[1])
    height, width = (
        max(1, min(whole, round(side * scale))) for side, whole in zip(frame.shape[:2], shape, strict=False)
    )
    made = np.zeros(shape, np.uint8)
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    made[top : top + height, left : left + width] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return made


def _beside(frame: Array, other: Array, side: str) -> Array:
    """Two pictures of one size beside each other, ``frame`` at ``side``: the middle of the picture parts the persons."""
    other = _holding(other, frame.shape)
    made: Array = np.hstack([frame, other] if side == "left" else [other, frame])
    return made


def _encode(frames: Sequence[Array], path: Path, *, crf: int) -> None:
    part = path.with_suffix(".part")
    with av.open(str(part), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=FPS, options={"crf": str(crf), "preset": "veryfast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    part.replace(path)


def numbered(clips: Path, out: Path, numbers: Iterator[int] | Sequence[int]) -> Iterator[Made]:
    """The clips ``numbers`` in ``out``, made where they are not there yet, without those whose source shows no face."""
    out.mkdir(parents=True, exist_ok=True)
    known = read_clips(clips)
    for number in numbers:
        made = make(number, known, out)
        if made is not None:
            yield made


def in_half(group: str) -> bool:
    """Whether a scene is in the half on which the margin is chosen; the same on every machine."""
    return zlib.crc32(group.encode()) % 2 == 0
