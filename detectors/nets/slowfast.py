"""SlowFast-50 (Feichtenhofer et al., ICCV 2019, arXiv:1812.03982), as the fourth place of the DFDC built and named it.

Owns: the two pathways, the lateral connections between them, the classifier over both.
Promises: ``state_dict`` has the published names and shapes (642 entries with two classes), so a published file fills it strictly; the
published logits for its weights (tests/parity/test_eighteen.py). Inference only: the dropout before ``fc`` is left out.
May be imported by detectors, in workers only. Torch is imported with this module.

The fast pathway sees every picture with an eighth of the channels (beta); the slow one sees every ``alpha``-th. Time-strided
convolutions over 5 pictures hand the fast features over before each of the slow pathway's four stages (section 3.4 of the paper).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

#: side of the pictures the published weights are used with
SIDE = 256
#: units and width of the four stages of a ResNet-50; the paper's table 1
_UNITS, _WIDTHS = (3, 4, 6, 3), (64, 128, 256, 512)
#: channels of the fast pathway: one in so many of the slow one's (the paper's 1/beta)
_NARROWER = 8
#: a unit gives four times its width
_EXPANSION = 4


class Bottleneck(nn.Module):
    """One residual unit: 1x1x1 (over 3 pictures when ``temporal``), 1x3x3 with the stride, 1x1x1; no stride in time."""

    def __init__(self, inputs: int, width: int, *, stride: int = 1, temporal: bool) -> None:
        super().__init__()
        outputs, depth = width * _EXPANSION, 3 if temporal else 1
        self.conv1 = nn.Conv3d(inputs, width, (depth, 1, 1), padding=(depth // 2, 0, 0), bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1), bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(outputs)
        self.projects = stride != 1 or inputs != outputs
        if self.projects:
            # one convolution in its own row, its batch norm beside it: so the published names are
            self.downsample = nn.Sequential(nn.Conv3d(inputs, outputs, 1, stride=(1, stride, stride), bias=False))
            self.downsample_bn = nn.BatchNorm3d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return functional.relu(y + (self.downsample_bn(self.downsample(x)) if self.projects else x))


class SlowFast(nn.Module):
    """(N, 3, T, H, W) float32 RGB, normalised, T >= 1 -> (N, classes) logits; 33,561,898 weights with two classes.

    ``alpha``: the slow pathway sees every so many pictures. H and W should be multiples of 32.
    """

    def __init__(self, *, classes: int = 2, alpha: int = 4) -> None:
        super().__init__()
        self.alpha = alpha
        first = 64 // _NARROWER
        self.fast_conv1 = nn.Conv3d(3, first, (5, 7, 7), stride=(1, 2, 2), padding=(2, 3, 3), bias=False)
        self.fast_bn1 = nn.BatchNorm3d(first)
        self.slow_conv1 = nn.Conv3d(3, 64, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False)
        self.slow_bn1 = nn.BatchNorm3d(64)
        fast, slow = first, 64
        for stage, (units, width) in enumerate(zip(_UNITS, _WIDTHS, strict=True), start=1):
            stride = 1 if stage == 1 else 2
            lateral = nn.Conv3d(fast, 2 * fast, (5, 1, 1), stride=(alpha, 1, 1), padding=(2, 0, 0), bias=False)
            self.add_module(f"Tconv{stage}", lateral)
            narrow = width // _NARROWER
            self.add_module(f"fast_res{stage}", _stage(fast, narrow, units=units, stride=stride, temporal=True))
            # the slow pathway looks along time in its last two stages only
            self.add_module(
                f"slow_res{stage}", _stage(slow + 2 * fast, width, units=units, stride=stride, temporal=stage >= 3)
            )
            fast, slow = narrow * _EXPANSION, width * _EXPANSION
        self.fc = nn.Linear(slow + fast, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fast = _shrink(functional.relu(self.fast_bn1(self.fast_conv1(x))))
        slow = _shrink(functional.relu(self.slow_bn1(self.slow_conv1(x[:, :, :: self.alpha]))))
        for stage in range(1, len(_UNITS) + 1):
            slow = torch.cat([slow, self.get_submodule(f"Tconv{stage}")(fast)], dim=1)
            slow = self.get_submodule(f"slow_res{stage}")(slow)
            fast = self.get_submodule(f"fast_res{stage}")(fast)
        pooled = torch.cat([slow.mean(dim=(2, 3, 4)), fast.mean(dim=(2, 3, 4))], dim=1)
        out: torch.Tensor = self.fc(pooled)
        return out


def _stage(inputs: int, width: int, *, units: int, stride: int, temporal: bool) -> nn.Sequential:
    first = Bottleneck(inputs, width, stride=stride, temporal=temporal)
    rest = (Bottleneck(width * _EXPANSION, width, temporal=temporal) for _ in range(units - 1))
    return nn.Sequential(first, *rest)


def _shrink(x: torch.Tensor) -> torch.Tensor:
    return functional.max_pool3d(x, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
