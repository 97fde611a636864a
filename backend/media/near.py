"""The near look: a face that is followed is looked for around the place where it must be, not in the whole picture.

Owns how the surroundings are shown to the detector: always at one size, so that its networks see the same few shapes. A whole picture costs
about five times as much. May be imported by ``sweep``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from backend.media.recheck import FaceDetector, shown_at
from backend.media.tracks import Found, Sighting, overlap
from base_detector import Array, turn_points

#: The surroundings in longer sides of the box: a face that moved by half its side is still whole in them.
_AROUND: Final = 2.5
#: Longer side in pixels at which the face is shown: what the last of the detector's networks sees (Zhang et al. 2016, section 3.1).
_FACE: Final = 48
#: Smallest face looked for there, in pixels.
_MIN_FACE: Final = 28.0
#: A face that overlaps less with the place expected may be another one.
_SAME_PLACE: Final = 0.5
#: Confidence from which a face is found, and how much less it may be than expected: then something is before it, or it is another one.
_SURE, _DROP = 0.9, 0.05


def look_near(detector: FaceDetector, image: Array, expected: Found) -> Found | None:
    """The face of ``image`` (H, W, 3) uint8 RGB at ``expected``, in pixels of the picture; None when it is not surely there."""
    around = Sighting.cut(image, expected, context=_AROUND, frame=0, time_s=0.0)
    view, size = shown_at(around, _FACE), around.crop.shape[1::-1]
    faces = detector.detect(view, min_face=_MIN_FACE)
    if not len(faces.boxes):
        return None
    stretch = (np.array(size) / view.shape[1::-1]).astype(np.float32)

    def shown(points: Array) -> Array:
        back = turn_points(points * stretch, turn=(360 - expected.turn) % 360, size=size)
        placed: Array = (back + np.array(around.origin)).astype(np.float32)
        return placed

    boxes = np.stack([np.sort(shown(box.reshape(2, 2)), axis=0).reshape(4) for box in faces.boxes])
    shared = overlap(expected.box[None], boxes)[0]
    best = int(shared.argmax())
    confidence = min(1.0, float(faces.confidence[best]))
    if shared[best] < _SAME_PLACE or confidence < min(_SURE, expected.confidence - _DROP):
        return None
    return replace(
        expected, box=boxes[best], landmarks=shown(faces.landmarks[best]), confidence=confidence, tracked=False
    )
