"""FerretNet (Liang et al., NeurIPS 2025): a small network on what a median of the neighbours leaves of a picture.

Owns: the local residual, the dilated blocks, the two published widths. Promises: ``state_dict`` has the names of the authors' checkpoints;
pictures of any size from about 32 pixels. One logit, its sigmoid is the probability of *synthetic*.
May be imported by detectors, in workers only.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

#: Channels after the second convolution: ``dim`` of FerretNet-S and FerretNet-B.
S, B = 32, 96

#: Exchanges that leave the median of nine numbers in the fifth place (Devillard, "Fast median search", 1998: opt_med9).
_EXCHANGES = (
    (1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3),
    (5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2),
)  # fmt: skip


def residual(x: torch.Tensor) -> torch.Tensor:
    """What a pixel is above the median of its eight neighbours and a zero, (B, 3, H, W); beyond the border there are zeros.

    The authors put the zero in the pixel's own place; after normalisation it is the mean of the training pictures, not black.
    """
    height, width = x.shape[2:]
    padded = functional.pad(x, (1, 1, 1, 1))
    nine = [
        torch.zeros_like(x) if (i, j) == (1, 1) else padded[:, :, i : i + height, j : j + width]
        for i in range(3)
        for j in range(3)
    ]
    for low, high in _EXCHANGES:
        nine[low], nine[high] = torch.minimum(nine[low], nine[high]), torch.maximum(nine[low], nine[high])
    return x - nine[4]


class _Dilated(nn.Module):
    """Two grouped 3x3 convolutions of different reach, summed and mixed."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, groups=inputs, bias=False)
        self.conv2 = nn.Conv2d(inputs, outputs, 3, stride, 2, dilation=2, groups=inputs, bias=False)
        self.conv3 = nn.Conv2d(outputs, outputs, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.conv3(self.conv1(x) + self.conv2(x))
        return mixed


class _Separable(nn.Module):
    """A 3x3 convolution of each channel alone, then a 1x1 of all."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depth_wise = nn.Conv2d(width, width, 3, 1, 1, groups=width, bias=False)
        self.point_wise = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.point_wise(self.depth_wise(x))
        return mixed


class _Block(nn.Module):
    """A dilated and a separable convolution with a shortcut."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _Dilated(inputs, outputs, stride=stride),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            _Separable(outputs),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
            if stride != 1 or inputs != outputs
            else nn.Identity()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.layers(x) + self.shortcut(x))


def _stem(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class FerretNet(nn.Module):
    """Pictures (N, 3, H, W), normalised as for CLIP -> logits (N, 1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cbr1 = _stem(3, width // 2, stride=1)
        self.cbr2 = _stem(width // 2, width, stride=2)
        stages = [
            nn.Sequential(_Block(size, 2 * size, stride=2), _Block(2 * size, 2 * size, stride=1))
            for size in (width, 2 * width)
        ]
        self.feature = nn.Sequential(*stages, nn.Conv2d(4 * width, 4 * width, 1, bias=False))
        self.logit = nn.Sequential(nn.Dropout(), nn.Linear(4 * width, 1))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        features = self.feature(self.cbr2(self.cbr1(residual(pictures))))
        logits: torch.Tensor = self.logit(features.mean((2, 3)))
        return logits
