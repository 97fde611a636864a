"""AASIST on windows of sound (Jung et al., ICASSP 2022); network in ``detectors.nets.aasist``, card in ``detector.toml``.

The published networks give two logits, index 1 for *bona fide* speech: its softmax is the soft label of the contract.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from base_detector import Array, BaseDetector
from detectors.nets.scores import softmax_at
from detectors.nets.voice import SAMPLES, prepared

if TYPE_CHECKING:
    import torch

#: ``parameters.variant`` of the card -> (size in detectors.nets.aasist, published file)
VARIANTS = {"AASIST": ("AASIST_SIZE", "AASIST.pth"), "AASIST-L": ("AASIST_L_SIZE", "AASIST-L.pth")}


class Aasist(BaseDetector):
    """One of the two published networks; ``parameters.variant`` of the card names it."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import read_published, variant_of
        from detectors.runtime import compiled

        size, file = variant_of(self.card, VARIANTS)
        content = read_published(weights, self.card, file)
        self._net = compiled(_net, size, content, example=np.zeros((1, SAMPLES), np.float32), device=device)

    def preproc(self, window: Array) -> Array:
        """Samples (n,) float32 at 16 kHz, -1..1, -> (64600,) float32, repeated where shorter. Raises Skip (``silence``)."""
        return prepared(window)

    def get_softlabel(self, batch: Array) -> Array:
        """Probability of *bona fide*: (N, 64600) -> (N,)."""
        return softmax_at(self._net(batch), index=1)


def _net(size: str, content: bytes) -> torch.nn.Module:
    """The published network of that size."""
    from detectors.nets import aasist
    from detectors.nets.checkpoint import fill, read_torch

    net = aasist.AASIST(getattr(aasist, size))
    fill(net, read_torch(content))
    return net
