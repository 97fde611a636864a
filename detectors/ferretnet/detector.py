"""FerretNet on whole pictures (Liang et al., NeurIPS 2025); network in ``detectors.nets.ferretnet``, card in ``detector.toml``.

The published network gives one logit for a crop of 256 pixels, its sigmoid is the probability of *synthetic*. It looks at the smallest
traces, which any resize removes: the picture is never scaled.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from base_detector import Array, BaseDetector, Skip
from detectors.nets.pictures import CLIP_MEAN, CLIP_STD
from detectors.nets.pictures import normalized as as_for_clip
from detectors.nets.scores import sigmoid

if TYPE_CHECKING:
    import torch

#: ``parameters.variant`` of the card -> (width in detectors.nets.ferretnet, published file)
VARIANTS = {"S": ("S", "ferretnet-s-median-3.pth"), "B": ("B", "ferretnet-b-median-3.pth")}

#: Side of a crop (the authors' configs/Test.yaml), and of the smallest picture whose logit is the median over a grid of crops: ours.
SIDE, LEAST_FOR_GRID = 256, 320
#: Crops of the grid in each direction.
GRID = 3


class FerretNet(BaseDetector):
    """One of the two published networks; ``parameters.variant`` of the card names it."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import read_published, variant_of
        from detectors.runtime import compiled

        width, file = variant_of(self.card, VARIANTS)
        content = read_published(weights, self.card, file)
        example = np.zeros((1, 3, SIDE, SIDE), np.float32)
        self._net = compiled(_net, width, content, example=example, device=device)

    def preproc(self, picture: Array) -> Array:
        """(H, W, 3) uint8 RGB -> (9, 3, 256, 256) float32: crops of a grid from border to border, or the middle nine times.

        Raises Skip (``picture_too_small``).
        """
        if min(picture.shape[:2]) < SIDE:
            raise Skip("picture_too_small")
        return np.stack([normalized(picture[y : y + SIDE, x : x + SIDE]) for y, x in corners(*picture.shape[:2])])

    def get_softlabel(self, batch: Array) -> Array:
        """1 - probability of *synthetic*, by the median logit of a picture's crops: (N, 9, 3, 256, 256) -> (N,)."""
        logits = [np.median(np.asarray(self._net(crops), np.float64)[:, 0]) for crops in batch]
        return sigmoid(-np.array(logits))


def corners(height: int, width: int) -> list[tuple[int, int]]:
    """Top and left of the nine crops: three by three from border to border, or all in the middle of a small picture.

    Half a pixel is rounded to even (torchvision's CenterCrop, which the authors test with).
    """
    if min(height, width) < LEAST_FOR_GRID:
        return [(round((height - SIDE) / 2), round((width - SIDE) / 2))] * GRID**2
    tops, lefts = ([round(step * (size - SIDE) / (GRID - 1)) for step in range(GRID)] for size in (height, width))
    return [(top, left) for top in tops for left in lefts]


def normalized(picture: Array) -> Array:
    """(h, w, 3) uint8 RGB -> (3, h, w) float32 of CLIP's mean 0 and deviation 1."""
    return as_for_clip(picture, mean=CLIP_MEAN, deviation=CLIP_STD)


def _net(width: str, content: bytes) -> torch.nn.Module:
    """The published network of that width."""
    from detectors.nets import ferretnet
    from detectors.nets.checkpoint import fill, read_torch

    net = ferretnet.FerretNet(getattr(ferretnet, width))
    fill(net, read_torch(content, inside="model"))
    return net
