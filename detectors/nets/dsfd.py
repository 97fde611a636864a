"""DSFD, the Dual Shot Face Detector (Li et al., CVPR 2019, arXiv:1810.10220) on ResNet-152, as NTechLab used it.

Owns: the network; ``dsfd_boxes`` has what is before and behind it.
Promises: names and shapes of the published state dict (``WIDERFace_DSFD_RES152``).
May be imported by detectors, in workers only. NTechLab's crops were made with it: ``ntech`` runs it about the faces that the platform
found, where its weights are installed (``detectors.nets.own_finder``).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from detectors.nets.resnet import DEPTHS, Bottleneck, make_stage

#: channels of the six levels
_LEVELS = (256, 512, 1024, 2048, 512, 256)
#: (location, confidence) numbers a place: one anchor, with those of the first shot and the extra classes that only training reads
_OUTPUTS = ((4, 4), (8, 6), (12, 8), (12, 8), (12, 8), (12, 8))


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
    """(N, 3, h, w) float32 BGR minus the mean -> offsets (N, n, 4) and logits (N, n, 2), index 1 = face; n: ``dsfd_boxes.anchors``."""

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
