"""What is before and behind DSFD's network (``dsfd``): its input, its anchors, and its numbers as boxes.

Promises: the published numbers (tests/parity/test_dsfd.py); needs no torch, so that a worker whose network is kept starts without it.
May be imported by detectors, in workers only.

Frames are (H, W, 3) uint8 BGR. Boxes inside are x1 y1 x2 y2 in shares of the padded input's width and height.
"""

from __future__ import annotations

from math import ceil, floor, sqrt

import cv2
import numpy as np

from base_detector import Array

#: Blue, green, red: taken off the frame (the ImageNet mean of the Caffe models).
MEAN = np.array([104, 117, 123], np.float32)
#: Both sides of the resized frame are at most this; the padded input is a multiple of ``_MULTIPLE`` (torchvision's detection transform).
LONGEST, _MULTIPLE = 512, 32

#: Pixels of the anchors of each level, pixels between them, and their height over their width (section 3.3 of the paper, WIDER FACE).
ANCHORS = (16, 32, 64, 128, 256, 512)
STEPS = (4, 8, 16, 32, 64, 128)
ASPECT = 1.5
#: Scale of the centre offsets and of the logarithms of the sides, as in SSD (Liu et al., ECCV 2016).
VARIANCES = (0.1, 0.2)

#: Published settings: overlap that removes a box, least score before and after that, most boxes looked at.
OVERLAP, LEAST_BEFORE, LEAST, MOST = 0.3, 0.01, 0.3, 5000


def prepare(frame: Array) -> tuple[Array, tuple[int, int]]:
    """The input of a frame (H, W, 3) uint8 BGR: (1, 3, h, w) float32, and the (height, width) in it that the frame fills.

    Bilinear, the longer side 512, zeros at the right and bottom up to multiples of 32. The factor is rounded to float32 and the sides
    down, as torchvision's GeneralizedRCNNTransform does.
    """
    sides = frame.shape[:2]
    factor = float(min(np.float32(LONGEST) / np.float32(side) for side in sides))
    height, width = (floor(side * factor) for side in sides)
    resized = cv2.resize(frame.astype(np.float32) - MEAN, (width, height), interpolation=cv2.INTER_LINEAR)
    padded = np.zeros((3, *(ceil(side / _MULTIPLE) * _MULTIPLE for side in (height, width))), np.float32)
    padded[:, :height, :width] = resized.transpose(2, 0, 1)
    return padded[None], (height, width)


def scale_of(frame_size: tuple[int, int]) -> tuple[float, Array]:
    """What ``prepare`` does to a frame of ``frame_size`` (width, height): the factor, and where ``in_frame`` moves its places.

    The second is (2,) float32: x and y of a place are multiplied with it, by the fault that ``in_frame`` keeps.
    """
    factor = float(min(np.float32(LONGEST) / np.float32(side) for side in frame_size))
    filled = np.array([floor(side * factor) for side in frame_size])
    padded = np.ceil(filled / _MULTIPLE) * _MULTIPLE
    # a share of the padded side, times the filled side, times the frame's side over the filled one
    return factor, (factor * np.array(frame_size) / padded).astype(np.float32)


def prepare_crop(crop: Array, *, factor: float) -> Array:
    """The input of a part of a frame, (h, w, 3) uint8 **RGB**, at the frame's ``factor``: (1, 3, h, w) float32, padded like a frame."""
    bgr = crop[..., ::-1].astype(np.float32) - MEAN
    resized = cv2.resize(bgr, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    height, width = resized.shape[:2]
    padded = np.zeros((3, *(ceil(side / _MULTIPLE) * _MULTIPLE for side in (height, width))), np.float32)
    padded[:, :height, :width] = resized.transpose(2, 0, 1)
    return padded[None]


def anchors(height: int, width: int) -> Array:
    """Centre x, y and width, height of every anchor of an input of ``height`` x ``width``: (n, 4) float32, cut to 0..1.

    One row a place of the six maps, in their order, row by row; n is the sum over :data:`STEPS` of the maps' places.
    """
    rows = []
    tall, wide = height, width
    for level, (side, step) in enumerate(zip(ANCHORS, STEPS, strict=True)):
        # the first map has a quarter of the input's size (two halvings), each further one half of the map before
        for _ in range(2 if level == 0 else 1):
            tall, wide = -(-tall // 2), -(-wide // 2)
        y, x = np.meshgrid(np.arange(tall), np.arange(wide), indexing="ij")
        centres = [(x + 0.5) * step / width, (y + 0.5) * step / height]
        sides = [np.full(x.shape, side / sqrt(ASPECT) / width), np.full(x.shape, side * sqrt(ASPECT) / height)]
        rows.append(np.stack(centres + sides, axis=-1).reshape(-1, 4))
    return np.concatenate(rows).clip(0, 1).astype(np.float32)


def decode(offsets: Array, places: Array) -> Array:
    """Boxes (n, 4) from the network's offsets (n, 4) and the anchors (n, 4) of the same input; they may reach outside."""
    centres = places[:, :2] + offsets[:, :2] * np.float32(VARIANCES[0]) * places[:, 2:]
    sides = places[:, 2:] * np.exp(offsets[:, 2:] * np.float32(VARIANCES[1]))
    corner = centres - sides / 2
    return np.concatenate([corner, corner + sides], axis=1)


def face_probability(logits: Array) -> Array:
    """Softmax of the logits (n, 2), of it the face: (n,) float32."""
    return np.asarray(1 / (1 + np.exp((logits[:, 0] - logits[:, 1]).clip(-80, 80))), np.float32)


def suppress(boxes: Array, scores: Array) -> Array:
    """The boxes that stay, highest score first: (k, 5) float32 score, x1 y1 x2 y2; one goes when a higher one overlaps it by over 0.3."""
    likely = np.flatnonzero(scores > LEAST_BEFORE)
    order = likely[np.argsort(scores[likely], kind="stable")][::-1][:MOST]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        corner = np.maximum(boxes[order, :2], boxes[best, :2])
        sides = (np.minimum(boxes[order, 2:], boxes[best, 2:]) - corner).clip(min=0)
        shared = sides[:, 0] * sides[:, 1]
        order = order[shared / (areas[order] - shared + areas[best]) <= OVERLAP]
    return np.concatenate([scores[kept, None], boxes[kept]], axis=1)


def in_frame(found: Array, *, filled: tuple[int, int], frame: tuple[int, int]) -> tuple[Array, Array]:
    """Faces of at least 0.3 in pixels of the frame: boxes (k, 4), scores (k,), from ``suppress`` and the sizes (height, width).

    Shares of the padded input are multiplied with the size that is ``filled``, not with the padded one: published so, and it moves boxes
    towards the top left where the input was padded.
    """
    sure = found[found[:, 0] > LEAST]
    inside = sure[:, 1:] * np.tile(np.array(filled[::-1], np.float32), 2)
    ratios = np.array([frame[1] / filled[1], frame[0] / filled[0]], np.float32)
    return inside * np.tile(ratios, 2), sure[:, 0]
