"""CNNDetection on one face at a time (Wang et al., CVPR 2020); trunk in ``detectors.nets.resnet``, card in ``detector.toml``.

The published network takes pictures of any size and gives one logit whose sigmoid is the probability of *synthetic*. For face swaps its
author cuts out the face and scales it to 256 (issue 3 of the repository); the paper's evaluation then takes the middle 224.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from base_detector import Array, BaseDetector, Face
from detectors.nets.crops import cut_square
from detectors.nets.faces import normalized
from detectors.nets.scores import sigmoid

if TYPE_CHECKING:
    import torch

#: ``parameters.variant`` of the card -> published file; the number is the share of training pictures blurred and JPEG-compressed
VARIANTS = {"blur_jpg_prob0.5": "blur_jpg_prob0.5.pth", "blur_jpg_prob0.1": "blur_jpg_prob0.1.pth"}

#: the face is scaled to the first, its middle cut to the second: training and evaluation of the paper
SCALED, SIDE = 256, 224
#: our choice: FaceForensics++'s own square about the face, see README.md
SCALE = 1.3


class CNNDetection(BaseDetector):
    """ResNet-50 with one output; ``parameters.variant`` of the card names the weights."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import read_published, variant_of
        from detectors.runtime import compiled

        content = read_published(weights, self.card, variant_of(self.card, VARIANTS))
        example = np.zeros((1, 3, SIDE, SIDE), np.float32)
        # any size, as published; the platform gives faces of one size
        self._net = compiled(_net, content, example=example, device=device, input_shapes=[(None, 3, None, None)])

    def crop_face(self, image: Array, face: Face) -> Array:
        """The square of 1.3 longer sides about the face, (side, side, 3) uint8 RGB. Raises Skip."""
        return cut_square(image, face, scale=SCALE)

    def preproc(self, face: Array) -> Array:
        """(h, w, 3) uint8 RGB -> (3, 224, 224) float32: bilinear to 256, middle 224, ImageNet's mean 0 and deviation 1."""
        scaled = np.asarray(Image.fromarray(face).resize((SCALED, SCALED), Image.Resampling.BILINEAR))
        return normalized(centre(scaled))

    def get_softlabel(self, batch: Array) -> Array:
        """1 - probability of *synthetic*: (N, 3, H, W) -> (N,)."""
        logits = np.asarray(self._net(batch), np.float64)[:, 0]
        return sigmoid(-logits)


def centre(image: Array) -> Array:
    """The middle (224, 224, 3) of a picture (h, w, 3) of at least that size; half a pixel is rounded to even (torchvision's CenterCrop)."""
    height, width = image.shape[:2]
    top, left = round((height - SIDE) / 2), round((width - SIDE) / 2)
    return image[top : top + SIDE, left : left + SIDE]


def _net(content: bytes) -> torch.nn.Module:
    """The published ResNet-50."""
    from detectors.nets.checkpoint import fill, read_torch
    from detectors.nets.resnet import ResNet

    net = ResNet(50, classes=1)
    fill(net, read_torch(content, inside="model"))
    return net
