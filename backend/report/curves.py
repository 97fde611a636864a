"""Writes ``curves.json``: the curves of a result as the page draws them, by detector and person, with lanes, shots and wave form.

Owns the bounds of that file (its records are ``shared.curves``) and the thinning of long clips: of each stretch the lowest and the highest
point are kept, so no peak is lost. ``series`` decides where a line breaks, for all pictures. May be imported by ``backend.report``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from backend.report.cells import cell_length, lanes_of, shots_of
from backend.report.series import FaceTable, Series, damaged_stretches, detector_series, person_series, time_end
from base_detector import Array
from shared.curves import CURVES_VERSION, Curves, Line, Wave
from shared.results import DetectorResult, Result
from shared.rounding import for_drawing

#: Most points of one line; beyond, it is thinned. Twice the columns of a wide screen.
MOST_POINTS: Final = 4000

#: Most points of the lines of all persons together; beyond, the longest are thinned further.
MOST_OF_PERSONS: Final = 240_000

#: No line is thinned to fewer points than this.
_LEAST_POINTS: Final = 16


def write_curves(
    result: Result, scored: Sequence[tuple[DetectorResult, Array]], out: Path, *, wave: Wave | None = None
) -> None:
    """Write ``curves.json`` of the detectors in ``scored``, each with its scores (units,), NaN = none; ``wave``: the sound's form."""
    out.write_text(_curves(result, scored, wave).model_dump_json(by_alias=True), encoding="utf-8")


def _curves(result: Result, scored: Sequence[tuple[DetectorResult, Array]], wave: Wave | None) -> Curves:
    table = FaceTable.of(result)
    persons = [item.person for item in result.persons] if len(result.persons) > 1 else []
    of_persons = {
        (item.id, person): series
        for item, scores in scored
        if item.unit == "face"
        for person in persons
        if len(series := person_series(table, scores, person=person))
    }
    most = _fair_share([len(series) for series in of_persons.values()], MOST_OF_PERSONS)
    lines = []
    for colour, (detector, scores) in enumerate(scored):
        series = detector_series(result, table, detector, scores, label=detector.title)
        lines.append(_line(detector, series, person=None, colour=colour, most=MOST_POINTS))
        lines += [
            _line(detector, series, person=person, colour=colour, most=min(most, MOST_POINTS))
            for (name, person), series in of_persons.items()
            if name == detector.id
        ]
    end = time_end(result)
    cell_s = cell_length(end)
    return Curves(
        version=CURVES_VERSION,
        duration_s=end,
        cuts=[shot.start_s for shot in result.shots[1:]],
        damaged=damaged_stretches(result),
        persons=persons,
        lines=lines,
        cell_s=cell_s,
        lanes=tuple(lanes_of(result, scored, cell_s=cell_s)),
        shots=tuple(shots_of(result, scored)) if result.media.kind == "video" else (),
        wave=wave,
    )


def _fair_share(lengths: Sequence[int], room: int) -> int:
    """The most points a line may have so that lines of ``lengths`` fit into ``room``: short ones are whole."""
    left, low = len(lengths), 0
    for length in sorted(lengths):
        if length * left > room:
            return max(_LEAST_POINTS, room // left)
        room, left, low = room - length, left - 1, length
    return max(_LEAST_POINTS, low)


def _line(detector: DetectorResult, series: Series, *, person: int | None, colour: int, most: int) -> Line:
    """One line of about ``most`` points; between two runs there is a point without time and score."""
    times: list[float | None] = []
    scores: list[float | None] = []
    for run in _thinned(series, most):
        if times:
            times.append(None)
            scores.append(None)
        times += [round(float(value), 3) for value in series.times[run]]
        scores += [for_drawing(float(value)) for value in series.scores[run]]
    return Line(
        detector=detector.id,
        title=detector.title,
        person=person,
        unit=detector.unit,
        style=series.style,
        colour=colour,
        threshold=detector.threshold,
        t=times,
        y=scores,
    )


def _thinned(series: Series, most: int) -> Iterator[Array]:
    """The points of each run that are kept, as ascending indices."""
    width = 1 if len(series) <= most else -(-len(series) // (most // 2))
    for start, stop in series.runs:
        kept: set[int] = set()
        for first in range(start, stop, width):
            stretch = series.scores[first : min(first + width, stop)]
            kept |= {first + int(stretch.argmin()), first + int(stretch.argmax())}
        yield np.array(sorted(kept))
