"""The ten heads of a face that FWA and DSP-FWA judge, and how their ten probabilities become one.

Owns: the published rule on numbers, cutting the heads out of the platform's context crops, the score of a face.
Promises: the published integers wherever the face is in its frame; rectangles are clipped at the *frame's* border, as published, so a
context crop must be large enough to hold them (``margin`` of the card).
May be imported by detectors, in workers only. Rectangles are x, y in pixels, right and bottom exclusive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from base_detector import Array, Skip
from detectors.nets.landmarks import Landmarker
from detectors.nets.scores import softmax_at

#: FWA looks at this many heads a face, with seeds 0, 1, ... (its demo, ``sample_num``)
HEADS = 10
#: side of a head that the networks take
HEAD_SIDE = 224


def head_box(points: Array, *, frame_size: tuple[int, int], seed: int) -> tuple[int, int, int, int]:
    """One head about landmarks (n, 2) x, y in whole pixels: (left, top, right, bottom) in a frame of (width, height).

    The rule of FWA (Li and Lyu, CVPRW 2019; ``cut_head`` of its code): the landmarks' rectangle grows by a random dx < width / 8 on both
    sides, a random dy < height / 5 above and dy / 2 below, clipped to the last pixel, fractions cut off. ``seed`` is that of numpy's legacy
    generator, which draws dx first. Raises Skip ``face_too_small`` below 8 pixels of width or 5 of height, where upstream fails.
    """
    left, top = (int(value) for value in points.min(axis=0))
    right, bottom = (int(value) for value in points.max(axis=0))
    reach_x, reach_y = int((right - left) / 8), int((bottom - top) / 5)
    if reach_x < 1 or reach_y < 1:
        raise Skip("face_too_small")
    # the legacy generator is the published one: its numbers are frozen by numpy's policy
    rng = np.random.RandomState(seed)
    dx, dy = int(rng.randint(reach_x)), int(rng.randint(reach_y))
    width, height = frame_size
    return (
        max(0, left - dx),
        max(0, top - dy),
        int(min(width - 1, right + dx)),
        int(min(height - 1, bottom + 0.5 * dy)),
    )


def head_boxes(points: Array, *, frame_size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """The ten rectangles of one face, seeds 0 to 9; Skip as in ``head_box``."""
    for seed in range(HEADS):
        yield head_box(points, frame_size=frame_size, seed=seed)


def cut_heads(image: Array, points: Array) -> Array:
    """The ten heads of one face, bilinear to 224 x 224: (10, 224, 224, 3) uint8 in the channel order of ``image``.

    ``points`` (68, 2) in pixels of ``image`` (H, W, 3) uint8. Raises Skip ``face_too_small``, also when a head is outside.
    """
    heads = np.empty((HEADS, HEAD_SIDE, HEAD_SIDE, 3), np.uint8)
    for head, (left, top, right, bottom) in zip(
        heads, head_boxes(points, frame_size=(image.shape[1], image.shape[0])), strict=True
    ):
        if right <= left or bottom <= top:
            raise Skip("face_too_small")
        head[:] = cv2.resize(image[top:bottom, left:right], (HEAD_SIDE, HEAD_SIDE), interpolation=cv2.INTER_LINEAR)
    return heads


def head_score(fake: Array) -> Array:
    """Probability of fake of each face from those of its heads: (N, 10) -> (N,), the mean of the five highest (FWA, DSP-FWA)."""
    return np.sort(fake, axis=-1)[..., -5:].mean(axis=-1)


def heads_of(face: Array, *, landmarker: Landmarker) -> Array:
    """The ten heads of the face in ``face`` (h, w, 3) uint8, as ``cut_heads``; Skip ``landmarks_not_found`` where dlib sees none."""
    found = landmarker.find(face)
    if found is None:
        raise Skip("landmarks_not_found")
    return cut_heads(face, found[1])


def fake_of_faces(net: Callable[[Array], Array], batch: Array) -> Array:
    """Probability of *fake* of each face, (N,): (N, 10, ...) heads through ``net``, whose logits are (10, 2), index 0 = fake.

    Face by face: ten heads are a batch, so the memory does not grow with the card's.
    """
    return head_score(np.stack([softmax_at(net(heads), index=0) for heads in batch]))
