"""Colours of the report: one list for curves, one for how many detectors are above their thresholds, both safe for colour-blind readers.

Owns every colour that means something. May be imported by ``backend.report`` only; the renderer gets colours in its plan.
"""

from __future__ import annotations

from typing import Final

from shared.results import DetectorResult
from shared.statement import left_out

RGB = tuple[int, int, int]

#: what no detector scored, or none that counts
UNSCORED: Final[RGB] = (158, 158, 158)

#: How many detectors are at or above their own thresholds at one face and time: nobody to count, none, one, two, three or more
#: (ColorBrewer RdYlBu, marked colour-blind safe). The number is always written beside it.
LEVELS: Final[tuple[RGB, ...]] = (UNSCORED, (44, 123, 182), (253, 174, 97), (244, 109, 67), (215, 25, 28))

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


def side_colour(detector: DetectorResult, fake_score: float) -> RGB:
    """Colour of a bar by the side of the detector's threshold; grey where a low score only means that no trace was found,
    for a detector that is in no count, and for one whose finding is inconclusive: a red bar is read as a finding."""
    if left_out(detector) or (detector.finding and detector.finding.points == "inconclusive"):
        return UNSCORED
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
