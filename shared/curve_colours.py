"""The colours and marks of detectors' curves, one list for page, pictures and result video.

Owns what tells one detector's curve from another's. Promises: no colour is near one of a finding (blue and vermilion), each has a contrast
of 3 : 1 on white and on the dark page, and readers who see no red or no green can tell them apart (a test computes all three); each
detector also has a mark, so that colour is never alone. Standard library only: may be imported by all.
"""

from __future__ import annotations

from typing import Final

RGB = tuple[int, int, int]

#: Chosen by computation among all colours of that contrast: the smallest distance (CIE76) is 35, and 22 for the colour-blind.
CURVES: Final[tuple[RGB, ...]] = (
    (150, 30, 255),
    (30, 120, 90),
    (180, 60, 150),
    (105, 165, 0),
    (135, 105, 45),
    (150, 135, 225),
    (255, 75, 135),
    (165, 105, 255),
)

#: Marks at some of the points: matplotlib's names. Their number has no divisor in common with that of the colours.
MARKS: Final = ("o", "s", "^", "D", "v", "P", "X")

#: A detector that is in no count, whatever its place; its mark stays.
NOT_COUNTED: Final[RGB] = (128, 134, 142)


def curve_colour(index: int, *, counted: bool = True) -> RGB:
    """Colour of the detector at place ``index`` among those with scores; the list repeats. Grey where it is not ``counted``."""
    return CURVES[index % len(CURVES)] if counted else NOT_COUNTED


def curve_mark(index: int) -> str:
    """Mark of the detector at place ``index``; with the colour it repeats after 56."""
    return MARKS[index % len(MARKS)]


def turn(index: int) -> int:
    """How often the list of colours was used before ``index``."""
    return index // len(CURVES)


def hexadecimal(colour: RGB) -> str:
    """``#rrggbb`` for matplotlib, SVG and CSS."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
