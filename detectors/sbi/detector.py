"""SBI, Self-Blended Images (Shiohara and Yamasaki, CVPR 2022): EfficientNet-B4 on 32 pictures; card in ``detector.toml``.

Of the two logits index 1 is *fake* (the authors print its softmax as "fakeness"), so the soft label is the softmax at index 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from base_detector import Array, BaseDetector, Face, FacePack, Judgement, Progress
from detectors.nets import faces
from detectors.nets.scores import softmax_at

if TYPE_CHECKING:
    import torch

#: ``parameters.variant`` of the card -> published file (a torch file in spite of its name): the compression of the training clips
VARIANTS = {"raw": "FFraw.tar", "c23": "FFc23.tar"}
#: side of the input; pictures of a clip (inference_video.py)
SIDE, PICTURES = 380, 32
#: of the largest face of a picture: smaller ones do not count (preprocess.py, by the area of the box)
LEAST_AREA = 0.5


class Sbi(BaseDetector):
    """``parameters.variant`` of the card names the weights."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import read_published, variant_of
        from detectors.probes import face
        from detectors.runtime import compiled

        content = read_published(weights, self.card, variant_of(self.card, VARIANTS))
        # its inputs are in 0..1
        probe, example = self.preproc(face(SIDE))[None], np.zeros((1, 3, SIDE, SIDE), np.float32)
        self._net = compiled(_net, content, example=example, device=device, probe=probe)

    def crop_face(self, image: Array, face: Face) -> Array:
        """The box with an eighth of its width and height more on each side, clipped at the frame: (h, w, 3) uint8."""
        size = faces.size_of_frame(image, face)
        return faces.cut(image, face, padded_box(faces.box_in_frame(face), frame_size=size))

    def preproc(self, face: Array) -> Array:
        """(h, w, 3) uint8 RGB -> (3, 380, 380) float32 in 0..1: bilinear, its shape not kept, and no mean is taken off."""
        resized = cv2.resize(np.ascontiguousarray(face), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(resized.transpose(2, 0, 1), np.float32) / np.float32(255)

    def get_softlabel(self, batch: Array) -> Array:
        """Probability of *real*: (N, 3, 380, 380) -> (N,)."""
        return softmax_at(self._net(batch), index=0)

    def judge(self, pack: FacePack, progress: Progress) -> Judgement:
        """The large faces of 32 pictures; the clip and each person by ``video_probability``."""
        rows = faces.rows_of(pack, faces.evenly(pack, PICTURES))
        rows = rows[large_faces(pack.faces["frame"][rows], pack.faces["box"][rows])]
        fake, skipped = np.full(len(pack), np.nan), dict[str, int]()
        for some, batch in faces.batches(self, pack, rows, skipped=skipped, progress=progress):
            fake[some] = 1 - self.get_softlabel(batch)
        known = ~np.isnan(fake)
        if not known.any():
            return Judgement(1 - fake, skipped=skipped)
        frames, owners = pack.faces["frame"], pack.faces["person"]
        persons = {
            int(person): 1 - video_probability(frames[own], fake[own])
            for person in np.unique(owners[known])
            for own in [known & (owners == person)]
        }
        video = 1 - video_probability(frames[known], fake[known])
        return Judgement(1 - fake, video=video, persons=persons, skipped=skipped)


def padded_box(box: Array, *, frame_size: tuple[int, int]) -> faces.Rectangle:
    """The published crop of a box (left, top, right, bottom; pixels of the frame), clipped: right and bottom exclusive.

    Fractions are cut off after the margin is added (preprocess.py of the authors).
    """
    left, top, right, bottom = (float(value) for value in box)
    wide, high = (right - left) / 8, (bottom - top) / 8
    width, height = frame_size
    return (
        max(0, int(left - wide)),
        max(0, int(top - high)),
        min(width, int(right + wide) + 1),
        min(height, int(bottom + high) + 1),
    )


def large_faces(frames: Array, boxes: Array) -> Array:
    """Which faces have at least half the area of the largest in their frame: (n,) bool, of frames (n,) and boxes (n, 4)."""
    areas = (boxes[:, 2] - boxes[:, 0]).astype(np.float64) * (boxes[:, 3] - boxes[:, 1])
    _, own = np.unique(frames, return_inverse=True)
    largest = np.zeros(own.max(initial=-1) + 1)
    np.maximum.at(largest, own, areas)
    return np.asarray(areas >= LEAST_AREA * largest[own])


def video_probability(frames: Array, fake: Array) -> float:
    """Score of a clip from frame numbers and probabilities of *fake*, (n,) each, n > 0: the mean over frames of their highest."""
    numbers, own = np.unique(frames, return_inverse=True)
    highest = np.zeros(len(numbers))
    np.maximum.at(highest, own, fake)
    return float(highest.mean())


def _net(content: bytes) -> torch.nn.Module:
    """The published EfficientNet-B4; its names begin with ``net.``."""
    from detectors.nets.checkpoint import filled, read_torch
    from detectors.nets.efficientnet import EfficientNet

    state = read_torch(content, inside="model", prefix="net.")
    return filled(lambda: EfficientNet("b4", classes=2, padding="0.7.1"), state)
