"""ClassNSeg on one face at a time (Nguyen et al., BTAS 2019); architecture in ``detectors.nets.classnseg``, card in ``detector.toml``.

Of the two probabilities index 0 is *altered* and index 1 *original* (the training folders in alphabetical order), so the soft
label is index 1. The published DeepFake-o-meter took index 1 for fake, which turns every score around.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from base_detector import Array, BaseDetector
from detectors.nets.faces import normalized

#: ``parameters.variant`` of the card -> published encoder and decoder
VARIANTS = {
    "full_46": ("encoder_46.pt", "decoder_46.pt"),
    "finetune_26": ("encoder_26.pt", "decoder_26.pt"),
}


class ClassNSeg(BaseDetector):
    """Class and segmentation from one encoder; ``parameters.variant`` of the card names the weights."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets import classnseg
        from detectors.nets.checkpoint import fill, read_published, read_torch, variant_of
        from detectors.runtime import compile_net

        files = variant_of(self.card, VARIANTS)
        encoder, decoder = classnseg.Encoder(), classnseg.Decoder()
        for net, file in zip((encoder, decoder), files, strict=True):
            fill(net, read_torch(read_published(weights, self.card, file)))
        example = np.zeros((1, 3, classnseg.SIDE, classnseg.SIDE), np.float32)
        self._classifier = compile_net(classnseg.Classifier(encoder), example=example, device=device)
        self._segmenter = compile_net(classnseg.Segmenter(encoder, decoder), example=example, device=device)

    def preproc(self, face: Array) -> Array:
        """(h, w, 3) uint8 RGB -> (3, 256, 256) float32, bilinear, ImageNet's mean 0 and deviation 1."""
        return normalized(cv2.resize(face, (256, 256), interpolation=cv2.INTER_LINEAR))

    def get_softlabel(self, batch: Array) -> Array:
        """Probability of *original*: (N, 3, 256, 256) -> (N,)."""
        return np.asarray(self._classifier(batch))[:, 1]

    def evidence(self, batch: Array) -> Array:
        """The segmentation of each face's crop: (N, 256, 256) uint8, 255 where a pixel is altered (probability >= 0.5)."""
        return np.where(np.asarray(self._segmenter(batch)) >= 0.5, 255, 0).astype(np.uint8)
