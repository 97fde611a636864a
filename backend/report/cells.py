"""Cells of time: how many detectors are at or above their own thresholds in each second, by person, and for the voice.

Owns the length of a cell and the rule of counting: a detector counts as above where the median of its scores in that cell is at or above
its threshold, so that one face of many does not decide; detectors that are in no count (``shared.statement``) are in none here. May be
imported by ``backend.report``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from backend.report.series import FaceTable, own_times, time_end
from base_detector import Array
from shared.curves import CellValues, Lane, ShotCell
from shared.results import DetectorResult, Result
from shared.rounding import for_drawing
from shared.statement import left_out

Scored = Sequence[tuple[DetectorResult, Array]]

#: More columns than this cannot be told apart on a page.
MOST_CELLS: Final = 120
#: Lengths of a cell in seconds: the first that gives no more than MOST_CELLS.
_LENGTHS: Final = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)
#: Most values (a cell and a detector) of all lanes together: lanes of persons with few faces are left out beyond.
MOST_VALUES: Final = 60_000
#: Most shots of the ribbon.
MOST_SHOTS: Final = 1_000


def cell_length(duration_s: float) -> float:
    """Seconds of a cell for a clip of ``duration_s``: one, or as many as needed for at most MOST_CELLS."""
    return float(next((one for one in _LENGTHS if duration_s <= one * MOST_CELLS), math.ceil(duration_s / MOST_CELLS)))


def lanes_of(result: Result, scored: Scored, *, cell_s: float) -> list[Lane]:
    """Lanes of everyone (where there are several persons), of each person, of whole pictures, and of the voice; the most seen first."""
    if result.media.kind == "image":
        return []
    end = time_end(result)
    count = max(1, math.ceil(end / cell_s - 1e-9))
    found = [*_of_faces(result, scored, cell_s=cell_s, count=count), *_of_pictures(result, scored, cell_s, count)]
    found += _of_voice(scored, cell_s=cell_s, count=count)
    room = MOST_VALUES
    kept = []
    for lane in found:
        room -= len(lane.of) * len(lane.values)
        if room < 0 and lane.person is not None:
            continue
        kept.append(lane)
    return kept


def shots_of(result: Result, scored: Scored) -> list[ShotCell]:
    """Each shot with the person for whom the most detectors are above their thresholds in it."""
    faces = [(item, scores) for item, scores in scored if item.unit == "face" and not left_out(item)]
    shot = np.array([row.shot for row in result.faces], np.int64)
    person = np.array([row.person for row in result.faces], np.int64)
    width = int(person.max(initial=0)) + 2
    above: dict[int, int] = {}
    of: dict[int, int] = {}
    for item, scores in faces:
        key = shot * width + person + 1
        for place, (median, _) in _medians(key[person >= 0], scores[person >= 0]).items():
            of[place] = of.get(place, 0) + 1
            above[place] = above.get(place, 0) + (median >= item.threshold)
    best: dict[int, tuple[int, int]] = {}
    for place, judged in of.items():
        number = place // width
        best[number] = max(best.get(number, (0, 0)), (above[place], judged))
    return [
        ShotCell(shot=row.shot, start_s=row.start_s, end_s=row.end_s, above=told[0], of=told[1])
        for row in result.shots[:MOST_SHOTS]
        for told in (best.get(row.shot, (0, 0)),)
    ]


# --------------------------------------------------------------------------- inside


def _of_faces(result: Result, scored: Scored, *, cell_s: float, count: int) -> Iterator[Lane]:
    table = FaceTable.of(result)
    faces = [(item, scores) for item, scores in scored if item.unit == "face"]
    if not faces or not len(table.person):
        return
    cell = _cell(table.time_s, cell_s=cell_s, count=count)
    persons, seen = np.unique(table.person[table.person >= 0], return_counts=True)
    if len(persons) > 1:  # the highest face of each frame
        order = np.argsort(table.frame, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(table.frame[order]) != 0])
        highest = [(item, _highest(scores[order], starts)) for item, scores in faces]
        yield _lane(highest, cell[order][starts], unit="face", person=None)
    grouped = np.argsort(table.person, kind="stable")
    edges = np.searchsorted(table.person[grouped], [persons, persons + 1])
    for place in np.lexsort((persons, -seen)):
        rows = grouped[edges[0, place] : edges[1, place]]
        own = [(item, scores[rows]) for item, scores in faces]
        if any(not np.isnan(scores).all() for _, scores in own):
            yield _lane(own, cell[rows], unit="face", person=int(persons[place]))


def _highest(scores: Array, starts: Array) -> Array:
    """The highest of each group of ``scores`` that begins at ``starts``; NaN where none has one."""
    best: Array = np.maximum.reduceat(np.nan_to_num(scores, nan=-1.0), starts)
    return np.where(best < 0, np.nan, best)


def _of_pictures(result: Result, scored: Scored, cell_s: float, count: int) -> Iterator[Lane]:
    pictures = [(item, scores) for item, scores in scored if item.unit == "picture"]
    if pictures:
        times = np.array([row.time_s for row in result.pictures], np.float64)
        yield _lane(pictures, _cell(times, cell_s=cell_s, count=count), unit="picture", person=None)


def _of_voice(scored: Scored, *, cell_s: float, count: int) -> Iterator[Lane]:
    """Windows count in each cell by how much of it is their own; the median is that of the time."""
    heard = [(item, scores) for item, scores in scored if item.unit == "sound"]
    if not heard:
        return
    present = np.zeros(count, np.int64)
    found: dict[str, tuple[list[float | None], list[int]]] = {}
    for item, scores in heard:
        inside: list[list[tuple[float, float]]] = [[] for _ in range(count)]
        there = np.zeros(count, np.int64)
        own = np.maximum(own_times(np.array(item.windows, np.float64).reshape(-1, 2)), 0.0)
        for (start, end), score in zip(own.tolist(), scores.tolist(), strict=True):
            for cell in range(int(start // cell_s), min(count, math.ceil(end / cell_s))):
                share = min(end, (cell + 1) * cell_s) - max(start, cell * cell_s)
                if share > 1e-3:
                    there[cell] += 1
                    if not math.isnan(score):
                        inside[cell].append((score, share))
        present = np.maximum(present, there)
        found[item.id] = [_weighted_median(cell) for cell in inside], [len(cell) for cell in inside]
    yield _counted({item.id: item for item, _ in heard}, found, present.tolist(), unit="sound", person=None, first=0)


def _weighted_median(pairs: list[tuple[float, float]]) -> float | None:
    """Of (score, seconds): the score that half of the time is at or below; None of none."""
    half, passed = sum(share for _, share in pairs) / 2, 0.0
    for score, share in sorted(pairs):
        passed += share
        if passed >= half:
            return score
    return None


def _lane(own: Scored, cell: Array, *, unit: str, person: int | None) -> Lane:
    """The lane of units in ``cell`` (n,), with the scores (n,) of each detector."""
    first, last = int(cell.min()), int(cell.max())
    size = last - first + 1
    present = np.bincount(cell - first, minlength=size).tolist()
    found: dict[str, tuple[list[float | None], list[int]]] = {}
    for item, scores in own:
        medians: list[float | None] = [None] * size
        judged = [0] * size
        for place, (median, units) in _medians(cell - first, scores).items():
            medians[place], judged[place] = median, units
        if any(judged):
            found[item.id] = medians, judged
    return _counted({item.id: item for item, _ in own}, found, present, unit=unit, person=person, first=first)


def _counted(
    items: Mapping[str, DetectorResult],
    found: Mapping[str, tuple[list[float | None], list[int]]],
    present: list[int],
    *,
    unit: str,
    person: int | None,
    first: int,
) -> Lane:
    above, of = [0] * len(present), [0] * len(present)
    for name, (medians, _) in found.items():
        if left_out(items[name]):
            continue
        for place, median in enumerate(medians):
            if median is not None:
                of[place] += 1
                above[place] += median >= items[name].threshold
    values = {
        name: CellValues(
            median=[None if median is None else _drawn(median, items[name].threshold) for median in medians],
            judged=judged,
        )
        for name, (medians, judged) in found.items()
    }
    return Lane(unit=unit, person=person, first=first, above=above, of=of, present=present, values=values)


def _drawn(value: float, threshold: float) -> float:
    """``value`` with fewer digits, on the same side of the threshold."""
    short = for_drawing(value)
    return value if (short >= threshold) != (value >= threshold) else short


def _cell(times: Array, *, cell_s: float, count: int) -> Array:
    return np.clip(np.floor(times / cell_s + 1e-9).astype(np.int64), 0, count - 1)


def _medians(key: Array, scores: Array) -> dict[int, tuple[float, int]]:
    """key -> (median of its ``scores``, how many), of those that are not NaN; both (n,)."""
    known = ~np.isnan(scores)
    key, scores = key[known], scores[known]
    if not len(key):
        return {}
    order = np.lexsort((scores, key))
    key, scores = key[order], scores[order]
    starts = np.flatnonzero(np.r_[True, np.diff(key) != 0])
    sizes = np.diff(np.r_[starts, len(key)])
    middles = (scores[starts + (sizes - 1) // 2] + scores[starts + sizes // 2]) / 2
    return {int(k): (float(m), int(n)) for k, m, n in zip(key[starts], middles, sizes, strict=True)}
