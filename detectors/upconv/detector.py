"""Upconv on one face at a time (Durall et al., 2019); features in ``detectors.nets.spectrum``, card in ``detector.toml``.

The authors' labels differ: 1 is fake in their experiments on CelebA and Faces-HQ, and real in those on FaceForensics++. The
classifier knows which it was fitted on, and its fake score becomes the soft label. The published DeepFake-o-meter turned all of them
around alike, which is wrong for two of the three.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from base_detector import Array, BaseDetector, Face
from detectors.nets import spectrum
from detectors.nets.crops import cut_square

#: what ``detectors.upconv.refit`` writes
FILE = "upconv.npz"


class Upconv(BaseDetector):
    """A classifier over the spectrum of the grey face; the fitted file says which one and of which experiment."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import read_published
        from detectors.upconv.classifier import read_classifier

        self._classifier = read_classifier(read_published(weights, self.card, FILE))

    def crop_face(self, image: Array, face: Face) -> Array:
        """The square of 1.3 longer box sides, moved or shrunk at the frame's border, never scaled; Skip ``face_too_small``."""
        return cut_square(image, face, scale=1.3)

    def preproc(self, face: Array) -> Array:
        """(h, w, 3) uint8 RGB -> the curve of its spectrum, (80,), (300,) or (722,) float64 as the classifier takes it. Raises Skip."""
        grey = cv2.cvtColor(np.ascontiguousarray(face), cv2.COLOR_RGB2GRAY)
        return spectrum.features(grey, experiment=self._classifier.experiment)

    def get_softlabel(self, batch: Array) -> Array:
        """One minus the classifier's fake score: (N, bins) -> (N,)."""
        return 1 - self._classifier.fake_score(batch)
