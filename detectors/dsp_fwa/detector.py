"""DSP-FWA on one face at a time (Li and Lyu, CVPRW 2019, with a pyramid); network in ``detectors.nets.spp_resnet``.

``preproc`` places 68 landmarks and cuts ten heads of random reach (fixed seeds); the score of a face is the mean of the five highest
of their ten probabilities of *fake*, which is index 0 of the softmax.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from base_detector import Array, BaseDetector, Skip
from detectors.nets import crops

#: ImageNet's mean in the order blue, green, red, on 0..255 (Simonyan and Zisserman, 2014)
MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)


class DspFwa(BaseDetector):
    """Traces of warping a synthesised face into its frame, at several scales."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import fill, read_published, read_torch
        from detectors.nets.landmarks import Landmarker
        from detectors.nets.spp_resnet import SIDE, SppResNet
        from detectors.runtime import compile_net

        net = SppResNet()
        fill(net, read_torch(read_published(weights, self.card, "SPP-res50.pth"), inside="net", prefix="module."))
        example = np.zeros((1, 3, SIDE, SIDE), np.float32)
        self._net = compile_net(net, example=example, device=device)
        self._landmarker = Landmarker()

    def preproc(self, face: Array) -> Array:
        """(h, w, 3) uint8 RGB, a head with surroundings -> its ten heads (10, 3, 224, 224) float32 BGR minus the mean. Raises Skip."""
        found = self._landmarker.find(face)
        if found is None:
            raise Skip("landmarks_not_found")
        return prepared(crops.cut_heads(face, found[1]))

    def get_softlabel(self, batch: Array) -> Array:
        """1 - probability of *fake*: (N, 10, 3, 224, 224) -> (N,)."""
        # face by face: ten heads are a batch, and the memory does not grow with the card's
        fake = np.stack([probability_of_fake(self._net(heads)) for heads in batch])
        return 1 - crops.head_score(fake)


def prepared(heads: Array) -> Array:
    """(10, 224, 224, 3) uint8 RGB -> (10, 3, 224, 224) float32 BGR minus the mean, no scaling."""
    return np.ascontiguousarray((heads[..., ::-1].astype(np.float32) - MEAN_BGR).transpose(0, 3, 1, 2))


def probability_of_fake(logits: Array) -> Array:
    """Softmax of (n, 2) logits at index 0: (n,) float64."""
    difference = np.asarray(logits, np.float64)[:, 1] - np.asarray(logits, np.float64)[:, 0]
    return 1 / (1 + np.exp(np.clip(difference, -700, 700)))
