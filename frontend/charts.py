"""Curves of a result as the page's chart draws them: fake score over time, by detector and person.

Promises: a line breaks where a cut is or scores are missing, so the chart never shows a score nobody computed; a long
clip is thinned by keeping the lowest and highest point of each stretch, so no peak is lost. For the front-end only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import Any, Final

from shared.results import DetectorResult, Result

#: Points of one line beyond which it is thinned: more than a wide screen has columns, twice.
MOST_POINTS: Final = 4000

#: A pause longer than this many usual steps between scored frames is a gap.
GAP_STEPS: Final = 2.5

#: Persons with a line of their own; further ones count in the line of the highest face only.
MOST_PERSONS: Final = 8

Point = tuple[float, float, int]


def chart(result: Result) -> dict[str, Any]:
    """The whole chart as JSON: ``lines`` (one a detector and person, ``person`` null = highest face of each frame)."""
    persons = [person.person for person in result.persons][:MOST_PERSONS]
    lines: list[dict[str, Any]] = []
    for index, detector in enumerate(result.detectors):
        if detector.status != "ok":
            continue
        choices: list[int | None] = [None, *persons] if len(persons) > 1 else [None]
        for person in choices:
            points = _points(result, detector, person=person)
            if points:
                lines.append(_line(detector, points, person=person, index=index))
    return {
        "duration_s": result.media.duration_s,
        "cuts": [shot.start_s for shot in result.shots[1:]],
        "persons": persons if len(persons) > 1 else [],
        "lines": lines,
    }


def _points(result: Result, detector: DetectorResult, *, person: int | None) -> list[Point]:
    """(time, score, shot) of the highest face of each frame, in order of time."""
    highest: dict[int, Point] = {}
    for row, score in zip(result.faces, detector.scores, strict=True):
        if score is None or (person is not None and row.person != person):
            continue
        before = highest.get(row.frame)
        if before is None or score > before[1]:
            highest[row.frame] = (row.time_s, score, row.shot)
    return [highest[frame] for frame in sorted(highest)]


def _line(detector: DetectorResult, points: list[Point], *, person: int | None, index: int) -> dict[str, Any]:
    steps = [after[0] - before[0] for before, after in pairwise(points)]
    pause = GAP_STEPS * median(steps) if steps else 0.0
    times: list[float | None] = []
    scores: list[float | None] = []
    before: Point | None = None
    for point in _thinned(points):
        if before and (point[2] != before[2] or (point[0] - before[0] > pause and len(points) <= MOST_POINTS)):
            times.append(None)
            scores.append(None)
        times.append(round(point[0], 3))
        scores.append(round(point[1], 4))
        before = point
    return {
        "detector": detector.id,
        "title": detector.title,
        "person": person,
        "colour": index,
        "threshold": detector.threshold,
        "t": times,
        "y": scores,
    }


def _thinned(points: Sequence[Point]) -> list[Point]:
    if len(points) <= MOST_POINTS:
        return list(points)
    width = -(-len(points) // (MOST_POINTS // 2))
    kept: list[Point] = []
    for start in range(0, len(points), width):
        stretch = points[start : start + width]
        pair = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept.extend(sorted(pair))
    return kept
