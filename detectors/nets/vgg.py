"""The first three stages of VGG-19, under torchvision's names (Simonyan and Zisserman, ICLR 2015, arXiv:1409.1556).

Owns: the convolutions ``features[0:19]`` of VGG-19 without batch norm, and the choice of their entries from the published file.
Promises: what torchvision's ``vgg19().features[:19]`` gives for its published weights (tests/parity/test_capsule.py).
May be imported by detectors, in workers only. Torch is imported with this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import nn

from detectors.nets.checkpoint import CheckpointError

#: what torchvision's file of VGG-19 names: all convolutions and the classifier
_PUBLISHED = re.compile(r"(features\.\d+|classifier\.[036])\.(weight|bias)")

#: channels of the convolutions of the first three stages (configuration E); each stage ends with a 2 x 2 maximum
_STAGES = ((64, 64), (128, 128), (256, 256, 256, 256))


class ThreeStages(nn.Module):
    """(N, 3, H, W) float32 RGB, ImageNet's mean 0 and deviation 1 -> (N, 256, H // 8, W // 8), after the third maximum."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for stage in _STAGES:
            for after in stage:
                layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
                before = after
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.features(x)
        return features


def used_entries(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The entries of a VGG-19 file that ``ThreeStages`` has names for; the deeper layers and the classifier are left out.

    Raises CheckpointError when the file names anything that VGG-19 has not, so that another network's file is not half used.
    """
    strange = sorted(name for name in state if not _PUBLISHED.fullmatch(name))
    if strange:
        raise CheckpointError(f"this is not a file of VGG-19: it names {', '.join(strange)}")
    last = sum(2 * len(stage) + 1 for stage in _STAGES)  # 19: the first layer that is not used
    return {
        name: item for name, item in state.items() if name.startswith("features.") and int(name.split(".")[1]) < last
    }
