"""Meso-CNN on one face at a time; architecture in ``detectors.nets.meso_cnn``, card in ``detector.toml``, training: README.md.

The net answers a logit of *fake*; the line chosen on held-out identities makes it a score, and one minus that is the soft label.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from base_detector import Array, BaseDetector, ContractError, Face, Skip

#: Longer side of the face box, in pixels, below which the picture would be invented by scaling.
SMALLEST = 32


class MesoCnnDetector(BaseDetector):
    """The operator's own network."""

    def load(self, weights: Path, device: str) -> None:
        from detectors import probes
        from detectors.nets import meso_cnn
        from detectors.nets.trained import compile_trained

        wrong = meso_cnn.wrong_parameter(self.card.parameters)
        if wrong:
            raise ContractError(f"{self.card.id}: {wrong}")
        probe = self.preproc(probes.face(meso_cnn.SIDE))[None]
        numbers = self.card.parameters
        self._net = compile_trained(
            meso_cnn.MesoCnn, weights, card=self.card, numbers=numbers, probe=probe, device=device
        )

    def crop_face(self, image: Array, face: Face) -> Array:
        """The square of the card's margin about the face box, cut off at the frame's border."""
        if max(face.box[2] - face.box[0], face.box[3] - face.box[1]) < SMALLEST:
            raise Skip("face_too_small")
        return super().crop_face(image, face)

    def preproc(self, face: Array) -> Array:
        """(h, w, 3) uint8 RGB -> (3, 150, 150) float32 in [0, 1]."""
        from detectors.nets import meso_cnn
        from detectors.nets.faces import resized

        return meso_cnn.as_input(resized(face, meso_cnn.SIDE))

    def get_softlabel(self, batch: Array) -> Array:
        """One minus the probability of *fake*: (N, 3, 150, 150) -> (N,)."""
        return 1 - np.asarray(self._net(batch), np.float64)
