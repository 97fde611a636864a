"""How a stored picture becomes the picture as shown: stretched to square pixels, then turned; and the sizes of a clip's pictures.

Owns which aspect ratios of pixels are believed, and which size stands for a clip. Pure; may be imported by ``backend.media``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from backend.media.medium import Orientation

Size = tuple[int, int]

#: Pixels whose ratio is this close to 1 are square: rounding of a display size, as muxers write it (1 % of 1,920 is 19 pixels).
_ALMOST_SQUARE = 0.01
#: Ratios beyond this are mistakes: real ones are between 1:2 (half height) and 2:1 (anamorphic film; ITU-T H.264, table E-1).
_MOST_STRETCHED = 4
#: A picture that becomes wider (or higher) than this by its ratio only is a mistake, such as a display ratio written as a ratio of pixels:
#: the widest film formats have 2.76:1.
_WIDEST = 3
#: Shapes that differ by less are one shape: sides are rounded to whole pixels.
_SAME_SHAPE = 0.02


@lru_cache(maxsize=64)
def believed_aspect(stored: Size, aspect: Fraction | None) -> Fraction:
    """Width to height of a pixel of a picture of ``stored`` pixels; 1 where the file names none or one that cannot be meant."""
    if aspect is None or not 1 / _MOST_STRETCHED <= aspect <= _MOST_STRETCHED or abs(aspect - 1) < _ALMOST_SQUARE:
        return Fraction(1)
    plain = Fraction(*stored)
    shown = plain * aspect
    if not Fraction(1, _WIDEST) <= shown <= _WIDEST and Fraction(1, _WIDEST) <= plain <= _WIDEST:
        return Fraction(1)
    return aspect


@lru_cache(maxsize=64)  # asked for each picture, and fractions are slow
def squared(stored: Size, aspect: Fraction, *, max_pixels: int) -> Size:
    """Size of the picture with square pixels: the short side is stretched, or the long one shrunk where ``max_pixels`` would be passed."""
    width, height = stored
    if aspect == 1:
        return stored
    larger = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    if larger[0] * larger[1] <= max_pixels:
        return larger
    return (width, max(1, round(height / aspect))) if aspect > 1 else (max(1, round(width * aspect)), height)


@dataclass(frozen=True)
class Shape:
    """``stored`` (width, height) pixels with the ratio ``aspect`` become ``square`` ones, which are turned by ``orientation``."""

    stored: Size
    aspect: Fraction
    square: Size
    orientation: Orientation

    @property
    def shown(self) -> Size:
        """Width and height as shown."""
        return self.orientation.size(*self.square)


def same_shape(size: Size, other: Size) -> bool:
    """True when both have the same ratio of width to height."""
    return abs(size[0] * other[1] / (size[1] * other[0]) - 1) < _SAME_SHAPE


class Shapes:
    """The shapes of a clip's pictures, counted in their order."""

    def __init__(self) -> None:
        self._counts: Counter[Shape] = Counter()
        self._runs: list[tuple[int, Size]] = []

    def count(self, index: int, shape: Shape) -> None:
        """Take the shape of picture number ``index``."""
        self._counts[shape] += 1
        if not self._runs or self._runs[-1][1] != shape.shown:
            self._runs.append((index, shape.shown))

    def usual(self) -> Shape:
        """The shape of most pictures (the first of equals)."""
        sizes: Counter[Size] = Counter()
        for shape, count in self._counts.items():
            sizes[shape.shown] += count
        most = max(sizes, key=lambda size: sizes[size])
        own = {shape: count for shape, count in self._counts.items() if shape.shown == most}
        return max(own, key=lambda shape: own[shape])

    def sizes(self) -> tuple[tuple[int, int, int], ...]:
        """(number of the first picture, width, height) of each run of one size; empty where all have one."""
        return tuple((index, *size) for index, size in self._runs) if len(self._runs) > 1 else ()

    def aspect(self) -> Fraction:
        """The ratio of most pictures' pixels, of those that are not square; 1 where all are."""
        uneven: Counter[Fraction] = Counter()
        for shape, count in self._counts.items():
            if shape.aspect != 1:
                uneven[shape.aspect] += count
        return max(uneven, key=lambda aspect: uneven[aspect], default=Fraction(1))
