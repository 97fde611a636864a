"""RetinaFace (Deng et al., CVPR 2020) as Pytorch_Retinaface publishes it: ResNet-50 and MobileNet-0.25.

Owns: the two networks, the anchor boxes, and the way from the network's numbers to boxes, points and scores.
Promises: names and shapes of the state dicts are the published ones (without ``module.``); the numpy part needs no torch.
May be imported by detectors, in workers only.

The input is (N, 3, h, w) float32, BGR in 0..255 minus :data:`MEAN`; any size. With one image of w x h pixels the outputs have one row an
anchor, n = sum over steps of 2 * ceil(h/step) * ceil(w/step): box offsets (N, n, 4), scores (N, n, 2) after softmax (index 1 = face),
point offsets (N, n, 10).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from base_detector import Array
from detectors.nets.resnet import ResNet

#: Blue, green, red: taken off the image (the ImageNet mean of the Caffe models).
MEAN = np.array([104, 117, 123], np.float32)

#: Pixels of an anchor's sides per level, and the pixels between anchors (``cfg_mnet`` and ``cfg_re50`` agree).
MIN_SIZES: Sequence[tuple[int, int]] = ((16, 32), (64, 128), (256, 512))
STEPS = (8, 16, 32)

#: Scale of the centre offsets and of the logarithms of the sides, as in SSD (Liu et al., ECCV 2016).
VARIANCES = (0.1, 0.2)


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


# --------------------------------------------------------------------------- numbers, without torch


def prepare(image: Array) -> Array:
    """(h, w, 3) uint8 **RGB** -> (1, 3, h, w) float32, BGR minus :data:`MEAN`: the network's input."""
    return (image[..., ::-1].astype(np.float32) - MEAN).transpose(2, 0, 1)[None]


def priors(height: int, width: int) -> Array:
    """Anchor boxes of an image: (n, 4) float32 centre x, centre y, width, height, as parts of the image's sides."""
    levels = []
    for sizes, step in zip(MIN_SIZES, STEPS, strict=True):
        rows, columns = ceil(height / step), ceil(width / step)
        y, x, size = np.meshgrid(np.arange(rows), np.arange(columns), np.asarray(sizes, np.float64), indexing="ij")
        boxes = [(x + 0.5) * step / width, (y + 0.5) * step / height, size / width, size / height]
        levels.append(np.stack(boxes, axis=-1).reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)


def decode_boxes(offsets: Array, anchors: Array) -> Array:
    """Box offsets (n, 4) and :func:`priors` (n, 4) -> (n, 4) float32 x1 y1 x2 y2, as parts of the image's sides."""
    centres = anchors[:, :2] + offsets[:, :2] * np.float32(VARIANCES[0]) * anchors[:, 2:]
    sides = anchors[:, 2:] * np.exp(offsets[:, 2:] * np.float32(VARIANCES[1]))
    corner = centres - sides / 2
    return np.concatenate([corner, corner + sides], axis=1)


def decode_points(offsets: Array, anchors: Array) -> Array:
    """Point offsets (n, 10) and :func:`priors` (n, 4) -> (n, 5, 2) float32 x, y as parts of the image's sides.

    Order: left eye, right eye, nose, left and right mouth corner (the viewer's left).
    """
    points = offsets.reshape(-1, 5, 2) * np.float32(VARIANCES[0])
    return anchors[:, None, :2] + points * anchors[:, None, 2:]


def suppress(boxes: Array, scores: Array, *, threshold: float, inclusive: bool = True) -> Array:
    """Greedy non-maximum suppression: indices kept, best first, (k,) int64.

    A box goes when its intersection over union with a better one is above ``threshold``. ``inclusive`` counts pixels at both ends (side =
    x2 - x1 + 1), as Pytorch_Retinaface does; torchvision's rule has no + 1.
    """
    extra = 1.0 if inclusive else 0.0
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1 + extra) * (y2 - y1 + extra)
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(int(best))
        across = np.maximum(0.0, np.minimum(x2[best], x2[order]) - np.maximum(x1[best], x1[order]) + extra)
        down = np.maximum(0.0, np.minimum(y2[best], y2[order]) - np.maximum(y1[best], y1[order]) + extra)
        shared = across * down
        order = order[shared / (areas[best] + areas[order] - shared) <= threshold]
    return np.asarray(kept, np.int64)


def faces(
    loc: Array, conf: Array, landms: Array, *, width: int, height: int, threshold: float
) -> tuple[Array, Array, Array]:
    """One image's outputs -> boxes (k, 4) x1 y1 x2 y2, scores (k,), points (k, 5, 2), in pixels of the ``width`` x ``height`` input.

    Takes loc (n, 4), conf (n, 2), landms (n, 10); keeps scores strictly above ``threshold``, in the order of the anchors, without
    suppression.
    """
    kept = conf[:, 1] > threshold
    anchors = priors(height, width)[kept]
    scale = np.array([width, height], np.float32)
    boxes = decode_boxes(loc[kept], anchors) * np.tile(scale, 2)
    return boxes, conf[kept, 1], decode_points(landms[kept], anchors) * scale
