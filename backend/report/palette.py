"""Colours of the report: one scale for fake scores, one list for curves, both safe for colour-blind readers.

Owns every colour that means something. May be imported by ``backend.report`` only; the renderer gets colours in its plan.
"""

from __future__ import annotations

import itertools
from typing import Final

from shared.results import DetectorResult

RGB = tuple[int, int, int]

#: fake score -> colour: blue = real, yellow = between, red = fake (ColorBrewer RdYlBu, marked colour-blind safe)
SCALE: Final[tuple[tuple[float, RGB], ...]] = (
    (0.0, (44, 123, 182)),
    (0.25, (171, 217, 233)),
    (0.5, (255, 255, 191)),
    (0.75, (253, 174, 97)),
    (1.0, (215, 25, 28)),
)

#: a face no detector scored
UNSCORED: Final[RGB] = (158, 158, 158)

#: bars of single scores, as on the page: at or above the threshold, and below it
_ABOVE: Final[RGB] = (184, 61, 10)
_BELOW: Final[RGB] = (21, 104, 168)

#: curves on white: Okabe and Ito's colours without yellow, then the darker ones of Paul Tol's "muted" scheme
CURVES: Final[tuple[RGB, ...]] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (51, 34, 136),
    (136, 34, 85),
    (153, 153, 51),
    (68, 68, 68),
)

#: the first, second and third time through the list: grey level it is mixed with, how much of that, matplotlib's line
_TURNS: Final = ((0, 0.0, "-"), (0, 0.45, "--"), (255, 0.45, ":"))


def score_colour(fake_score: float | None) -> RGB:
    """Colour of a fake score in [0, 1] on ``SCALE``; grey for None."""
    if fake_score is None:
        return UNSCORED
    for (low, first), (high, second) in itertools.pairwise(SCALE):
        if fake_score <= high:
            share = (fake_score - low) / (high - low)
            red, green, blue = (round(a + share * (b - a)) for a, b in zip(first, second, strict=True))
            return red, green, blue
    return SCALE[-1][1]


def side_colour(detector: DetectorResult, fake_score: float) -> RGB:
    """Colour of a bar by the side of the detector's threshold; grey where a low score only means that no trace was found."""
    if fake_score >= detector.threshold:
        return _ABOVE
    return UNSCORED if detector.hard_label == "no_trace" else _BELOW


def curve_colour(index: int) -> RGB:
    """Colour of curve ``index``: the list, then the list darker, then lighter; after thirty it repeats."""
    towards, share, _ = _turn(index)
    red, green, blue = (round(part + (towards - part) * share) for part in CURVES[index % len(CURVES)])
    return red, green, blue


def curve_style(index: int) -> str:
    """Line of curve ``index`` for matplotlib: solid, dashed, dotted, changing with the turn of the list."""
    return _turn(index)[2]


def _turn(index: int) -> tuple[int, float, str]:
    return _TURNS[index // len(CURVES) % len(_TURNS)]


def hexadecimal(colour: RGB) -> str:
    """``#rrggbb`` for matplotlib and CSS."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
