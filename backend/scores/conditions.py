"""What a submitted file is like, as far as scores depend on it: size and sharpness of faces, bits spent, traces of blocks.

Owns the measures. Promises: at most 16 crops (or pictures) are looked at; a measure that cannot be taken is None, never a default.
Pixels of the pack are read, never the file itself. May be imported by the back-end.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from base_detector import Array
from shared.findings import MediaPack
from shared.results import Conditions, MediaFacts

#: Crops that are looked at, evenly spread over the pack.
_MOST_LOOKED_AT: Final = 16
_SHARPNESS_SIDE: Final = 64
#: Side of the blocks of JPEG, MPEG-2 and the larger transforms of H.264.
_BLOCK: Final = 8
#: Pixels a side of the middle of a crop that is searched for blocks: 9 ms of processor time for all 16.
_MOST_SIDE: Final = 256
#: Pixels a side below which no grid of blocks can be told from chance.
_LEAST_SIDE: Final = 64


def conditions_of(media: MediaFacts, pack: MediaPack) -> Conditions:
    """The conditions of a judged file. ``face_px`` is the median of the longer sides of all faces' boxes."""
    boxes = np.asarray(pack.faces["box"], np.float64).reshape(-1, 4)
    sides = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    pixels = media.width * media.height * max(1, media.frames)
    crops, looked_at = _crops(pack), _views(pack)
    return Conditions(
        kind=media.kind,
        width=media.width,
        height=media.height,
        codec=media.codec,
        duration_s=round(media.duration_s, 3),
        face_px=round(float(np.median(sides)), 1) if len(sides) else None,
        sharpness=_median([sharpness(view) for view in looked_at if min(view.shape[:2]) >= 2], digits=2),
        bits_per_pixel=round(8 * media.bytes / pixels, 5) if media.kind != "sound" and pixels else None,
        blocking=_median([found for crop in crops if (found := blocking(crop)) is not None], digits=3),
    )


def _median(values: list[float], *, digits: int) -> float | None:
    return round(float(np.median(values)), digits) if values else None


def _rows(pack: MediaPack) -> list[int]:
    if not len(pack):
        return []
    return [int(row) for row in np.unique(np.linspace(0, len(pack) - 1, _MOST_LOOKED_AT).round())]


def _crops(pack: MediaPack) -> list[Array]:
    """Context crops of faces, or whole pictures where there is no face: native pixels, never scaled."""
    if rows := _rows(pack):
        return [pack.image(row) for row in rows]
    return [pack.picture(number) for number in range(min(_MOST_LOOKED_AT, len(pack.pictures)))]


def _views(pack: MediaPack) -> list[Array]:
    """Faces cut at their boxes, or whole pictures."""
    views = []
    for row in _rows(pack):
        box = pack.face(row).box.astype(int)
        views.append(pack.image(row)[max(0, box[1]) : max(0, box[3]), max(0, box[0]) : max(0, box[2])])
    return views or _crops(pack)


def sharpness(view: Array) -> float:
    """Variance of the Laplacian of ``view`` (H, W, 3) uint8 RGB at 64 pixels a side: faces of all sizes compare."""
    import cv2

    small = cv2.resize(view, (_SHARPNESS_SIDE, _SHARPNESS_SIDE), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def blocking(picture: Array) -> float | None:
    """How much stronger steps of brightness are at every eighth pixel than between, at the best of the eight places a grid can have.

    1 = no grid; a photograph saved as JPEG of quality 75 has about 1.5, of 50 about 2, of 20 about 3. ``picture`` (H, W, 3) uint8 RGB; None
    for one of less than 64 pixels or without any step. A grid that does not begin at the frame's corner, or a grid in a clip of a codec
    that smooths its own blocks, is an earlier compression; scaling by other than whole factors removes it, so 1 does not show that there
    was none. The second difference at block borders: after Wang, Sheikh and Bovik, "No-reference perceptual quality assessment of JPEG
    compressed images", ICIP 2002, section 2 (theirs: the first difference at a known grid).
    """
    top, left = (max(0, (side - _MOST_SIDE) // 2) for side in picture.shape[:2])
    # green is most of the brightness, and one channel a third of the work
    grey = picture[top : top + _MOST_SIDE, left : left + _MOST_SIDE, 1].astype(np.float32)
    found = [ratio for plane in (grey, grey.T) if (ratio := _grid(plane)) is not None]
    return float(np.mean(found)) if found else None


def _grid(plane: Array) -> float | None:
    """``blocking`` of the columns of ``plane`` (H, W)."""
    if min(plane.shape) < _LEAST_SIDE:
        return None
    # a step between columns x and x + 1 that is not the slope on both of its sides
    steps = np.abs(np.diff(plane, axis=1))
    beside = (steps[:, :-2] + steps[:, 2:]) / 2
    excess = np.maximum(steps[:, 1:-1] - beside, 0).mean(axis=0)
    whole = len(excess) // _BLOCK * _BLOCK
    by_place = excess[:whole].reshape(-1, _BLOCK).mean(axis=0)
    best = int(by_place.argmax())
    others = float(np.delete(by_place, best).mean())
    return float(by_place[best]) / others if others > 0 else None
