"""ResNet-50 with a pyramid of max pools in front of its classifier (He et al., ECCV 2014), as DSP-FWA has it.

Owns: the pyramid and the classifier on it. Promises: ``state_dict`` has the names of the published file, whose trunk carries two
classifiers that nothing uses. Imported by detectors, in workers only.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from detectors.nets.resnet import ResNet

#: side of the input and of the trunk's last feature map
SIDE, LAST = 224, 7
#: places on a side of each level of the pyramid, in the order of the joined features
LEVELS = (1, 2, 6)


class _Trunk(nn.Module):
    """The published file's ``resnet.*``: a whole ResNet-50 with its 1000 classes, and a second classifier; both classifiers are idle."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNet(50)
        self.fc = nn.Linear(self.resnet.features, 2)


class SppResNet(nn.Module):
    """Logits of a head: (N, 3, 224, 224) float32 BGR minus ImageNet's mean -> (N, 2), index 0 = fake, no softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = _Trunk()
        places = sum(level * level for level in LEVELS)
        self.classifier = nn.Linear(self.resnet.resnet.features * places, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(pyramid(self.resnet.resnet.stages(x)[-1]))


def pyramid(features: torch.Tensor) -> torch.Tensor:
    """Max pools of (N, C, 7, 7) over 1, 2 x 2 and 6 x 6 places: (N, 41 C), level after level, each channel by channel.

    Windows are ceil(7 / level) wide, floor(7 / level) apart: they overlap where 7 is not a multiple.
    """
    levels = [F.max_pool2d(features, math.ceil(LAST / n), math.floor(LAST / n)) for n in LEVELS]
    # flatten takes the logical order (channel, row, column) whatever the layout in memory
    return torch.cat([level.flatten(1) for level in levels], dim=1)
