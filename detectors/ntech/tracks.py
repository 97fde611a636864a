"""Which frames and sequences NTechLab's networks look at, on numbers alone.

Owns: the choice of frames near 15 a second, the tracks of persons over them, the pick of single frames and of sequences in a track.
Promises: with every frame of a clip at hand the picks are the published ones; with fewer, nothing is taken for consecutive that is not.
May be imported by ``detectors.ntech`` only. Nothing in this module sees a pixel.

Words: a *kept* frame is one the detector looks at; its *place* counts steps of the published frame rate, so frames of neighbouring
places are one step apart. A *track* is one person on kept frames that follow one another within one shot (the published ones: ``tracker``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from base_detector import Array

#: kept frames a second
RATE = 15
#: frames of a sequence, and from the start of one to the start of the next
LENGTH, STRIDE = 7, 14


@dataclass(frozen=True)
class Rhythm:
    """How a clip's frames are thinned out: every ``step``-th is kept. ``period_s``: seconds between two of those, 0 where unknown.

    ``steady`` is False where no step comes near 15 frames a second (below 8): then there are no sequences.
    """

    step: int
    period_s: float
    steady: bool


@dataclass(frozen=True)
class Kept:
    """The kept frames of a clip, ascending: index of the frame and its place, (n,) int64 each."""

    frames: Array
    places: Array


@dataclass(frozen=True)
class Track:
    """Rows of ``faces.npy`` of one person on consecutive kept frames, their places, their times in seconds, and the boxes to cut with.

    Row -1, time NaN: the face was not found in that frame. Boxes (n, 4) are in pixels of the upright frame.
    """

    person: int
    rows: tuple[int, ...]
    places: tuple[int, ...]
    times: tuple[float, ...]
    boxes: Array = field(compare=False)


@dataclass(frozen=True)
class Look:
    """One input of a network: the rows it shows, whether they are mirrored, and the box (4,) all are cut with, that of the middle one.

    A single frame has one row, a sequence seven.
    """

    rows: tuple[int, ...]
    mirrored: bool
    box: Array = field(compare=False)

    @property
    def middle(self) -> int:
        """The row that gets the score."""
        return self.rows[len(self.rows) // 2]


def rhythm_of(fps: float | None) -> Rhythm:
    """Every round(int(fps) / 15)-th frame, as published; below 8 frames a second that is 0, and we take every frame."""
    step = round(int(fps) / RATE) if fps else 0
    return Rhythm(max(1, step), max(1, step) / fps if fps else 0.0, step > 0)


def keep_frames(sampled: Array, rhythm: Rhythm) -> Kept:
    """The kept ones of the ``sampled`` frames, (n,) indices ascending: for each place the frame nearest to it, if any is.

    With every frame sampled these are frames 0, step, 2 * step, ...; with fewer, each is within half a step of its place.
    A place after the last frame is none.
    """
    sampled = np.asarray(sampled, np.int64)
    places = (2 * sampled + rhythm.step) // (2 * rhythm.step)
    sampled = sampled[places * rhythm.step <= sampled.max(initial=0)]
    places = places[: len(sampled)]
    order = np.lexsort((sampled, np.abs(sampled - places * rhythm.step), places))
    _, first = np.unique(places[order], return_index=True)
    chosen = order[first]
    return Kept(sampled[chosen], places[chosen])


def tracks_of(faces: Array, kept: Kept, *, shortest: int) -> list[Track]:
    """Tracks of at least ``shortest`` kept frames by person, then time, of a pack's upright ``faces`` that have a person."""
    found = []
    positions = np.searchsorted(kept.frames, faces["frame"])
    inside = positions < len(kept.frames)
    inside[inside] = kept.frames[positions[inside]] == faces["frame"][inside]
    for person in np.unique(faces["person"][faces["person"] >= 0]):
        rows = np.flatnonzero(inside & (faces["person"] == person))
        # should a person be seen twice in a frame, the surer face counts
        rows = rows[np.lexsort((-faces["confidence"][rows], positions[rows]))]
        _, first = np.unique(positions[rows], return_index=True)
        for run in _runs(rows[first], positions, faces["shot"]):
            if len(run) >= shortest:
                times = tuple(float(time) for time in faces["time_s"][run])
                places = tuple(int(place) for place in kept.places[positions[run]])
                found.append(Track(int(person), tuple(int(row) for row in run), places, times, faces["box"][run]))
    return found


def _runs(rows: Array, positions: Array, shots: Array) -> Iterator[Array]:
    """Cut ``rows`` (ascending in time) where a kept frame lacks the face or the shot changes."""
    if len(rows):
        cuts = (np.diff(positions[rows]) != 1) | (np.diff(shots[rows]) != 0)
        yield from np.split(rows, np.flatnonzero(cuts) + 1)


def single_looks(track: Track) -> list[Look]:
    """Every second kept frame, every other one of them mirrored, the first one so.

    Where the sampling is so sparse that places are missing: one frame of every two places.
    """
    pairs = [(place - track.places[0]) // 2 for place in track.places]
    chosen = [at for at in range(len(pairs)) if at == 0 or pairs[at] != pairs[at - 1]]
    return [Look((track.rows[at],), i % 2 == 0, track.boxes[at]) for i, at in enumerate(chosen)]


def is_first_nets(i: int) -> bool:
    """Whether the i-th look of ``single_looks`` goes to the first of the two frame networks: two for one, two for the other."""
    return i % 4 < 2


def sequence_looks(track: Track, rhythm: Rhythm) -> tuple[list[Look], int]:
    """Seven frames from every 14th of the track on, every other sequence mirrored; and how many could not be formed.

    A sequence is formed where its frames have consecutive places and no two are more than one and a half periods apart in time.
    """
    looks, missing = [], 0
    for i, start in enumerate(range(0, len(track.rows) - LENGTH + 1, STRIDE)):
        end = start + LENGTH
        near = all(b - a == 1 for a, b in pairwise(track.places[start:end]))
        # half a period is what a frame may stray from its place; clips of varying rate are checked by this, too
        in_time = all(b - a <= 1.5 * rhythm.period_s + 1e-3 for a, b in pairwise(track.times[start:end]))
        if rhythm.steady and near and in_time:
            looks.append(Look(track.rows[start:end], i % 2 == 0, track.boxes[start + LENGTH // 2]))
        else:
            missing += 1
    return looks, missing
