"""3-D ResNet-34 with parameter-free shortcuts (Hara, Kataoka and Satoh, ICCV workshop 2017, arXiv:1708.07632; "shortcut A").

Owns: the network under the names of the authors' files (``conv1``, ``layer1.0.bn1``, ..., ``fc``).
Promises: any length and side that leave something to average; where a unit changes size, its shortcut takes every second value and
fills the new channels with zeros.
May be imported by detectors, in workers only. Torch is imported with this module.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

#: units in each of the four stages, and their channels
_STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))


class _Unit(nn.Module):
    """Two 3 x 3 x 3 convolutions and a shortcut without numbers."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(outputs)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(outputs)
        self.stride, self.added = stride, outputs - inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride, :: self.stride]
        if self.added:
            x = F.pad(x, (0, 0, 0, 0, 0, 0, 0, self.added))
        return F.relu(y + x)


class ResNet34(nn.Module):
    """(N, 3, T, H, W) float32 -> logits (N, 2). The Medics feed raw RGB, 0 to 255, 224 x 224."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 7, stride=(1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1)
        channels = 64
        for number, (units, outputs) in enumerate(_STAGES, start=1):
            strides = [1 if number == 1 else 2] + [1] * (units - 1)
            stage = []
            for stride in strides:
                stage.append(_Unit(channels, outputs, stride=stride))
                channels = outputs
            self.add_module(f"layer{number}", nn.Sequential(*stage))
        self.fc = nn.Linear(512, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for number in range(1, len(_STAGES) + 1):
            x = getattr(self, f"layer{number}")(x)
        logits: torch.Tensor = self.fc(x.mean(dim=(2, 3, 4)))
        return logits
