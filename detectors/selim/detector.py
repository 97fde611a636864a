"""Selim Seferbekov's winner of the DeepFake Detection Challenge: seven EfficientNet-B7 on 32 frames; card in ``detector.toml``.

Each net answers one logit whose sigmoid is the probability of *fake*; the soft label is the rest to one. A model's score of the
clip is its authors' *confident strategy* over all faces, the clip's score the mean over the models.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from base_detector import Array, BaseDetector, ContractError, Face, FacePack, Judgement, Progress
from detectors.nets import faces
from detectors.nets.scores import sigmoid

if TYPE_CHECKING:
    import torch

    from detectors.nets.checkpoint import Published

#: short name in ``parameters.models`` of the card (seed and epoch) -> published file
MODELS = {
    "111_36": "final_111_DeepFakeClassifier_tf_efficientnet_b7_ns_0_36",
    "555_19": "final_555_DeepFakeClassifier_tf_efficientnet_b7_ns_0_19",
    "777_29": "final_777_DeepFakeClassifier_tf_efficientnet_b7_ns_0_29",
    "777_31": "final_777_DeepFakeClassifier_tf_efficientnet_b7_ns_0_31",
    "888_37": "final_888_DeepFakeClassifier_tf_efficientnet_b7_ns_0_37",
    "888_40": "final_888_DeepFakeClassifier_tf_efficientnet_b7_ns_0_40",
    "999_23": "final_999_DeepFakeClassifier_tf_efficientnet_b7_ns_0_23",
}

#: side of the input; pictures of a clip; most faces of a clip (upstream's batch of 4 x 32 less one)
SIDE, PICTURES, MOST_FACES = 380, 32, 127
#: beyond these a face is clearly fake or real, and this many faces must be clearly fake
CLEAR_FAKE, CLEAR_REAL, MOST_UNSURE_FAKES = 0.8, 0.2, 11


class Selim(BaseDetector):
    """The ensemble; ``parameters.models`` of the card says which models take part: those that are installed, or those it names."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import Published
        from detectors.runtime import compiled

        names = self._models(weights)
        self._nets = []
        for name in names:
            file, example = Published(weights, self.card, MODELS[name]), np.zeros((1, 3, SIDE, SIDE), np.float32)
            self._nets.append(compiled(_net, file, example=example, device=device, half=True))

    def _models(self, weights: Path) -> list[str]:
        """The short names of the models that take part."""
        from detectors.nets.checkpoint import WeightsUnusable

        names = self.card.parameters["models"]
        if names == "installed":
            installed = [name for name, file in MODELS.items() if (weights / file).is_file()]
            if not installed:
                raise WeightsUnusable("weights_missing", f"{weights} holds none of {', '.join(MODELS.values())}")
            return installed
        if not isinstance(names, list) or not names or len(set(names)) != len(names) or set(names) - set(MODELS):
            raise ContractError(
                f'selim: parameters.models must be "installed" or name some of {", ".join(MODELS)}, each once, not {names}'
            )
        return names

    def crop_face(self, image: Array, face: Face) -> Array:
        """The box with a third of its height and width added on each side: (h, w, 3) uint8, clipped at the frame."""
        return faces.cut(image, face, padded_box(faces.box_in_frame(face), frame_size=faces.size_of_frame(image, face)))

    def preproc(self, face: Array) -> Array:
        """(h, w, 3) uint8 RGB -> (3, 380, 380) float32: scaled as a whole, centred on black, ImageNet's mean and deviation."""
        return faces.normalized(centred(scaled(face, side=SIDE), side=SIDE))

    def get_softlabel(self, batch: Array) -> Array:
        """Probability of *real*, mean over the models: (N, 3, 380, 380) -> (N,)."""
        return np.asarray(1 - self.probabilities(batch).mean(axis=0))

    def probabilities(self, batch: Array) -> Array:
        """Probability of *fake* by each model: (N, 3, 380, 380) -> (models, N) float64."""
        logits = np.stack([np.asarray(net(batch), np.float64)[:, 0] for net in self._nets])
        return sigmoid(logits)

    def judge(self, pack: FacePack, progress: Progress) -> Judgement:
        """All faces of 32 pictures, 127 faces at most; persons and clip by ``video_probability``."""
        rows = faces.rows_of(pack, faces.evenly(pack, PICTURES))[:MOST_FACES]
        fake = np.full((len(self._nets), len(pack)), np.nan)
        skipped: dict[str, int] = {}
        for some, batch in faces.batches(self, pack, rows, skipped=skipped, progress=progress):
            fake[:, some] = self.probabilities(batch)
        known = ~np.isnan(fake[0])
        if not known.any():
            return Judgement(1 - fake.mean(axis=0), skipped=skipped)
        owners = pack.faces["person"]
        persons = {
            int(person): 1 - video_probability(fake[:, known & (owners == person)]) for person in set(owners[known])
        }
        video = 1 - video_probability(fake[:, known])
        return Judgement(1 - fake.mean(axis=0), video=video, persons=persons, skipped=skipped)


def padded_box(box: Array, *, frame_size: tuple[int, int]) -> faces.Rectangle:
    """The published crop of a box (left, top, right, bottom; pixels of the frame): a third of its size more on each side, clipped.

    Coordinates lose their fractions first; the thirds are whole numbers, rounded down.
    """
    left, top, right, bottom = (int(value) for value in box)
    wide, high = (right - left) // 3, (bottom - top) // 3
    width, height = frame_size
    return max(left - wide, 0), max(top - high, 0), min(right + wide, width), min(bottom + high, height)


def scaled(picture: Array, *, side: int) -> Array:
    """``picture`` (h, w, 3) with its longer side at ``side`` and its shape kept: area mean downwards, cubic upwards."""
    height, width = picture.shape[:2]
    if max(height, width) == side:
        return picture
    factor = side / max(height, width)
    size = (side, int(height * factor)) if width > height else (int(width * factor), side)
    method = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    return cv2.resize(picture, (max(1, size[0]), max(1, size[1])), interpolation=method)


def centred(picture: Array, *, side: int) -> Array:
    """``picture`` (h, w, 3) in the middle of a black square of ``side``; an odd pixel falls to the right and the bottom."""
    height, width = picture.shape[:2]
    canvas = np.zeros((side, side, 3), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    canvas[top : top + height, left : left + width] = picture
    return canvas


def confident_strategy(fake: Array) -> float:
    """One model's score of a clip from its probabilities of fake (n,), n > 0 (``kernel_utils.py`` of the authors).

    The mean of the clear fakes when they are many (above n // 2.5, and more than eleven), else of the clear reals when they are nearly
    all (above 0.9 n), else of all.
    """
    clear = fake > CLEAR_FAKE
    if clear.sum() > len(fake) // 2.5 and clear.sum() > MOST_UNSURE_FAKES:
        return float(fake[clear].mean())
    clear = fake < CLEAR_REAL
    return float(fake[clear].mean() if clear.sum() > 0.9 * len(fake) else fake.mean())


def video_probability(fake: Array) -> float:
    """Mean over the models of their scores: (models, n) -> probability of fake of the clip."""
    return float(np.mean([confident_strategy(model) for model in fake]))


def _net(file: Published) -> torch.nn.Module:
    """One of the B7."""
    from detectors.nets.checkpoint import filled, read_torch
    from detectors.nets.efficientnet import EncoderClassifier

    # in one expression: a quarter of a gigabyte each, file and tensors are gone before the net is compiled
    return filled(
        partial(EncoderClassifier, "b7", size=(SIDE, SIDE)),
        read_torch(file.read(), inside="state_dict", prefix="module."),
    )
