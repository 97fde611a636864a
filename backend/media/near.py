"""The near look: a face that is followed is looked for around the place where it must be, not in the whole picture.

Owns how the surroundings are shown to the detector, whose last network judges a few boxes about the place: a tenth of the work of all
three on the surroundings, a fiftieth of a whole picture, and closer to what the search of the whole picture finds (docs/media_pass.md).
May be imported by ``sweep``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from backend.media.recheck import FaceDetector, shown_at
from backend.media.tracks import Found, Sighting, overlap
from base_detector import Array, turn_points

#: The surroundings in longer sides of the box: the boxes tried, and where they may move to, are inside.
_AROUND: Final = 1.8
#: Longer side in pixels at which the face is shown at most: twice what the network sees (Zhang et al. 2016, section 3.1).
_FACE: Final = 96.0
#: Boxes tried: the expected one, and moved by this share of its side along the diagonal. The network's answers for one face differ.
_TRIES: Final = np.array([0.0, -0.05, 0.05], np.float32)
#: A face that moved so far that the boxes overlap less is looked at once more, from where it was seen.
_THERE: Final = 0.75
#: A face that overlaps less with the place expected may be another one.
_SAME_PLACE: Final = 0.5
#: Confidence from which a face is found, and how much less it may be than expected: then something is before it, or it is another one.
_SURE, _DROP = 0.9, 0.05


def look_near(detector: FaceDetector, image: Array, expected: Found) -> Found | None:
    """The face of ``image`` (H, W, 3) uint8 RGB at ``expected``, in pixels of the picture; None when it is not surely there."""
    around = Sighting.cut(image, expected, context=_AROUND, frame=0, time_s=0.0)
    view, size = shown_at(around, min(_FACE, expected.side)), around.crop.shape[1::-1]
    stretch = np.array(size, np.float32) / np.array(view.shape[1::-1], np.float32)
    start = around.box / np.tile(stretch, 2)
    seen = _seen(detector, view, start)
    if seen is not None and overlap(start[None], seen[0][None])[0, 0] < _THERE:
        seen = _seen(detector, view, seen[0])
    if seen is None:
        return None
    box, landmarks, confidence = seen

    def shown(points: Array) -> Array:
        back = turn_points(points * stretch, turn=(360 - expected.turn) % 360, size=size)
        placed: Array = (back + np.array(around.origin)).astype(np.float32)
        return placed

    found = np.sort(shown(box.reshape(2, 2)), axis=0).reshape(4)
    shared = overlap(expected.box[None], found[None])[0, 0]
    if shared < _SAME_PLACE or confidence < min(_SURE, expected.confidence - _DROP):
        return None
    return replace(expected, box=found, landmarks=shown(landmarks), confidence=confidence, tracked=False)


def _seen(detector: FaceDetector, view: Array, box: Array) -> tuple[Array, Array, float] | None:
    """Box (4,), landmarks (5, 2) and confidence of the face about ``box``: means of all tries, by how sure each is; None outside."""
    side = float((box[2:] - box[:2]).max())
    faces = detector.settle(view, (box + side * _TRIES[:, None]).astype(np.float32))
    if not len(faces.boxes) or not faces.confidence.sum() > 0:
        return None
    weights = faces.confidence / faces.confidence.sum()
    landmarks = np.tensordot(weights, faces.landmarks, axes=1)
    return weights @ faces.boxes, landmarks, min(1.0, float(faces.confidence.max()))
