"""Self-blends of whole real clips: the seam moves with the face, and the whole frames are compressed after it, as a swap's are.

Owns: how a blend follows a face from frame to frame, and the blended copies of real clips that are kept beside their faces.
Promises: a blended copy goes through x264 as the real clip's own ``drawn`` version does (CRF and size from the file's name), so the
codec is no cue; the same clip gives the same blends; an interrupted run continues where it stopped.
May be imported by detectors.training and its tests; imports the media pass, which no detector does at run time.

After Self-Blended Images (Shiohara and Yamasaki, CVPR 2022, arXiv:2204.08376), which blends single pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from base_detector import Array
from detectors.training.blends import blend
from detectors.training.clips import (
    VERSIONS,
    Clip,
    Faces,
    Seen,
    cut_faces,
    facts_of,
    frames_of,
    key_of,
    read_cut,
    seen_in,
    through_x264,
    write_cut,
)

#: What the labels of blended copies say.
METHOD, FAMILY = "self_blend", "self_blend"
#: Blended copies of each real clip.
COPIES: Final = 2
#: Box sides of the square that is blended: the face with its jaw and forehead.
_AROUND: Final = 1.4


def blended_clips(clips: Iterable[Clip], cache: Path, *, tell: Callable[[str], None] = print) -> list[Faces]:
    """Blended copies of the real ones among ``clips``, as fakes of their scenes: ``pixels`` (COPIES, n, SIDE, SIDE, 3).

    Clips without a face, or without landmarks, have none.
    """
    cache.mkdir(parents=True, exist_ok=True)
    found = []
    for clip in clips:
        if clip.fake:
            continue
        path = cache / f"{key_of(clip)}-blends{COPIES}"
        if not path.with_suffix(".json").is_file():
            write_cut(path, _blended(clip))
            tell(f"blended: {clip.name}")
        own = replace(clip, fake=True, method=METHOD, family=FAMILY, pair=clip.identity)
        copies = read_cut(path, own)
        if not isinstance(copies, str):
            found.append(copies)
    return found


def _blended(clip: Clip) -> tuple[Array | None, dict[str, Any]]:
    seen = seen_in(clip.path)
    if isinstance(seen, str):
        return None, {"reason": seen}
    if np.isnan(seen.points).any():
        return None, {"reason": "no_landmarks"}
    crf, scale = VERSIONS[-1].drawn(clip.name)
    copies = []
    for copy in range(COPIES):
        seed = int.from_bytes(hashlib.sha256(f"blend {copy} of {clip.name}".encode()).digest()[:8], "big")
        frames = blended_frames(frames_of(clip.path, count=int(seen.frames.max()) + 1), seen, seed=seed)
        copies.append(cut_faces(through_x264(frames, crf=crf, scale=scale), seen))
    return np.stack(copies), facts_of(seen)


def blended_frames(frames: Iterable[Array], seen: Seen, *, seed: int) -> Iterator[Array]:
    """``frames`` ((H, W, 3) uint8 RGB) with the face of each blended by the same mask, which moves with the landmarks.

    The same random numbers make the blend of each frame.
    """

    def mixed(square: Array, points: Array) -> Array:
        return blend(square, points, rng=np.random.default_rng(seed))[0]

    return repainted(frames, seen, mixed)


def repainted(frames: Iterable[Array], seen: Seen, change: Callable[[Array, Array], Array]) -> Iterator[Array]:
    """``frames`` with the square about each face as ``change`` gives it back: ((P, P, 3) float32 RGB, (5, 2) landmarks) -> the same size.

    Between the frames the media pass looked at, landmarks move along straight lines.
    """
    order = np.argsort(seen.frames)
    known = seen.frames[order]
    points, boxes = seen.points[order].reshape(len(known), 10), seen.boxes[order]
    for number, frame in enumerate(frames):
        own = np.array([np.interp(number, known, column) for column in points.T]).reshape(5, 2) * frame.shape[1]
        box = np.array([np.interp(number, known, column) for column in boxes.T]) * frame.shape[1]
        yield _with_face(frame, box, own, change)


def _with_face(frame: Array, box: Array, points: Array, change: Callable[[Array, Array], Array]) -> Array:
    (height, width), longer = frame.shape[:2], float(max(box[2] - box[0], box[3] - box[1]))
    side = min(round(longer * _AROUND), height, width)
    x = int(np.clip(round(float(box[0] + box[2] - side) / 2), 0, width - side))
    y = int(np.clip(round(float(box[1] + box[3] - side) / 2), 0, height - side))
    square = frame[y : y + side, x : x + side].astype(np.float32)
    mixed = change(square, (points - np.array([x, y])).astype(np.float32))
    changed = np.array(frame)
    changed[y : y + side, x : x + side] = mixed.round().astype(np.uint8)
    return changed
