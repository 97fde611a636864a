"""WS-DAN, a classifier that pools features under learnt attention maps (Hu et al., arXiv:1901.09891), and the three nets of WM.

Owns: the attention pooling on two bodies (Xception, EfficientNet-b3), and WM's three nets behind one aligned face.
Promises: names and shapes of the state dicts are those of cuihaoleo/kaggle-dfdc (``features.*`` or ``EFN.*``, ``attentions.*``, ``fc``).
May be imported by detectors, in workers only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from detectors.nets.efficientnet import EfficientNet
from detectors.nets.xception import FEATURES, Xception

#: attention maps of both published nets
MAPS = 8


class Attentions(nn.Module):
    """(N, channels, h, w) -> (N, maps, h, w) >= 0: where to look, one 1x1 convolution."""

    def __init__(self, channels: int, maps: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, maps, 1, bias=False)
        # the published epsilon, unlike torch's 1e-5
        self.bn = nn.BatchNorm2d(maps, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


class WsDan(nn.Module):
    """(N, 3, h, w) float32 -> (N, classes) logits; ``body`` is ``xception`` or ``b3``, and names its weights as published."""

    def __init__(self, body: str, *, classes: int = 2, maps: int = MAPS) -> None:
        super().__init__()
        if body == "xception":
            self.features = Xception(head=None)
            channels = FEATURES
        elif body == "b3":
            # the file holds the 1000-class layer too, which nothing reads; padding as in efficientnet_pytorch 0.6.3, which WM pins
            self.EFN = EfficientNet("b3", padding="0.6.3")
            channels = self.EFN.features
        else:
            raise ValueError(f"body must be 'xception' or 'b3', not {body!r}")
        self.body = body
        self.attentions = Attentions(channels, maps)
        self.fc = nn.Linear(maps * channels, classes, bias=False)

    def pooled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The unit-length feature of each face (N, maps * channels), map after map, and its attention maps (N, maps, h, w)."""
        features = self.features(x) if self.body == "xception" else self.EFN.extract_features(x)
        attentions = self.attentions(features)
        places = features.shape[2] * features.shape[3]
        # bilinear attention pooling (the paper's equations 3 and 4), the sum over places divided by their number
        matrix = torch.matmul(attentions.flatten(2), features.flatten(2).transpose(1, 2)) / places
        flat = matrix.flatten(1)
        rooted = torch.sign(flat) * torch.sqrt(torch.abs(flat) + 1e-12)
        return functional.normalize(rooted, dim=1), attentions

    def forward(self, x: Tensor) -> Tensor:
        # the published factor, without which the unit-length feature would train slowly
        logits: Tensor = self.fc(100.0 * self.pooled(x)[0])
        return logits


class Trio(nn.Module):
    """WM's three nets on one picture: (N, 3, 320, 320) float32 RGB, normalised -> logits (N, 2) of each.

    Normalised: 0..1, minus ``mean``, over ``std`` (red, green, blue), as the second net takes it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, nets: Sequence[nn.Module], *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1))

    def inputs(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the nets see: 299 x 299 in -1..1; 320 x 320 normalised; that one at 300 x 300. Bilinear without antialias."""
        small = functional.interpolate(x * self.std + self.mean, size=(299, 299), mode="bilinear", align_corners=False)
        nominal = functional.interpolate(x, size=(300, 300), mode="bilinear", align_corners=False)
        return (small - 0.5) * 2.0, x, nominal

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first, second, third = (net(one) for net, one in zip(self.nets, self.inputs(x), strict=True))
        return first, second, third
