"""Community Forensics on whole pictures (Park and Owens, CVPR 2025); network in ``detectors.nets.vit``, card in ``detector.toml``.

One logit whose sigmoid is the probability that the picture was *generated*; the soft label is the rest to one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from base_detector import Array, BaseDetector
from detectors.nets.pictures import normalized, scaled_centre
from detectors.nets.scores import sigmoid

if TYPE_CHECKING:
    import torch

#: ``parameters.variant`` of the card -> (published file, side of the input, shorter side the picture is scaled to)
VARIANTS = {"384": ("commfor-model-384.safetensors", 384, 440), "224": ("commfor-model-224.safetensors", 224, 256)}


class CommunityForensics(BaseDetector):
    """ViT-S/16; ``parameters.variant`` of the card names the network by the side of its input."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import read_published, variant_of
        from detectors.runtime import compiled

        file, self._side, self._shorter = variant_of(self.card, VARIANTS)
        content = read_published(weights, self.card, file)
        example = np.zeros((1, 3, self._side, self._side), np.float32)
        self._net = compiled(_net, content, self._side, example=example, device=device)

    def preproc(self, picture: Array) -> Array:
        """(H, W, 3) uint8 RGB -> (3, side, side) float32: the middle of the picture scaled by Pillow's bilinear, ImageNet's mean 0."""
        middle = scaled_centre(picture, shorter=self._shorter, side=self._side, method=Image.Resampling.BILINEAR)
        return normalized(middle)

    def get_softlabel(self, batch: Array) -> Array:
        """1 - probability of *generated*: (N, 3, side, side) -> (N,)."""
        return sigmoid(-np.asarray(self._net(batch), np.float64)[:, 0])


def _net(content: bytes, side: int) -> torch.nn.Module:
    """The published ViT-S/16, whose names begin with ``vit.``; its head is one of them."""
    from torch import nn

    from detectors.nets.checkpoint import filled, read_safetensors
    from detectors.nets.vit import Classifier, small16

    state = {
        f"head.{name.removeprefix('vit.head.')}"
        if name.startswith("vit.head.")
        else name.replace("vit.", "tower.", 1): tensor
        for name, tensor in read_safetensors(content).items()
    }
    return filled(lambda: Classifier(small16(side), nn.Linear(small16(side).width, 1)), state)
