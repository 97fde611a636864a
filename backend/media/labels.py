"""Where the labels of marked faces go: beside their boxes, over no face and no other label.

Owns the choice of words (name and score, or the number alone in a crowd), of type size and place. All labels of a medium have one
style, the largest that fits its fullest frames. Pure geometry; imported by ``marks`` only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

#: Left, top, right, bottom in pixels of the canvas.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Style:
    """Which words a label has, and its size as a share of the usual one."""

    words: str  # full: "person 3  0.45"; short: "3  0.45"; number: "3"
    size: float


#: From the one for few faces to the one for crowds.
STYLES: Final = (
    Style("full", 1.0),
    Style("full", 0.8),
    Style("short", 0.8),
    Style("short", 0.6),
    Style("number", 0.7),
    Style("number", 0.55),
    Style("number", 0.45),
)
#: A label inside its own box covers at most this share of it: hair and background are in the corners, not the face.
_MOST_COVERED: Final = 0.12
#: A label keeps this share of its height away from other faces and labels, so that it is seen to whom it belongs.
_GAP: Final = 0.2
#: Distances from the box, in heights of the label, at which a label with a line to its box is tried.
_DISTANCES: Final = (0.4, 1.0, 1.8, 2.8, 4.0)


@dataclass(frozen=True)
class Label:
    """Where a label is drawn, and whether a line must lead from it to its box."""

    box: Box
    led: bool


def place(faces: Sequence[Box], sizes: Sequence[tuple[float, float]], *, pane: Box, far: bool) -> list[Label | None]:
    """A place for the label of each face, ``sizes`` (width, height); None where there is no room.

    ``far``: try places away from the box too, with a line. The first face gets the first choice.
    """
    taken: list[Box] = []
    found: list[Label | None] = []
    for number, (face, size) in enumerate(zip(faces, sizes, strict=True)):
        others = [*faces[:number], *faces[number + 1 :], *taken]
        label = next(_free(face, size, others=others, pane=pane, far=far, alone=len(faces) == 1), None)
        found.append(label)
        if label:
            taken.append(label.box)
    return found


def _free(
    face: Box, size: tuple[float, float], *, others: list[Box], pane: Box, far: bool, alone: bool
) -> Iterator[Label]:
    """Free places for a label, the best one first."""
    apart = [_wider(other, _GAP * size[1]) for other in others]
    for box in _near(face, size, pane=pane):
        if _inside(box, pane) and not any(_overlap(box, other) for other in apart):
            yield Label(box, led=False)
    if alone or size[0] * size[1] <= _MOST_COVERED * (face[2] - face[0]) * (face[3] - face[1]):
        for box in _corners(face, size, pane=pane):
            if not any(_overlap(box, other) for other in others):
                yield Label(box, led=False)
    for box in _away(face, size) if far else ():
        if _inside(box, pane) and not any(_overlap(box, other) for other in apart):
            yield Label(box, led=True)
    for box in _edges(face, size) if far else ():
        if _inside(box, pane) and not any(_overlap(box, other) for other in others):
            yield Label(box, led=False)


def _corners(face: Box, size: tuple[float, float], *, pane: Box) -> Iterator[Box]:
    """Places inside the box, where hair, neck and background are."""
    width, height = size
    for top in (min(face[3], pane[3]) - height, max(face[1], pane[1])):
        for start in (face[0], face[2] - width):
            left = max(pane[0], min(start, pane[2] - width))
            yield left, top, left + width, top + height


def _edges(face: Box, size: tuple[float, float]) -> Iterator[Box]:
    """Places along the sides inside the box, lowest first, for faces whose boxes overlap others."""
    width, height = size
    if width <= (face[2] - face[0]) / 3:
        for step in range(1, int((face[3] - face[1]) / height)):
            for left in (face[0], face[2] - width):
                yield left, face[3] - (step + 1) * height, left + width, face[3] - step * height


def _near(face: Box, size: tuple[float, float], *, pane: Box) -> Iterator[Box]:
    """Places that touch the box: above, below, at its sides."""
    x1, y1, x2, y2 = face
    width, height = size
    left, right = max(pane[0], min(x1, pane[2] - width)), max(pane[0], x2 - width)
    middle = max(pane[0], min((x1 + x2 - width) / 2, pane[2] - width))
    for top in (y1 - height, y2):
        for start in (left, right, middle):
            yield start, top, start + width, top + height
    for start in (x2, x1 - width):
        for top in (y1, (y1 + y2 - height) / 2, y2 - height):
            yield start, top, start + width, top + height


def _away(face: Box, size: tuple[float, float]) -> Iterator[Box]:
    """Places around the box, nearest first."""
    x1, y1, x2, y2 = face
    width, height = size
    for distance in _DISTANCES:
        gap = distance * height
        for left in (x1, x2 - width, (x1 + x2 - width) / 2, x2 + gap, x1 - width - gap):
            for top in (y1 - height - gap, y2 + gap, (y1 + y2 - height) / 2):
                if left + width <= x1 or left >= x2 or top + height <= y1 or top >= y2:
                    yield left, top, left + width, top + height


def _wider(box: Box, by: float) -> Box:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def _inside(box: Box, pane: Box) -> bool:
    return box[0] >= pane[0] and box[1] >= pane[1] and box[2] <= pane[2] and box[3] <= pane[3]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
