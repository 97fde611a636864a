"""Face tubes: one or two people through the clip, cut as squares of one size, as RobustForensics cuts them.

Owns: which frames are looked at, how many people, the square of each frame, reading it out of the face pack.
Promises: the published integers (tests/parity/test_eighteen.py); memory flat in the clip's length (at most 160 frames a tube).
Imported by ``detectors.eighteen.detector``. Boxes are left, top, right, bottom in frame pixels; a *position* counts along a tube.

Ours, as the platform finds faces with another net: a tube is a person of the platform in place of a chain of boxes that overlap by
half. Published and kept: the number of people, the longest tubes, the nearest face where a frame has none, every rectangle.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from base_detector import Array, FacePack, Skip
from detectors.nets.crops import square_box

#: the published code takes every n-th frame of a clip so that no more than these are left
MOST_FRAMES: Final = 160
#: so many of the published frames (each at most half a step away) must be in the pack to call them consecutive
_COMPLETE = 0.9
#: side of the square in longer sides of the face box
SCALE: Final = 1.3
_MOST_PEOPLE = 2


@dataclass(frozen=True)
class Frames:
    """The frames to look at: their numbers (m,) ascending, and whether they are those that the published code would take."""

    numbers: Array
    complete: bool


@dataclass(frozen=True)
class Tube:
    """One person: for each frame the row of its face in the pack (T,), its square's corner x, y (T, 2), and the squares' one side."""

    person: int
    rows: Array
    corners: Array
    side: int

    def __len__(self) -> int:
        return len(self.rows)


def choose_frames(sampled: Array, *, total: int) -> Frames:
    """Pick from the ``sampled`` frame numbers (ascending) of a clip of ``total`` frames: every ceil(total / 160)-th from the first.

    A sampled frame at most half a step away replaces one that is not there. Where the pack is too sparse for that
    (``complete`` False), as many of its frames as the published code takes, evenly.
    """
    step = max(1, -(-total // MOST_FRAMES))
    wanted = np.arange(0, total, step)
    near = sampled[nearest(sampled, wanted)]
    found = np.unique(near[2 * np.abs(near - wanted) <= step])
    if len(found) >= _COMPLETE * len(wanted):
        return Frames(found, complete=True)
    return Frames(sampled[:: max(1, -(-len(sampled) // MOST_FRAMES))], complete=False)


def nearest(places: Array, wanted: Array) -> Array:
    """For each of ``wanted`` the index of the nearest of ``places`` (ascending, at least one), the earlier one of two as near."""
    after = np.clip(np.searchsorted(places, wanted), 1, max(1, len(places) - 1))
    before = after - 1
    after = np.minimum(after, len(places) - 1)
    return np.where(np.abs(places[after] - wanted) < np.abs(places[before] - wanted), after, before)


def count_people(counts: Iterable[int]) -> int:
    """The number of faces that most frames have (of two as frequent the one seen first), at most two; 0 when most have none."""
    seen: dict[int, int] = {}
    for count in counts:
        seen[count] = seen.get(count, 0) + 1
    return min(max(seen, key=seen.__getitem__, default=0), _MOST_PEOPLE)


def square_side(box: Array, *, frame_size: tuple[int, int]) -> int:
    """Side of one face's own square: 1.3 longer sides, cut short at the right and bottom of the frame (width, height); 0 if outside."""
    try:
        return square_box(box, scale=SCALE, frame_size=frame_size)[2]
    except Skip:
        return 0


def square_corner(box: Array, *, side: int, frame_size: tuple[int, int]) -> tuple[int, int]:
    """Where the square of the tube's ``side`` about a box of whole pixels begins, x and y: moved inside the frame as a whole."""
    x, y = (
        min(max(int(low + high) // 2 - side // 2, 0), extent - side)
        for low, high, extent in zip(box[:2], box[2:], frame_size, strict=True)
    )
    return x, y


def follow(boxes: Array, *, frame_size: tuple[int, int] | Array) -> tuple[Array, int]:
    """Squares of one tube from its face boxes (T, 4): corners (T, 2) int and their one side, the largest of the boxes', even.

    ``frame_size``: width and height, one for all boxes or (T, 2): the frame of a turned face is turned with it.
    Boxes are cut to whole pixels towards zero, as published. Raises Skip ``face_too_small`` when no square has two pixels.
    """
    whole = np.asarray(boxes).astype(np.int64)
    sizes = np.broadcast_to(np.asarray(frame_size), (len(whole), 2)).tolist()
    side = max(square_side(box, frame_size=size) for box, size in zip(whole, sizes, strict=True)) // 2 * 2
    side = min(side, *(min(size) for size in sizes))
    if side < 2:
        raise Skip("face_too_small")
    corners = [square_corner(box, side=side, frame_size=size) for box, size in zip(whole, sizes, strict=True)]
    return np.array(corners, np.int64), side


def find_tubes(pack: FacePack, frames: Frames) -> list[Tube]:
    """The one or two people seen longest in ``frames``, longest first; empty when most frames show no face."""
    faces = pack.faces
    rows = np.flatnonzero(np.isin(faces["frame"], frames.numbers) & (faces["person"] >= 0))
    counts = np.zeros(len(frames.numbers), np.int64)
    np.add.at(counts, np.searchsorted(frames.numbers, faces["frame"][rows]), 1)
    people = count_people(counts.tolist())
    own: dict[int, list[int]] = {}
    for row in rows:
        seen = own.setdefault(int(faces["person"][row]), [])
        # a mirror shows someone twice: one face per frame
        if not seen or faces["frame"][seen[-1]] != faces["frame"][row]:
            seen.append(int(row))
    longest = sorted(own, key=lambda person: -len(own[person]))[:people]
    return [_tube(pack, person, np.array(own[person]), frames.numbers) for person in longest]


def _tube(pack: FacePack, person: int, own: Array, numbers: Array) -> Tube:
    # distances are counted in looked-at frames, as published
    places = np.searchsorted(numbers, pack.faces["frame"][own])
    rows = own[nearest(places, np.arange(len(numbers)))]
    sizes = np.array([pack.face(int(row)).frame_size for row in rows])
    corners, side = follow(pack.upright["box"][rows], frame_size=sizes)
    return Tube(person, rows, corners, side)


def read_tube(pack: FacePack, tube: Tube, *, positions: Array, side: int) -> Array:
    """The squares at ``positions`` of a tube, bilinear to ``side``: (n, side, side, 3) uint8 RGB.

    Pixels that the context crop does not hold (a face that was more than twice as large elsewhere) repeat its border.
    """
    out = np.empty((len(positions), side, side, 3), np.uint8)
    for place, position in enumerate(positions):
        row = int(tube.rows[position])
        cut = _cut(pack.image(row), tube.corners[position] - pack.upright["crop_origin"][row], side=tube.side)
        out[place] = cv2.resize(cut, (side, side), interpolation=cv2.INTER_LINEAR)
    return out


def _cut(image: Array, corner: Array, *, side: int) -> Array:
    height, width = image.shape[:2]
    x, y = int(corner[0]), int(corner[1])
    if x >= 0 and y >= 0 and x + side <= width and y + side <= height:
        return image[y : y + side, x : x + side]
    columns = np.clip(np.arange(x, x + side), 0, width - 1)
    lines = np.clip(np.arange(y, y + side), 0, height - 1)
    return image[lines[:, None], columns]
