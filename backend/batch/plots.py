"""The plots of a batch's summary, drawn with matplotlib's Agg and put into the page as data addresses: it reads offline.

Promises: text is never parsed as mathematics; no pyplot, so that threads may draw. May be imported by ``backend.batch``.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from backend.report.pictures import FAINT, GREY, INK, drawable, titled_figure
from base_detector import Array
from shared.curve_colours import curve_colour, hexadecimal

_DPI: Final = 110
#: Bins of scores: .025 each.
_BINS: Final = 40
_SECONDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)


def histogram(scores: Array, *, title: str, threshold: float, colour: int) -> str:
    """How many files have which fake score (n,), with the detector's threshold."""
    figure, axes = _figure(title, high=2.4)
    axes.hist(scores, bins=np.linspace(0, 1, _BINS + 1).tolist(), color=hexadecimal(curve_colour(colour)), linewidth=0)
    axes.axvline(threshold, color=INK, linewidth=1, linestyle=(0, (5, 4)))
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0  real", "0.25", "0.5", "0.75", "1  fake"])
    axes.set_ylabel("files", color=GREY, fontsize=9)
    _whole(axes)
    return _saved(figure, left=0.6)


def outcomes(titles: Sequence[str], counts: Sequence[tuple[int, int, int]]) -> str:
    """For each detector how many files it scored, had no opinion on, and failed on."""
    figure, axes = _figure("What became of each file, by detector", wide=9.2, high=1.1 + 0.32 * len(titles))
    places = np.arange(len(titles))
    before = np.zeros(len(titles))
    looks = (("scored", "#1c5d99"), ("no opinion", "#adb5bd"), ("failed", "#b7791f"))
    for part, (words, colour) in enumerate(looks):
        values = np.array([count[part] for count in counts], float)
        axes.barh(places, values, left=before, color=colour, height=0.62, label=words)
        before += values
    axes.set_yticks(places, [drawable(title) for title in titles], parse_math=False)
    axes.set_ylim(len(titles) - 0.4, -0.6)
    axes.set_xlabel("files", color=GREY, fontsize=9)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=3,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        borderaxespad=0.2,
    )
    longest = max(len(drawable(title)) for title in titles)
    return _saved(figure, left=min(3.6, 0.4 + 0.085 * longest), bottom=0.5)


def durations(seconds: Array) -> str:
    """How many files were how long in work (n,), on a scale of powers of ten."""
    figure, axes = _figure("Seconds in work of a file", high=2.4)
    low, high = max(1e-3, float(seconds.min())), max(2e-3, float(seconds.max()))
    axes.hist(seconds, bins=np.geomspace(low * 0.99, high * 1.01, 30).tolist(), color="#5f666e", linewidth=0)
    axes.set_xscale("log")
    ticks = [tick for tick in _SECONDS if low / 1.5 <= tick <= high * 1.5]
    axes.set_xlim(min([low * 0.9, *ticks]), max([high * 1.1, *ticks]))
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    _whole(axes)
    axes.set_ylabel("files", color=GREY, fontsize=9)
    axes.set_xlabel("seconds", color=GREY, fontsize=9)
    return _saved(figure, left=0.6, bottom=0.5)


def _whole(axes: Axes) -> None:
    """Whole numbers of files only."""
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))


def _figure(title: str, *, wide: float = 4.5, high: float) -> tuple[Figure, Axes]:
    return titled_figure(title, wide=wide, high=high, dpi=_DPI, corner=(0.01, 0.08), sizes=(11, 8.5))


def _saved(figure: Figure, *, left: float, bottom: float = 0.34) -> str:
    """The figure as a data address; margins in inches."""
    wide, high = figure.get_size_inches()
    figure.subplots_adjust(left=left / wide, right=1 - 0.2 / wide, top=1 - 0.42 / high, bottom=bottom / high)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 6})
    return f"data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}"
