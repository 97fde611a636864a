"""RetinaFace (Deng et al., CVPR 2020) as Pytorch_Retinaface publishes it: ResNet-50 and MobileNet-0.25.

Owns: the two networks; ``retinaface_boxes`` has what is before and behind them.
Promises: names and shapes of the state dicts are the published ones (without ``module.``).
May be imported by detectors, in workers only.

The input is (N, 3, h, w) float32, BGR in 0..255 minus ``retinaface_boxes.MEAN``; any size. With one image of w x h pixels the outputs
have one row an anchor, n = sum over steps of 2 * ceil(h/step) * ceil(w/step): box offsets (N, n, 4), scores (N, n, 2) after softmax
(index 1 = face), point offsets (N, n, 10).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from detectors.nets.resnet import ResNet


def _convolution(
    inputs: int, outputs: int, *, side: int = 3, stride: int = 1, slope: float | None = 0.0
) -> nn.Sequential:
    """Convolution, batch norm and, unless ``slope`` is None, leaky ReLU (slope 0 = ReLU)."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    if slope is not None:
        layers.append(nn.LeakyReLU(slope))
    return nn.Sequential(*layers)


def _depthwise(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """MobileNet's pair: 3x3 per channel, then 1x1 across channels; both with batch norm and leaky ReLU 0.1."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.LeakyReLU(0.1),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.1),
    )


class MobileNetBody(nn.Module):
    """MobileNet v1 with a quarter of the channels: maps of 64, 128 and 256 channels at 1/8, 1/16 and 1/32."""

    channels = (64, 128, 256)

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(
            _convolution(3, 8, stride=2, slope=0.1),
            _depthwise(8, 16, 1),
            _depthwise(16, 32, 2),
            _depthwise(32, 32, 1),
            _depthwise(32, 64, 2),
            _depthwise(64, 64, 1),
        )
        self.stage2 = nn.Sequential(_depthwise(64, 128, 2), *[_depthwise(128, 128, 1) for _ in range(5)])
        self.stage3 = nn.Sequential(_depthwise(128, 256, 2), _depthwise(256, 256, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = self.stage1(x)
        second = self.stage2(first)
        return first, second, self.stage3(second)


class ResNetBody(ResNet):
    """ResNet-50 without its classifier: maps of 512, 1024 and 2048 channels at 1/8, 1/16 and 1/32."""

    channels = (512, 1024, 2048)

    def __init__(self) -> None:
        super().__init__(50, classes=None)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        return self.stages(x)[1:]


class Pyramid(nn.Module):
    """Feature pyramid (Lin et al., CVPR 2017): each level gets the coarser one, enlarged to it by nearest neighbour."""

    def __init__(self, inputs: Sequence[int], width: int, slope: float) -> None:
        super().__init__()
        self.output1 = _convolution(inputs[0], width, side=1, slope=slope)
        self.output2 = _convolution(inputs[1], width, side=1, slope=slope)
        self.output3 = _convolution(inputs[2], width, side=1, slope=slope)
        self.merge1 = _convolution(width, width, slope=slope)
        self.merge2 = _convolution(width, width, slope=slope)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = self.output1(maps[0]), self.output2(maps[1]), self.output3(maps[2])
        middle = self.merge2(middle + functional.interpolate(coarse, size=middle.shape[-2:], mode="nearest"))
        fine = self.merge1(fine + functional.interpolate(middle, size=fine.shape[-2:], mode="nearest"))
        return fine, middle, coarse


class Context(nn.Module):
    """Context module of SSH (Najibi et al., ICCV 2017): views of 3x3, 5x5 and 7x7 side by side. Odd names are the file's."""

    def __init__(self, width: int, slope: float) -> None:
        super().__init__()
        self.conv3X3 = _convolution(width, width // 2, slope=None)
        self.conv5X5_1 = _convolution(width, width // 4, slope=slope)
        self.conv5X5_2 = _convolution(width // 4, width // 4, slope=None)
        self.conv7X7_2 = _convolution(width // 4, width // 4, slope=slope)
        self.conv7x7_3 = _convolution(width // 4, width // 4, slope=None)

    def forward(self, x: Tensor) -> Tensor:
        near = self.conv5X5_1(x)
        views = [self.conv3X3(x), self.conv5X5_2(near), self.conv7x7_3(self.conv7X7_2(near))]
        return functional.relu(torch.cat(views, dim=1))


class Head(nn.Module):
    """One 1x1 convolution, its numbers laid out (N, places * anchors, ``size``)."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(width, 2 * size, 1)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv1x1(x)
        return out.permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.size)


class RetinaFace(nn.Module):
    """A body, a pyramid, three context modules and three heads a level; see the module's docstring for input and outputs."""

    def __init__(self, body: MobileNetBody | ResNetBody, *, width: int) -> None:
        super().__init__()
        # narrow pyramids leak: the published rule
        slope = 0.1 if width <= 64 else 0.0
        self.body = body
        self.fpn = Pyramid(body.channels, width, slope)
        self.ssh1, self.ssh2, self.ssh3 = (Context(width, slope) for _ in range(3))
        self.ClassHead = nn.ModuleList(Head(width, 2) for _ in range(3))
        self.BboxHead = nn.ModuleList(Head(width, 4) for _ in range(3))
        self.LandmarkHead = nn.ModuleList(Head(width, 10) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        levels = self.fpn(self.body(x))
        maps = [self.ssh1(levels[0]), self.ssh2(levels[1]), self.ssh3(levels[2])]

        def joined(heads: nn.ModuleList) -> Tensor:
            return torch.cat([head(one) for head, one in zip(heads, maps, strict=True)], dim=1)

        return joined(self.BboxHead), torch.softmax(joined(self.ClassHead), dim=-1), joined(self.LandmarkHead)


def mobilenet025() -> RetinaFace:
    """The small net (``mobilenet0.25_Final.pth``, 426,608 parameters)."""
    return RetinaFace(MobileNetBody(), width=64)


def resnet50() -> RetinaFace:
    """The large net (``Resnet50_Final.pth``, 27,293,600 parameters)."""
    return RetinaFace(ResNetBody(), width=256)
