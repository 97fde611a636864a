"""DSFD, the Dual Shot Face Detector (Li et al., CVPR 2019, arXiv:1810.10220) on ResNet-152, as NTechLab used it.

Owns: the network, its anchors, and the way from a frame to the network's input and from its numbers to boxes.
Promises: names and shapes of the published state dict (``WIDERFace_DSFD_RES152``); the numpy part needs no torch.
May be imported by detectors, in workers only. NTechLab's crops were made with it: ``ntech`` runs it about the faces that the platform
found, where its weights are installed (``detectors.nets.own_finder``).

Frames are (H, W, 3) uint8 BGR. Boxes inside are x1 y1 x2 y2 in shares of the padded input's width and height.
"""

from __future__ import annotations

from math import ceil, floor, sqrt

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from base_detector import Array
from detectors.nets.resnet import DEPTHS, Bottleneck, make_stage

#: Blue, green, red: taken off the frame (the ImageNet mean of the Caffe models).
MEAN = np.array([104, 117, 123], np.float32)
#: Both sides of the resized frame are at most this; the padded input is a multiple of ``_MULTIPLE`` (torchvision's detection transform).
LONGEST, _MULTIPLE = 512, 32

#: Pixels of the anchors of each level, pixels between them, and their height over their width (section 3.3 of the paper, WIDER FACE).
ANCHORS = (16, 32, 64, 128, 256, 512)
STEPS = (4, 8, 16, 32, 64, 128)
ASPECT = 1.5
#: Scale of the centre offsets and of the logarithms of the sides, as in SSD (Liu et al., ECCV 2016).
VARIANCES = (0.1, 0.2)

#: Published settings: overlap that removes a box, least score before and after that, most boxes looked at.
OVERLAP, LEAST_BEFORE, LEAST, MOST = 0.3, 0.01, 0.3, 5000

#: channels of the six levels
_LEVELS = (256, 512, 1024, 2048, 512, 256)
#: (location, confidence) numbers a place: one anchor, with those of the first shot and the extra classes that only training reads
_OUTPUTS = ((4, 4), (8, 6), (12, 8), (12, 8), (12, 8), (12, 8))


# --------------------------------------------------------------------------- network


class FeatureEnhance(nn.Module):
    """Views of 3, 5 and 7 pixels reach (dilated 3x3 convolutions) side by side: (N, ``inputs``, h, w) -> (N, 512, h, w)."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.cpm1 = nn.Conv2d(inputs, 256, 3, padding=1)
        self.cpm2 = nn.Conv2d(inputs, 256, 3, padding=2, dilation=2)
        self.cpm3 = nn.Conv2d(256, 128, 3, padding=1)
        self.cpm4 = nn.Conv2d(256, 128, 3, padding=2, dilation=2)
        self.cpm5 = nn.Conv2d(128, 128, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = functional.relu(self.cpm2(x))
        wider = functional.relu(self.cpm4(wide))
        views = [functional.relu(part) for part in (self.cpm1(x), self.cpm3(wide), self.cpm5(wider))]
        return torch.cat(views, dim=1)


class Head(nn.Module):
    """Four convolutions from 512 channels to ``outputs`` numbers a place."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(512, 256, 3, padding=1)
        self.conv2 = nn.Conv2d(256, 256, 3, padding=1)
        self.conv3 = nn.Conv2d(256, 256, 3, padding=1)
        self.conv4 = nn.Conv2d(256, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.conv3(functional.relu(self.conv2(functional.relu(self.conv1(x))))))
        out: torch.Tensor = self.conv4(x)
        return out


def _halving(inputs: int, between: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, between, 1),
        nn.BatchNorm2d(between),
        nn.ReLU(inplace=True),
        nn.Conv2d(between, outputs, 3, 2, 1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Dsfd(nn.Module):
    """(N, 3, h, w) float32 BGR minus :data:`MEAN` -> offsets (N, n, 4) and logits (N, n, 2), index 1 = face; n as in ``anchors``."""

    def __init__(self) -> None:
        super().__init__()
        units = DEPTHS[152][0]
        stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
        self.layer1 = nn.Sequential(*stem, make_stage(Bottleneck, 64, width=64, units=units[0], stride=1))
        self.layer2 = nn.Sequential(make_stage(Bottleneck, 256, width=128, units=units[1], stride=2))
        self.layer3 = nn.Sequential(make_stage(Bottleneck, 512, width=256, units=units[2], stride=2))
        self.layer4 = nn.Sequential(make_stage(Bottleneck, 1024, width=512, units=units[3], stride=2))
        self.layer5, self.layer6 = _halving(2048, 512, 512), _halving(512, 128, 256)
        self.latlayer3, self.smooth3 = nn.Conv2d(2048, 1024, 1), nn.Conv2d(1024, 1024, 1)
        self.latlayer2, self.smooth2 = nn.Conv2d(1024, 512, 1), nn.Conv2d(512, 512, 1)
        self.latlayer1, self.smooth1 = nn.Conv2d(512, 256, 1), nn.Conv2d(256, 256, 1)
        self.cpm3_3, self.cpm4_3, self.cpm5_3, self.cpm7, self.cpm6_2, self.cpm7_2 = map(FeatureEnhance, _LEVELS)
        self.loc = nn.ModuleList(Head(location) for location, _ in _OUTPUTS)
        self.conf = nn.ModuleList(Head(confidence) for _, confidence in _OUTPUTS)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self._maps(x)
        enhance = (self.cpm3_3, self.cpm4_3, self.cpm5_3, self.cpm7, self.cpm6_2, self.cpm7_2)
        offsets, logits = [], []
        for level, (source, enhanced) in enumerate(zip(maps, enhance, strict=True)):
            seen = enhanced(source)
            offsets.append(_rows(self.loc[level](seen)[:, :4], 4))
            logits.append(_rows(_max_out(self.conf[level](seen), first=level == 0), 2))
        return torch.cat(offsets, dim=1), torch.cat(logits, dim=1)

    def _maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The six levels: the three finest are multiplied with the level above them, enlarged (section 3.2 of the paper)."""
        first = self.layer1(x)
        second = self.layer2(first)
        third = self.layer3(second)
        fourth = self.layer4(third)
        fifth = self.layer5(fourth)
        third = _enlarged(self.latlayer3(fourth), self.smooth3(third))
        second = _enlarged(self.latlayer2(third), self.smooth2(second))
        first = _enlarged(self.latlayer1(second), self.smooth1(first))
        return [first, second, third, fourth, fifth, self.layer6(fifth)]


def _enlarged(coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(coarse, size=fine.shape[2:], mode="bilinear", align_corners=False) * fine


def _max_out(logits: torch.Tensor, *, first: bool) -> torch.Tensor:
    """(N, >= 4, h, w) -> (N, 2, h, w): the highest of three is the background on the finest level and the face elsewhere."""
    highest, other = logits[:, :3].amax(dim=1, keepdim=True), logits[:, 3:4]
    return torch.cat((highest, other) if first else (other, highest), dim=1)


def _rows(maps: torch.Tensor, size: int) -> torch.Tensor:
    return maps.permute(0, 2, 3, 1).reshape(maps.shape[0], -1, size)


# --------------------------------------------------------------------------- frames and boxes


def prepare(frame: Array) -> tuple[Array, tuple[int, int]]:
    """The input of a frame (H, W, 3) uint8 BGR: (1, 3, h, w) float32, and the (height, width) in it that the frame fills.

    Bilinear, the longer side 512, zeros at the right and bottom up to multiples of 32. The factor is rounded to float32 and the sides
    down, as torchvision's GeneralizedRCNNTransform does.
    """
    sides = frame.shape[:2]
    factor = float(min(np.float32(LONGEST) / np.float32(side) for side in sides))
    height, width = (floor(side * factor) for side in sides)
    resized = cv2.resize(frame.astype(np.float32) - MEAN, (width, height), interpolation=cv2.INTER_LINEAR)
    padded = np.zeros((3, *(ceil(side / _MULTIPLE) * _MULTIPLE for side in (height, width))), np.float32)
    padded[:, :height, :width] = resized.transpose(2, 0, 1)
    return padded[None], (height, width)


def scale_of(frame_size: tuple[int, int]) -> tuple[float, Array]:
    """What ``prepare`` does to a frame of ``frame_size`` (width, height): the factor, and where ``in_frame`` moves its places.

    The second is (2,) float32: x and y of a place are multiplied with it, by the fault that ``in_frame`` keeps.
    """
    factor = float(min(np.float32(LONGEST) / np.float32(side) for side in frame_size))
    filled = np.array([floor(side * factor) for side in frame_size])
    padded = np.ceil(filled / _MULTIPLE) * _MULTIPLE
    # a share of the padded side, times the filled side, times the frame's side over the filled one
    return factor, (factor * np.array(frame_size) / padded).astype(np.float32)


def prepare_crop(crop: Array, *, factor: float) -> Array:
    """The input of a part of a frame, (h, w, 3) uint8 **RGB**, at the frame's ``factor``: (1, 3, h, w) float32, padded like a frame."""
    bgr = crop[..., ::-1].astype(np.float32) - MEAN
    resized = cv2.resize(bgr, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    height, width = resized.shape[:2]
    padded = np.zeros((3, *(ceil(side / _MULTIPLE) * _MULTIPLE for side in (height, width))), np.float32)
    padded[:, :height, :width] = resized.transpose(2, 0, 1)
    return padded[None]


def anchors(height: int, width: int) -> Array:
    """Centre x, y and width, height of every anchor of an input of ``height`` x ``width``: (n, 4) float32, cut to 0..1.

    One row a place of the six maps, in their order, row by row; n is the sum over :data:`STEPS` of the maps' places.
    """
    rows = []
    tall, wide = height, width
    for level, (side, step) in enumerate(zip(ANCHORS, STEPS, strict=True)):
        # the first map has a quarter of the input's size (two halvings), each further one half of the map before
        for _ in range(2 if level == 0 else 1):
            tall, wide = -(-tall // 2), -(-wide // 2)
        y, x = np.meshgrid(np.arange(tall), np.arange(wide), indexing="ij")
        centres = [(x + 0.5) * step / width, (y + 0.5) * step / height]
        sides = [np.full(x.shape, side / sqrt(ASPECT) / width), np.full(x.shape, side * sqrt(ASPECT) / height)]
        rows.append(np.stack(centres + sides, axis=-1).reshape(-1, 4))
    return np.concatenate(rows).clip(0, 1).astype(np.float32)


def decode(offsets: Array, places: Array) -> Array:
    """Boxes (n, 4) from the network's offsets (n, 4) and the anchors (n, 4) of the same input; they may reach outside."""
    centres = places[:, :2] + offsets[:, :2] * np.float32(VARIANCES[0]) * places[:, 2:]
    sides = places[:, 2:] * np.exp(offsets[:, 2:] * np.float32(VARIANCES[1]))
    corner = centres - sides / 2
    return np.concatenate([corner, corner + sides], axis=1)


def face_probability(logits: Array) -> Array:
    """Softmax of the logits (n, 2), of it the face: (n,) float32."""
    return np.asarray(1 / (1 + np.exp((logits[:, 0] - logits[:, 1]).clip(-80, 80))), np.float32)


def suppress(boxes: Array, scores: Array) -> Array:
    """The boxes that stay, highest score first: (k, 5) float32 score, x1 y1 x2 y2; one goes when a higher one overlaps it by over 0.3."""
    likely = np.flatnonzero(scores > LEAST_BEFORE)
    order = likely[np.argsort(scores[likely], kind="stable")][::-1][:MOST]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        corner = np.maximum(boxes[order, :2], boxes[best, :2])
        sides = (np.minimum(boxes[order, 2:], boxes[best, 2:]) - corner).clip(min=0)
        shared = sides[:, 0] * sides[:, 1]
        order = order[shared / (areas[order] - shared + areas[best]) <= OVERLAP]
    return np.concatenate([scores[kept, None], boxes[kept]], axis=1)


def in_frame(found: Array, *, filled: tuple[int, int], frame: tuple[int, int]) -> tuple[Array, Array]:
    """Faces of at least 0.3 in pixels of the frame: boxes (k, 4), scores (k,), from ``suppress`` and the sizes (height, width).

    Shares of the padded input are multiplied with the size that is ``filled``, not with the padded one: published so, and it moves boxes
    towards the top left where the input was padded.
    """
    sure = found[found[:, 0] > LEAST]
    inside = sure[:, 1:] * np.tile(np.array(filled[::-1], np.float32), 2)
    ratios = np.array([frame[1] / filled[1], frame[0] / filled[0]], np.float32)
    return inside * np.tile(ratios, 2), sure[:, 0]
