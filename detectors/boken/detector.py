"""BOKEN, first of the DeeperForensics Challenge 2020: EfficientNet b0, b1 and b2 on 15 frames; card in ``detector.toml``.

Of the two probabilities index 1 is *fake*, so the soft label is index 0. The score of a clip is the mean over its faces, then over
the three nets, kept within 0.01 and 0.99.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from base_detector import Array, BaseDetector, Face, FacePack, Judgement, Progress, Skip
from detectors.nets import faces
from detectors.nets.scores import softmax_at

if TYPE_CHECKING:
    import torch

#: variant -> published file
MODELS = {
    "b0": "efn-b0_LS_27_loss_0.2205.pth",
    "b1": "efn-b1_LS_6_loss_0.1756.pth",
    "b2": "efn-b2_LS_12_loss_0.1728.pth",
}
#: side of the input of all three nets; pictures of a clip; side of the square crop in longer sides of the box
SIDE, PICTURES, MARGIN = 224, 15, 1.2
#: scores of clips stay this far from 0 and 1
DOUBT = 0.01


class Boken(BaseDetector):
    """The three networks; only the largest face of a picture counts."""

    def load(self, weights: Path, device: str) -> None:
        from detectors import probes
        from detectors.nets.checkpoint import read_published
        from detectors.runtime import compiled

        probe = self.preproc(probes.face(SIDE))[None]
        self._nets = []
        for variant, file in MODELS.items():
            content = read_published(weights, self.card, file)
            self._nets.append(compiled(_net, variant, content, example=probe, device=device, probe=probe))

    def crop_face(self, image: Array, face: Face) -> Array:
        """A square of 1.2 longer sides about the box, moved and shrunk into the frame: (s, s, 3) uint8."""
        return faces.cut(image, face, square(faces.box_in_frame(face), frame_size=faces.size_of_frame(image, face)))

    def preproc(self, face: Array) -> Array:
        """(s, s, 3) uint8 RGB -> (3, 224, 224) float32 in [0, 1], bilinear; no mean is taken off."""
        resized = cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(resized.transpose(2, 0, 1), np.float32) / np.float32(255)

    def get_softlabel(self, batch: Array) -> Array:
        """Probability of *real*, mean over the nets: (N, 3, 224, 224) -> (N,)."""
        return np.asarray(1 - self.probabilities(batch).mean(axis=0))

    def probabilities(self, batch: Array) -> Array:
        """Probability of *fake* by each net: (N, 3, 224, 224) -> (3, N) float64."""
        return softmax_at(np.stack([net(batch) for net in self._nets]), index=1)

    def judge(self, pack: FacePack, progress: Progress) -> Judgement:
        """The largest face of each of 15 pictures; the clip by ``video_probability``."""
        rows = largest(pack, faces.rows_of(pack, faces.evenly(pack, PICTURES)))
        fake = np.full((len(self._nets), len(pack)), np.nan)
        skipped: dict[str, int] = {}
        for some, batch in faces.batches(self, pack, rows, skipped=skipped, progress=progress):
            fake[:, some] = self.probabilities(batch)
        known = ~np.isnan(fake[0])
        video = 1 - video_probability(fake[:, known]) if known.any() else None
        return Judgement(1 - fake.mean(axis=0), video=video, skipped=skipped)


def square(box: Array, *, frame_size: tuple[int, int]) -> faces.Rectangle:
    """The published crop of a float box (left, top, right, bottom; pixels of the frame): a square of 1.2 longer sides, in the frame.

    The rule of FaceForensics++ with float boxes: the centre is rounded down, the square moved inside at the left and top and shrunk
    at the right and bottom. Raises Skip ``face_too_small`` when no part of it is in the frame.
    """
    left, top, right, bottom = np.asarray(box, np.float32)
    width, height = frame_size
    side = int(max(right - left, bottom - top) * MARGIN)
    x = max(int((left + right) // 2 - side // 2), 0)
    y = max(int((top + bottom) // 2 - side // 2), 0)
    side = min(side, width - x, height - y)
    if side < 1:
        raise Skip("face_too_small")
    return x, y, x + side, y + side


def largest(pack: FacePack, rows: Array) -> Array:
    """Of ``rows`` the one with the largest box in each frame, the first of equals; ascending."""
    boxes = np.asarray(pack.faces["box"][rows], np.float64)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    frames = pack.faces["frame"][rows]
    kept = [rows[frames == frame][np.argmax(areas[frames == frame])] for frame in np.unique(frames)]
    return np.array(sorted(kept), np.int64)


def video_probability(fake: Array) -> float:
    """Probability of fake of a clip from those of its faces, (nets, n) with n > 0: the mean over faces, then over nets, clipped."""
    return float(np.clip(fake.mean(axis=1).mean(), DOUBT, 1 - DOUBT))


def _net(variant: str, content: bytes) -> torch.nn.Module:
    """One of the three networks."""
    from detectors.nets.checkpoint import fill, read_torch
    from detectors.nets.efficientnet import EfficientNet

    net = EfficientNet(variant, classes=2, padding="0.7.0")
    fill(net, read_torch(content, prefix="module."))
    return net
