"""Scores over time: which points of a detector belong together on one line.

Owns the rule for gaps: a line breaks at a cut, where the clip is damaged, and where scores are missing for longer than the sampling
explains, so that no picture shows a score that was not computed. May be imported by ``backend.report``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from base_detector import Array
from shared.results import DetectorResult, Result

#: a pause longer than this many usual steps between frames with faces is a gap
_GAP_STEPS = 2.5


@dataclass(frozen=True)
class Series:
    """One curve: ``times`` (n,) seconds ascending, ``scores`` (n,) fake scores, ``runs`` (start, stop) index pairs."""

    label: str
    times: Array
    scores: Array
    runs: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True)
class FaceTable:
    """The faces of a result as columns, each (n,). ``piece``: shots, parted where the clip is damaged, numbered in order."""

    frame: Array
    time_s: Array
    piece: Array
    person: Array

    @classmethod
    def of(cls, result: Result) -> FaceTable:
        """Columns of ``result.faces``."""
        rows = result.faces
        times = np.array([row.time_s for row in rows], np.float64)
        torn = np.array([start for start, _ in damaged_stretches(result)])
        return cls(
            frame=np.array([row.frame for row in rows], np.int64),
            time_s=times,
            piece=np.array([row.shot for row in rows], np.int64) + np.searchsorted(torn, times, side="right"),
            person=np.array([row.person for row in rows], np.int64),
        )


def damaged_stretches(result: Result) -> list[tuple[float, float]]:
    """(start, end) in seconds of each part that is damaged and was not judged, ascending."""
    notes = [note for note in result.notes if note.code == "damaged"]
    return sorted(
        (note.start_s or 0.0, result.media.duration_s if note.end_s is None else note.end_s) for note in notes
    )


def score_array(detector: DetectorResult, *, faces: int) -> Array:
    """Scores of a detector as (faces,) float, NaN where it has none (all of them unless its status is ok)."""
    if detector.status != "ok" or not detector.scores:
        return np.full(faces, np.nan)
    if len(detector.scores) != faces:
        raise ValueError(f"{detector.id}: {len(detector.scores)} scores for {faces} faces: they must be parallel")
    return np.array([np.nan if score is None else score for score in detector.scores], np.float64)


def highest_series(table: FaceTable, scores: Array, *, label: str) -> Series:
    """The highest score among the faces of each frame."""
    return _series(table, scores, np.ones(len(scores), bool), label=label)


def person_series(table: FaceTable, scores: Array, *, person: int) -> Series:
    """The scores of one person (of its highest face where a frame shows two)."""
    return _series(table, scores, table.person == person, label=person_name(person))


def person_name(person: int) -> str:
    """A person's name on pictures and pages, counted from 1; a negative number is a face without a person."""
    return f"person {person + 1}" if person >= 0 else "unassigned face"


def persons_scored(table: FaceTable, scores: Array) -> list[int]:
    """Persons with at least one score, the most often scored first."""
    persons, counts = np.unique(table.person[~np.isnan(scores)], return_counts=True)
    return [int(persons[i]) for i in np.lexsort((persons, -counts))]


def usual_step(times: Sequence[float] | Array) -> float:
    """Usual distance in seconds between neighbours of ascending ``times``; 0 for fewer than two."""
    steps = np.diff(np.asarray(times, np.float64))
    return float(np.median(steps)) if len(steps) else 0.0


def _series(table: FaceTable, scores: Array, chosen: Array, *, label: str) -> Series:
    rows = np.flatnonzero(chosen & ~np.isnan(scores))
    rows = rows[np.argsort(table.frame[rows], kind="stable")]
    if not len(rows):
        return Series(label, np.zeros(0), np.zeros(0), ())
    starts = np.flatnonzero(np.r_[True, np.diff(table.frame[rows]) != 0])
    first = rows[starts]
    times, pieces = table.time_s[first], table.piece[first]
    highest = np.maximum.reduceat(scores[rows], starts)
    pause = _GAP_STEPS * usual_step(np.unique(table.time_s))  # of all faces: unscored ones in between are a gap
    breaks = np.flatnonzero((np.diff(times) > pause) | (np.diff(pieces) != 0)) + 1
    edges = [0, *(int(edge) for edge in breaks), len(times)]
    return Series(label, times, highest, tuple(itertools.pairwise(edges)))
