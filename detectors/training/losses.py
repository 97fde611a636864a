"""What a self-blend net is trained for: a score that separates blends from real faces, maps of the blends, at times a teacher's opinion.

Owns: the losses of the shipped nets and their weights.
May be imported by detectors.training and its tests. Torch is imported with this module.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from base_detector import Array
from detectors.training.measure import roc_auc
from detectors.training.stream import Batch

#: Weights of the losses beside the cross-entropy of the score: a blend above its own original, and the two maps.
RANK_WEIGHT, MAP_WEIGHT = 0.5, 1.0
#: What logits of teacher and pupil are divided by, about the slope a net's logits are calibrated with.
TEMPERATURE = 1.3

Figures = dict[str, float]


def as_input(faces: Array) -> torch.Tensor:
    """(N, S, S) uint8 luma -> (N, 1, S, S) float32, 0..255."""
    return torch.from_numpy(faces).float().unsqueeze(1)


def loss_of(net: nn.Module, batch: Batch) -> tuple[torch.Tensor, Figures]:
    """Cross-entropy of the score, ranking of each blend against its own original, cross-entropy of the two maps.

    The maps (after Face X-ray) say where: the pasted region, and its boundary ``4 m (1 - m)`` for a soft mask m.
    """
    scores, maps = (answer.float() for answer in net(as_input(batch.faces)))
    scored, traced, figures = _against_labels(scores, maps, batch)
    return scored + MAP_WEIGHT * traced, figures


@dataclass(frozen=True)
class Taught:
    """``loss_of``, with ``share`` of the score's target taken from a teacher that sees the pictures before their last codec.

    Many blends are too faint to be seen once they are compressed; if it must call them fake all the same, a net learns the few thousand
    training faces by heart. The teacher says how much could be seen before. Distillation (Hinton et al., 2015, arXiv:1503.02531) with
    privileged information (Lopez-Paz et al., ICLR 2016, arXiv:1511.03643). The stream's recipe must have ``both``.
    """

    teacher: nn.Module
    share: float

    def __call__(self, net: nn.Module, batch: Batch) -> tuple[torch.Tensor, Figures]:
        if batch.before is None:
            raise ValueError("the teacher needs the pictures before their codec: set 'both' in the recipe")
        scores, maps = (answer.float() for answer in net(as_input(batch.faces)))
        scored, traced, figures = _against_labels(scores, maps, batch)
        with torch.no_grad():
            opinion = torch.sigmoid(self.teacher(as_input(batch.before))[0].float() / TEMPERATURE)
        taught = functional.binary_cross_entropy_with_logits(scores / TEMPERATURE, opinion)
        figures |= {"taught": float(taught.detach()), "teacher_auc": roc_auc(batch.labels, opinion.numpy())}
        return self.share * taught + (1 - self.share) * scored + MAP_WEIGHT * traced, figures


def _against_labels(
    scores: torch.Tensor, maps: torch.Tensor, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor, Figures]:
    """Loss of the scores, loss of the maps, and figures for the log."""
    labels = torch.from_numpy(batch.labels)
    half = len(labels) // 2
    entropy = functional.binary_cross_entropy_with_logits(scores, labels)
    rank = functional.softplus(scores[:half] - scores[half:]).mean()
    region = torch.from_numpy(batch.masks)
    targets = torch.stack([region, 4 * region * (1 - region)], dim=1)
    traced = functional.binary_cross_entropy_with_logits(maps, targets)
    figures = {
        "entropy": float(entropy.detach()),
        "rank": float(rank.detach()),
        "map": float(traced.detach()),
        "auc": roc_auc(batch.labels, scores.detach().numpy()),
    }
    return entropy + RANK_WEIGHT * rank, traced, figures
