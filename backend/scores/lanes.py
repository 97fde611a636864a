"""Which scores belong to one lane of time: those of a person, or of the voice, by detector; and the stretches of each.

Owns the way from a pack's units to ``stretches``. Promises: no stretch where a file or a mode cannot tell from when to when: stills, whole
pictures, quick mode. May be imported by the back-end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from backend.scores.alarms import together
from backend.scores.stretches import StretchRule, Track, joint_stretches, stretches
from base_detector import Array, Card
from shared.findings import MediaPack
from shared.records import Mode
from shared.results import DetectorResult, JointStretch, Stretch
from shared.statement import counts, enough_of_person

#: The running median of sound spans three of its windows, in hops.
_HOPS: Final = 3


def stretches_of(card: Card, each: Array, pack: MediaPack) -> tuple[Stretch, ...]:
    """The stretches of a detector on each person, or on the voice. ``each`` (units,): scores parallel to its units, NaN without one."""
    rule = StretchRule(window_s=_HOPS * card.hop_s) if card.unit == "sound" else StretchRule()
    return tuple(
        item
        for person, track in _lanes(card, each, pack)
        for item in stretches(track, threshold=card.threshold, person=person, rule=rule)
    )


def joint_of(
    answers: Sequence[DetectorResult], *, mode: Mode, faces: Mapping[int, int] | None = None
) -> tuple[JointStretch, ...]:
    """The joint stretches of all detectors that judged enough of the file to be counted, and enough of the person, by person.

    ``faces``: person -> faces that were found.
    """
    counted = {item.id: item for item in answers if counts(item)}
    families = {name: item.family or name for name, item in counted.items()}
    lanes = {item.person for answer in counted.values() for item in answer.stretches}
    joint = []
    for person in sorted(lanes, key=lambda lane: -1 if lane is None else lane):
        own = {
            name: [item for item in answer.stretches if item.person == person]
            for name, answer in counted.items()
            if _judged_enough(answer, person, faces or {})
        }
        for item in joint_stretches(own, families=families, person=person):
            false = together([counted[name] for name in item.detectors], mode=mode)
            joint.append(item.model_copy(update={"false_stretches": false}))
    return tuple(joint)


def _judged_enough(answer: DetectorResult, person: int | None, faces: Mapping[int, int]) -> bool:
    """Whether a person's label is not grey for so few judged faces; the voice is judged with the file."""
    own = next((one for one in answer.persons if one.person == person), None)
    return own is None or enough_of_person(own, faces=faces.get(own.person, own.faces), is_clip=True)


def _lanes(card: Card, each: Array, pack: MediaPack) -> Iterator[tuple[int | None, Track]]:
    """(person, or None for the voice; the scores in time)."""
    if card.unit == "sound":
        windows = pack.window_times(card)
        yield None, Track(windows[:, 0], windows[:, 1], each, np.zeros(len(each), np.int64))
    elif card.unit == "face" and not pack.is_image and pack.mode != "quick" and len(pack.times) > 1:
        faces, step = np.asarray(pack.faces), float(np.median(np.diff(pack.times)))
        piece = faces["shot"] + np.searchsorted(_torn(pack), faces["time_s"], side="right")
        yield from face_lanes(
            faces["person"], faces["time_s"].astype(np.float64), each, step_s=step, piece=np.asarray(piece)
        )


def face_lanes(
    person: Array, time_s: Array, each: Array, *, step_s: float, piece: Array
) -> Iterator[tuple[int, Track]]:
    """(person, its scores in time) of faces, all (n,): ``time_s`` seconds ascending, ``each`` scores, ``piece`` as of ``Track``.

    Faces of nobody (-1) have no lane.
    """
    for one in np.unique(person[person >= 0]).tolist():
        own = person == one
        yield one, Track(time_s[own], time_s[own] + step_s, each[own], piece[own])


def _torn(pack: MediaPack) -> Array:
    """Where damaged parts begin, seconds, ascending: what is before and after one does not belong together."""
    return np.array(sorted(note.start_s or 0.0 for note in pack.notes if note.code == "damaged"), np.float64)
