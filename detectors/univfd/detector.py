"""UnivFD on whole pictures (Ojha, Li, Lee, CVPR 2023); tower in ``detectors.nets.vit``, card in ``detector.toml``.

One logit whose sigmoid is the probability of *generated*; the soft label is the rest to one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from base_detector import Array, BaseDetector
from detectors.nets.pictures import CLIP_MEAN, CLIP_STD, centre, normalized
from detectors.nets.scores import sigmoid

if TYPE_CHECKING:
    import torch

    from detectors.nets.checkpoint import Published

#: CLIP as Hugging Face publishes it, and the trained layer
CLIP, HEAD = "clip-vit-large-patch14.safetensors", "fc_weights.pth"
#: side of the input
SIDE = 224


class UnivFd(BaseDetector):
    """CLIP's feature of the middle of a picture, and one linear layer."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import Published, read_published
        from detectors.runtime import compiled

        head = read_published(weights, self.card, HEAD)
        example = np.zeros((1, 3, SIDE, SIDE), np.float32)
        self._net = compiled(_net, Published(weights, self.card, CLIP), head, example=example, device=device)

    def preproc(self, picture: Array) -> Array:
        """(H, W, 3) uint8 RGB -> (3, 224, 224) float32: the middle of the picture at its own pixels, CLIP's mean 0 and deviation 1."""
        return normalized(centre(picture, SIDE), mean=CLIP_MEAN, deviation=CLIP_STD)

    def get_softlabel(self, batch: Array) -> Array:
        """1 - probability of *generated*: (N, 3, 224, 224) -> (N,)."""
        return sigmoid(-np.asarray(self._net(batch), np.float64)[:, 0])


def _net(clip: Published, head: bytes) -> torch.nn.Module:
    """CLIP's tower, its projection to 768 numbers, and the published layer on them."""
    from torch import nn

    from detectors.nets.checkpoint import filled, read_safetensors, read_torch
    from detectors.nets.vit import CLIP_L14, CLIP_SPACE, Classifier, projection_of, tower_of

    published = read_safetensors(clip.read())
    state = {f"tower.{name}": tensor for name, tensor in tower_of(published).items()}
    state |= {"head.0.weight": projection_of(published)}
    state |= {f"head.1.{name}": tensor for name, tensor in read_torch(head).items()}

    def build() -> nn.Module:
        return Classifier(
            CLIP_L14, nn.Sequential(nn.Linear(CLIP_L14.width, CLIP_SPACE, bias=False), nn.Linear(CLIP_SPACE, 1))
        )

    return filled(build, state)
