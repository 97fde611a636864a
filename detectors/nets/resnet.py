"""Residual networks of 18 to 152 layers (He et al., CVPR 2016) under the names of torchvision's checkpoints.

Owns: the two residual units, the four stages, the trunk and its classifier.
Promises: ``state_dict`` has torchvision's keys (``conv1``, ``bn1``, ``layer1.0.conv1``, ..., ``fc``); the stride of a bottleneck sits
in its 3x3 convolution ("v1.5"), as torchvision has it since its first release. Nothing is downloaded.
Imported by other networks and by detectors, in workers only.
"""

from __future__ import annotations

import torch
from torch import nn

#: layers -> (units in each of the four stages, whether they are bottlenecks): table 1 of the paper
DEPTHS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}


class Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-18 and -34)."""

    expansion = 1

    def __init__(self, inputs: int, width: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(inputs, width * self.expansion, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (ResNet-50 and deeper)."""

    expansion = 4

    def __init__(self, inputs: int, width: int, *, stride: int = 1) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(inputs, outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def _projection(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def make_stage(block: type[Basic | Bottleneck], inputs: int, *, width: int, units: int, stride: int) -> nn.Sequential:
    """``units`` blocks from ``inputs`` to ``width * block.expansion`` channels; the first one has the stride."""
    outputs = width * block.expansion
    return nn.Sequential(
        block(inputs, width, stride=stride), *(block(outputs, width) for _ in range(units - 1))
    )  # fmt: skip


class ResNet(nn.Module):
    """Trunk and classifier of a residual network with ``layers`` of ``DEPTHS``; ``classes`` None leaves the classifier ``fc`` out.

    Input (N, 3, H, W) float32, any size, scaled as its weights want it.
    """

    def __init__(self, layers: int, *, classes: int | None = 1000) -> None:
        super().__init__()
        units, deep = DEPTHS[layers]
        block: type[Basic | Bottleneck] = Bottleneck if deep else Basic
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        wide = block.expansion
        self.layer1 = make_stage(block, 64, width=64, units=units[0], stride=1)
        self.layer2 = make_stage(block, 64 * wide, width=128, units=units[1], stride=2)
        self.layer3 = make_stage(block, 128 * wide, width=256, units=units[2], stride=2)
        self.layer4 = make_stage(block, 256 * wide, width=512, units=units[3], stride=2)
        #: channels of the last stage
        self.features = 512 * wide
        self.fc = nn.Linear(self.features, classes) if classes is not None else None

    def stages(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Feature maps of ``layer1`` to ``layer4``, at 1/4, 1/8, 1/16 and 1/32 of the input's size (rounded up)."""
        first = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        second = self.layer2(first)
        third = self.layer3(second)
        return first, second, third, self.layer4(third)

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        """Mean of the last stage over its places: (N, features)."""
        return self.stages(x)[-1].mean(dim=(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs of the classifier (N, classes), no softmax; without one the pooled features (N, features)."""
        features = self.pooled(x)
        return features if self.fc is None else self.fc(features)
