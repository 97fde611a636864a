"""Xception as FaceForensics++ and the DFDC teams used it (Chollet, CVPR 2017, figure 5; the torch layout of Cadene and tstandley).

Owns: the architecture, and the wrapper whose names start with ``model.``.
Promises: the names and shapes of the state dict are those of the published files (``conv1``, ``block1.rep.0.conv1``, ``bn4``...), with
the last layer called as asked. May be imported by detectors and by networks built on it, in workers only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Numbers per place after :meth:`Xception.features`.
FEATURES = 2048

#: (in, out, separable convolutions, stride, ReLU first, channels grow in the first convolution) of blocks 1 to 12
_BLOCKS: Sequence[tuple[int, int, int, int, bool, bool]] = (
    (64, 128, 2, 2, False, True),
    (128, 256, 2, 2, True, True),
    (256, 728, 2, 2, True, True),
    *[(728, 728, 3, 1, True, True)] * 8,
    (728, 1024, 2, 2, True, False),
)


class SeparableConv(nn.Module):
    """A 3x3 convolution per channel (``conv1``) and a 1x1 one across channels (``pointwise``), nothing between."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pointwise(self.conv1(x))
        return out


class Block(nn.Module):
    """Two or three separable convolutions (``rep``) beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(
        self, inputs: int, outputs: int, count: int, stride: int, *, relu_first: bool, grow_first: bool
    ) -> None:
        super().__init__()
        reshaped = inputs != outputs or stride != 1
        self.skip = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if reshaped else None
        self.skipbn = nn.BatchNorm2d(outputs) if reshaped else None
        layers: list[nn.Module] = []
        width = inputs
        for step in range(count):
            following = outputs if (step == 0 if grow_first else step == count - 1) else width
            layers += [nn.ReLU(), SeparableConv(width, following), nn.BatchNorm2d(following)]
            width = following
        # the places in ``rep`` are names in the file: without the first ReLU they start one lower
        layers = layers if relu_first else layers[1:]
        if stride != 1:
            layers.append(nn.MaxPool2d(3, stride, padding=1))
        self.rep = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        beside = x if self.skip is None or self.skipbn is None else self.skipbn(self.skip(x))
        out: Tensor = self.rep(x) + beside
        return out


class Xception(nn.Module):
    """(N, 3, h, w) float32 -> (N, classes) logits.

    ``head`` names the last layer in the state dict: ``last_linear`` (Cadene's files), ``fc`` (timm's and RobustForensics'), None = no
    last layer (then only :meth:`features` can be called, or the module itself, which gives the same).
    """

    def __init__(self, *, classes: int = 2, head: str | None = "last_linear") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        for index, (inputs, outputs, count, stride, relu_first, grow_first) in enumerate(_BLOCKS, start=1):
            block = Block(inputs, outputs, count, stride, relu_first=relu_first, grow_first=grow_first)
            self.add_module(f"block{index}", block)
        self.conv3 = SeparableConv(1024, 1536)
        self.bn3 = nn.BatchNorm2d(1536)
        self.conv4 = SeparableConv(1536, FEATURES)
        self.bn4 = nn.BatchNorm2d(FEATURES)
        self.head = head
        if head is not None:
            self.add_module(head, nn.Linear(FEATURES, classes))

    def features(self, x: Tensor) -> Tensor:
        """(N, 3, h, w) float32 -> (N, 2048, h', w') >= 0: all up to ``bn4`` and the ReLU after it (299 -> 10)."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        for index in range(1, len(_BLOCKS) + 1):
            x = self.get_submodule(f"block{index}")(x)
        x = functional.relu(self.bn3(self.conv3(x)))
        return functional.relu(self.bn4(self.conv4(x)))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.features(x)
        if self.head is None:
            return maps
        logits: Tensor = self.get_submodule(self.head)(torch.mean(maps, dim=(2, 3)))
        return logits


class Wrapped(nn.Module):
    """The same net with ``model.`` before every name: how FaceForensics++ stored it."""

    def __init__(self, *, classes: int = 2, head: str | None = "last_linear") -> None:
        super().__init__()
        self.model = Xception(classes=classes, head=head)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits
