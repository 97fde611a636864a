"""I3D: Inception-v1 with its filters inflated over time (Carreira and Zisserman, CVPR 2017, arXiv:1705.07750).

Owns: the network with two outputs under the names of The Medics' files (``Conv3d_1a_7x7.conv3d``, ``Mixed_3b.b1a.bn``, ``logits.conv3d``).
Promises: TensorFlow's "SAME" padding at every layer, as published. That padding depends on the size of the input, and a traced
network keeps it as a constant; so the length is an argument of the class, and ``length_class`` says which lengths may share a network.
May be imported by detectors, in workers only. Torch is imported with this module.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from detectors.nets.i3d_length import SHORTEST, length_class

__all__ = ["I3D", "SHORTEST", "length_class"]

#: side of the input picture; the last average pooling, 7 x 7, fits this side only
SIDE = 224

#: name -> (input channels, channels of b0, b1a, b1b, b2a, b2b, b3b): figure 3 of the paper, table 1 of arXiv:1409.4842
_MIXED = {
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}

#: (time, height, width)
Size = tuple[int, int, int]


def same_padding(size: Size, *, kernel: Size, stride: Size) -> tuple[int, int, int, int, int, int]:
    """Zeros to add as ``F.pad`` takes them: width, height, time, before and after each; the odd one goes after.

    The total is max(kernel - stride, 0) where the stride divides the size, else max(kernel - size mod stride, 0).
    """
    padding: list[int] = []
    for length, k, s in zip(reversed(size), reversed(kernel), reversed(stride), strict=True):
        total = max(k - (length % s or s), 0)
        padding += [total // 2, total - total // 2]
    return (padding[0], padding[1], padding[2], padding[3], padding[4], padding[5])


class _Padded(nn.Module):
    """Pads for ``kernel`` and ``stride``; ``padding`` is what a picture of ``size`` needs, ``after`` the size that is left."""

    def __init__(self, size: Size, kernel: Size, stride: Size) -> None:
        super().__init__()
        self.padding = same_padding(size, kernel=kernel, stride=stride)
        self.after: Size = (-(-size[0] // stride[0]), -(-size[1] // stride[1]), -(-size[2] // stride[2]))

    def pad(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x, self.padding) if any(self.padding) else x


class _Pool(_Padded):
    """Maximum over zero-padded input; nothing below zero reaches it."""

    def __init__(self, size: Size, *, kernel: Size, stride: Size) -> None:
        super().__init__(size, kernel, stride)
        self.pool = nn.MaxPool3d(kernel, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.pool(self.pad(x))
        return pooled


class _Unit(_Padded):
    """Convolution, batch norm (epsilon 1e-3), ReLU."""

    def __init__(self, inputs: int, outputs: int, size: Size, *, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(size, (kernel,) * 3, (stride,) * 3)
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(self.conv3d(self.pad(x))))


class _Mixed(nn.Module):
    """Four branches side by side: 1, 1 then 3, 1 then 3, pool then 1."""

    def __init__(self, inputs: int, b0: int, b1a: int, b1b: int, b2a: int, b2b: int, b3b: int, *, size: Size) -> None:
        super().__init__()
        self.after = size
        self.b0 = _Unit(inputs, b0, size)
        self.b1a, self.b1b = _Unit(inputs, b1a, size), _Unit(b1a, b1b, size, kernel=3)
        self.b2a, self.b2b = _Unit(inputs, b2a, size), _Unit(b2a, b2b, size, kernel=3)
        self.b3a, self.b3b = _Pool(size, kernel=(3, 3, 3), stride=(1, 1, 1)), _Unit(inputs, b3b, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], dim=1)


class _Logits(nn.Module):
    """The classifier: a 1 x 1 x 1 convolution with bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.conv3d(x)
        return logits


class I3D(nn.Module):
    """(N, 3, T, 224, 224) float32 RGB in [-1, 1] -> logits (N, 2), averaged over time.

    ``frames`` is T, or any length of the same ``length_class``.
    """

    def __init__(self, *, frames: int) -> None:
        super().__init__()
        size: Size = (length_class(frames), SIDE, SIDE)
        steps: list[tuple[str, _Unit | _Pool | _Mixed]] = []

        def add(name: str, layer: _Unit | _Pool | _Mixed) -> Size:
            self.add_module(name, layer)
            steps.append((name, layer))
            return layer.after

        size = add("Conv3d_1a_7x7", _Unit(3, 64, size, kernel=7, stride=2))
        size = add("MaxPool3d_2a_3x3", _Pool(size, kernel=(1, 3, 3), stride=(1, 2, 2)))
        size = add("Conv3d_2b_1x1", _Unit(64, 64, size))
        size = add("Conv3d_2c_3x3", _Unit(64, 192, size, kernel=3))
        size = add("MaxPool3d_3a_3x3", _Pool(size, kernel=(1, 3, 3), stride=(1, 2, 2)))
        for name, channels in _MIXED.items():
            if name == "Mixed_4b":
                size = add("MaxPool3d_4a_3x3", _Pool(size, kernel=(3, 3, 3), stride=(2, 2, 2)))
            elif name == "Mixed_5b":
                size = add("MaxPool3d_5a_2x2", _Pool(size, kernel=(2, 2, 2), stride=(2, 2, 2)))
            size = add(name, _Mixed(*channels, size=size))
        self._order = [name for name, _ in steps]
        self.logits = _Logits(1024, 2)
        self.avg_pool = nn.AvgPool3d((2, 7, 7), stride=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in self._order:
            x = getattr(self, name)(x)
        logits: torch.Tensor = self.logits(self.avg_pool(x))
        return logits.mean(dim=(2, 3, 4))
