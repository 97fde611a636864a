"""MesoNet on one face at a time (Afchar et al., WIFS 2018); architecture in ``detectors.nets.meso``, card in ``detector.toml``.

The published nets answer the probability of *real*, which is the soft label of the contract: it is not turned around.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from base_detector import Array, BaseDetector

if TYPE_CHECKING:
    import torch

#: Side of the input picture.
SIDE = 256
#: ``parameters.variant`` of the card -> (class in detectors.nets.meso, published file)
VARIANTS = {
    "MesoInception4_DF": ("MesoInception4", "MesoInception_DF.h5"),
    "MesoInception4_F2F": ("MesoInception4", "MesoInception_F2F.h5"),
    "Meso4_DF": ("Meso4", "Meso4_DF.h5"),
    "Meso4_F2F": ("Meso4", "Meso4_F2F.h5"),
}


class MesoNet(BaseDetector):
    """One of the four published networks; ``parameters.variant`` of the card names it."""

    def load(self, weights: Path, device: str) -> None:
        from detectors import probes
        from detectors.nets.checkpoint import read_published, variant_of
        from detectors.runtime import compiled

        architecture, file = variant_of(self.card, VARIANTS)
        content = read_published(weights, self.card, file)
        probe = self.preproc(probes.face(SIDE))[None]
        self._net = compiled(_net, architecture, content, example=probe, device=device, probe=probe)

    def preproc(self, face: Array) -> Array:
        """(h, w, 3) uint8 RGB -> (3, 256, 256) float32 in [0, 1], nearest pixel as Keras' image generator takes it."""
        scaled = Image.fromarray(np.ascontiguousarray(face)).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        return np.asarray(scaled, np.float32).transpose(2, 0, 1) / np.float32(255)

    def get_softlabel(self, batch: Array) -> Array:
        """Probability of *real*: (N, 3, 256, 256) -> (N,)."""
        return np.asarray(self._net(batch))


def _net(architecture: str, content: bytes) -> torch.nn.Module:
    """The published network of that class."""
    from detectors.nets import meso
    from detectors.nets.checkpoint import read_keras

    net: torch.nn.Module = getattr(meso, architecture)()
    meso.fill_from_keras(net, read_keras(content))
    return net
