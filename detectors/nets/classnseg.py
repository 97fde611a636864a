"""ClassNSeg: the Y-shaped autoencoder that classifies and segments (Nguyen et al., BTAS 2019, arXiv:1906.06876).

Owns: encoder and decoder with the key names of the published checkpoints, and the two rules on the latent: activation and selection.
Promises: the outputs of the published networks for the published weights (tests/parity/test_classnseg.py).
May be imported by detectors, in workers only. Torch is imported with this module.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn

#: side of the input picture, and shape of the latent of one picture: two halves of 64 maps
SIDE = 256
LATENT = (2, 64, 16, 16)


class Encoder(nn.Module):
    """(N, 3, 256, 256) -> latent (N, 2, 64, 16, 16); half 0 answers to altered pictures, half 1 to original ones."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = (3, 8, 8, 16, 16, 32, 32, 64, 64, 128)
        for index, (before, after) in enumerate(itertools.pairwise(channels)):
            layers += [nn.Conv2d(before, after, 3, stride=1 + index % 2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        self.encoder = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        latent: torch.Tensor = self.encoder(x)
        return latent.reshape(-1, *LATENT)


def _upward(*steps: tuple[int, int, int], last: nn.Module | None = None) -> nn.Sequential:
    """Transposed 3x3 convolutions (in, out, stride), each with batch norm and ReLU; ``last`` replaces those two at the end."""
    layers: list[nn.Module] = []
    for index, (before, after, stride) in enumerate(steps):
        layers.append(nn.ConvTranspose2d(before, after, 3, stride=stride, padding=1, output_padding=stride - 1))
        if last is not None and index == len(steps) - 1:
            layers.append(last)
        else:
            layers += [nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


class Decoder(nn.Module):
    """Selected latent (N, 2, 64, 16, 16) -> segmentation (N, 2, 256, 256), channel 1 = altered, and picture (N, 3, 256, 256)."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = _upward((128, 64, 1), (64, 64, 2), (64, 32, 1), (32, 32, 2))
        steps = ((32, 16, 1), (16, 16, 2), (16, 8, 1), (8, 8, 2))
        self.segmenter = _upward(*steps, (8, 2, 1), last=nn.Softmax(dim=1))
        self.decoder = _upward(*steps, (8, 3, 1), last=nn.Tanh())

    def forward(self, latent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shared = self.shared(latent.reshape(-1, 128, 16, 16))
        return self.segmenter(shared), self.decoder(shared)


def activations(latent: torch.Tensor) -> torch.Tensor:
    """Mean absolute value of each half: (N, 2, 64, 16, 16) -> (N, 2), columns altered, original."""
    return latent.abs().mean(dim=(2, 3, 4))


class Classifier(nn.Module):
    """Encoder and class: (N, 3, 256, 256) -> (N, 2) probabilities, 0 = altered (fake), 1 = original (real)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(activations(self.encoder(x)), dim=1)


class Segmenter(nn.Module):
    """Encoder, selection and segmentation: (N, 3, 256, 256) -> (N, 256, 256), probability that a pixel is altered.

    The half with the smaller activation is set to zero before decoding; on a tie the altered half (the original half wins).
    """

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        latent = self.encoder(x)
        altered, original = activations(latent).unbind(dim=1)
        wins = torch.stack([altered > original, altered <= original], dim=1)
        selected = latent * wins[:, :, None, None, None].to(latent.dtype)
        shared = self.decoder.shared(selected.reshape(-1, 128, 16, 16))
        segmentation: torch.Tensor = self.decoder.segmenter(shared)[:, 1]
        return segmentation
