"""EfficientNetV2-M (Tan and Le, ICML 2021, arXiv:2104.00298) under the names of timm's ``tf_efficientnetv2_m``.

Owns: the stages of size M, and the two blocks that the first family has not: plain convolutions with a shortcut, and the fused MBConv.
Promises: timm's names and shapes, so that its files fill the net strictly; 52,858,356 numbers without the classifier
(tests/parity/test_mever.py).
May be imported by detectors, in workers only. Torch is imported with this module.
"""

from __future__ import annotations

from typing import Final, cast

import torch
from torch import nn
from torch.nn import functional

from detectors.nets.efficientnet import (
    TIMM_NAMES,
    BlockPlan,
    MBConv,
    PaddedConv2d,
    Size,
    TimmNet,
    norm,
    pointwise,
    same_padding,
)

#: the authors' code (google/automl, effnetv2_configs.py, v2_m_block): kind, layers, stride, expansion, output channels; kernels are 3 x 3
_STAGES: Final = (
    ("plain", 3, 1, 1, 24),
    ("fused", 5, 2, 4, 48),
    ("fused", 5, 2, 4, 80),
    ("mbconv", 7, 2, 4, 160),
    ("mbconv", 14, 1, 6, 176),
    ("mbconv", 18, 2, 6, 304),
    ("mbconv", 5, 1, 6, 512),
)
_STEM, _HEAD, _KERNEL = 24, 1280, 3


class Plain(nn.Module):
    """A 3 x 3 convolution with the shortcut of its input: (N, C, h, w) -> the same shape."""

    def __init__(self, numbers: BlockPlan) -> None:
        super().__init__()
        self.conv = PaddedConv2d(numbers.before, numbers.after, _KERNEL, pad=numbers.pad, stride=numbers.stride)
        self.bn1 = norm(numbers.after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + functional.silu(self.bn1(self.conv(x)))


class Fused(nn.Module):
    """Fused MBConv: one 3 x 3 convolution expands, a pointwise one projects; no squeeze-and-excitation.

    (N, before, h, w) -> (N, after, ceil(h / stride), ceil(w / stride)).
    """

    def __init__(self, numbers: BlockPlan) -> None:
        super().__init__()
        inner = numbers.before * numbers.expand
        self.conv_exp = PaddedConv2d(numbers.before, inner, _KERNEL, pad=numbers.pad, stride=numbers.stride)
        self.bn1 = norm(inner)
        self.conv_pwl = pointwise(inner, numbers.after)
        self.bn2 = norm(numbers.after)
        self.shortcut = numbers.stride == 1 and numbers.before == numbers.after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn2(self.conv_pwl(functional.silu(self.bn1(self.conv_exp(x)))))
        return out + x if self.shortcut else cast(torch.Tensor, out)


class EfficientNetV2M(TimmNet):
    """timm's ``tf_efficientnetv2_m``: (N, 3, h, w) -> logits (N, classes); names ``conv_stem``, ``blocks.I.J``, ``classifier``.

    ``size`` is the (height, width) of the input, for which TensorFlow's SAME is worked out in advance; another size is refused.
    ``classes=0`` leaves out the classifier and gives the mean features (N, 1280).
    """

    def __init__(self, *, size: Size, classes: int = 1000) -> None:
        super().__init__()
        self.features = _HEAD
        self._size = size
        pad, inner = same_padding(size, kernel=_KERNEL, stride=2)
        self.conv_stem = PaddedConv2d(3, _STEM, _KERNEL, pad=pad, stride=2)
        self.bn1 = norm(_STEM)
        stages: list[nn.Module] = []
        before = _STEM
        for number, (kind, layers, stride, expand, after) in enumerate(_STAGES):
            blocks: list[nn.Module] = []
            for layer in range(layers):
                step = stride if layer == 0 else 1
                pad, inner = same_padding(inner, kernel=_KERNEL, stride=step)
                blocks.append(_block(kind, BlockPlan(number, before, after, _KERNEL, step, expand, pad)))
                before = after
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = pointwise(before, _HEAD)
        self.bn2 = norm(_HEAD)
        self.classifier = nn.Linear(_HEAD, classes) if classes else None


def _block(kind: str, numbers: BlockPlan) -> nn.Module:
    if kind == "plain":
        return Plain(numbers)
    if kind == "fused":
        return Fused(numbers)
    return MBConv(numbers, names=TIMM_NAMES, expansion=pointwise)
