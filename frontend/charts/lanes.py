"""The timeline: a lane for each person, for whole pictures and for the voice, and the shots as a ribbon.

Owns which lanes are shown, in which order, and the look of a cell: the height of its bar says how many detectors are above their own
thresholds, a number is written where it has room, and hatching shows where nobody judged; colour only repeats it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from frontend.charts.axis import Span, clock, moments
from frontend.charts.chart import Chart
from frontend.charts.choice import Choice
from frontend.charts.svg import element, percent, stretched
from frontend.charts.wave import wave_svg
from shared.curves import Lane, ShotCell
from shared.languages import _, ngettext
from shared.person_words import standings
from shared.results import Result
from shared.statement import left_out
from shared.stretch_words import Span as Joint
from shared.stretch_words import spans_of

#: Lanes that are open, and all that are shown: beyond, a person is chosen below the curve.
OPEN_LANES: Final = 6
MOST_LANES: Final = 24
#: Pixels: of the cells, and of the line of stretches below them.
_CELLS: Final = 26
_ALL: Final = 38
#: A number needs this share of the width.
_ROOM: Final = 0.03
#: Bars by the number of detectors above: none, one, two, three or more; in tenths of the height.
_BARS: Final = (1, 4, 7, 10)


@dataclass(frozen=True)
class LaneView:
    """One lane as the page shows it. ``counts``: 'above,of' of each cell for the script, '' where nobody judged."""

    key: str
    name: str
    words: str
    svg: Markup
    counts: str


def lane_views(chart: Chart, result: Result) -> list[LaneView]:
    """All lanes that are shown: persons and the voice in the order of the page's list, worst first, then whole pictures."""
    told = [
        lane for lane in chart.record.lanes if lane.unit == "sound" or (lane.unit == "face" and lane.person is not None)
    ]
    order = {one.person: place for place, one in enumerate(standings(result))}
    told.sort(key=lambda lane: (order.get(lane.person, len(order)), -max(lane.above, default=0), lane.person or 0))
    others = [lane for lane in chart.record.lanes if lane.unit not in ("face", "sound")]
    return [_view(chart, lane, result) for lane in (told + others)[:MOST_LANES]]


def _view(chart: Chart, lane: Lane, result: Result) -> LaneView:
    choice = Choice(person=lane.person) if lane.unit == "face" else Choice(lane.unit)
    count = _count(chart)
    told = [("", 0)] * count
    for place, (above, of) in enumerate(zip(lane.above, lane.of, strict=True)):
        if of and lane.first + place < count:
            told[lane.first + place] = (f"{above},{of}", above)
    words = _summary(chart, lane)
    joint = [span for span in spans_of(result) if (lane.unit, span.person) in (("face", lane.person), ("sound", None))]
    joint = [span for span in joint if (span.person is None) == (lane.unit == "sound")]
    return LaneView(
        key=choice.key,
        name=choice.name(chart),
        words=words,
        svg=_lane_svg(chart, lane, told, joint, result, name=f"{choice.name(chart)}: {words}"),
        counts=" ".join(text or "-" for text, __ in told),
    )


def _count(chart: Chart) -> int:
    """How many cells the whole time has."""
    return max(1, -(-round(chart.record.duration_s * 1000) // round(chart.record.cell_s * 1000)))


def _summary(chart: Chart, lane: Lane) -> str:
    """The main thing in words."""
    judged = [place for place, of in enumerate(lane.of) if of]
    if not judged:
        return _("judged by no detector that counts")
    best = max(lane.above)
    if not best:
        return _("in no cell is a detector above its threshold")
    place = lane.above.index(best)
    begin = (lane.first + place) * chart.record.cell_s
    length = next((n for n, above in enumerate(lane.above[place:]) if above != best), len(lane.above) - place)
    end = min(begin + length * chart.record.cell_s, chart.record.duration_s)
    return ngettext(
        "at most {above} of {n} detector above, first {begin} to {end}",
        "at most {above} of {n} detectors above, first {begin} to {end}",
        lane.of[place],
        above=best,
        begin=clock(begin, step=chart.record.cell_s),  # no finer than the cells
        end=clock(end, step=chart.record.cell_s),
    )


def _lane_svg(
    chart: Chart, lane: Lane, told: Sequence[tuple[str, int]], joint: Sequence[Joint], result: Result, *, name: str
) -> Markup:
    whole = Span(0.0, max(chart.record.duration_s, 1e-3))
    clip_with_voice = lane.unit == "sound" and result.media.kind == "video"  # a sound file has its form above the lanes
    return element(
        "svg",
        element("title", name),
        element("rect", width="100%", height=_CELLS, fill="url(#not-judged)"),
        _bars(told, cells=whole.length / chart.record.cell_s),
        wave_svg(chart.record.wave, whole, height=_CELLS) if clip_with_voice else Markup(""),
        *_numbers(told, wide=chart.record.cell_s / whole.length),
        _stretches(lane, joint, result, whole),
        element("line", class_="playhead", x1=0, x2=0, y1=0, y2=_ALL, visibility="hidden"),
        class_="cells",
        width="100%",
        height=_ALL,
        role="img",
    )


def _groups(told: Sequence[tuple[str, int]]) -> Iterator[tuple[int, int, str, int]]:
    """(first cell, cells, 'above,of', above) of each run of equal cells that were judged."""
    place = 0
    for (text, above), group in itertools.groupby(told):
        size = len(list(group))
        if text:
            yield place, size, text, above
        place += size


def _bars(told: Sequence[tuple[str, int]], *, cells: float) -> Markup:
    """The bars; ``cells``: how many make the whole width, the last one may be cut."""
    ground: list[str] = []
    levels: dict[int, list[str]] = {level: [] for level in range(len(_BARS))}
    for place, size, __, above in _groups(told):
        level = min(above, len(_BARS) - 1)
        bar = _BARS[level]
        ground.append(f"M{place} 0h{size}v10h-{size}z")
        levels[level].append(f"M{place} {10 - bar}h{size}v{bar}h-{size}z")
    return stretched(
        element("path", class_="judged", d="".join(ground)),
        *(element("path", class_=f"above-{level}", d="".join(paths)) for level, paths in levels.items() if paths),
        view_box=f"0 0 {round(cells, 4):g} 10",
        width="100%",
        height=_CELLS,
    )


def _numbers(told: Sequence[tuple[str, int]], *, wide: float) -> Iterator[Markup]:
    """'2/3' in the middle of each run that has room; ``wide``: share of a cell of the width."""
    for place, size, text, above in _groups(told):
        shown = min(size * wide, 1 - place * wide)
        if above and shown >= _ROOM:
            middle = percent(place * wide + shown / 2)
            yield element("text", text.replace(",", "/"), class_="count", x=middle, y=17, text_anchor="middle")


def _stretches(lane: Lane, joint: Sequence[Joint], result: Result, whole: Span) -> Markup:
    """A thick bar for each joint stretch, a thin one where one detector that counts stays above its threshold alone."""
    own = sorted(
        (one.start_s, one.end_s)
        for item in result.detectors
        if not left_out(item)
        for one in item.stretches
        if one.side == "fake" and item.unit == lane.unit and one.person == lane.person
    )
    merged: list[list[float]] = []
    for start, end in own:
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    parts = [_bar(whole, start, end, y=_CELLS + 8, height=2, name="alone") for start, end in merged]
    parts += [
        _bar(
            whole, span.start_s, span.end_s, y=_CELLS + 3, height=5, name="joint" if span.families > 1 else "joint one"
        )
        for span in joint
    ]
    return element("g", *parts)


def _bar(whole: Span, start: float, end: float, *, y: int, height: int, name: str) -> Markup:
    left, right = max(0.0, whole.share(start)), min(1.0, whole.share(end))
    return element("rect", class_=name, x=percent(left), y=y, width=percent(max(right - left, 0.002)), height=height)


# --------------------------------------------------------------------------- shots and time


@dataclass(frozen=True)
class Ribbon:
    """The shots. ``worst``: numbers of those with the most detectors above, none where no detector is; ``data``: for the script."""

    svg: Markup
    worst: tuple[int, ...]
    words: str
    data: str


def ribbon(chart: Chart) -> Ribbon | None:
    """The shots as a ribbon, None where there is one only."""
    shots = chart.record.shots
    if len(shots) < 2:
        return None
    whole = Span(0.0, max(chart.record.duration_s, 1e-3))
    most = max(shot.above for shot in shots)
    worst = tuple(shot.shot for shot in shots if shot.above == most) if most else ()
    pieces = [(shot, shot.start_s, _end(shots, place, whole)) for place, shot in enumerate(shots)]
    worst_name = f"worst above-{min(most, len(_BARS) - 1)}"
    paths = {"even": [], "odd": [], worst_name: []}  # type: dict[str, list[str]]
    numbers = []
    for place, (shot, start, end) in enumerate(pieces):
        kind = worst_name if shot.shot in worst and len(worst) < len(shots) else ("even", "odd")[place % 2]
        paths[kind].append(f"M{start:g} 0h{end - start:.3f}v1h{start - end:.3f}z")
        if (end - start) / whole.length >= _ROOM:
            mark = "▲ " if kind == worst_name else ""
            middle = percent(whole.share((start + end) / 2))
            numbers.append(
                element("text", f"{mark}{shot.shot + 1}", class_="count", x=middle, y=17, text_anchor="middle")
            )
    words = _shots_words(shots, worst, most)
    svg = element(
        "svg",
        element("title", words),
        stretched(
            *(element("path", class_=f"shot-{kind}", d="".join(d)) for kind, d in paths.items() if d),
            view_box=f"0 0 {whole.length:g} 1",
            width="100%",
            height=_CELLS,
        ),
        *numbers,
        element("line", class_="playhead", x1=0, x2=0, y1=0, y2=_CELLS, visibility="hidden"),
        class_="cells",
        width="100%",
        height=_CELLS,
        role="img",
    )
    data = " ".join(f"{shot.shot},{start:g},{end:g},{shot.above},{shot.of}" for shot, start, end in pieces)
    return Ribbon(svg, worst, words, data)


def _end(shots: Sequence[ShotCell], place: int, whole: Span) -> float:
    return shots[place + 1].start_s if place + 1 < len(shots) else whole.end


def _shots_words(shots: Sequence[ShotCell], worst: Sequence[int], most: int) -> str:
    shown = {"count": len(shots)}
    if not most:
        return _("{count} shots; in none is a detector above its threshold", **shown)
    if len(worst) == len(shots):
        return ngettext(
            "{count} shots, each with at most {n} detector above for one person",
            "{count} shots, each with at most {n} detectors above for one person",
            most,
            **shown,
        )
    names = ", ".join(str(number + 1) for number in worst[:5]) + (" …" if len(worst) > 5 else "")
    return ngettext(
        "{count} shots; the most detectors above for one person: {most}, in shot {names}",
        "{count} shots; the most detectors above for one person: {most}, in shots {names}",
        len(worst),
        most=most,
        names=names,
        **shown,
    )


def ruler(chart: Chart) -> Markup:
    """The time under the lanes."""
    whole = Span(0.0, max(chart.record.duration_s, 1e-3))
    words = [words for _share, words in moments(whole, y=13)]
    return element("svg", *words, class_="ruler", width="100%", height=18, aria_hidden="true")
