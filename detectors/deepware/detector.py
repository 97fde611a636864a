"""Deepware Scanner: EfficientNet-B7 on one picture per second, joined by persons; card in ``detector.toml``.

A model answers one logit; the mean of the logits over the installed models goes through the sigmoid and is the probability of *fake*;
the soft label is the rest to one. Persons and clip are joined by the platform's strategy ``deepware``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from base_detector import Array, BaseDetector, Face, FacePack, Judgement, Progress
from detectors.nets import faces
from detectors.nets.scores import sigmoid

if TYPE_CHECKING:
    import torch

    from detectors.nets.checkpoint import Published

#: side of the input; side of the square crop in longer sides of the box
SIDE, MARGIN = 380, 1.65
#: pictures a second
RATE = 1.0


class Deepware(BaseDetector):
    """The scanner with as many of the card's files as are installed, as the published code takes every file of its folder."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import Published
        from detectors.runtime import compiled

        self._nets = []
        for item in self.card.weights:
            if item.optional and not (weights / item.file).is_file():
                continue
            file, example = Published(weights, self.card, item.file), np.zeros((1, 3, SIDE, SIDE), np.float32)
            self._nets.append(compiled(_net, file, example=example, device=device, half=True))

    def crop_face(self, image: Array, face: Face) -> Array:
        """A square of 1.65 longer sides about the box: (s, s, 3) uint8, black outside the frame, contrast stretched."""
        crop = faces.cut(image, face, square(faces.box_in_frame(face)), black_outside=True)
        return stretched(crop)

    def preproc(self, face: Array) -> Array:
        """(s, s, 3) uint8 RGB -> (3, 380, 380) float32, bilinear, ImageNet's mean and deviation."""
        return faces.normalized(cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR))

    def get_softlabel(self, batch: Array) -> Array:
        """Probability of *real*: (N, 3, 380, 380) -> (N,)."""
        logits = np.mean([np.asarray(net(batch), np.float64)[:, 0] for net in self._nets], axis=0)
        return sigmoid(-logits)

    def judge(self, pack: FacePack, progress: Progress) -> Judgement:
        """One picture per second; people seen in fewer than ``parameters.min_faces`` of them are left out, unless all are."""
        rows = faces.rows_of(pack, faces.per_second(pack, RATE))
        kept = without_noise(rows, pack.faces["person"][rows], least=int(self.card.parameters["min_faces"]))
        skipped = {"person_too_brief": len(rows) - len(kept)} if len(kept) < len(rows) else {}
        labels = np.full(len(pack), np.nan)
        for some, batch in faces.batches(self, pack, kept, skipped=skipped, progress=progress):
            labels[some] = self.get_softlabel(batch)
        return Judgement(labels, skipped=skipped)


def _net(file: Published) -> torch.nn.Module:
    """One of the B7."""
    from detectors.nets.checkpoint import filled, read_torch
    from detectors.nets.efficientnet import EncoderClassifier

    # in one expression: a quarter of a gigabyte each, file and tensors are gone before the net is compiled
    return filled(
        partial(EncoderClassifier, "b7", size=(SIDE, SIDE)),
        read_torch(file.read(), inside="state_dict", prefix="module."),
    )


def square(box: Array) -> faces.Rectangle:
    """The published crop of a float32 box (left, top, right, bottom; pixels of the frame); it may reach outside the frame.

    Side = int(1.65 x longer side); the centre is rounded down, with half a side (rounded down) on each side of it.
    """
    left, top, right, bottom = np.asarray(box, np.float32)
    half = int(max(right - left, bottom - top) * MARGIN) // 2
    x, y = int((left + right) // 2), int((top + bottom) // 2)
    return x - half, y - half, x + half, y + half


def stretched(picture: Array) -> Array:
    """All channels of ``picture`` (h, w, 3) uint8 stretched together so that the darkest value is 0 and the brightest 255."""
    source = np.ascontiguousarray(picture)
    return np.asarray(cv2.normalize(source, np.empty_like(source), 0, 255, cv2.NORM_MINMAX))


def without_noise(rows: Array, persons: Array, *, least: int) -> Array:
    """The ``rows`` whose person has at least ``least`` of them; all rows with a person when none has."""
    numbers, counts = np.unique(persons[persons >= 0], return_counts=True)
    enough = numbers[counts >= least]
    return rows[np.isin(persons, enough)] if len(enough) else rows[persons >= 0]
