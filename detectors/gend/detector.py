"""GenD on aligned faces (Yermakov, Cech, Matas, Fritz, WACV 2026); tower in ``detectors.nets.vit``, card in ``detector.toml``.

Of the two logits index 1 is *fake*, so the soft label is the softmax at index 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from base_detector import Array, BaseDetector, Face, Skip
from detectors.nets.pictures import CLIP_MEAN, CLIP_STD, normalized, scaled_centre
from detectors.nets.scores import softmax_at

if TYPE_CHECKING:
    import torch

    from detectors.nets.checkpoint import Published

FILE = "model.safetensors"
#: side of the input
SIDE = 224
#: Where eyes, nose and corners of the mouth are in a square of side 1, and how much wider the picture is (detector.py of the authors)
PLACES = np.array([[0.34, 0.46], [0.66, 0.46], [0.5, 0.64], [0.37, 0.82], [0.63, 0.82]], np.float32)
SCALE = 1.3


class GenD(BaseDetector):
    """CLIP's tower with tuned normalisations, and a linear layer on its class token at length 1."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import Published
        from detectors.runtime import compiled

        file, example = Published(weights, self.card, FILE), np.zeros((1, 3, SIDE, SIDE), np.float32)
        self._net = compiled(_net, file, example=example, device=device)

    def crop_face(self, image: Array, face: Face) -> Array:
        """The aligned face at the size it has in the frame, (t, t, 3) uint8 RGB, black outside; Skip ``landmarks_not_found``."""
        origin = np.array(face.image_origin, np.float64)
        points = np.asarray(face.landmarks, np.float64) + origin
        side = aligned_side(points)
        matrix = alignment(points, side=side)
        # the rule is in pixels of the frame, the pixels are in the context crop
        matrix[:, 2] += matrix[:, :2] @ origin
        return cv2.warpAffine(np.ascontiguousarray(image), matrix, (side, side), flags=cv2.INTER_LINEAR)

    def preproc(self, face: Array) -> Array:
        """(t, t, 3) uint8 RGB -> (3, 224, 224) float32: Pillow's bicubic, CLIP's mean 0 and deviation 1."""
        middle = scaled_centre(face, shorter=SIDE, side=SIDE, method=Image.Resampling.BICUBIC)
        return normalized(middle, mean=CLIP_MEAN, deviation=CLIP_STD)

    def get_softlabel(self, batch: Array) -> Array:
        """Probability of *real*: (N, 3, 224, 224) -> (N,)."""
        return softmax_at(self._net(batch), index=0)


def aligned_side(points: Array) -> int:
    """The side, in pixels, at which an aligned face keeps its size: of five landmarks (5, 2). Skip when they are unknown or one point.

    1.3 times the mean over the ten pairs of landmarks of how much farther apart they are than in the square of side 1
    (``--target_size none`` of the authors' command).
    """
    first, second = np.triu_indices(len(PLACES), 1)
    apart = np.linalg.norm(points[first] - points[second], axis=1)
    side = SCALE * float(np.mean(apart / np.linalg.norm(PLACES[first] - PLACES[second], axis=1)))
    # written so that NaN is refused too
    if not side >= 1:
        raise Skip("landmarks_not_found")
    return round(side)


def alignment(points: Array, *, side: int) -> Array:
    """The similarity (2, 3) float64 that takes landmarks (5, 2) to their places in a square of ``side`` pixels. Skip when there is none.

    Robust (least median of squares, as published): a landmark far off does not count. Otherwise it is the least-squares solution.
    """
    margin = np.float64(side * (SCALE - 1) / 2)
    # float32 after each step, as published: rounded otherwise, pixels of the warped face are a grey level off
    places = (PLACES * np.float64(side)).astype(np.float32)
    places = (places + margin).astype(np.float32)
    places = (places * (side / (side + 2 * margin))).astype(np.float32)
    matrix, _ = cv2.estimateAffinePartial2D(points.astype(np.float32), places, method=cv2.LMEDS)
    if matrix is None or not np.isfinite(matrix).all():
        raise Skip("landmarks_not_found")
    return np.asarray(matrix, np.float64)


def _net(file: Published) -> torch.nn.Module:
    """The published network; its head is named ``model.``, the tower ``feature_extractor.`` and Hugging Face's names."""
    from detectors.nets.checkpoint import filled, read_safetensors
    from detectors.nets.clip_heads import UnitLinear
    from detectors.nets.vit import CLIP_L14, Classifier, tower_of

    tower, state = {}, {}
    for name, tensor in read_safetensors(file.read()).items():
        if name.startswith("model."):
            state[f"head.{name.removeprefix('model.')}"] = tensor
        else:
            tower[name.removeprefix("feature_extractor.")] = tensor
    state |= {f"tower.{name}": tensor for name, tensor in tower_of(tower).items()}
    return filled(lambda: Classifier(CLIP_L14, UnitLinear(CLIP_L14.width, 2)), state)
