"""What published detectors put on CLIP's tower for pictures: GenD's linear layer on a unit vector, RINE's view of all layers.

May be imported by detectors, in workers only. Torch is imported with this module. UnivFD's and Effort's heads are linear layers.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional

from detectors.nets.vit import CLIP_L14, VisionTransformer


class UnitLinear(nn.Module):
    """A linear layer on the vector scaled to length 1 (GenD's ``LinearNorm``): (N, width) -> (N, classes)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.linear(functional.normalize(x, dim=-1, eps=1e-12)))


def _layers(count: int, before: int, after: int) -> nn.Sequential:
    """``count`` linear layers with ReLU, numbered as published: 1, 4, 7 ..., for a dropout stands before them and after each."""
    parts: list[nn.Module] = [nn.Identity()]
    for layer in range(count):
        parts += [nn.Linear(before if layer == 0 else after, after), nn.ReLU(), nn.Identity()]
    return nn.Sequential(*parts)


class RineHead(nn.Module):
    """RINE's trained part (Koutlis and Papadopoulos, ECCV 2024, arXiv:2402.19091): class tokens of all layers, (N, 24, 1024), to logits.

    ``depth`` linear layers of ``width`` before and after the layers of the tower are weighed against each other.
    """

    def __init__(self, *, depth: int, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(1, CLIP_L14.layers, width))
        self.proj1 = _layers(depth, CLIP_L14.width, width)
        self.proj2 = _layers(depth, width, width)
        # numbered 0, 3, 6, with ReLU and dropout after the first two
        self.head = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Identity(), nn.Linear(width, width), nn.ReLU(), nn.Identity(), nn.Linear(width, 1)
        )  # fmt: skip

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        weighed = torch.softmax(self.alpha, dim=1) * self.proj1(tokens)
        return cast(torch.Tensor, self.head(self.proj2(weighed.sum(dim=1))))


class Rine(nn.Module):
    """CLIP's tower and ``RineHead``: (N, 3, 224, 224) -> logit (N, 1)."""

    def __init__(self, *, depth: int, width: int) -> None:
        super().__init__()
        self.tower = VisionTransformer(CLIP_L14)
        # what comes after the last block is not looked at
        self.tower.norm = nn.Identity()  # type: ignore[assignment]
        self.head = RineHead(depth=depth, width=width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.head(self.tower.inner_tokens(x)))
