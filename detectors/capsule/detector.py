"""Capsule-Forensics v2 on one face at a time (Nguyen et al., 2019); architecture in ``detectors.nets.capsule``, card in ``detector.toml``.

Of the two probabilities index 0 is *real* and index 1 *fake* (the authors' test script calls index 1 fake), so the soft label is index 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from base_detector import Array, BaseDetector, Face
from detectors.nets.crops import cut_square
from detectors.nets.faces import normalized

if TYPE_CHECKING:
    import torch

#: ``parameters.variant`` of the card -> published file of the capsules
VARIANTS = {"without_neuraltextures": "capsule_21.pt", "with_neuraltextures": "capsule_8.pt"}
#: torchvision's file of VGG-19, of which the first three stages are used
VGG = "vgg19-dcbb9e9d.pth"
#: side of the input
SIDE = 300


class Capsule(BaseDetector):
    """Capsules over features of VGG-19; ``parameters.variant`` of the card names the checkpoint."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import read_published, variant_of
        from detectors.runtime import compiled

        file = variant_of(self.card, VARIANTS)
        contents = (read_published(weights, self.card, name) for name in (file, VGG))
        self._net = compiled(_net, *contents, example=np.zeros((1, 3, SIDE, SIDE), np.float32), device=device)

    def crop_face(self, image: Array, face: Face) -> Array:
        """The square of 1.3 longer box sides, moved or shrunk at the frame's border; Skip ``face_too_small`` where nothing is left."""
        return cut_square(image, face, scale=1.3)

    def preproc(self, face: Array) -> Array:
        """(h, w, 3) uint8 RGB -> (3, 300, 300) float32, Pillow's bilinear, ImageNet's mean 0 and deviation 1."""
        scaled = Image.fromarray(np.ascontiguousarray(face)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        return normalized(np.asarray(scaled))

    def get_softlabel(self, batch: Array) -> Array:
        """Probability of *real*: (N, 3, 300, 300) -> (N,)."""
        return np.asarray(self._net(batch)[1])[:, 0]


def _net(capsules: bytes, vgg19: bytes) -> torch.nn.Module:
    """The capsules behind the stages of VGG-19."""
    from detectors.nets import capsule, vgg
    from detectors.nets.checkpoint import fill, read_torch

    stages, heads = vgg.ThreeStages(), capsule.CapsuleNet()
    fill(heads, read_torch(capsules))
    fill(stages, vgg.used_entries(read_torch(vgg19)))
    return capsule.Classifier(stages, heads)
