"""``curves.json``: the curves of a result as the page's chart draws them, fake score over time by detector and person.

Owns the file's schema (docs/report.md) and the thinning of long clips: of each stretch the lowest and the highest point are kept, so
no peak is lost. ``series`` decides where a line breaks, for all pictures. May be imported by ``backend.report``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from backend.report.series import FaceTable, Series, damaged_stretches, detector_series, person_series, time_end
from base_detector import Array
from shared.results import DetectorResult, Result
from shared.rounding import for_drawing

CURVES_SCHEMA: Final = 1

#: Most points of one line; beyond, it is thinned. Twice the columns of a wide screen.
MOST_POINTS: Final = 4000

#: Persons with their own line; further ones count in the line of the highest face only.
MOST_PERSONS: Final = 8


def write_curves(result: Result, scored: Sequence[tuple[DetectorResult, Array]], out: Path) -> None:
    """Write ``curves.json`` of the detectors in ``scored``, each with its scores (units,), NaN = none."""
    out.write_text(json.dumps(_curves(result, scored), allow_nan=False), encoding="utf-8")


def _curves(result: Result, scored: Sequence[tuple[DetectorResult, Array]]) -> dict[str, Any]:
    table = FaceTable.of(result)
    persons = [item.person for item in result.persons][:MOST_PERSONS] if len(result.persons) > 1 else []
    lines = []
    for colour, (detector, scores) in enumerate(scored):
        series = detector_series(result, table, detector, scores, label=detector.title)
        lines.append(_line(detector, series, person=None, colour=colour))
        for person in persons if detector.unit == "face" else ():
            series = person_series(table, scores, person=person)
            if len(series):
                lines.append(_line(detector, series, person=person, colour=colour))
    return {
        "schema": CURVES_SCHEMA,
        "duration_s": time_end(result),
        "cuts": [shot.start_s for shot in result.shots[1:]],
        "damaged": [[start, end] for start, end in damaged_stretches(result)],
        "persons": persons,
        "lines": lines,
    }


def _line(detector: DetectorResult, series: Series, *, person: int | None, colour: int) -> dict[str, Any]:
    """One line; between two runs there is a point without time and score."""
    times: list[float | None] = []
    scores: list[float | None] = []
    for run in _thinned(series):
        if times:
            times.append(None)
            scores.append(None)
        times += [round(float(value), 3) for value in series.times[run]]
        scores += [for_drawing(float(value)) for value in series.scores[run]]
    return {
        "detector": detector.id,
        "title": detector.title,
        "person": person,
        "unit": detector.unit,
        "style": series.style,
        "colour": colour,
        "threshold": detector.threshold,
        "t": times,
        "y": scores,
    }


def _thinned(series: Series) -> Iterator[Array]:
    """The points of each run that are kept, as ascending indices."""
    width = 1 if len(series) <= MOST_POINTS else -(-len(series) // (MOST_POINTS // 2))
    for start, stop in series.runs:
        kept: set[int] = set()
        for first in range(start, stop, width):
            stretch = series.scores[first : min(first + width, stop)]
            kept |= {first + int(stretch.argmin()), first + int(stretch.argmax())}
        yield np.array(sorted(kept))
