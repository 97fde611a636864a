"""Effort (Yan et al., ICML 2025) on aligned faces or whole pictures; tower in ``detectors.nets.vit``, card in ``detector.toml``.

Of the two logits index 1 is *fake*, so the soft label is the softmax at index 0. ``input`` of the card decides what is judged: ``face`` as
published for the weights of FaceForensics++, ``picture`` for those of GenImage and Chameleon.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from base_detector import Array, BaseDetector, Face, Skip
from detectors.nets.pictures import CLIP_MEAN, CLIP_STD, normalized
from detectors.nets.scores import softmax_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from detectors.nets.checkpoint import Published

#: ``parameters.variant`` of the card -> published file: what the network was trained on
VARIANTS = {
    "ffpp": "effort_clip_L14_trainOn_FaceForensic.pth",
    "genimage": "effort_clip_L14_trainOn_sdv14.pth",
    "chameleon": "effort_clip_L14_trainOn_chameleon.pth",
}
#: side of the input
SIDE = 224
#: Of dlib's landmarks, those that the authors align by (demo.py): an eye-lid each, the tip of the nose, and by the corners of the mouth
POINTS = [37, 44, 30, 49, 55]
#: Where these are in a picture 96 wide and 112 high; 8 are added to its width, 15 % of the input to each side, and all is made smaller
PLACES = np.array(
    [[30.2946, 51.6963], [65.5318, 51.5014], [48.0252, 71.7366], [33.5493, 92.3655], [62.7299, 92.2041]], np.float32
)
TEMPLATE, ADDED, MARGIN = 112, np.array([8, 0], np.float32), 0.15


class Effort(BaseDetector):
    """CLIP's tower with a trained residual of rank 1 in every projection; ``parameters.variant`` of the card names the weights."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import Published, variant_of
        from detectors.runtime import compiled

        file, example = (
            Published(weights, self.card, variant_of(self.card, VARIANTS)),
            np.zeros((1, 3, SIDE, SIDE), np.float32),
        )
        if self.card.input == "face":
            from detectors.nets.landmarks import Landmarker

            self._landmarker = Landmarker()
        self._net = compiled(_net, file, example=example, device=device)

    def crop_face(self, image: Array, face: Face) -> Array:
        """The aligned face, (224, 224, 3) uint8 RGB, black outside; Skip ``landmarks_not_found`` where dlib sees no face."""
        found = self._landmarker.find(image, upsample=1)
        if found is None:
            raise Skip("landmarks_not_found")
        return aligned(image, found[1][POINTS])

    def preproc(self, picture: Array) -> Array:
        """(h, w, 3) uint8 RGB -> (3, 224, 224) float32: bilinear, its shape not kept, CLIP's mean 0 and deviation 1."""
        resized = cv2.resize(np.ascontiguousarray(picture), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        return normalized(resized, mean=CLIP_MEAN, deviation=CLIP_STD)

    def get_softlabel(self, batch: Array) -> Array:
        """Probability of *real*: (N, 3, 224, 224) -> (N,)."""
        return softmax_at(self._net(batch), index=0)


def alignment(points: Array) -> Array:
    """The similarity (2, 3) float64 that takes five points (5, 2) closest to their places in the input, by least squares.

    Four unknowns a, b, c, d: x' = a x - b y + c, y' = b x + a y + d. Skip ``landmarks_not_found`` when all points are one.
    """
    # float32 after each step, as published: rounded otherwise, pixels of the warped face are a grey level off
    places = (PLACES + ADDED) * np.float32(SIDE / TEMPLATE) + np.float32(MARGIN * SIDE)
    places = (places * np.float32(1 / (1 + 2 * MARGIN))).astype(np.float64)
    x, y, one, none = *np.asarray(points, np.float64).T, np.ones(len(places)), np.zeros(len(places))
    rows = np.vstack([np.column_stack([x, -y, one, none]), np.column_stack([y, x, none, one])])
    (a, b, c, d), _, rank, _ = np.linalg.lstsq(rows, places.T.ravel(), rcond=None)
    if rank < 4:
        raise Skip("landmarks_not_found")
    return np.array([[a, -b, c], [b, a, d]])


def aligned(image: Array, points: Array) -> Array:
    """``image`` (H, W, 3) uint8 warped by ``alignment`` of ``points`` in it: (224, 224, 3) uint8, bilinear, black outside."""
    return cv2.warpAffine(np.ascontiguousarray(image), alignment(points), (SIDE, SIDE), flags=cv2.INTER_LINEAR)


def _net(file: Published) -> torch.nn.Module:
    """The published network; its names begin with ``backbone.`` and ``head.``, after ``module.`` of its training."""
    from torch import nn

    from detectors.nets.checkpoint import filled, read_torch
    from detectors.nets.vit import CLIP_L14, Classifier, tower_of

    tower, state = {}, {}
    for name, tensor in read_torch(file.read(), inside="state_dict", prefix="module.").items():
        if name.startswith("head."):
            state[name] = tensor
        else:
            tower[name.replace("backbone.", "vision_model.", 1)] = tensor
    state |= {f"tower.{name}": tensor for name, tensor in tower_of(merged(tower)).items()}
    return filled(lambda: Classifier(CLIP_L14, nn.Linear(CLIP_L14.width, 2)), state)


def merged(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """``state`` with one ``weight`` for each projection that is published in parts.

    weight = main + U diag(S) V, of rank 1; what only the training's loss needs (``S_r``, ``U_r``, ``V_r``) is left out. Where a part is
    missing, the others stay, so that all names are told.
    """
    out = {name: tensor for name, tensor in state.items() if name.rpartition(".")[2] not in ("S_r", "U_r", "V_r")}
    for main in [name for name in out if name.endswith(".weight_main")]:
        stem = main.removesuffix("weight_main")
        left, scale, right = (out.get(f"{stem}{part}_residual") for part in "USV")
        if left is None or scale is None or right is None:
            continue
        if (left.shape[1:], right.shape[:1]) != (scale.shape, scale.shape):
            continue
        out[f"{stem}weight"] = out.pop(main) + (left * scale) @ right
        for part in "USV":
            del out[f"{stem}{part}_residual"]
    return out
