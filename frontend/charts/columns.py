"""A curve as the path of an SVG: for each column of pixels the lowest and the highest point, gaps as gaps, at most some 2,000 points.

Owns the coordinates that ``static/timeline.js`` reads back for its read-out; it gets their units with the picture. x: 0 to WIDE over the
part that is shown, y: thousandths of the fake score from the top. A score stays on its side of the threshold, and 0 and 1 stay those
values alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from base_detector import Array
from frontend.charts.axis import Span
from frontend.charts.chart import Curve

#: Units of the width and height, and units of a column: as many columns as a small screen has pixels.
WIDE: Final = 1920
HIGH: Final = 1000
COLUMN: Final = 4


@dataclass(frozen=True)
class Drawn:
    """``path``: the joined pieces, ``points``: single ones, as ``d`` of two paths; ``spots`` (n, 2): some of its points, for marks."""

    path: str
    points: str
    spots: Array


def drawn(curve: Curve, span: Span, *, marks: int = 8, place: int = 0) -> Drawn:
    """``curve`` between the ends of ``span``; ``place``: among the curves, so that marks of several are not above each other."""
    x = np.rint((curve.t - span.begin) / span.length * WIDE).astype(np.int64)
    y = _heights(curve.y, curve.line.threshold)
    joined: list[str] = []
    single: dict[int, tuple[int, int]] = {}
    narrow: dict[int, tuple[int, int]] = {}
    for start, stop in curve.runs:
        first, last = _within(x, start, stop)
        if first >= last:
            continue
        one = slice(first, last)
        if curve.line.style == "dots" or last - first == 1:
            for column, height in zip((x[one] // COLUMN).tolist(), y[one].tolist(), strict=True):
                _widen(single, column, height, height)
        elif x[first] // COLUMN == x[last - 1] // COLUMN:
            _widen(narrow, int(x[first] // COLUMN), int(y[one].min()), int(y[one].max()))
        else:
            joined.append(_polyline(*_thinned(x[one], y[one])))
    for column, (low, high) in narrow.items():
        joined.append(f"M{column * COLUMN} {low}V{high}" if high > low else "")
        if high == low:
            _widen(single, column, low, high)
    dots = [f"M{column * COLUMN} {height}h0" for column, ends in sorted(single.items()) for height in sorted(set(ends))]
    return Drawn("".join(joined), "".join(dots), _spots(x, y, marks=marks, place=place))


def _heights(scores: Array, threshold: float) -> Array:
    """(n,) int: thousandths from the top, on the score's side of the threshold."""
    level = np.rint(scores * HIGH)
    level = np.where((scores > 0) & (scores < 1), np.clip(level, 1, HIGH - 1), level)
    least = np.ceil(threshold * HIGH - 1e-9)  # of a score that is at or above it
    level = np.where(scores < threshold, np.minimum(level, least - 1), np.maximum(level, least))
    return np.asarray(HIGH - level).astype(np.int64)


def _within(x: Array, start: int, stop: int) -> tuple[int, int]:
    """The part of a run that is shown, with one point on each side, so that the line leaves the picture."""
    inside = np.flatnonzero((x[start:stop] >= 0) & (x[start:stop] <= WIDE))
    if not len(inside):
        crosses = np.searchsorted(x[start:stop], 0)
        return (start + int(crosses) - 1, start + int(crosses) + 1) if 0 < crosses < stop - start else (0, 0)
    return max(start, start + int(inside[0]) - 1), min(stop, start + int(inside[-1]) + 2)


def _thinned(x: Array, y: Array) -> tuple[Array, Array]:
    """The lowest and the highest point of each column, in order of time, where there are more."""
    x = np.clip(x, -WIDE, 2 * WIDE)
    column = x // COLUMN
    starts = np.flatnonzero(np.r_[True, np.diff(column) != 0])
    if len(x) <= 2 * len(starts):
        return x, y
    order = np.lexsort((y, column))
    kept = np.unique(np.r_[order[starts], order[np.r_[starts[1:], len(x)] - 1]])
    return x[kept], y[kept]


def _polyline(x: Array, y: Array) -> str:
    steps = np.stack([np.diff(x), np.diff(y)], axis=1).reshape(-1).tolist()
    text = " ".join(map(str, steps)).replace(" -", "-")
    return f"M{int(x[0])} {int(y[0])}l{text}"


def _widen(ends: dict[int, tuple[int, int]], column: int, low: int, high: int) -> None:
    known = ends.get(column, (low, high))
    ends[column] = min(low, known[0]), max(high, known[1])


def _spots(x: Array, y: Array, *, marks: int, place: int) -> Array:
    """At most ``marks`` of the points that are shown, evenly in time, (n, 2) as shares of width and height."""
    shown = np.flatnonzero((x >= 0) & (x <= WIDE))
    if not len(shown):
        return np.zeros((0, 2))
    wanted = (np.arange(marks) + 0.2 + 0.6 * (place * 0.382 % 1)) * WIDE / marks
    near = shown[np.clip(np.searchsorted(x[shown], wanted), 0, len(shown) - 1)]
    kept = np.unique(near[np.abs(x[near] - wanted) <= WIDE / marks / 2])
    kept = kept if len(kept) else shown[:1]
    return np.stack([x[kept] / WIDE, y[kept] / HIGH], axis=1)
