"""The second look: is what MTCNN found a face? The same detector is run again on other sizes and the mirror image.

A face is found at every size and mirrored; a skyline or a fold of cloth that passed once is not. On the clips measured, faces
(profiles and 28 pixels wide ones included) reached .93 and more, all else at most .80. May be imported by
``sweep``, ``near`` and ``directions``.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import cv2
import numpy as np

from backend.media.tracks import Sighting, overlap, turn_image
from base_detector import Array, turn_points

#: Sides in pixels at which the face is shown again; MTCNN's smallest is 20.
_SIDES: Final = (40, 64, 100)
#: Side at which its way up is looked for.
_SIDE_TURNED: Final = 64
#: Overlap with the first box from which a detection counts as the same face.
_SAME_BOX = 0.35
#: Mean confidence over all views from which a face is believed.
BELIEVED: Final = 0.85
#: A turned face must be surer: cluttered pictures are searched four times. 99 of 100 upright faces reached .995, a false turned one .96.
BELIEVED_TURNED: Final = 0.98


class FaceDetector(Protocol):
    """What finds faces: ``detectors.nets.mtcnn.Mtcnn``, or a stand-in."""

    def detect(self, image: Array, *, min_face: float = 20.0) -> Any:
        """Faces of (H, W, 3) uint8 RGB: boxes (n, 4), confidence (n,), landmarks (n, 5, 2)."""

    def settle(self, image: Array, boxes: Array) -> Any:
        """The face at each of ``boxes`` (n, 4) that nearly say where one is: as ``detect``, in their order, however sure."""


def believable(detector: FaceDetector, sighting: Sighting) -> bool:
    """Whether the second look finds a face."""
    return second_look(detector, sighting) >= (BELIEVED_TURNED if sighting.found.turn else BELIEVED)


def shown_at(sighting: Sighting, side: float) -> Array:
    """The crop of ``sighting`` at the size at which the longer side of the face's box has ``side`` pixels."""
    scale = side / sighting.found.side
    height, width = (max(1, round(length * scale)) for length in sighting.crop.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(sighting.crop, (width, height), interpolation=interpolation))


def second_look(detector: FaceDetector, sighting: Sighting) -> float:
    """Mean confidence (0..1) of finding the face again, over sizes and mirror images; a view without it counts 0."""
    box = sighting.box
    scores = []
    for side in _SIDES:
        view = shown_at(sighting, side)
        size = view.shape[1::-1]
        there = box * np.tile(np.array(size) / sighting.crop.shape[1::-1], 2)
        mirrored = np.array([size[0] - there[2], there[1], size[0] - there[0], there[3]])
        scores += [_found_again(detector, view, there), _found_again(detector, cv2.flip(view, 1), mirrored)]
    return float(np.mean(scores))


def way_up(detector: FaceDetector, sighting: Sighting) -> int:
    """By how many degrees clockwise (0, 90, 180, 270) the picture is to be turned for the face to be found most surely."""
    view = shown_at(sighting, _SIDE_TURNED)
    size = view.shape[1::-1]
    corners = (sighting.box * np.tile(np.array(size) / sighting.crop.shape[1::-1], 2)).reshape(2, 2)
    scores = {}
    for turn in (0, 90, 180, 270):
        box = np.sort(turn_points(corners, turn=turn, size=size), axis=0).reshape(4)
        scores[(sighting.found.turn + turn) % 360] = _found_again(detector, turn_image(view, turn=turn), box)
    return max(scores, key=scores.__getitem__)  # the way it was found, where nothing is found again


def _found_again(detector: FaceDetector, view: Array, box: Array) -> float:
    faces = detector.detect(view, min_face=20.0)
    if not len(faces.boxes):
        return 0.0
    shared = overlap(box[None], faces.boxes)[0]
    best = int(shared.argmax())
    return float(faces.confidence[best]) if shared[best] >= _SAME_BOX else 0.0
