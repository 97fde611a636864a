"""DSP-FWA on one face at a time (Li and Lyu, CVPRW 2019, with a pyramid); network in ``detectors.nets.spp_resnet``.

``preproc`` places 68 landmarks and cuts ten heads of random reach (fixed seeds); the score of a face is the mean of the five highest
of their ten probabilities of *fake*, which is index 0 of the softmax.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from base_detector import Array, BaseDetector
from detectors.nets import heads

if TYPE_CHECKING:
    import torch

#: ImageNet's mean in the order blue, green, red, on 0..255 (Simonyan and Zisserman, 2014)
MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)


class DspFwa(BaseDetector):
    """Traces of warping a synthesised face into its frame, at several scales."""

    def load(self, weights: Path, device: str) -> None:
        from detectors import probes
        from detectors.nets.checkpoint import read_published
        from detectors.nets.landmarks import Landmarker
        from detectors.runtime import compiled

        content = read_published(weights, self.card, "SPP-res50.pth")
        probe = prepared(probes.face(heads.HEAD_SIDE)[None])
        self._net = compiled(_net, content, example=probe, device=device, probe=probe)
        self._landmarker = Landmarker()

    def preproc(self, face: Array) -> Array:
        """(h, w, 3) uint8 RGB, a head with surroundings -> its ten heads (10, 3, 224, 224) float32 BGR minus the mean. Raises Skip."""
        return prepared(heads.heads_of(face, landmarker=self._landmarker))

    def get_softlabel(self, batch: Array) -> Array:
        """1 - probability of *fake*: (N, 10, 3, 224, 224) -> (N,)."""
        return 1 - heads.fake_of_faces(self._net, batch)


def prepared(pictures: Array) -> Array:
    """(10, 224, 224, 3) uint8 RGB -> (10, 3, 224, 224) float32 BGR minus the mean, no scaling."""
    return np.ascontiguousarray((pictures[..., ::-1].astype(np.float32) - MEAN_BGR).transpose(0, 3, 1, 2))


def _net(content: bytes) -> torch.nn.Module:
    """The published ResNet-50 with spatial pyramid pooling."""
    from detectors.nets.checkpoint import fill, read_torch
    from detectors.nets.spp_resnet import SppResNet

    net = SppResNet()
    fill(net, read_torch(content, inside="net", prefix="module."))
    return net
