"""Colours of the report that say how many detectors are above their thresholds, safe for colour-blind readers; those of curves are
``shared.curve_colours``.

Owns every colour that means something. May be imported by ``backend.report`` only; the renderer gets colours in its plan.
"""

from __future__ import annotations

from typing import Final

from shared.curve_colours import RGB, turn
from shared.results import DetectorResult
from shared.statement import left_out

#: what no detector scored, or none that counts
UNSCORED: Final[RGB] = (158, 158, 158)

#: How many detectors are at or above their own thresholds at one face and time: nobody to count, none, one, two, three or more
#: (ColorBrewer RdYlBu, marked colour-blind safe). The number is always written beside it.
LEVELS: Final[tuple[RGB, ...]] = (UNSCORED, (44, 123, 182), (253, 174, 97), (244, 109, 67), (215, 25, 28))

#: bars of single scores, as on the page: at or above the threshold, and below it
_ABOVE: Final[RGB] = (184, 61, 10)
_BELOW: Final[RGB] = (21, 104, 168)

#: matplotlib's line the first, second and third time through the list of colours
_LINES: Final = ("-", "--", ":")


def side_colour(detector: DetectorResult, fake_score: float) -> RGB:
    """Colour of a bar by the side of the detector's threshold; grey where a low score only means that no trace was found,
    for a detector that is in no count, and for one whose finding is inconclusive: a red bar is read as a finding."""
    if left_out(detector) or (detector.finding and detector.finding.points == "inconclusive"):
        return UNSCORED
    if fake_score >= detector.threshold:
        return _ABOVE
    return UNSCORED if detector.hard_label == "no_trace" else _BELOW


def curve_style(index: int) -> str:
    """Line of curve ``index`` for matplotlib: solid, dashed, dotted, changing with the turn of the list."""
    return _LINES[turn(index) % len(_LINES)]
