"""Xception of FaceForensics++ (Rössler et al., ICCV 2019), one face at a time; net: ``detectors.nets.xception``, card: ``detector.toml``.

Of the two logits index 1 is *fake*, so the soft label is the softmax at index 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from base_detector import Array, BaseDetector, ContractError, Face
from detectors.nets.scores import softmax_at

if TYPE_CHECKING:
    import torch

#: ``parameters.variant`` of the card -> converted file: the compression of the videos it was trained on
VARIANTS = {"raw": "all_raw.safetensors", "c23": "all_c23.safetensors", "c40": "all_c40.safetensors"}
#: side the network takes
SIDE = 299


class Xception(BaseDetector):
    """``parameters.variant`` of the card names the weights, ``parameters.scale`` the square about the face."""

    def load(self, weights: Path, device: str) -> None:
        from safetensors import SafetensorError

        from detectors import probes
        from detectors.nets.checkpoint import read_published, variant_of
        from detectors.runtime import compiled

        file = variant_of(self.card, VARIANTS)
        if not 0 < float(self.card.parameters["scale"]) <= self.card.margin:
            raise ContractError(f"xception: parameters.scale must be above 0 and at most margin, {self.card.margin}")
        published = (weights / file).with_suffix(".p")
        if published.exists() and not (weights / file).exists():
            raise _not_converted(published, file)
        content = read_published(weights, self.card, file)
        probe = self.preproc(probes.face(SIDE))[None]
        try:
            self._net = compiled(_net, content, example=probe, device=device, probe=probe)
        except SafetensorError:
            raise _not_converted(weights / file, file) from None

    def crop_face(self, image: Array, face: Face) -> Array:
        """The "1.3 box" of FaceForensics++; Skip ``face_too_small`` when no part of it is in the frame."""
        from detectors.nets.crops import cut_square

        return cut_square(image, face, scale=float(self.card.parameters["scale"]))

    def preproc(self, face: Array) -> Array:
        """(h, w, 3) uint8 RGB -> (3, 299, 299) float32 in -1..1: Pillow's bilinear, which averages when it shrinks."""
        scaled = Image.fromarray(np.ascontiguousarray(face)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        values = np.asarray(scaled, np.float32).transpose(2, 0, 1) / np.float32(255)
        return (values - np.float32(0.5)) / np.float32(0.5)

    def get_softlabel(self, batch: Array) -> Array:
        """Probability of *real*: (N, 3, 299, 299) -> (N,)."""
        return softmax_at(self._net(batch), index=0)


def _not_converted(path: Path, file: str) -> Exception:
    from detectors.nets.checkpoint import WeightsUnusable

    return WeightsUnusable(
        "weights_not_converted",
        f"{path} is a pickled program, which is not loaded. Convert it: python -m detectors.xception.convert "
        f"{path.with_suffix('.p').name} {file} (the model card shows how to do it in the container, without network), then run "
        f"'deepfake-o-meter weights add xception {file}'.",
    )


def _net(content: bytes) -> torch.nn.Module:
    """The network with the converted weights; SafetensorError when ``content`` is no safetensors file."""
    from safetensors.torch import load

    from detectors.nets.checkpoint import fill
    from detectors.nets.xception import Wrapped

    net = Wrapped()
    fill(net, load(content))
    return net
