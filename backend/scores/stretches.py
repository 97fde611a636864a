"""Stretches: from when to when a detector stays on one side of its threshold for one person, series of pictures, or voice.

The mean of a file hides a short manipulation; a stretch names it. Owns the rule (a running median with hysteresis, ended by cuts and by
pauses), and how stretches of several detectors are joined. Pure functions over numpy arrays; what no unit was judged for is in no
stretch. May be imported by the back-end. All scores are fake scores in [0, 1], 1 = fake.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from base_detector import Array
from shared.results import HardLabel, JointStretch, Stretch

#: Rows of the running median that are worked on at a time: 100,000 faces need no more memory than a thousand.
_ROWS: Final = 4096
#: A pause longer than this many usual steps ends a stretch, as it breaks a curve (``backend/report/series.py``).
_PAUSE_STEPS: Final = 2.5
#: Times closer than this are one: they are rounded to a millionth of a second.
_SAME_S: Final = 1e-5


@dataclass(frozen=True)
class StretchRule:
    """When a stretch begins and ends.

    ``window_s``: seconds of the running median; ``least_units``: judged units without which a median says nothing; ``margin``: how far
    beyond the threshold the median goes to change sides; ``least_s``: shorter ones are none; ``joint_s``: detectors that agree for less
    time are no joint stretch, since on real video they do now and then. The values are fitted on made splices
    (``python -m tests.bench.stretches``; docs/evidence.md has the figures).
    """

    window_s: float = 1.0
    least_units: int = 3
    margin: float = 0.01
    least_s: float = 0.5
    joint_s: float = 1.5


@dataclass(frozen=True)
class Track:
    """One detector's scores of one person, series of pictures, or voice, in time.

    ``start_s``, ``end_s`` (n,) seconds: the time each unit is about, ``start_s`` ascending; ``scores`` (n,) in [0, 1], NaN where not
    judged; ``piece`` (n,) int, ascending: shots, parted where the clip is damaged.
    """

    start_s: Array
    end_s: Array
    scores: Array
    piece: Array


def stretches(
    track: Track, *, threshold: float, person: int | None = None, rule: StretchRule | None = None
) -> list[Stretch]:
    """The stretches of one detector on ``track``, which is ``person``'s (None: the voice's), in order of time.

    ``threshold`` is the detector's own, in [0, 1]. Times are rounded to thousandths of a second.
    """
    rule = rule or StretchRule()
    known = ~np.isnan(track.scores)
    start, end, scores = track.start_s[known], track.end_s[known], np.asarray(track.scores, np.float64)[known]
    found = []
    for first, last in _joined(start, end, track.piece[known]):
        medians = _running_median((start[first:last] + end[first:last]) / 2, scores[first:last], rule=rule)
        for side, begin, stop in _sides(medians, threshold=threshold, margin=rule.margin):
            rows = slice(first + begin, first + stop)
            from_s, to_s = float(start[rows][0]), float(end[rows].max())
            if stop - begin >= rule.least_units and to_s - from_s >= rule.least_s:
                found.append(
                    Stretch(
                        person=person,
                        side=side,
                        start_s=round(from_s, 3),
                        end_s=round(to_s, 3),
                        units=stop - begin,
                        median=float(np.median(scores[rows])),
                    )
                )
    return found


def joint_stretches(
    found: Mapping[str, Sequence[Stretch]],
    *,
    families: Mapping[str, str],
    person: int | None = None,
    rule: StretchRule | None = None,
) -> list[JointStretch]:
    """Where two or more detectors have a stretch of ``fake`` at one time. ``found``: id of a detector -> its stretches of ``person``.

    A joint stretch has one set of detectors throughout; where a third one joins, or where a cut ends one of theirs, the next one begins. As
    many families as it has, or more, agree for at least ``joint_s`` in one go, cuts or not. ``families``: id -> family.
    """
    rule = rule or StretchRule()
    fakes = {name: [each for each in its if each.side == "fake"] for name, its in found.items()}
    edges = sorted({edge for its in fakes.values() for each in its for edge in (each.start_s, each.end_s)})
    joint: list[JointStretch] = []
    before: dict[str, Stretch] = {}
    for start, end in itertools.pairwise(edges):
        there = {
            name: each for name, its in fakes.items() for each in its if each.start_s <= start and end <= each.end_s
        }
        names, same, before = tuple(there), there == before, there
        if len(names) < 2:
            continue
        if joint and same:
            joint[-1] = joint[-1].model_copy(update={"end_s": end})
        else:
            kinds = len({families[name] for name in names})
            joint.append(JointStretch(person=person, start_s=start, end_s=end, detectors=names, families=kinds))
    long = {
        id(each)
        for least in {one.families for one in joint}
        for together in _in_one_go([one for one in joint if one.families >= least])
        if together[-1].end_s - together[0].start_s >= rule.joint_s - _SAME_S
        for each in together
        if each.families == least
    }
    return [each for each in joint if id(each) in long and each.end_s - each.start_s >= rule.least_s]


# --------------------------------------------------------------------------- inside


def _in_one_go(found: Sequence[JointStretch]) -> Iterator[list[JointStretch]]:
    """Those of ``found``, which are in order, between which no time passes."""
    part: list[JointStretch] = []
    for one in found:
        if part and part[-1].end_s != one.start_s:
            yield part
            part = []
        part.append(one)
    if part:
        yield part


def _joined(start: Array, end: Array, piece: Array) -> Iterator[tuple[int, int]]:
    """(first, last) rows of units that belong together: of one piece, without a pause longer than ``_PAUSE_STEPS`` usual steps."""
    if not len(start):
        return
    steps = np.diff(start)
    steps = steps[steps > _SAME_S]  # a person may have two faces in one picture
    usual = float(np.median(steps)) if len(steps) else 0.0
    pause = (start[1:] - np.maximum.accumulate(end)[:-1]) > _PAUSE_STEPS * usual + _SAME_S
    breaks = np.flatnonzero(pause | (np.diff(piece) != 0)) + 1
    yield from itertools.pairwise([0, *breaks.tolist(), len(start)])


def _running_median(middle: Array, scores: Array, *, rule: StretchRule) -> Array:
    """(n,) median of the scores within half of ``window_s`` of each unit, NaN where fewer than ``least_units`` are.

    At an end it is the median of the first or last ``window_s``, so that one or two units do not decide where a stretch begins.
    """
    half = rule.window_s / 2
    centre = np.maximum(np.minimum(middle, middle[-1] - half), min(middle[0] + half, middle[-1]))
    low = np.searchsorted(middle, centre - half - _SAME_S)
    high = np.searchsorted(middle, centre + half + _SAME_S, side="right")
    medians = np.full(len(scores), np.nan)
    width = int((high - low).max(initial=0))
    for at in range(0, len(scores), _ROWS):
        rows = low[at : at + _ROWS, None] + np.arange(width)
        inside = rows < high[at : at + _ROWS, None]
        enough = inside.sum(axis=1) >= rule.least_units
        around = np.where(inside, scores[np.minimum(rows, len(scores) - 1)], np.nan)[enough]
        if len(around):
            medians[at : at + _ROWS][enough] = np.nanmedian(around, axis=1)
    return medians


def _sides(medians: Array, *, threshold: float, margin: float) -> Iterator[tuple[HardLabel, int, int]]:
    """(side, first, last) of runs on one side: a side is entered beyond ``margin`` of the threshold and left at the threshold.

    The margin is at most half the way to 0 or 1, so that a threshold near an end can be passed.
    """
    over = threshold + min(margin, (1 - threshold) / 2)
    under = threshold - min(margin, threshold / 2)
    side: HardLabel | None = None
    first = 0
    for index, median in enumerate([*medians.tolist(), math.nan]):
        left = side is not None and not (median >= threshold if side == "fake" else median < threshold)
        if left and side is not None:
            yield side, first, index
            side = None
        if side is None and (median >= over or median < under):
            side, first = ("fake" if median >= over else "real"), index
