"""The curve of whom was chosen as one SVG: every detector against its own threshold.

Widths are shares, so that one picture fits a phone and a wide screen without its words being stretched. Owns the picture's words for
screen readers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from markupsafe import Markup

from frontend.charts.axis import Span, moments
from frontend.charts.chart import Chart, Curve
from frontend.charts.choice import Choice
from frontend.charts.columns import COLUMN, HIGH, WIDE, Drawn, drawn
from frontend.charts.svg import element, percent, stretched
from shared.curve_colours import MARKS, curve_colour, hexadecimal
from shared.languages import _, digits
from shared.rounding import score
from shared.words import clock_time

#: Pixels: where the plot begins, its height, and the height of all.
_TOP: Final = 10
_PLOT: Final = 220
HEIGHT: Final = 258
#: Beyond the ends of the scale, in its thousandths, so that a line at 0 or 1 is drawn whole.
_EDGE: Final = 20
#: More cuts than this are no information.
_MOST_CUTS: Final = 150
#: Whole pictures up to this many carry the detector's mark.
_MOST_MARKS: Final = 60
#: Labels of thresholds nearer than this, in pixels, would lie on each other.
_APART: Final = 13
#: Numbers in a path beyond which its line is drawn finer, so that several can be seen.
_DENSE: Final = 500

_SHAPES: Final[Mapping[str, Markup]] = {
    "o": element("circle", r=4),
    "s": element("rect", x=-3.6, y=-3.6, width=7.2, height=7.2),
    "^": element("path", d="M0-4.8 4.6 3.6h-9.2z"),
    "D": element("path", d="M0-5.2 5.2 0 0 5.2-5.2 0z"),
    "v": element("path", d="M0 4.8 4.6-3.6h-9.2z"),
    "P": element("path", d="M-1.7-4.8h3.4v3.1h3.1v3.4h-3.1v3.1h-3.4v-3.1h-3.1v-3.4h3.1z"),
    "X": element(
        "path", d="M-4.6-2.4-2.4-4.6 0-2.2 2.4-4.6 4.6-2.4 2.2 0 4.6 2.4 2.4 4.6 0 2.2-2.4 4.6-4.6 2.4-2.2 0z"
    ),
}


def curve_svg(
    chart: Chart, choice: Choice, span: Span, *, titles: Mapping[str, str], grey: Collection[str] = ()
) -> Markup:
    """The picture. ``titles``: id of a detector -> its name; ``grey``: ids of those that are in no count."""
    curves = choice.curves(chart)
    return element(
        "svg",
        element("title", _("Fake score over time. {whose}", whose=choice.name(chart)), id="curve-title"),
        element("desc", description(chart, choice, span, titles=titles, grey=grey), id="curve-desc"),
        _definitions(),
        _ground(chart, span),
        *(_curve(curve, span, place=place, grey=grey) for place, curve in sorted(enumerate(curves), key=_marks_last)),
        _thresholds(curves, grey),
        _scale(),
        _time_axis(span),
        element("line", class_="playhead", x1=0, x2=0, y1=_TOP, y2=_TOP + _PLOT, visibility="hidden"),
        id="curve",
        class_="curve",
        width="100%",
        height=HEIGHT,
        role="img",
        aria_labelledby="curve-title curve-desc",
        data_begin=span.begin,
        data_end=span.end,
        data_wide=WIDE,
        data_high=HIGH,
        data_column=COLUMN,
    )


def _marks_last(numbered: tuple[int, Curve]) -> bool:
    """Single marks lie above lines, which would hide them."""
    return numbered[1].line.style == "dots"


def swatch(index: int, *, counted: bool = True) -> Markup:
    """A piece of the line with its mark, for the legend."""
    colour = hexadecimal(curve_colour(index, counted=counted))
    return element(
        "svg",
        element("path", d="M0 8h30", stroke=colour, stroke_width=2.5),
        element("g", _SHAPES[MARKS[index % len(MARKS)]], fill=colour, transform="translate(15 8)"),
        class_="swatch",
        width=30,
        height=16,
        viewBox="0 0 30 16",
        aria_hidden="true",
    )


def named(name: str, *, grey: bool) -> str:
    """The name of a detector, with the words that it is in no count."""
    return _("{name} (not counted)", name=name) if grey else name


def description(
    chart: Chart, choice: Choice, span: Span, *, titles: Mapping[str, str], grey: Collection[str] = ()
) -> str:
    """What the picture shows, in words: of each detector the range of its scores, and in how many cells it is above its threshold."""
    lanes = choice.lanes(chart)
    sentences = []
    for curve in choice.curves(chart):
        line = curve.line
        inside = (curve.t >= span.begin) & (curve.t <= span.end)
        name = named(titles.get(line.detector, line.title), grey=line.detector in grey)
        if not inside.any():
            sentences.append(_("{name}: no score here.", name=name))
            continue
        t, y = curve.t[inside], curve.y[inside]
        told = {
            "name": name,
            "low": score(float(y.min()), threshold=line.threshold),
            "high": score(float(y.max()), threshold=line.threshold),
            "when": clock_time(float(t[int(y.argmax())])),
            "threshold": digits(line.threshold, ".2f"),
        }
        lane = next((one for one in lanes if line.detector in one.values), None)
        if lane and span.begin == 0 and span.end >= chart.record.duration_s:
            medians = [median for median in lane.values[line.detector].median if median is not None]
            sentences.append(
                _(
                    "{name}: from {low} to {high}, highest at {when}; its threshold is {threshold}, which the middle score reaches in "
                    "{above} of the {judged} cells of time that it judged.",
                    above=sum(median >= line.threshold for median in medians),
                    judged=len(medians),
                    **told,
                )
            )
        else:
            sentences.append(
                _("{name}: from {low} to {high}, highest at {when}; its threshold is {threshold}.", **told)
            )
    return " ".join(sentences) or _("Nothing was scored.")


# --------------------------------------------------------------------------- parts


def _y(value: float) -> float:
    """Pixels from the top of a fake score."""
    return round(_TOP + _PLOT * (1 - value), 2)


def _plot(*children: Markup) -> Markup:
    """What is drawn in units of ``columns``."""
    edge = _PLOT * _EDGE / HIGH
    return stretched(
        *children,
        view_box=f"0 {-_EDGE} {WIDE} {HIGH + 2 * _EDGE}",
        y=_TOP - edge,
        width="100%",
        height=_PLOT + 2 * edge,
    )


def _definitions() -> Markup:
    shapes = list(enumerate(_SHAPES.values()))
    usual = [element("g", shape, id=f"mark-{place}") for place, shape in shapes]
    return element(
        "defs", *usual, *(element("g", shape, id=f"big-{place}", transform="scale(1.5)") for place, shape in shapes)
    )


def _ground(chart: Chart, span: Span) -> Markup:
    """Lines of the scale, damaged parts, cuts."""
    parts = [
        element("line", class_="grid", x1=0, x2="100%", y1=_y(value), y2=_y(value)) for value in (0, 0.25, 0.5, 0.75, 1)
    ]
    for begin, end in chart.record.damaged:
        if begin <= span.end and end >= span.begin:
            left, right = max(0.0, span.share(begin)), min(1.0, span.share(end))
            parts.append(
                element(
                    "rect", element("title", _("damaged: not judged")), class_="damaged", x=percent(left), y=_TOP,
                    width=percent(max(right - left, 0.002)), height=_PLOT,
                )
            )  # fmt: skip
    cuts = [cut for cut in chart.record.cuts if span.holds(cut)]
    for cut in cuts if len(cuts) <= _MOST_CUTS else ():
        where = percent(span.share(cut))
        parts.append(element("line", class_="cut", x1=where, x2=where, y1=_TOP, y2=_TOP + _PLOT))
    return element("g", *parts)


def _thresholds(curves: Sequence[Curve], grey: Collection[str]) -> Markup:
    """A dashed line for each value: grey where detectors share it, else in the colour of its detector."""
    values = sorted({curve.line.threshold for curve in curves})
    parts = []
    last = 1e9
    for value in values:
        owners = {curve.line.detector: curve.line.colour for curve in curves if curve.line.threshold == value}
        own = len(owners) == 1 < len(values)
        name, colour = next(iter(owners.items()))
        y = _y(value)
        ink = hexadecimal(curve_colour(colour, counted=name not in grey))
        drawn_line = element(
            "line", class_="threshold", x1=0, x2="100%", y1=y, y2=y, stroke=ink if own else None
        )  # fmt: skip
        words = ""
        if last - y >= _APART:
            last = y
            words = element("text", digits(value, ".2f"), class_="label", x="100%", dx=-4, y=y - 3, text_anchor="end")
        parts.append(element("g", drawn_line, words, data_detector=name if own else None))
    return element("g", *parts)


def _curve(curve: Curve, span: Span, *, place: int, grey: Collection[str]) -> Markup:
    line, made = curve.line, drawn(curve, span, place=place)
    counted = line.detector not in grey
    colour = hexadecimal(curve_colour(line.colour, counted=counted))
    return element(
        "g",
        _plot(
            element(
                "path", class_="line dense" if made.path.count(" ") > _DENSE else "line", d=made.path, stroke=colour
            )
            if made.path
            else Markup(""),
            element("path", class_="points", d=made.points, stroke=colour) if made.points else Markup(""),
        ),
        *_marks(curve, made, span),
        class_=f"of-{line.style}",
        fill=colour,
        data_detector=line.detector,
        data_title=named(line.title, grey=not counted),
        data_counted=None if counted else "no",
        data_unit=line.unit,
        data_threshold=line.threshold,
    )


def _marks(curve: Curve, made: Drawn, span: Span) -> list[Markup]:
    """The detector's mark at some of its points; at all whole pictures while they are few."""
    dots = curve.line.style == "dots"
    link = f"#{'big' if dots else 'mark'}-{curve.line.colour % len(MARKS)}"
    spots = made.spots.tolist()
    if dots:
        inside = (curve.t >= span.begin) & (curve.t <= span.end)
        if inside.sum() <= _MOST_MARKS:
            spots = [
                (span.share(float(t)), 1 - float(y)) for t, y in zip(curve.t[inside], curve.y[inside], strict=True)
            ]
    return [element("use", href=link, x=percent(x), y=round(_TOP + _PLOT * y, 1)) for x, y in spots]


def _scale() -> Markup:
    """Numbers and honest words at the left, above everything."""
    parts = [element("text", digits(value, "g"), class_="label", x=4, y=_y(value) - 3) for value in (0.25, 0.5, 0.75)]
    parts.append(element("text", "1  " + _("most like manipulated"), class_="label", x=4, y=_y(1) + 12))
    parts.append(element("text", "0  " + _("most like real material"), class_="label", x=4, y=_y(0) - 4))
    return element("g", *parts)


def _time_axis(span: Span) -> Markup:
    parts = []
    for share, words in moments(span, y=_TOP + _PLOT + 19):
        parts.append(words)
        parts.append(
            element("line", class_="tick", x1=percent(share), x2=percent(share), y1=_TOP + _PLOT, y2=_TOP + _PLOT + 5)
        )
    return element("g", *parts)
