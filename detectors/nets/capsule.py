"""Capsule-Forensics v2 (Nguyen, Yamagishi, Echizen, arXiv:1910.12467): capsules over features of VGG-19.

Owns: primary capsules, squash and dynamic routing, with the names of the published checkpoints.
Promises: the outputs of the published network for the published weights, without its training noise (tests/parity/test_capsule.py).
May be imported by detectors, in workers only. Torch is imported with this module.
"""

from __future__ import annotations

import torch
from torch import nn

from detectors.nets.vgg import ThreeStages

#: side of the input picture
SIDE = 300
#: capsules: how many see the features, how many numbers each gives; how many answer (real, fake), with how many numbers
_PRIMARY, _PRIMARY_SIZE = 10, 8
_OUTPUT, _OUTPUT_SIZE = 2, 4
#: iterations of the routing (section 3.3 of the paper)
_ITERATIONS = 2


def squash(x: torch.Tensor, *, dim: int) -> torch.Tensor:
    """Scale vectors along ``dim`` to length n^2 / (1 + n^2), n their length. As published without epsilon: 0 gives NaN."""
    squared = (x * x).sum(dim=dim, keepdim=True)
    return squared / (1 + squared) * x / squared.sqrt()


class Statistics(nn.Module):
    """Mean and deviation of each map: (N, C, H, W) -> (N, 2, C); the deviation is the unbiased one (H * W - 1)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(2)
        mean = flat.mean(dim=2)
        apart = flat - mean[:, :, None]
        # written out: the compiled network has no operation for it
        deviation = ((apart * apart).sum(dim=2) / (flat.shape[2] - 1)).sqrt()
        return torch.stack([mean, deviation], dim=1)


def _primary_capsule() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(256, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Conv2d(64, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        Statistics(),
        nn.Conv1d(2, 8, 5, stride=2, padding=2),
        nn.BatchNorm1d(8),
        nn.Conv1d(8, 1, 3, padding=1),
        nn.BatchNorm1d(1),
        nn.Flatten(),
    )


class PrimaryCapsules(nn.Module):
    """Features (N, 256, h, w) -> (N, 8, 10): eight numbers of ten capsules, squashed over the ten (as published, not over the eight)."""

    def __init__(self) -> None:
        super().__init__()
        self.capsules = nn.ModuleList(_primary_capsule() for _ in range(_PRIMARY))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return squash(torch.stack([capsule(x) for capsule in self.capsules], dim=-1), dim=2)


class Routing(nn.Module):
    """Dynamic routing by agreement: (N, 8, 10) -> (N, 4, 2), data by class. Agreement is kept for each number, not summed over the four."""

    def __init__(self) -> None:
        super().__init__()
        self.route_weights = nn.Parameter(torch.zeros(_OUTPUT, _PRIMARY, _OUTPUT_SIZE, _PRIMARY_SIZE))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # votes of every primary capsule for every output: (N, output, primary, 4)
        votes = (self.route_weights[None] @ x.transpose(1, 2)[:, None, :, :, None]).squeeze(-1)
        agreement = torch.zeros_like(votes)
        for iteration in range(_ITERATIONS):
            outputs = squash((torch.softmax(agreement, dim=2) * votes).sum(dim=2, keepdim=True), dim=3)
            if iteration < _ITERATIONS - 1:
                agreement = agreement + votes * outputs
        return outputs.squeeze(2).transpose(1, 2)


class CapsuleNet(nn.Module):
    """Features of VGG-19, (N, 256, h, w) -> the output capsules (N, 4, 2): data by class, class 0 = real, 1 = fake."""

    def __init__(self) -> None:
        super().__init__()
        self.fea_ext = PrimaryCapsules()
        self.routing_stats = Routing()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        capsules: torch.Tensor = self.routing_stats(self.fea_ext(features))
        return capsules


class Classifier(nn.Module):
    """Both networks: (N, 3, 300, 300) -> the capsules (N, 4, 2) and the probabilities (N, 2), 0 = real, 1 = fake.

    The probability of a class is the mean over the four rows of a softmax over the two capsules.
    """

    def __init__(self, vgg: ThreeStages, capsules: CapsuleNet) -> None:
        super().__init__()
        self.vgg, self.capsules = vgg, capsules

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = self.capsules(self.vgg(x))
        return rows, torch.softmax(rows, dim=2).mean(dim=1)
