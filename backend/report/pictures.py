"""The still pictures of a report: scores over time and sorted scores, drawn with matplotlib's Agg.

Owns their look. Builds each figure from the object interface, without pyplot and its global state, so reports may be drawn in
threads. Text is never parsed as mathematics and holds no character that the font lacks. May be imported by ``backend.report``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from backend.report.palette import curve_style, side_colour
from backend.report.series import (
    MOST_BARS,
    FaceTable,
    Series,
    bar_label,
    damaged_stretches,
    detector_series,
    label_of,
    person_name,
    person_series,
    persons_scored,
    time_end,
)
from backend.scores.aggregate import integrity_curve
from base_detector import Array
from shared.curve_colours import curve_colour, curve_mark, hexadecimal
from shared.results import DetectorResult, Result
from shared.rounding import score
from shared.statement import left_out
from shared.words import UNIT_NOUNS, counted, titles

#: text, secondary text, and lines of a grid
INK, GREY, FAINT = "#212529", "#5f666e", "#dee2e6"
_DPI = 130
#: more persons than this make a tangle; scores.csv has all
_MOST_PERSONS = 10
_LEGEND_COLUMNS = 4
#: marks on a line, so that colour is not all that tells it from others
_MARKS_A_LINE = 9


def draw_curves(result: Result, detector: DetectorResult, scores: Array, out: Path, *, colour: int = 0) -> None:
    """One detector: its curve over time, for faces one line per person (a still: one bar per face), with its threshold.

    ``scores`` (units,), NaN = none.

    ``colour`` is the detector's place among the curves of all detectors; several persons have their own colours.
    """
    table = FaceTable.of(result)
    if result.media.kind == "image":
        rows = [(name, score, detector) for name, score in zip(_names(table, detector, scores), scores, strict=True)]
        _draw_bars(rows, detector, out)
        return
    if detector.unit != "face":
        _draw_curve(result, table, detector, scores, out, colour=colour)
        return
    persons = persons_scored(table, scores)
    shown = sorted(persons[:_MOST_PERSONS])
    series = [person_series(table, scores, person=person) for person in shown]
    figure, axes = _figure(f"{detector.title}: fake score over time", high=3.1)
    _draw_series(
        axes,
        series,
        result,
        colours=[colour] if len(series) == 1 else range(len(series)),
        grey=[left_out(detector)] * len(series),
    )
    _draw_thresholds(axes, [detector.threshold])
    fewer = len(persons) > len(shown)
    note = _in_no_count(detector)
    note += f"The {len(shown)} persons seen most often of {len(persons)}; scores.csv has all." if fewer else ""
    _save(figure, out, note=note, curves=len(series))


def _names(table: FaceTable, detector: DetectorResult, scores: Array) -> list[str]:
    """What each score of a still is about."""
    if detector.unit == "face":
        return [person_name(int(person)) for person in table.person]
    return ["whole picture"] * len(scores)


def _draw_curve(
    result: Result, table: FaceTable, detector: DetectorResult, scores: Array, out: Path, *, colour: int
) -> None:
    """One detector of whole pictures or of sound."""
    figure, axes = _figure(f"{detector.title}: fake score over time", high=3.1)
    one = detector_series(result, table, detector, scores, label=detector.title)
    _draw_series(axes, [one], result, colours=[colour], grey=[left_out(detector)])
    _draw_thresholds(axes, [detector.threshold])
    judged = counted(int((~np.isnan(scores)).sum()), UNIT_NOUNS[detector.unit])
    words = {"picture": f"A dot for each of {judged}; nothing was judged between them.", "sound": f"From {judged}."}
    _save(figure, out, note=_in_no_count(detector) + words[detector.unit])


def draw_all_curves(result: Result, scored: Sequence[tuple[DetectorResult, Array]], out: Path) -> None:
    """Several detectors in one plot: the highest face of each frame (a still: a bar for each detector and face)."""
    table = FaceTable.of(result)
    if result.media.kind == "image":
        rows = [
            (bar_label(item, table, place), float(scores[place]), item)
            for item, scores in scored
            for place in range(len(scores))
        ]
        _draw_bars(rows, None, out)
        return
    figure, axes = _figure("Fake score over time, all detectors", high=3.9 + 0.22 * (len(scored) // _LEGEND_COLUMNS))
    names = titles(result)
    series = [detector_series(result, table, item, scores, label=label_of(item, names)) for item, scores in scored]
    _draw_series(axes, series, result, colours=range(len(series)), grey=[left_out(item) for item, _ in scored])
    _draw_thresholds(axes, [item.threshold for item, _ in scored])
    _save(figure, out, note=_note(table, series), curves=len(series))


def _note(table: FaceTable, series: Sequence[Series]) -> str:
    """How to read the lines of several detectors."""
    styles = {one.style for one in series}
    notes = ["Highest face of each frame."] if table.several and "line" in styles else []
    notes += ["Dots: whole pictures."] if "dots" in styles else []
    notes += ["Steps: pieces of sound."] if "steps" in styles else []
    return " ".join(notes)


def draw_sorted(detector: DetectorResult, scores: Array, out: Path, *, colour: int = 0) -> None:
    """Integrity scores in descending order over a unit axis; the area under them is the report's AUC (Li et al., 2021)."""
    curve = integrity_curve(scores)
    figure, axes = _figure(f"{detector.title}: integrity scores, sorted", wide=6.4)
    edges = np.linspace(0.0, 1.0, len(curve) + 1)
    ink = hexadecimal(curve_colour(colour, counted=not left_out(detector)))
    axes.fill_between(edges, np.r_[curve, curve[-1]], step="post", color=ink, alpha=0.14, linewidth=0)
    axes.step(edges, np.r_[curve, curve[-1]], where="post", color=ink, linewidth=1.8)
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"share of the scores of {counted(len(curve), UNIT_NOUNS[detector.unit])}", color=GREY)
    axes.set_ylabel("integrity score = 1 - fake score", color=GREY)
    _words(axes, top="most like real material", bottom="most like manipulated")
    if detector.auc is not None:
        axes.text(
            0.03, 0.13, f"area under the curve (AUC): {detector.auc:.3f}", transform=axes.transAxes, fontsize=11,
            fontweight="bold", color=INK, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 4},
        )  # fmt: skip
    note = "Equals the mean integrity score. It is not a ROC-AUC: the truth is not known."
    _save(figure, out, note=note, left=1.0, right=0.25, bottom=0.6)


# --------------------------------------------------------------------------- parts


def titled_figure(
    title: str, *, wide: float, high: float, dpi: int, corner: tuple[float, float], sizes: tuple[float, float]
) -> tuple[Figure, Axes]:
    """A white figure of ``wide`` by ``high`` inches with its title, and axes with horizontal lines and no frame but the bottom.

    ``corner``: of the title, share of the width from the left and inches from the top; ``sizes``: of title and tick labels, points.
    """
    figure = Figure(figsize=(wide, high), dpi=dpi, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    left, top = corner
    heading = figure.suptitle(
        drawable(title), x=left, y=1 - top / high, ha="left", va="top", fontsize=sizes[0], fontweight="bold", color=INK
    )
    heading.set_parse_math(False)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=GREY, length=0, labelsize=sizes[1])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    return figure, axes


def _figure(title: str, *, wide: float = 9.0, high: float = 3.9) -> tuple[Figure, Axes]:
    figure, axes = titled_figure(title, wide=wide, high=high, dpi=_DPI, corner=(0.008, 0.09), sizes=(13, 9))
    axes.set_ylim(-0.02, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    return figure, axes


def _words(axes: Axes, *, top: str, bottom: str) -> None:
    """The words at the ends of the scale, inside the plot: beside the numbers is no room for honest ones."""
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    for y, words, side in ((1.0, top, "top"), (0.0, bottom, "bottom")):
        axes.text(
            0.006, y, words, transform=axes.get_yaxis_transform(), ha="left", va=side, fontsize=8.5, color=GREY, zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.5},
        )  # fmt: skip


def _in_no_count(detector: DetectorResult) -> str:
    """What is said below a curve of a detector that is in no count; empty for all others."""
    return "Grey: in no count. " if left_out(detector) else ""


def _draw_series(
    axes: Axes, series: Sequence[Series], result: Result, *, colours: Sequence[int], grey: Sequence[bool]
) -> None:
    """Lines in the colour and with the mark of each place in ``colours``, or ``grey``; a score between two gaps is its mark alone."""
    for index, one, is_grey in zip(colours, series, grey, strict=True):
        dots, mark = one.style == "dots", curve_mark(index)
        look: dict[str, Any] = {
            "color": hexadecimal(curve_colour(index, counted=not is_grey)),
            "linewidth": 2.6 if one.style == "steps" else 1.8,
            "linestyle": "" if dots else "-." if one.style == "steps" else curve_style(index),
            "solid_joinstyle": "round",
            "markersize": 5 if dots else 4.5,
        }
        axes.plot([], [], label=drawable(one.label), marker=mark, **look)
        every = max(1, len(one) // _MARKS_A_LINE)
        for start, stop in one.runs:
            some = None if dots or stop - start == 1 else (every // 2 + index * every // 7 % every, every)
            axes.plot(one.times[start:stop], one.scores[start:stop], marker=mark, markevery=some, **look)
    for begin, end in damaged_stretches(result):
        axes.axvspan(begin, end, color=FAINT, linewidth=0, zorder=0)
        axes.text((begin + end) / 2, -0.01, "damaged", ha="center", va="bottom", fontsize=8, color=GREY, clip_on=True)
    for shot in result.shots[1:]:
        axes.axvline(shot.start_s, ymax=0.03, color=GREY, linewidth=1)
    end = time_end(result)
    axes.set_xlim(0, max(end, 1e-3))
    ticks = _time_ticks(end)
    axes.set_xticks(ticks, [_clock(tick) for tick in ticks])
    _words(axes, top="most like manipulated", bottom="most like real material")
    if len(series) > 1:
        legend = axes.legend(
            loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=min(_LEGEND_COLUMNS, len(series)), frameon=False, fontsize=9,
            labelcolor=INK, borderaxespad=0.2, columnspacing=1.6, handlelength=1.6,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)


def _draw_thresholds(axes: Axes, values: Sequence[float]) -> None:
    """Dashed lines, their values at the right end; values too close to be told apart share one label."""
    groups: list[list[float]] = []
    for value in sorted(set(values)):
        axes.axhline(value, color=GREY, linewidth=1, linestyle=(0, (5, 4)))
        if groups and value - groups[-1][-1] < 0.12:
            groups[-1].append(value)
        else:
            groups.append([value])
    for group in groups:
        words = "threshold\n" + ", ".join(f"{value:.2f}" for value in group)
        axes.annotate(
            words, (1, float(np.mean(group))), xycoords=("axes fraction", "data"), xytext=(5, 0), textcoords="offset points",
            ha="left", va="center", fontsize=8.5, color=GREY, linespacing=1.1,
        )  # fmt: skip


def _draw_bars(rows: Sequence[tuple[str, float, DetectorResult]], detector: DetectorResult | None, out: Path) -> None:
    """Bars from 0 to 1, top to bottom; rows without a score are left out."""
    scored = [row for row in rows if not np.isnan(row[1])]
    shown = scored if len(scored) <= MOST_BARS else sorted(scored, key=lambda row: -row[1])[:MOST_BARS]
    title = f"{detector.title}: fake score" if detector else "Fake score, all detectors"
    figure, axes = _figure(title, high=1.5 + 0.34 * max(3, len(shown)))
    places = np.arange(len(shown))
    axes.barh(
        places,
        [row[1] for row in shown],
        color=[hexadecimal(side_colour(row[2], row[1])) for row in shown],
        height=0.62,
    )
    axes.set_yticks(places, [drawable(row[0]) for row in shown], parse_math=False)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xticks(
        [0, 0.25, 0.5, 0.75, 1], ["0\nmost like real material", "0.25", "0.5", "0.75", "1\nmost like manipulated"]
    )
    first, *_, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    for place, row in zip(places, shown, strict=True):
        inside = row[1] > 0.93
        axes.annotate(
            score(row[1], threshold=row[2].threshold), (row[1], float(place)), textcoords="offset points", va="center", fontsize=9,
            xytext=(-4 if inside else 4, 0), ha="right" if inside else "left", color="white" if inside else INK,
        )  # fmt: skip
    notes = []
    if detector:
        axes.axvline(detector.threshold, color=GREY, linewidth=1, linestyle=(0, (5, 4)))
        notes.append(f"Dashed: threshold {detector.threshold:.2f}.")
    if len(scored) > len(shown):
        notes.append(f"{len(shown)} of {len(scored)} scores, the highest ones; scores.csv has all.")
    longest = max((len(drawable(row[0])) for row in shown), default=0)
    _save(figure, out, note=" ".join(notes), left=min(3.6, 0.3 + 0.085 * longest), right=0.3, bottom=0.58)


def _save(
    figure: Figure,
    out: Path,
    *,
    note: str,
    curves: int = 1,
    left: float = 0.72,
    right: float = 0.95,
    bottom: float = 0.42,
) -> None:
    """Write the figure, margins in inches: matplotlib's own layout engine would draw everything twice."""
    wide, high = figure.get_size_inches()
    if note:
        figure.text(0.008, 0.06 / high, note, ha="left", va="bottom", fontsize=8.5, color=GREY)
        bottom += 0.22
    top = 0.5 + (0.22 * -(-curves // _LEGEND_COLUMNS) if curves > 1 else 0.0)
    figure.subplots_adjust(left=left / wide, right=1 - right / wide, top=1 - top / high, bottom=bottom / high)
    # no software version and no date: the same scores give the same bytes
    figure.savefig(out, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 3})


def _time_ticks(duration_s: float) -> list[float]:
    """Round seconds from 0 to the end, at most ten."""
    for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800):
        if duration_s < 10 * step:
            return [step * index for index in range(int(duration_s / step + 1e-6) + 1)]
    return [0.0, duration_s]


def _clock(seconds: float) -> str:
    tenths = round(seconds * 10)
    whole, rest = divmod(tenths, 10)
    minutes, left = divmod(whole, 60)
    tail = f".{rest}" if rest else ""
    if minutes >= 60:
        return f"{minutes // 60}:{minutes % 60:02d}:{left:02d}{tail}"
    return f"{minutes}:{left:02d}{tail}"


@lru_cache(maxsize=1)
def _characters() -> frozenset[int]:
    """Code points the font has; for others matplotlib warns and draws boxes."""
    charmap: dict[int, Any] = font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap()
    return frozenset(charmap)


def drawable(untrusted_words: str) -> str:
    """``untrusted_words`` on one line, at most 60 characters, with ``?`` for what the font lacks."""
    line = " ".join(untrusted_words.split())
    known = "".join(letter if ord(letter) in _characters() else "?" for letter in line)
    return known if len(known) <= 60 else known[:59] + "…"
