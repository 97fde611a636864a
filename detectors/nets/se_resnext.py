"""SE-ResNeXt-50 32x4d (Hu, Shen and Sun, CVPR 2018, arXiv:1709.01507) with one output, under Cadene's names below ``backbone``.

Owns: the network of The Medics' 2-D file: ``backbone.layer0.conv1``, ``backbone.layer1.0.se_module.fc1``, ..., ``fc``.
Promises: any side; the first pooling rounds its size up and pads nothing in front, as in the authors' Caffe model.
May be imported by detectors, in workers only. Torch is imported with this module.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

#: units in each of the four stages, and their channels (outputs)
_STAGES = ((3, 256), (4, 512), (6, 1024), (3, 2048))
#: groups of the 3 x 3 convolutions, and the reduction of the gates
_GROUPS, _REDUCTION = 32, 16


class _Gate(nn.Module):
    """Squeeze and excitation: each channel times a number in (0, 1) drawn from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _REDUCTION, 1)
        self.fc2 = nn.Conv2d(channels // _REDUCTION, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))))


class _Unit(nn.Module):
    """1 x 1, grouped 3 x 3 with the stride, 1 x 1, gate, shortcut; half as many channels inside as outside."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        width = outputs // 2
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=_GROUPS, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.se_module = _Gate(outputs)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if inputs != outputs
            else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.se_module(self.bn3(self.conv3(y))) + shortcut)


class _First(nn.Module):
    """7 x 7 convolution with stride 2, batch norm, ReLU, pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.pool(F.relu(self.bn1(self.conv1(x))))
        return pooled


class _Backbone(nn.Module):
    """(N, 3, H, W) -> (N, 2048): the mean of the last maps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer0 = _First()
        inputs = 64
        for number, (units, outputs) in enumerate(_STAGES, start=1):
            stage = []
            for unit in range(units):
                stage.append(_Unit(inputs, outputs, stride=2 if number > 1 and unit == 0 else 1))
                inputs = outputs
            self.add_module(f"layer{number}", nn.Sequential(*stage))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for number in range(len(_STAGES) + 1):
            x = getattr(self, f"layer{number}")(x)
        return x.mean(dim=(2, 3))


class SeResNext50(nn.Module):
    """(N, 3, H, W) float32 -> logit (N,)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = _Backbone()
        self.fc = nn.Linear(2048, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.backbone(x))
        return logits[:, 0]
