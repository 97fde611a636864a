"""RINE on whole pictures (Koutlis and Papadopoulos, ECCV 2024); networks in ``detectors.nets``, card in ``detector.toml``.

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

#: CLIP as Hugging Face publishes it
CLIP = "clip-vit-large-patch14.safetensors"
#: ``parameters.variant`` of the card -> (published head, its linear layers before and after the weighing, their width): the number of
#: ProGAN's classes in its training
VARIANTS = {
    "1class": ("model_1class_trainable.pth", 4, 1024),
    "2class": ("model_2class_trainable.pth", 4, 128),
    "4class": ("model_4class_trainable.pth", 2, 1024),
}
#: side of the input
SIDE = 224


class Rine(BaseDetector):
    """CLIP's class tokens of all layers, weighed; ``parameters.variant`` of the card names the head."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import Published, read_published, variant_of
        from detectors.runtime import compiled

        file, depth, width = variant_of(self.card, VARIANTS)
        clip, head = Published(weights, self.card, CLIP), read_published(weights, self.card, file)
        example = np.zeros((1, 3, SIDE, SIDE), np.float32)
        self._net = compiled(_net, clip, head, depth, width, example=example, device=device)

    def preproc(self, picture: Array) -> Array:
        """(H, W, 3) uint8 RGB -> (3, 224, 224) float32: the middle of the picture at its own pixels, CLIP's mean 0 and deviation 1."""
        return normalized(centre(picture, SIDE), mean=CLIP_MEAN, deviation=CLIP_STD)

    def get_softlabel(self, batch: Array) -> Array:
        """1 - probability of *generated*: (N, 3, 224, 224) -> (N,)."""
        return sigmoid(-np.asarray(self._net(batch), np.float64)[:, 0])


def _net(clip: Published, head: bytes, depth: int, width: int) -> torch.nn.Module:
    """CLIP's tower without its last normalisation, and the published head."""
    from detectors.nets.checkpoint import filled, read_safetensors, read_torch
    from detectors.nets.clip_heads import Rine
    from detectors.nets.vit import tower_of

    tower = tower_of(read_safetensors(clip.read()))
    state = {f"tower.{name}": tensor for name, tensor in tower.items() if not name.startswith("norm.")}
    state |= {f"head.{name}": tensor for name, tensor in read_torch(head).items()}
    return filled(lambda: Rine(depth=depth, width=width), state)
