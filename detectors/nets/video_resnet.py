"""MC3-18 and R(2+1)D-18 (Tran et al., CVPR 2018, arXiv:1711.11248) under the names of torchvision's checkpoints.

Owns: both networks with two outputs. MC3 convolves over time in the first stage only; R(2+1)D splits every 3-D convolution into one over
space and one over time, with as many channels in between as keep the count of numbers (section 3.5 of the paper).
Promises: ``state_dict`` has torchvision's keys (``stem.0``, ``layer1.0.conv1.0``, ``layer2.0.downsample.0``, ``fc``); any length and side.
May be imported by detectors, in workers only. Torch is imported with this module.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

#: channels of the four stages of two units each
_STAGES = (64, 128, 256, 512)


def _over_space(inputs: int, outputs: int, stride: int) -> nn.Module:
    """3 x 3 over space, nothing over time."""
    return nn.Conv3d(inputs, outputs, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)


def _over_all(inputs: int, outputs: int, stride: int) -> nn.Module:
    """3 x 3 x 3."""
    return nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False)


def _split(inputs: int, outputs: int, stride: int, *, between: int) -> nn.Module:
    """3 x 3 over space, batch norm, ReLU, 3 over time."""
    return nn.Sequential(
        nn.Conv3d(inputs, between, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
        nn.BatchNorm3d(between),
        nn.ReLU(inplace=True),
        nn.Conv3d(between, outputs, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
    )


def _between(inputs: int, outputs: int) -> int:
    """Channels in between that keep the count of a 3 x 3 x 3 convolution: 27 io / (9 i + 3 o), rounded down."""
    return inputs * outputs * 27 // (inputs * 9 + 3 * outputs)


class _Unit(nn.Module):
    """Two convolutions with batch norm, and a shortcut that is a convolution where the size changes."""

    def __init__(self, first: nn.Module, second: nn.Module, channels: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(first, nn.BatchNorm3d(channels), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(second, nn.BatchNorm3d(channels))
        self.downsample = downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv2(self.conv1(x)) + shortcut)


class _VideoResNet(nn.Module):
    """(N, 3, T, H, W) float32 -> logits (N, 2)."""

    def __init__(self, *, split: bool) -> None:
        super().__init__()
        self.stem = _split_stem() if split else _stem()
        before = 64
        for number, channels in enumerate(_STAGES, start=1):
            stride = 1 if number == 1 else 2
            # MC3: only the first stage sees time, so only there would a stride reach it
            steps = (stride, stride, stride) if split else (1, stride, stride)
            units = []
            for inputs, step in ((before, stride), (channels, 1)):
                if split:
                    between = _between(inputs, channels)  # one number a unit, also for its second convolution
                    first = _split(inputs, channels, step, between=between)
                    second = _split(channels, channels, 1, between=between)
                else:
                    kind = _over_all if number == 1 else _over_space
                    first, second = kind(inputs, channels, step), kind(channels, channels, 1)
                shortcut = _shortcut(inputs, channels, steps) if step > 1 else None
                units.append(_Unit(first, second, channels, shortcut))
            self.add_module(f"layer{number}", nn.Sequential(*units))
            before = channels
        self.fc = nn.Linear(512, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for number in range(1, len(_STAGES) + 1):
            x = getattr(self, f"layer{number}")(x)
        logits: torch.Tensor = self.fc(x.mean(dim=(2, 3, 4)))
        return logits


class MC3(_VideoResNet):
    """MC3-18: (N, 3, T, H, W) float32, RGB with ImageNet's statistics -> logits (N, 2)."""

    def __init__(self) -> None:
        super().__init__(split=False)


class R2Plus1D(_VideoResNet):
    """R(2+1)D-18: (N, 3, T, H, W) float32, RGB with ImageNet's statistics -> logits (N, 2)."""

    def __init__(self) -> None:
        super().__init__(split=True)


def _stem() -> nn.Sequential:
    conv = nn.Conv3d(3, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(64), nn.ReLU(inplace=True))


def _split_stem() -> nn.Sequential:
    space = nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
    time = nn.Conv3d(45, 64, (3, 1, 1), (1, 1, 1), (1, 0, 0), bias=False)
    first = (space, nn.BatchNorm3d(45), nn.ReLU(inplace=True))
    return nn.Sequential(*first, time, nn.BatchNorm3d(64), nn.ReLU(inplace=True))


def _shortcut(inputs: int, outputs: int, stride: tuple[int, int, int]) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs))
