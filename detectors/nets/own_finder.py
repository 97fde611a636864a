"""A method's own published face finder, run again about each face that the platform found.

Owns: the scale at which a published finder sees a frame, brought to a context crop; which of its faces is the platform's one.
Promises: boxes and points in pixels of the frame, as the published code gives them for the whole frame but for what the surroundings
beyond the crop change (measured in the cards of ``eighteen`` and ``wm``); memory of one crop; without weights nothing is made up.
May be imported by detectors, in workers only. A card says in which modes it is used: ``parameters.own_finder``.

The media pass finds faces once, for all detectors. A finder that draws larger or smaller boxes changes what a network sees, so a mode
that has the time looks again with the finder the networks were trained with. A face that the platform did not find stays unseen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor
from typing import Any, Protocol

import cv2
import numpy as np

from base_detector import Array, Card, ContractError, FacePack
from detectors.nets import dsfd_boxes, retinaface_boxes

#: A found face and the platform's share at least so much of their union, else it is another one.
_LEAST_OVERLAP = 0.3
#: What the platform calls its ways to look at a medium (``FacePack.mode``).
_MODES = ("quick", "standard", "thorough")


@dataclass(frozen=True)
class Found:
    """A face in pixels of the frame (upright): ``box`` (4,) float32 x1 y1 x2 y2, its ``score``, ``points`` (5, 2), NaN where unknown."""

    box: Array
    score: float
    points: Array


class Finder(Protocol):
    """Faces in a context crop (h, w, 3) uint8 RGB whose top left is at ``origin`` of a frame of ``frame_size`` (width, height)."""

    def __call__(self, image: Array, *, origin: tuple[int, int], frame_size: tuple[int, int]) -> list[Found]: ...


def is_wanted(card: Card, mode: str) -> bool:
    """Whether ``parameters.own_finder`` of the card, a list of modes, holds ``mode``."""
    modes = card.parameters["own_finder"]
    if not isinstance(modes, list | tuple) or not set(modes) <= set(_MODES):
        raise ContractError(
            f"{card.id}: parameters.own_finder must be a list of modes ({', '.join(_MODES)}), not {modes!r}"
        )
    return mode in modes


def by_mode(card: Card, name: str, mode: str) -> Any:
    """The value of ``parameters.<name>`` of the card for ``mode``: a table with one entry a mode."""
    table = card.parameters[name]
    if not isinstance(table, dict) or set(table) != set(_MODES):
        raise ContractError(f"{card.id}: parameters.{name} must be a table of {', '.join(_MODES)}, not {table!r}")
    return table[mode]


def found_again(pack: FacePack, row: int, find: Finder, *, context: float) -> list[Found]:
    """The face of ``row`` as ``find`` sees it: all that overlap the platform's box enough, the one that does so most first.

    It looks at the square of ``context`` longer box sides: the card's ``margin``, so that what other detectors asked for changes nothing.
    """
    face, image = pack.face(row), pack.image(row)
    half, middle = float((face.box[2:] - face.box[:2]).max()) * context / 2, (face.box[:2] + face.box[2:]) / 2
    x, y = (max(0, floor(value)) for value in middle - half)
    right, bottom = (max(0, ceil(value)) for value in middle + half)
    x0, y0 = face.image_origin
    part = image[y:bottom, x:right]
    found = find(part, origin=(x0 + x, y0 + y), frame_size=face.frame_size or pack.frame_size) if part.size else []
    shares = overlaps(np.array([item.box for item in found]).reshape(-1, 4), pack.upright["box"][row])
    return [found[i] for i in np.argsort(-shares, kind="stable") if shares[i] >= _LEAST_OVERLAP]


def overlaps(boxes: Array, box: Array) -> Array:
    """Intersection over union of each of ``boxes`` (n, 4) with ``box`` (4,): (n,)."""
    corner, end = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    shared = (end - corner).clip(min=0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    out: Array = shared / np.maximum(areas - shared, 1e-9)
    return out


@dataclass(frozen=True)
class RetinaFinder:
    """RetinaFace on frames whose shorter side is brought to ``shorter`` (the longer one at most ``longest``); None: as they are.

    ``least``: the score from which a face counts; ``overlap``: that removes the less sure of two boxes, None: none is removed.
    A published fault is kept: places are shares of the scaled side rounded down, and become pixels by the side rounded to the nearest.
    """

    net: Callable[[Array], Any]
    least: float
    shorter: int | None = None
    longest: int = 0
    overlap: float | None = None

    def __call__(self, image: Array, *, origin: tuple[int, int], frame_size: tuple[int, int]) -> list[Found]:
        factor = self._factor(frame_size)
        if factor != 1:
            image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
        height, width = image.shape[:2]
        loc, conf, points = (item[0] for item in self.net(retinaface_boxes.prepare(image)))
        boxes, scores, points = retinaface_boxes.faces(
            loc, conf, points, width=width, height=height, threshold=self.least
        )
        order = np.argsort(-scores, kind="stable")
        if self.overlap is not None:
            order = retinaface_boxes.suppress(boxes, scores, threshold=self.overlap, inclusive=False)
        start = np.array(origin, np.float32)
        moved = np.array([round(side * factor) / int(side * factor) for side in frame_size], np.float32)
        boxes = (boxes / np.float32(factor) + np.tile(start, 2)) * np.tile(moved, 2)
        points = (points / np.float32(factor) + start) * moved
        return [Found(boxes[i], float(scores[i]), points[i]) for i in order]

    def _factor(self, frame_size: tuple[int, int]) -> float:
        if self.shorter is None:
            return 1.0
        factor = self.shorter / min(frame_size)
        return self.longest / max(frame_size) if round(factor * max(frame_size)) > self.longest else factor


@dataclass(frozen=True)
class DsfdFinder:
    """DSFD on frames whose longer side is brought to 512, with the published fault: boxes move to the top left where frames are padded."""

    net: Callable[[Array], Any]

    def __call__(self, image: Array, *, origin: tuple[int, int], frame_size: tuple[int, int]) -> list[Found]:
        factor, moved = dsfd_boxes.scale_of(frame_size)
        batch = dsfd_boxes.prepare_crop(image, factor=factor)
        offsets, logits = self.net(batch)
        height, width = batch.shape[2:]
        kept = dsfd_boxes.suppress(
            dsfd_boxes.decode(offsets[0], dsfd_boxes.anchors(height, width)), dsfd_boxes.face_probability(logits[0])
        )
        kept = kept[kept[:, 0] > dsfd_boxes.LEAST]
        start = np.tile(np.array(origin, np.float32), 2)
        boxes = (kept[:, 1:] * np.array([width, height] * 2, np.float32) / np.float32(factor) + start) * np.tile(
            moved, 2
        )
        unknown = np.full((5, 2), np.nan, np.float32)
        return [
            Found(box.astype(np.float32), float(score), unknown) for box, score in zip(boxes, kept[:, 0], strict=True)
        ]
