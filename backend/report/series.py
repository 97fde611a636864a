"""Scores over time: which points of a detector belong together on one line, and how a line of its unit looks.

Owns the rule for gaps: a line breaks at a cut, where the clip is damaged, and where scores are missing for longer than the sampling
explains, so that no picture shows a score that was not computed. Whole pictures are dots: nothing was judged between them. Windows of
sound are steps: each has the time that is nearer to its middle than to those of the windows that overlap it, so that two scores are never
shown for one moment; where no window was scored there is a gap. May be imported by ``backend.report``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from base_detector import Array
from shared.curves import Style
from shared.results import DetectorResult, Result, Unit
from shared.statement import left_out

STYLES: Final[dict[Unit, Style]] = {"face": "line", "picture": "dots", "sound": "steps"}

#: more bars than this make a still's picture too long
MOST_BARS: Final = 24
#: a pause longer than this many usual steps between frames with faces is a gap
_GAP_STEPS = 2.5
#: seconds between the ends of two windows of sound that still touch: their times are rounded to a millionth
_TOUCHING_S = 1e-4


@dataclass(frozen=True)
class Series:
    """One curve: ``times`` (n,) seconds ascending, ``scores`` (n,) fake scores, ``runs`` (start, stop) index pairs.

    ``steps`` have two points for each window, where its time begins and ends; ``dots`` are one run, whose points are not joined.
    """

    label: str
    times: Array
    scores: Array
    runs: tuple[tuple[int, int], ...]
    style: Style = "line"

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True)
class FaceTable:
    """The faces of a result as columns, each (n,). ``piece``: shots, parted where the clip is damaged, numbered in order."""

    frame: Array
    time_s: Array
    piece: Array
    person: Array

    @property
    def several(self) -> bool:
        """Whether there is more than one person."""
        return len(np.unique(self.person)) > 1

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


def units_judged(result: Result, detector: DetectorResult) -> int:
    """How many faces, whole pictures or windows of sound ``detector`` was given."""
    return {"face": len(result.faces), "picture": len(result.pictures), "sound": len(detector.windows)}[detector.unit]


def label_of(detector: DetectorResult, names: Mapping[str, str]) -> str:
    """The name of a detector beside its curve, with the words that it is in no count."""
    return f"{names[detector.id]} (not counted)" if left_out(detector) else names[detector.id]


def score_array(detector: DetectorResult, result: Result) -> Array:
    """Scores of a detector as (units,) float, NaN where it has none (all of them unless its status is ok)."""
    units = units_judged(result, detector)
    if detector.status != "ok" or not detector.scores:
        return np.full(units, np.nan)
    if len(detector.scores) != units:
        raise ValueError(
            f"{detector.id}: {len(detector.scores)} scores for {units} {detector.unit}s: they must be parallel"
        )
    return np.array([np.nan if score is None else score for score in detector.scores], np.float64)


def time_end(result: Result) -> float:
    """Where the axis of time ends, seconds: with the pictures, or with the sound that was judged, where that is longer."""
    ends = [end for item in result.detectors if item.status == "ok" for _, end in item.windows]
    return max([result.media.duration_s, *ends])


def detector_series(result: Result, table: FaceTable, detector: DetectorResult, scores: Array, *, label: str) -> Series:
    """The curve of one detector, ``scores`` (units,): the highest face of each frame, its whole pictures, or its windows of sound."""
    if detector.unit == "picture":
        return _dots(np.array([row.time_s for row in result.pictures], np.float64), scores, label=label)
    if detector.unit == "sound":
        return _steps(np.array(detector.windows, np.float64).reshape(-1, 2), scores, label=label)
    return highest_series(table, scores, label=label)


def highest_series(table: FaceTable, scores: Array, *, label: str) -> Series:
    """The highest score among the faces of each frame."""
    return _series(table, scores, np.ones(len(scores), bool), label=label)


def person_series(table: FaceTable, scores: Array, *, person: int) -> Series:
    """The scores of one person (of its highest face where a frame shows two)."""
    return _series(table, scores, table.person == person, label=person_name(person))


def person_name(person: int) -> str:
    """A person's name on pictures and pages, counted from 1; a negative number is a face without a person."""
    return f"person {person + 1}" if person >= 0 else "unassigned face"


def bar_label(detector: DetectorResult, table: FaceTable, place: int) -> str:
    """The name of a bar of a still: the detector, and which face or that it is the whole picture, where that is not plain."""
    if detector.unit == "picture":
        return f"{detector.title}, whole picture" if len(table.person) else detector.title
    return f"{detector.title}, {person_name(int(table.person[place]))}" if table.several else detector.title


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


def _dots(times: Array, scores: Array, *, label: str) -> Series:
    known = np.flatnonzero(~np.isnan(scores))
    known = known[np.argsort(times[known], kind="stable")]
    runs = ((0, len(known)),) if len(known) else ()
    return Series(label, times[known], scores[known], runs, style="dots")


def own_times(windows: Array) -> Array:
    """The part of each of ``windows`` (n, 2), start and end in seconds ascending, that is its own, (n, 2).

    Two windows that overlap meet in the middle of what they share; at regular distances that is a hop around the middle of each.
    Windows without a score have their part, too: no other one speaks for it.
    """
    own: Array = windows.copy()
    overlap = windows[:-1, 1] > windows[1:, 0]
    middle = (windows[:-1, 1] + windows[1:, 0]) / 2
    own[:-1, 1] = np.where(overlap, middle, windows[:-1, 1])
    own[1:, 0] = np.where(overlap, middle, windows[1:, 0])
    return own


def step_pieces(detector: DetectorResult, scores: Array) -> list[tuple[float, float, float]]:
    """(start, end, score) of each scored window of a detector of sound, in seconds of its own time."""
    own = np.maximum(own_times(np.array(detector.windows, np.float64).reshape(-1, 2)), 0.0)
    known = ~np.isnan(scores)
    return [(float(a), float(b), float(c)) for (a, b), c in zip(own[known], scores[known], strict=True)]


def _steps(windows: Array, scores: Array, *, label: str) -> Series:
    known = ~np.isnan(scores)
    own, kept = np.maximum(own_times(windows), 0.0)[known], scores[known]
    breaks = np.flatnonzero(own[1:, 0] - own[:-1, 1] > _TOUCHING_S) + 1
    edges = [0, *(2 * int(edge) for edge in breaks), 2 * len(kept)] if len(kept) else []
    return Series(label, own.reshape(-1), np.repeat(kept, 2), tuple(itertools.pairwise(edges)), style="steps")
