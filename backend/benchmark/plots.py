"""The plots of the report, as SVG without scripts: ROC, DET, reliability, robustness, scores.

Owns how they look. Promises: the same benchmark gives the same bytes. Matplotlib is imported on the first call. Imported by ``page``.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from scipy.stats import norm

from backend.benchmark.records import Change, Table

#: Okabe and Ito's colours, which people with colour-blindness tell apart; with a line style of its own each.
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7A7A7A")
_LINES: Final = ("-", "--", "-.", ":")
#: Ticks of the axes of a DET plot, as rates (Martin et al., "The DET curve in assessment of detection task performance", 1997).
_DET_TICKS: Final = (0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95)


def _style(number: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _LINES[number // len(_COLOURS) % len(_LINES)],
        "linewidth": 1.8,
    }


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def _svg(figure: Any) -> str:
    """The drawing as one SVG element, without date and with fixed names."""
    import matplotlib

    memory = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "benchmark", "svg.fonttype": "path"}):
        figure.savefig(memory, format="svg", metadata={"Date": None, "Creator": None})
    text = memory.getvalue().decode()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)


def roc(tables: Sequence[Table], titles: dict[str, str]) -> str:
    """False alarms against fakes found."""
    figure, axes = _figure(5.2, 4.6)
    for number, table in enumerate(tables):
        if table.roc:
            alarms, found = zip(*table.roc, strict=True)
            axes.plot(alarms, found, label=titles[table.detector], **_style(number))
    axes.plot([0, 1], [0, 1], color="#999", linewidth=0.8)
    axes.set(xlabel="reals flagged (false alarms)", ylabel="fakes found", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return _finished(figure, axes)


def det(tables: Sequence[Table], titles: dict[str, str]) -> str:
    """False alarms against fakes missed, on the scale of the normal distribution; a straight line is two normal scores."""
    figure, axes = _figure(5.2, 4.6)
    low, high = 0.005, 0.98
    for number, table in enumerate(tables):
        if table.roc:
            points = np.clip(np.array([(alarms, 1 - found) for alarms, found in table.roc]), 1.15 * low, high)
            axes.plot(*norm.ppf(points).T, label=titles[table.detector], **_style(number))
    places, names = norm.ppf(_DET_TICKS), [f"{100 * tick:g} %" for tick in _DET_TICKS]
    axes.set_xticks(places, names)
    axes.set_yticks(places, names)
    axes.axline((0, 0), slope=1, color="#999", linewidth=0.8)
    axes.set(
        xlim=norm.ppf((low, high)),
        ylim=norm.ppf((low, high)),
        xlabel="reals flagged (false alarms)",
        ylabel="fakes missed",
    )
    return _finished(figure, axes)


def reliability(tables: Sequence[Table], titles: dict[str, str]) -> str:
    """What share of the files with about a score is fake; larger dots are more files."""
    figure, axes = _figure(5.2, 4.6)
    for number, table in enumerate(tables):
        if table.reliability:
            stated, found = [one.stated for one in table.reliability], [one.found for one in table.reliability]
            most = max(one.items for one in table.reliability)
            sizes = [10 + 90 * one.items / most for one in table.reliability]
            style = _style(number)
            axes.plot(stated, found, **style | {"linewidth": 0.7, "alpha": 0.5})
            axes.scatter(stated, found, s=sizes, color=style["color"], zorder=3, label=titles[table.detector])
    axes.plot([0, 1], [0, 1], color="#999", linewidth=0.8)
    axes.set(xlabel="fake score (mean of the bin)", ylabel="share of fakes", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return _finished(figure, axes)


def robustness(
    conditions: Sequence[tuple[str, str]], changes: Sequence[Change], titles: dict[str, str], *, untouched: str
) -> str:
    """ROC-AUC in each condition (name, words), a line for each detector; the first point is the same files untouched, at their mean."""
    figure, axes = _figure(10.5, 4.4)
    for number, detector in enumerate(dict.fromkeys(change.detector for change in changes)):
        own = {change.condition: change for change in changes if change.detector == detector}
        known = [(place, own[name]) for place, (name, _) in enumerate(conditions, 1) if name in own]
        points = [(place, change.roc_auc) for place, change in known if change.roc_auc is not None]
        before = [change.roc_auc_untouched for _, change in known if change.roc_auc_untouched is not None]
        if not points:
            continue
        style = _style(number)
        axes.plot(*zip((0, np.mean(before)), *points, strict=True), marker="o", label=titles[detector], **style)
        _whiskers(axes, known, style["color"], shift=0.06 * number)
    axes.axhline(0.5, color="#999", linewidth=0.8)
    axes.set_xticks(
        range(len(conditions) + 1), [untouched, *(words for _, words in conditions)], rotation=35, ha="right"
    )
    axes.set(ylabel="ROC-AUC", ylim=(-0.02, 1.02))
    return _finished(figure, axes)


def _whiskers(axes: Any, known: Sequence[tuple[int, Change]], colour: str, *, shift: float) -> None:
    """The interval of the difference from untouched, at the point."""
    for place, change in known:
        gap = change.difference
        if change.roc_auc_untouched is not None and gap.low is not None and gap.high is not None:
            ends = (change.roc_auc_untouched + gap.low, change.roc_auc_untouched + gap.high)
            axes.plot((place + shift, place + shift), ends, color=colour, linewidth=1, alpha=0.6)


def _finished(figure: Any, axes: Any) -> str:
    axes.grid(True, color="#e3e3e3", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9)
    return _svg(figure)
