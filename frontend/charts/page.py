"""What the templates of timeline and curve are given. Their words are in the templates; the pictures come from the other modules."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from frontend.charts.axis import Span
from frontend.charts.chart import Chart, chart_of
from frontend.charts.choice import Choice, choices, part_of
from frontend.charts.curve import curve_svg, named, swatch
from frontend.charts.lanes import MOST_LANES, OPEN_LANES, LaneView, Ribbon, lane_views, ribbon, ruler
from frontend.charts.table import Table, table_of
from frontend.charts.wave import wave_svg
from frontend.reading import Reading
from shared.statement import uncounted
from shared.words import titles


@dataclass(frozen=True)
class Entry:
    """One detector of the legend; ``unit``: of what it judges."""

    detector: str
    title: str
    threshold: float
    swatch: Markup


@dataclass(frozen=True)
class CurveView:
    """The curve card: who can be chosen (key of the address, name) and who is, the picture, the legend, the table."""

    choice: Choice
    name: str
    choices: list[tuple[str, str]]
    span: Span
    whole: Span
    svg: Markup
    legend: list[Entry]
    table: Table | None
    cell_s: float
    styles: frozenset[str]
    #: whether a detector of it is in no count
    grey: bool

    @property
    def several(self) -> bool:
        """Whether there is more than one person."""
        return sum(key.isdigit() for key, _ in self.choices) > 1

    @property
    def zoomed(self) -> bool:
        """Whether a part of the time is shown."""
        return self.span != self.whole


@dataclass(frozen=True)
class TimelineView:
    """The timeline card. ``more``: lanes that are folded; ``left_out``: persons without a lane on the page."""

    lanes: list[LaneView]
    more: list[LaneView]
    left_out: int
    ribbon: Ribbon | None
    ruler: Markup
    wave: Markup
    cell_s: float
    duration_s: float


def curve_view(reading: Reading, untrusted_who: str | None, untrusted_part: str | None = None) -> CurveView | None:
    """The curve of a report for what an address asks for; None where there is nothing to draw."""
    chart = chart_of(reading)
    if chart is None or not chart.curves:
        return None
    choice, span = Choice.parse(untrusted_who, chart), part_of(chart, untrusted_part)
    names = titles(reading.result)
    curves, grey = choice.curves(chart), uncounted(reading.result)
    return CurveView(
        choice=choice,
        name=choice.name(chart),
        choices=[(one.key, one.name(chart)) for one in choices(chart)],
        span=span,
        whole=part_of(chart, None),
        svg=curve_svg(chart, choice, span, titles=names, grey=grey),
        legend=[
            Entry(
                line.detector,
                named(names.get(line.detector, line.title), grey=line.detector in grey),
                line.threshold,
                swatch(line.colour, counted=line.detector not in grey),
            )
            for line in (curve.line for curve in curves)
        ],
        table=table_of(chart, choice, titles=names, grey=grey),
        grey=any(curve.line.detector in grey for curve in curves),
        cell_s=chart.record.cell_s,
        styles=frozenset(curve.line.style for curve in curves),
    )


def timeline_view(reading: Reading) -> TimelineView | None:
    """The timeline of a report; None where it has no lanes (a still, an old report)."""
    chart = chart_of(reading)
    if chart is None or not chart.record.lanes:
        return None
    lanes = lane_views(chart, reading.result)
    sound = reading.result.media.kind == "sound"
    return TimelineView(
        lanes=lanes[:OPEN_LANES],
        more=lanes[OPEN_LANES:],
        left_out=_left_out(chart, lanes),
        ribbon=ribbon(chart),
        ruler=ruler(chart),
        wave=wave_svg(chart.record.wave, part_of(chart, None), height=120) if sound else Markup(""),
        cell_s=chart.record.cell_s,
        duration_s=chart.record.duration_s,
    )


def _left_out(chart: Chart, lanes: list[LaneView]) -> int:
    persons = len(chart.persons) or 1
    shown = sum(lane.key.isdigit() for lane in lanes)
    return max(0, persons - shown) if shown or len(lanes) >= MOST_LANES else 0
