"""Faces over time: one found face, the track of one face, and the geometry that links them.

Owns linking (intersection over union, Hungarian assignment) and interpolation. Pure; may be imported by all of ``backend.media``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from base_detector import Array, turn_points


@dataclass(frozen=True)
class Found:
    """A face in one picture: box (4,) x1 y1 x2 y2 and landmarks (5, 2), float32, pixels of the picture as shown.

    ``tracked``: interpolated between two detections. ``turn``: degrees clockwise (0, 90, 180, 270) that make the face upright.
    """

    box: Array
    landmarks: Array
    confidence: float
    tracked: bool = False
    turn: int = 0

    @property
    def side(self) -> float:
        """The longer side of the box in pixels."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))

    @property
    def place(self) -> Array:
        """The box (4,), moved so far by its turn that boxes of different turns never overlap: a track has one turn."""
        return placed(self.box, turn=self.turn)

    @property
    def frontality(self) -> float:
        """1 for a face that looks at the camera, 0 for a profile: where the nose is between the eyes."""
        left, right, nose = self.landmarks[:3].astype(float)
        across = right - left
        span = float(across @ across)
        if not span > 0:
            return 0.0
        along = float((nose - left) @ across) / span  # 0 below the left eye, 1 below the right one
        return max(0.0, 1 - 2 * abs(along - 0.5))


@dataclass(frozen=True)
class Sighting:
    """A face in one sampled picture with its context crop (h, w, 3) uint8 RGB, turned upright; ``origin``: where its rectangle was."""

    frame: int
    time_s: float
    found: Found
    crop: Array
    origin: tuple[int, int]

    def in_crop(self, points: Array) -> Array:
        """Points (..., 2) of the picture in pixels of the upright crop."""
        size = self.crop.shape[:2] if self.found.turn % 180 else self.crop.shape[1::-1]
        return turn_points(points - np.array(self.origin, np.float32), turn=self.found.turn, size=size)

    @property
    def box(self) -> Array:
        """The face's box (4,) in pixels of the upright crop."""
        return np.sort(self.in_crop(self.found.box.reshape(2, 2)), axis=0).reshape(4)

    @classmethod
    def cut(cls, image: Array, found: Found, *, context: float, frame: int, time_s: float) -> Sighting:
        """Cut the square of ``context`` x the longer box side about the box centre, clipped at the picture: a view, unless it is turned."""
        height, width = image.shape[:2]
        half = found.side * context / 2
        centre_x, centre_y = (float(value) for value in (found.box[:2] + found.box[2:]) / 2)
        left = min(max(0, math.floor(centre_x - half)), width - 1)
        top = min(max(0, math.floor(centre_y - half)), height - 1)
        right = max(left + 1, min(width, math.ceil(centre_x + half)))
        bottom = max(top + 1, min(height, math.ceil(centre_y + half)))
        return cls(frame, time_s, found, turn_image(image[top:bottom, left:right], turn=found.turn), (left, top))


@dataclass(frozen=True)
class Portrait:
    """A good view of a track, for telling persons apart: an aligned chip (150, 150, 3) uint8 RGB, or an empty one once it is
    described; how good and how frontal it is, both 0..1; its row in the pack before sorting.
    """

    chip: Array
    quality: float
    frontality: float
    row: int
    time_s: float


@dataclass(eq=False)
class Track:
    """One face followed through one view (no jump in between). ``rows`` counts its faces in the pack."""

    number: int
    view: int
    first_frame: int
    first_s: float
    first_box: Array
    last_frame: int = -1
    last_s: float = 0.0
    last_box: Array = field(default_factory=lambda: np.zeros(4, np.float32))
    turn: int = 0
    confirmed: bool = False
    rejected: bool = False
    passed: int = 0
    failed: int = 0
    rows: int = 0
    portraits: list[Portrait] = field(default_factory=list)

    def see(self, found: Found, *, frame: int, time_s: float) -> None:
        """Extend the track by one picture."""
        self.last_frame, self.last_s, self.last_box = frame, time_s, found.box


def placed(box: Array, *, turn: int) -> Array:
    """``box`` (4,) further away than any picture is wide (65,536 pixels) for each quarter of ``turn``."""
    result: Array = box + np.float32(turn * 1000)
    return result


def turn_image(image: Array, *, turn: int) -> Array:
    """``image`` (H, W, 3) turned clockwise by ``turn`` degrees; the same array where that is 0."""
    codes = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
    return cv2.rotate(image, codes[turn]) if turn else image


def overlap(boxes: Array, others: Array) -> Array:
    """Intersection over union of all pairs: (n, 4), (m, 4) -> (n, m) float64."""
    first, second = np.asarray(boxes, float).reshape(-1, 1, 4), np.asarray(others, float).reshape(1, -1, 4)
    size = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    shared = np.prod(np.maximum(size, 0), axis=2)
    area = np.prod(first[..., 2:] - first[..., :2], axis=2) + np.prod(second[..., 2:] - second[..., :2], axis=2)
    result: Array = shared / np.maximum(area - shared, 1e-9)
    return result


def closeness(boxes: Array, others: Array) -> Array:
    """Closeness of boxes, (n, 4), (m, 4) -> (n, m): 1 at the same place, 0 from one side apart; times the size ratio."""
    first, second = np.asarray(boxes, float).reshape(-1, 1, 4), np.asarray(others, float).reshape(1, -1, 4)
    sides = [(item[..., 2:] - item[..., :2]).max(axis=2) for item in (first, second)]
    small, large = np.minimum(*sides), np.maximum(np.maximum(*sides), 1e-9)
    away = np.linalg.norm((first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]) / 2, axis=2)
    result: Array = np.maximum(0.0, 1 - away / large) * small / large
    return result


def link(boxes: Array, others: Array, *, least: float, near: bool = False) -> list[tuple[int, int]]:
    """Pairs (i, j) of the same face in two pictures: the assignment of greatest summed overlap, each at least ``least``.

    ``near`` in time: closeness counts as overlap, so that a small face that moved by half its width is kept.
    """
    if not len(boxes) or not len(others):
        return []
    shared = overlap(boxes, others)
    if near:
        shared = np.maximum(shared, closeness(boxes, others))
    rows, columns = _assigned(np.where(shared >= least, shared, 0.0))
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if shared[i, j] >= least]


def _assigned(gains: Array) -> tuple[Array, Array]:
    """Rows and columns of the assignment of greatest sum; with one row or column it is the greatest, and SciPy is not imported (.4 s)."""
    if 1 in gains.shape:
        rows, columns = np.unravel_index([int(np.argmax(gains))], gains.shape)
        return rows, columns
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(gains, maximize=True)
    return rows, columns


def between(before: Found, after: Found, share: float) -> Found:
    """The face at ``share`` (0..1) of the way from one detection to the next."""
    share32 = np.float32(share)
    return Found(
        box=before.box + (after.box - before.box) * share32,
        landmarks=before.landmarks + (after.landmarks - before.landmarks) * share32,
        confidence=before.confidence + (after.confidence - before.confidence) * share,
        tracked=True,
        turn=after.turn,
    )
