"""Face tubes: one or two people through the clip, cut as squares of one size, as RobustForensics cuts them.

Owns: which frames are looked at, how many people, the square of each frame, reading it out of the face pack.
Promises: the published integers (tests/parity/test_eighteen.py); memory flat in the clip's length (at most 160 frames a tube).
Imported by ``detectors.eighteen.detector``. Boxes are left, top, right, bottom in frame pixels; a *position* counts along a tube.

Published and kept: the number of people, the longest tubes, the nearest face where a frame has none, every rectangle. With the
published face finder a tube is a chain of its boxes that overlap by half, as published; without it, a person of the platform.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from base_detector import Array, FacePack, Skip
from detectors.nets.crops import square_box
from detectors.nets.own_finder import Finder, found_again, overlaps

#: the published code takes every n-th frame of a clip so that no more than these are left
MOST_FRAMES: Final = 160
#: so many of the published frames (each at most half a step away) must be in the pack to call them consecutive
_COMPLETE = 0.9
#: side of the square in longer sides of the face box
SCALE: Final = 1.3
_MOST_PEOPLE = 2
#: boxes of two frames that share less of their union are two people
_SAME = 0.5
#: RetinaFace as the published code runs it: the shorter side of the frame in its input, the longer one's limit, the score that counts,
#: the overlap that removes the less sure of two boxes
SHORTER, LONGEST, LEAST, OVERLAP = 400, 2150, 0.8, 0.4


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


def find_tubes(pack: FacePack, frames: Frames, *, find: Finder | None = None, context: float = 0.0) -> list[Tube]:
    """The one or two people seen longest in ``frames``, longest first; empty when most frames show no face.

    ``find``: the published face finder, whose boxes in the square of ``context`` longer sides are then used; None: the platform's boxes
    and persons.
    """
    rows = np.flatnonzero(np.isin(pack.faces["frame"], frames.numbers) & (pack.faces["person"] >= 0))
    seen = _as_they_are(pack, rows) if find is None else _seen_again(pack, rows, find, context)
    places = np.searchsorted(frames.numbers, pack.faces["frame"][seen.rows])
    people = count_people(np.bincount(places, minlength=len(frames.numbers)).tolist())
    followed = by_person(pack, seen) if find is None else chained(places, seen.boxes)
    longest = sorted(followed, key=lambda own: -len(own))[:people]
    return [_tube(pack, seen, np.array(own), places=places, count=len(frames.numbers)) for own in longest]


@dataclass(frozen=True)
class _Seen:
    """The faces in the frames to look at, in order of time: rows of the pack (n,) and boxes (n, 4) in pixels of the upright frame."""

    rows: Array
    boxes: Array


def _as_they_are(pack: FacePack, rows: Array) -> _Seen:
    return _Seen(rows, pack.upright["box"][rows])


def _seen_again(pack: FacePack, rows: Array, find: Finder, context: float) -> _Seen:
    """What the published finder sees about the faces of ``rows``; in each frame the surest first, and of two that overlap that one."""
    found = [(row, one) for row in rows for one in found_again(pack, int(row), find, context=context)[:1]]
    found.sort(key=lambda item: (int(pack.faces["frame"][item[0]]), -item[1].score))
    kept: list[tuple[int, Array]] = []
    for row, one in found:
        frame = pack.faces["frame"][row]
        others = [box for other, box in kept if pack.faces["frame"][other] == frame]
        if not others or overlaps(np.array(others), one.box).max() <= OVERLAP:
            kept.append((int(row), one.box))
    boxes = np.array([box for _, box in kept], np.float32).reshape(-1, 4)
    return _Seen(np.array([row for row, _ in kept], np.int64), boxes)


def by_person(pack: FacePack, seen: _Seen) -> list[list[int]]:
    """Indices into ``seen`` of each person's faces, one a frame: a mirror shows someone twice."""
    own: dict[int, list[int]] = {}
    for index, row in enumerate(seen.rows):
        followed = own.setdefault(int(pack.faces["person"][row]), [])
        if not followed or pack.faces["frame"][seen.rows[followed[-1]]] != pack.faces["frame"][row]:
            followed.append(index)
    return list(own.values())


def chained(places: Array, boxes: Array) -> list[list[int]]:
    """Indices of the faces of each tube, as published: ``places`` (n,) of their frames, ascending, and ``boxes`` (n, 4).

    A face joins the tube whose latest box it overlaps most, if that is at least half, and the tube has none of this frame yet; else,
    where it overlaps no tube, it begins one. All are compared with the boxes that the tubes had before this frame. Boxes are cut to
    whole pixels, and pixels at both ends count.
    """
    whole = np.asarray(boxes).astype(np.int64)
    tubes: list[list[int]] = []
    for place in np.unique(places):
        latest = whole[[tube[-1] for tube in tubes]].reshape(-1, 4)
        grown = set[int]()
        for index in np.flatnonzero(places == place):
            shares = _overlap_of_pixels(latest, whole[index])
            best = int(shares.argmax()) if len(shares) else -1
            if best < 0 or shares[best] < _SAME:
                tubes.append([int(index)])
            elif best not in grown:
                grown.add(best)
                tubes[best].append(int(index))
    return tubes


def _overlap_of_pixels(boxes: Array, box: Array) -> Array:
    """Intersection over union of each of ``boxes`` (n, 4) with ``box`` (4,), whole pixels with both ends: (n,)."""
    ends = np.array([0, 0, 1, 1])
    return overlaps(boxes + ends, box + ends)


def _tube(pack: FacePack, seen: _Seen, own: Array, *, places: Array, count: int) -> Tube:
    # distances are counted in looked-at frames, as published
    shown = own[nearest(places[own], np.arange(count))]
    rows = seen.rows[shown]
    sizes = np.array([pack.face(int(row)).frame_size for row in rows])
    corners, side = follow(seen.boxes[shown], frame_size=sizes)
    persons, faces = np.unique(pack.faces["person"][seen.rows[own]], return_counts=True)
    return Tube(int(persons[faces.argmax()]), rows, corners, side)


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
