"""EfficientNet-B7 on short sequences, as NTechLab built it for the Deepfake Detection Challenge (third place, 2020).

Owns: the temporal form of the convolution that opens a block, and the net made of it.
Promises: names and shapes of the published state dict (``_blocks.N._expand_conv.conv.weight`` has a dimension of time); everything
else is ``detectors.nets.efficientnet`` with the padding of efficientnet_pytorch 0.6.3, frame by frame.
May be imported by detectors, in workers only. Torch is imported with this module.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from detectors.nets.efficientnet import EfficientNet

#: frames of a sequence; the published net was trained on 7, 1/15 s apart
FRAMES = 7
#: frames that one output of a temporal convolution looks at: before, now, after
_REACH = 3


class TemporalExpansion(nn.Module):
    """A convolution over 3 frames and 1 x 1 pixels: (N * 7, before, h, w) -> (N * 7, after, h, w), zeros beyond both ends.

    ``conv`` holds the published weight (after, before, 3, 1, 1). It is computed as one pointwise convolution over the channels of
    three frames side by side, the same sum in a form that needs no 3-D layout.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(before, after, (_REACH, 1, 1), padding=(1, 0, 0), bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channels, height, width = x.shape[1:]
        frames = functional.pad(x.reshape(-1, FRAMES, channels, height, width), (0, 0, 0, 0, 0, 0, 1, 1))
        beside = torch.cat([frames[:, start : start + FRAMES] for start in range(_REACH)], dim=2)
        weight = self.conv.weight.transpose(1, 2).reshape(-1, _REACH * self.conv.in_channels, 1, 1)
        return functional.conv2d(beside.reshape(-1, _REACH * self.conv.in_channels, height, width), weight)


def sequence_b7() -> EfficientNet:
    """The sequence net: (N * 7, 3, h, w) float32, the frames of each sequence in order -> one logit a frame, (N * 7, 1)."""
    return EfficientNet("b7", classes=1, padding="0.6.3", expansion=TemporalExpansion)


def frame_b7() -> EfficientNet:
    """The net of single frames: (N, 3, h, w) float32 -> one logit a frame, (N, 1)."""
    return EfficientNet("b7", classes=1, padding="0.6.3")
