"""Vector drawings: the timeline of the first page, and the curve of a detector.

Owns how they look; ``backend.report.series`` says where a curve breaks. May be imported by ``backend.report.pdf``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from reportlab.lib.colors import Color, white
from reportlab.lib.units import mm
from reportlab.platypus import Flowable

from backend.report.palette import LEVELS
from backend.report.pdf.letters import BOLD, INK, LINE, PLAIN, SOFT, TINT, colour, readable
from backend.report.pdf.subject import Stretches
from backend.report.series import Series
from shared.curve_colours import curve_colour
from shared.words import clock_time

#: Most columns of a curve: more than print can show on its width.
_COLUMNS: Final = 400
_STEPS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
#: wanted number of steps of an axis
_TICKS: Final = 8
_LABEL: Final = 27 * mm


def axis_ticks(end_s: float) -> list[float]:
    """Seconds at which an axis of time from 0 to ``end_s`` has a mark."""
    step = next((step for step in _STEPS if end_s / step <= _TICKS), _STEPS[-1])
    step = step * max(1, round(end_s / step / (2 * _TICKS)))
    return [step * number for number in range(int(end_s / step) + 1)]


class Timeline(Flowable):  # type: ignore[misc]
    """A lane for each person and the voice: how many of the detectors that count are at or above their thresholds, and when.

    ``cuts``: where shots begin; ``damaged``: (start, end) of what was not judged; all in seconds.
    """

    _LANE: Final = 6.2 * mm

    def __init__(
        self,
        lanes: Sequence[tuple[str, Stretches]],
        *,
        end_s: float,
        width: float,
        cuts: Sequence[float],
        damaged: Sequence[tuple[float, float]],
        alt: str,
    ) -> None:
        super().__init__()
        self._lanes, self._end, self._cuts, self._damaged, self._alt = lanes, max(end_s, 1e-3), cuts, damaged, alt
        self.width, self.height = width, self._LANE * len(lanes) + 10 * mm

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        """See ``Flowable``."""
        return self.width, self.height

    def draw(self) -> None:
        """See ``Flowable``."""
        with self.canv.marked("Figure", self._alt):
            self._draw()

    def _x(self, seconds: float) -> float:
        return float(_LABEL + (self.width - _LABEL - 2 * mm) * min(max(seconds / self._end, 0.0), 1.0))

    def _draw(self) -> None:
        page = self.canv
        bottom = 10 * mm
        top = bottom + self._LANE * len(self._lanes)
        page.setStrokeColor(LINE)
        page.setLineWidth(0.3)
        for cut in self._cuts:
            page.line(self._x(cut), bottom, self._x(cut), top)
        for number, (name, lane) in enumerate(self._lanes):
            self._draw_lane(readable(name), lane, y=top - self._LANE * (number + 1) + 0.9 * mm)
        page.setFillColor(SOFT)
        for start, end in self._damaged:
            page.rect(self._x(start), bottom, max(0.8, self._x(end) - self._x(start)), 0.9 * mm, stroke=0, fill=1)
        page.setFont(PLAIN, 6.2)
        for tick in axis_ticks(self._end):
            page.line(self._x(tick), bottom, self._x(tick), bottom - 1.2 * mm)
            page.drawCentredString(
                self._x(tick), bottom - 3.6 * mm, clock_time(tick)[:-2] if self._end > 20 else clock_time(tick)
            )
        self._draw_key()

    def _draw_lane(self, name: str, lane: Stretches, *, y: float) -> None:
        page, high = self.canv, self._LANE - 1.8 * mm
        page.setFillColor(INK)
        page.setFont(BOLD, 7.4)
        page.drawString(0, y + 1.2 * mm, name)
        for start, end in lane.judged:
            page.setFillColor(TINT)
            page.setStrokeColor(LINE)
            page.rect(self._x(start), y, max(0.8, self._x(end) - self._x(start)), high, stroke=1, fill=1)
        for start, end, count in _levels(lane):
            left, width = self._x(start), max(1.0, self._x(end) - self._x(start))
            page.setFillColor(colour(LEVELS[min(count + 1, len(LEVELS) - 1)]))
            page.setStrokeColor(INK)
            page.rect(left, y, width, high, stroke=1, fill=1)
            if width > 7:
                page.setFillColor(_ink(count))
                page.setFont(BOLD, 7)
                page.drawCentredString(left + width / 2, y + 1.3 * mm, str(count))

    def _draw_key(self) -> None:
        page, x = self.canv, _LABEL
        page.setLineWidth(0.3)
        marks = [
            (None, "judged, no stretch"),
            (1, "one detector in a stretch"),
            (2, "two at once"),
            (3, "three or more"),
        ]
        for count, words in marks:
            page.setFillColor(colour(LEVELS[count + 1]) if count else TINT)
            page.setStrokeColor(INK if count else LINE)
            page.rect(x, 0.6 * mm, 5 * mm, 2.8 * mm, stroke=1, fill=1)
            page.setFont(PLAIN, 6.4)
            if count:
                page.setFillColor(_ink(count))
                page.drawCentredString(x + 2.5 * mm, 1.2 * mm, str(count))
            page.setFillColor(INK)
            page.drawString(x + 6.2 * mm, 1.2 * mm, words)
            x += 10 * mm + page.stringWidth(words, PLAIN, 6.4)
        page.drawString(x, 1.2 * mm, "empty: nobody judged")


def _ink(count: int) -> Color:
    """A colour of letters that can be read on that of ``count`` detectors."""
    return white if count > 2 else INK


def _levels(lane: Stretches) -> Iterator[tuple[float, float, int]]:
    """(start, end, how many detectors are at or above their thresholds), where at least one is."""
    edges = sorted({edge for _, start, end in lane.alone for edge in (start, end)})
    last: tuple[float, float, int] | None = None
    for start, end in itertools.pairwise(edges):
        count = len({item.id for item, a, b in lane.alone if a <= start and end <= b})
        if last and last[1] == start and last[2] == count:
            last = last[0], end, count
            continue
        if last and last[2]:
            yield last
        last = start, end, count
    if last and last[2]:
        yield last


class Curve(Flowable):  # type: ignore[misc]
    """The fake scores of one detector over time, from 0 to 1, with its threshold. Gaps are gaps."""

    def __init__(
        self,
        series: Series,
        *,
        title: str,
        threshold: float,
        place: int,
        counted: bool,
        end_s: float,
        width: float,
        damaged: Sequence[tuple[float, float]],
        cuts: Sequence[float],
        axis: bool,
        alt: str,
    ) -> None:
        super().__init__()
        self._series, self._title, self._threshold, self._place = series, title, threshold, place
        self._counted = counted
        self._end, self._damaged, self._cuts, self._axis, self._alt = max(end_s, 1e-3), damaged, cuts, axis, alt
        self._foot = 4.5 * mm if axis else 0.6 * mm
        self.width, self.height = width, 11.5 * mm + self._foot

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        """See ``Flowable``."""
        return self.width, self.height

    def draw(self) -> None:
        """See ``Flowable``."""
        with self.canv.marked("Figure", self._alt):
            self._draw()

    def _x(self, seconds: float) -> float:
        return float(_LABEL + 6 * mm + (self.width - _LABEL - 8 * mm) * min(max(seconds / self._end, 0.0), 1.0))

    def _y(self, score: float) -> float:
        return float(self._foot + (self.height - self._foot - 1 * mm) * score)

    def _draw(self) -> None:
        page = self.canv
        left, right = self._x(0), self._x(self._end)
        page.setFillColor(TINT)
        for start, end in self._damaged:
            page.rect(
                self._x(start), self._y(0), self._x(end) - self._x(start), self._y(1) - self._y(0), stroke=0, fill=1
            )
        page.setLineWidth(0.3)
        page.setStrokeColor(LINE)
        for cut in self._cuts:
            page.line(self._x(cut), self._y(0), self._x(cut), self._y(1))
        page.rect(left, self._y(0), right - left, self._y(1) - self._y(0), stroke=1, fill=0)
        page.setFillColor(INK)
        page.setFont(PLAIN, 6.6)
        words = readable(self._title)
        while words and page.stringWidth(words, PLAIN, 6.6) > _LABEL + 1 * mm:
            words = words[:-2] + "…"
        page.drawString(0, self._y(0.55), words)
        page.setFillColor(SOFT)
        page.setFont(PLAIN, 5.6)
        page.drawString(0, self._y(0.1), f"threshold {self._threshold:.2f}{'' if self._counted else ', not counted'}")
        page.drawRightString(left - 2, self._y(1) - 4, "1")
        page.drawRightString(left - 2, self._y(0), "0")
        page.setStrokeColor(SOFT)
        page.setDash(2, 2)
        page.line(left, self._y(self._threshold), right, self._y(self._threshold))
        page.setDash()
        self._draw_scores()
        if self._axis:
            page.setFillColor(SOFT)
            page.setFont(PLAIN, 5.8)
            for tick in axis_ticks(self._end):
                page.drawCentredString(
                    self._x(tick), 1.2 * mm, clock_time(tick)[:-2] if self._end > 20 else clock_time(tick)
                )

    def _draw_scores(self) -> None:
        page, series = self.canv, self._series
        ink = colour(curve_colour(self._place, counted=self._counted))
        page.setStrokeColor(ink)
        page.setFillColor(ink)
        page.setLineWidth(0.9)
        if len(series.runs) > _COLUMNS or (series.style == "dots" and len(series) > 2 * _COLUMNS):
            self._draw_columns()
            return
        for start, stop in series.runs:
            kept = _kept(series.scores[start:stop], share=(stop - start) / max(1, len(series))) + start
            points = [(self._x(float(series.times[i])), self._y(float(series.scores[i]))) for i in kept]
            if series.style == "dots" or len(points) == 1:
                for x, y in points:
                    page.rect(x - 0.8, y - 0.8, 1.6, 1.6, stroke=0, fill=1)
                continue
            path = page.beginPath()
            path.moveTo(*points[0])
            for point in points[1:]:
                path.lineTo(*point)
            page.drawPath(path, stroke=1, fill=0)

    def _draw_columns(self) -> None:
        """More pieces than print can part: in each column of time a stroke from the lowest to the highest score."""
        times, scores = self._series.times, self._series.scores
        column = np.minimum((times / self._end * _COLUMNS).astype(int), _COLUMNS - 1)
        for one in np.unique(column):
            low, high = (self._y(float(value)) for value in (scores[column == one].min(), scores[column == one].max()))
            x = self._x((float(one) + 0.5) / _COLUMNS * self._end)
            self.canv.rect(x - 0.5, low - 0.5, 1, high - low + 1, stroke=0, fill=1)


def _kept(scores: np.ndarray, *, share: float) -> np.ndarray:
    """Indices of the lowest and the highest score of each column of a run that has ``share`` of the line's points."""
    columns = max(2, round(_COLUMNS * share))
    if len(scores) <= 2 * columns:
        return np.arange(len(scores))
    kept: set[int] = set()
    for part in np.array_split(np.arange(len(scores)), columns):
        kept |= {int(part[scores[part].argmin()]), int(part[scores[part].argmax()])}
    return np.array(sorted(kept))
