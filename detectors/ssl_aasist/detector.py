"""SSL_AASIST on windows of sound (Tak et al., Odyssey 2022); network in ``detectors.nets.aasist``, card in ``detector.toml``.

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

    from detectors.nets.checkpoint import Published

#: ``parameters.variant`` of the card -> published file: trained for the tracks DF and LA of ASVspoof 2021
VARIANTS = {"DF": "best_SSL_model_DF.pth", "LA": "best_SSL_model_LA.pth"}

#: Where the speech model is in the authors' network.
_SPEECH = "ssl_model.model."


class SSLAasist(BaseDetector):
    """One of the two published networks; ``parameters.variant`` of the card names it."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import Published, variant_of
        from detectors.runtime import compiled

        file = Published(weights, self.card, variant_of(self.card, VARIANTS))
        self._net = compiled(_net, file, example=np.zeros((1, SAMPLES), np.float32), device=device)

    def preproc(self, window: Array) -> Array:
        """Samples (n,) float32 at 16 kHz, -1..1, -> (64600,) float32, repeated where shorter. Raises Skip (``silence``)."""
        return prepared(window)

    def get_softlabel(self, batch: Array) -> Array:
        """Probability of *bona fide*: (N, 64600) -> (N,)."""
        return softmax_at(self._net(batch), index=1)


def _net(file: Published) -> torch.nn.Module:
    """The published network, without the parts of the speech model that only its pre-training used."""
    from detectors.nets.aasist import SSLAASIST
    from detectors.nets.checkpoint import filled, read_torch
    from detectors.nets.wav2vec2 import PRETRAINING

    unused = tuple(_SPEECH + name for name in PRETRAINING)
    state = read_torch(file.read(), prefix="module.")
    return filled(SSLAASIST, {name: tensor for name, tensor in state.items() if not name.startswith(unused)})
