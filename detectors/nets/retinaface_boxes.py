"""What is before and behind RetinaFace's network (``retinaface``): its input, its anchors, and its numbers as boxes, points and scores.

Promises: the published numbers (tests/parity/test_retinaface.py); needs no torch, so that a worker whose network is kept starts without it.
May be imported by detectors, in workers only.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from base_detector import Array

#: Blue, green, red: taken off the image (the ImageNet mean of the Caffe models).
MEAN = np.array([104, 117, 123], np.float32)

#: Pixels of an anchor's sides per level, and the pixels between anchors (``cfg_mnet`` and ``cfg_re50`` agree).
MIN_SIZES: Sequence[tuple[int, int]] = ((16, 32), (64, 128), (256, 512))
STEPS = (8, 16, 32)

#: Scale of the centre offsets and of the logarithms of the sides, as in SSD (Liu et al., ECCV 2016).
VARIANCES = (0.1, 0.2)


def prepare(image: Array) -> Array:
    """(h, w, 3) uint8 **RGB** -> (1, 3, h, w) float32, BGR minus :data:`MEAN`: the network's input."""
    return (image[..., ::-1].astype(np.float32) - MEAN).transpose(2, 0, 1)[None]


def priors(height: int, width: int) -> Array:
    """Anchor boxes of an image: (n, 4) float32 centre x, centre y, width, height, as parts of the image's sides."""
    levels = []
    for sizes, step in zip(MIN_SIZES, STEPS, strict=True):
        rows, columns = ceil(height / step), ceil(width / step)
        y, x, size = np.meshgrid(np.arange(rows), np.arange(columns), np.asarray(sizes, np.float64), indexing="ij")
        boxes = [(x + 0.5) * step / width, (y + 0.5) * step / height, size / width, size / height]
        levels.append(np.stack(boxes, axis=-1).reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)


def decode_boxes(offsets: Array, anchors: Array) -> Array:
    """Box offsets (n, 4) and :func:`priors` (n, 4) -> (n, 4) float32 x1 y1 x2 y2, as parts of the image's sides."""
    centres = anchors[:, :2] + offsets[:, :2] * np.float32(VARIANCES[0]) * anchors[:, 2:]
    sides = anchors[:, 2:] * np.exp(offsets[:, 2:] * np.float32(VARIANCES[1]))
    corner = centres - sides / 2
    return np.concatenate([corner, corner + sides], axis=1)


def decode_points(offsets: Array, anchors: Array) -> Array:
    """Point offsets (n, 10) and :func:`priors` (n, 4) -> (n, 5, 2) float32 x, y as parts of the image's sides.

    Order: left eye, right eye, nose, left and right mouth corner (the viewer's left).
    """
    points = offsets.reshape(-1, 5, 2) * np.float32(VARIANCES[0])
    return anchors[:, None, :2] + points * anchors[:, None, 2:]


def suppress(boxes: Array, scores: Array, *, threshold: float, inclusive: bool = True) -> Array:
    """Greedy non-maximum suppression: indices kept, best first, (k,) int64.

    A box goes when its intersection over union with a better one is above ``threshold``. ``inclusive`` counts pixels at both ends (side =
    x2 - x1 + 1), as Pytorch_Retinaface does; torchvision's rule has no + 1.
    """
    extra = 1.0 if inclusive else 0.0
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1 + extra) * (y2 - y1 + extra)
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(int(best))
        across = np.maximum(0.0, np.minimum(x2[best], x2[order]) - np.maximum(x1[best], x1[order]) + extra)
        down = np.maximum(0.0, np.minimum(y2[best], y2[order]) - np.maximum(y1[best], y1[order]) + extra)
        shared = across * down
        order = order[shared / (areas[best] + areas[order] - shared) <= threshold]
    return np.asarray(kept, np.int64)


def faces(
    loc: Array, conf: Array, landms: Array, *, width: int, height: int, threshold: float
) -> tuple[Array, Array, Array]:
    """One image's outputs -> boxes (k, 4) x1 y1 x2 y2, scores (k,), points (k, 5, 2), in pixels of the ``width`` x ``height`` input.

    Takes loc (n, 4), conf (n, 2), landms (n, 10); keeps scores strictly above ``threshold``, in the order of the anchors, without
    suppression.
    """
    kept = conf[:, 1] > threshold
    anchors = priors(height, width)[kept]
    scale = np.array([width, height], np.float32)
    boxes = decode_boxes(loc[kept], anchors) * np.tile(scale, 2)
    return boxes, conf[kept, 1], decode_points(landms[kept], anchors) * scale
