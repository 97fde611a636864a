"""Which scores belong to one lane of time: those of a person, or of the voice, by detector; and the stretches of each.

Owns the way from a pack's units to ``stretches``. Promises: no stretch where a file or a mode cannot tell from when to when: stills, whole
pictures, quick mode. May be imported by the back-end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from backend.scores.stretches import Stretch as Found
from backend.scores.stretches import StretchRule, Track, joint_stretches, stretches
from base_detector import Array, Card
from shared.findings import MediaPack
from shared.results import DetectorResult, JointStretch, Stretch
from shared.statement import counts

#: The running median of sound spans three of its windows, in hops.
_HOPS: Final = 3


def stretches_of(card: Card, each: Array, pack: MediaPack) -> tuple[Stretch, ...]:
    """The stretches of a detector on each person, or on the voice. ``each`` (units,): scores parallel to its units, NaN without one."""
    found = []
    for person, track in _lanes(card, each, pack):
        rule = StretchRule(window_s=_HOPS * card.hop_s) if card.unit == "sound" else StretchRule()
        found += [
            Stretch(
                person=person,
                side=item.side,
                start_s=round(item.start_s, 3),
                end_s=round(item.end_s, 3),
                units=item.units,
                median=item.median,
            )
            for item in stretches(track, threshold=card.threshold, rule=rule)
        ]
    return tuple(found)


def joint_of(answers: Sequence[DetectorResult]) -> tuple[JointStretch, ...]:
    """The joint stretches of all detectors that judged enough of the file to be counted, by person."""
    counted = [item for item in answers if counts(item)]
    families = {item.id: item.family or item.id for item in counted}
    lanes = {item.person for answer in counted for item in answer.stretches}
    joint = []
    for person in sorted(lanes, key=lambda lane: -1 if lane is None else lane):
        own = {
            answer.id: [
                Found(item.side, item.start_s, item.end_s, item.units, item.median)
                for item in answer.stretches
                if item.person == person
            ]
            for answer in counted
        }
        joint += [
            JointStretch(
                person=person,
                start_s=item.start_s,
                end_s=item.end_s,
                detectors=item.detectors,
                families=len({families[name] for name in item.detectors}),
            )
            for item in joint_stretches(own)
        ]
    return tuple(joint)


def _lanes(card: Card, each: Array, pack: MediaPack) -> Iterator[tuple[int | None, Track]]:
    """(person, or None for the voice; the scores in time)."""
    if card.unit == "sound":
        windows = pack.window_times(card)
        yield None, Track(windows[:, 0], windows[:, 1], each, np.zeros(len(each), np.int64))
    elif card.unit == "face" and not pack.is_image and pack.mode != "quick" and len(pack.times) > 1:
        faces, step = np.asarray(pack.faces), float(np.median(np.diff(pack.times)))
        piece = faces["shot"] + np.searchsorted(_torn(pack), faces["time_s"], side="right")
        for person in np.unique(faces["person"][faces["person"] >= 0]).tolist():
            own = faces["person"] == person
            start = faces["time_s"][own].astype(np.float64)
            yield person, Track(start, start + step, each[own], piece[own])


def _torn(pack: MediaPack) -> Array:
    """Where damaged parts begin, seconds, ascending: what is before and after one does not belong together."""
    return np.array(sorted(note.start_s or 0.0 for note in pack.notes if note.code == "damaged"), np.float64)
