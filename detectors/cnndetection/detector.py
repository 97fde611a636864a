"""CNNDetection on whole pictures (Wang et al., CVPR 2020); trunk in ``detectors.nets.resnet``, card in ``detector.toml``.

The published network takes pictures of any size and gives one logit whose sigmoid is the probability of *synthetic*. The paper's evaluation
cuts out the middle 224; the authors' demo takes the whole picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from base_detector import Array, BaseDetector, ContractError
from detectors.nets.pictures import centre, normalized
from detectors.nets.scores import sigmoid

if TYPE_CHECKING:
    import torch

#: ``parameters.variant`` of the card -> published file; the number is the share of training pictures blurred and JPEG-compressed
VARIANTS = {"blur_jpg_prob0.5": "blur_jpg_prob0.5.pth", "blur_jpg_prob0.1": "blur_jpg_prob0.1.pth"}

#: side of the pictures in training and in the paper's evaluation
SIDE = 224
#: of a whole picture no more than the middle of this side is judged: memory grows with the area
MOST = 2048


class CNNDetection(BaseDetector):
    """ResNet-50 with one output; ``parameters.variant`` of the card names the weights, ``parameters.crop`` what of a picture is judged."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import read_published, variant_of
        from detectors.runtime import compiled

        file = variant_of(self.card, VARIANTS)
        if self.card.parameters["crop"] not in (SIDE, 0):
            raise ContractError(f"cnndetection: parameters.crop must be {SIDE}, or 0 for the whole picture")
        if not self.card.parameters["crop"] and self.card.batch > 1:
            raise ContractError("cnndetection: whole pictures differ in size; set batch to 1")
        example = np.zeros((1, 3, SIDE, SIDE), np.float32)
        content = read_published(weights, self.card, file)
        self._net = compiled(_net, content, example=example, device=device, input_shapes=[(None, 3, None, None)])

    def preproc(self, picture: Array) -> Array:
        """(H, W, 3) uint8 RGB -> (3, h, w) float32: the middle 224, or all, at its own pixels; ImageNet's mean 0 and deviation 1."""
        if self.card.parameters["crop"]:
            return normalized(centre(picture, SIDE))
        top, left = (max(0, size - MOST) // 2 for size in picture.shape[:2])
        return normalized(picture[top : top + MOST, left : left + MOST])

    def get_softlabel(self, batch: Array) -> Array:
        """1 - probability of *synthetic*: (N, 3, H, W) -> (N,)."""
        logits = np.asarray(self._net(batch), np.float64)[:, 0]
        return sigmoid(-logits)


def _net(content: bytes) -> torch.nn.Module:
    """The published ResNet-50."""
    from detectors.nets.checkpoint import fill, read_torch
    from detectors.nets.resnet import ResNet

    net = ResNet(50, classes=1)
    fill(net, read_torch(content, inside="model"))
    return net
