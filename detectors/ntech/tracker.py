"""How NTechLab's published code follows faces: a tracker by overlap over detections on every third kept frame.

Owns: the tracker (Bochinski, Eiselein, Sikora: High-Speed Tracking-by-Detection Without Using Image Information, AVSS 2017), the
boxes between two detections, and which faces of a pack show what a track follows.
Promises: from given detections the published tracks (tests/parity/test_ntech.py). Nothing here sees a pixel.
May be imported by ``detectors.ntech`` only. Boxes are x1 y1 x2 y2 in pixels of the upright frame; *kept* and *places* as in ``tracks``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from base_detector import Array
from detectors.nets.own_finder import overlaps
from detectors.ntech.tracks import Kept, Track

#: detections are made on every so manieth kept frame
DETECT_EVERY = 3
#: least score of a detection, least score of the surest one of a track, least overlap of two detections in a row, fewest of a track
_LEAST_SCORE, _SURE, _LEAST_OVERLAP, _FEWEST = 0.3, 0.9, 0.3, 7


@dataclass(frozen=True)
class Followed:
    """One track: the kept frame it begins with, counted from 0, and its boxes on that and all that follow, (n, 4) float32."""

    start: int
    boxes: Array


def follow(detections: Sequence[tuple[Array, Array]]) -> list[Followed]:
    """Tracks of ``detections``: boxes (k, 4) and scores (k,) of each frame that was searched.

    A track takes the detection that overlaps its latest one most, when that is enough, before the tracks begun later do; else it
    ends. One that is too short, or nowhere sure, is dropped. Between two detections boxes are interpolated.
    """
    alive: list[_Chain] = []
    ended: list[_Chain] = []
    for at, (boxes, scores) in enumerate(detections):
        left = np.flatnonzero(np.asarray(scores) >= _LEAST_SCORE).tolist()
        going: list[_Chain] = []
        for chain in alive:
            shares = overlaps(np.asarray(boxes, np.float64)[left].reshape(-1, 4), chain.boxes[-1])
            best = int(shares.argmax()) if left else -1
            if best >= 0 and shares[best] >= _LEAST_OVERLAP:
                index = left.pop(best)
                chain.boxes.append(np.asarray(boxes[index], np.float64))
                chain.surest = max(chain.surest, float(scores[index]))
                going.append(chain)
            else:
                ended.append(chain)
        alive = going + [_Chain(at, [np.asarray(boxes[i], np.float64)], float(scores[i])) for i in left]
    return [_interpolated(chain) for chain in ended + alive if chain.surest >= _SURE and len(chain.boxes) >= _FEWEST]


@dataclass
class _Chain:
    start: int
    boxes: list[Array]
    surest: float


def _interpolated(chain: _Chain) -> Followed:
    boxes = np.array(chain.boxes, np.float32)
    searched = np.arange(chain.start, chain.start + len(boxes)) * DETECT_EVERY
    frames = np.arange(searched[0], searched[-1] + 1)
    between = np.stack([np.interp(frames, searched, boxes[:, side]) for side in range(4)], axis=1)
    return Followed(int(frames[0]), between.astype(np.float32))


def in_pack(followed: Sequence[Followed], faces: Array, kept: Kept) -> list[Track]:
    """The tracks as ``ntech`` looks at them: for each box the face of that frame which overlaps it most.

    ``faces``: the pack's, with upright boxes. A frame without such a face has row -1. A track belongs to the person most of its
    faces are of; one without any face is left out.
    """
    rows_of = {int(frame): np.flatnonzero(faces["frame"] == frame) for frame in np.unique(faces["frame"])}
    found = []
    for track in followed:
        frames = kept.frames[track.start : track.start + len(track.boxes)]
        rows = []
        for frame, box in zip(frames.tolist(), track.boxes, strict=True):
            near = rows_of.get(frame, np.zeros(0, np.int64))
            shares = overlaps(np.asarray(faces["box"][near], np.float64).reshape(-1, 4), box)
            rows.append(int(near[shares.argmax()]) if len(near) and shares.max() >= _LEAST_OVERLAP else -1)
        persons = faces["person"][[row for row in rows if row >= 0]]
        if not (persons >= 0).any():
            continue
        person = int(np.bincount(persons[persons >= 0]).argmax())
        places = kept.places[track.start : track.start + len(track.boxes)]
        times = _times(rows, faces["time_s"])
        found.append(Track(person, tuple(rows), tuple(places.tolist()), times, track.boxes))
    return found


def _times(rows: Sequence[int], time_s: Array) -> tuple[float, ...]:
    """Seconds of each row, NaN where there is none."""
    return tuple(float(time_s[row]) if row >= 0 else float("nan") for row in rows)
