"""ClassNSeg on one face at a time (Nguyen et al., BTAS 2019); architecture in ``detectors.nets.classnseg``, card in ``detector.toml``.

Of the two probabilities index 0 is *altered* and index 1 *original* (the training folders in alphabetical order), so the soft
label is index 1. The published DeepFake-o-meter took index 1 for fake, which turns every score around.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from base_detector import Array, BaseDetector
from detectors.nets.faces import normalized

if TYPE_CHECKING:
    import torch

#: Side of the input picture.
SIDE = 256
#: ``parameters.variant`` of the card -> published encoder and decoder
VARIANTS = {
    "full_46": ("encoder_46.pt", "decoder_46.pt"),
    "finetune_26": ("encoder_26.pt", "decoder_26.pt"),
}


class ClassNSeg(BaseDetector):
    """Class and segmentation from one encoder; ``parameters.variant`` of the card names the weights."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import read_published, variant_of
        from detectors.runtime import compiled

        encoder, decoder = (read_published(weights, self.card, file) for file in variant_of(self.card, VARIANTS))
        example = np.zeros((1, 3, SIDE, SIDE), np.float32)
        self._classifier = compiled(_net, encoder, None, example=example, device=device)
        self._segmenter = compiled(_net, encoder, decoder, example=example, device=device)

    def preproc(self, face: Array) -> Array:
        """(h, w, 3) uint8 RGB -> (3, 256, 256) float32, bilinear, ImageNet's mean 0 and deviation 1."""
        return normalized(cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR))

    def get_softlabel(self, batch: Array) -> Array:
        """Probability of *original*: (N, 3, 256, 256) -> (N,)."""
        return np.asarray(self._classifier(batch))[:, 1]

    def evidence(self, batch: Array) -> Array:
        """The segmentation of each face's crop: (N, 256, 256) uint8, 255 where a pixel is altered (probability >= 0.5)."""
        return np.where(np.asarray(self._segmenter(batch)) >= 0.5, 255, 0).astype(np.uint8)


def _net(encoder: bytes, decoder: bytes | None) -> torch.nn.Module:
    """The segmenter, or without ``decoder`` the classifier."""
    from detectors.nets import classnseg
    from detectors.nets.checkpoint import fill, read_torch

    first = classnseg.Encoder()
    fill(first, read_torch(encoder))
    if decoder is None:
        return classnseg.Classifier(first)
    second = classnseg.Decoder()
    fill(second, read_torch(decoder))
    return classnseg.Segmenter(first, second)
