"""The numbers of the curve as a table: a row for each cell of time, a column for each detector."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from frontend.charts.axis import clock
from frontend.charts.chart import Chart
from frontend.charts.choice import Choice
from frontend.charts.curve import named
from shared.curves import Lane
from shared.languages import _
from shared.rounding import score
from shared.words import UNIT_NOUNS


@dataclass(frozen=True)
class Cell:
    """One detector in one cell: its middle score in words, whether that is at or above the threshold, and of how many units of how many."""

    score: str
    above: bool
    judged: int
    present: int


@dataclass(frozen=True)
class Row:
    """One cell of time. ``counted``: 'above of judged', '' for everyone: the highest of many faces is biased upwards."""

    time: str
    counted: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """``heads``: title, what it judges (a noun), threshold of each column."""

    heads: tuple[tuple[str, str, float], ...]
    rows: tuple[Row, ...]
    counts: bool


def table_of(chart: Chart, choice: Choice, *, titles: Mapping[str, str], grey: Collection[str] = ()) -> Table | None:
    """The table of what was chosen; None where an old report has no cells. ``grey``: ids of those in no count, never marked as above."""
    lanes = choice.lanes(chart)
    found = {curve.line.detector: curve.line for curve in choice.curves(chart)}
    columns = [(line, lane) for line in found.values() if (lane := _lane(lanes, line.detector)) is not None]
    if not columns:
        return None
    begin, end = min(lane.first for lane in lanes), max(lane.first + len(lane.of) for lane in lanes)
    counts = not (lanes[0].unit == "face" and lanes[0].person is None)
    rows = []
    for number in range(begin, end):
        cells = tuple(
            _cell(lane, line.detector, line.threshold, number, counted=line.detector not in grey)
            for line, lane in columns
        )
        if any(cell.present for cell in cells):
            counted = _counted(lanes[0], number) if counts else ""
            rows.append(Row(_time(chart, number), counted, cells))
    heads = tuple(
        (
            named(titles.get(line.detector, line.title), grey=line.detector in grey),
            UNIT_NOUNS[line.unit],
            line.threshold,
        )
        for line, _ in columns
    )
    return Table(heads, tuple(rows), counts)


def _lane(lanes: list[Lane], detector: str) -> Lane | None:
    return next((lane for lane in lanes if detector in lane.values), None)


def _cell(lane: Lane, detector: str, threshold: float, number: int, *, counted: bool) -> Cell:
    place = number - lane.first
    if not 0 <= place < len(lane.of):
        return Cell("–", above=False, judged=0, present=0)
    values = lane.values[detector]
    median = values.median[place]
    above = counted and median is not None and median >= threshold
    return Cell(
        score(median, threshold=threshold), above=above, judged=values.judged[place], present=lane.present[place]
    )


def _counted(lane: Lane, number: int) -> str:
    place = number - lane.first
    judged = 0 <= place < len(lane.of) and lane.of[place]
    return _("{above} of {judged}", above=lane.above[place], judged=lane.of[place]) if judged else "–"


def _time(chart: Chart, number: int) -> str:
    begin = number * chart.record.cell_s
    return _("{begin} to {end}", begin=clock(begin), end=clock(begin + chart.record.cell_s))
