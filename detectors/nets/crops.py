"""The two face crops that several published detectors share: the square "1.3 box" and the ten heads of FWA.

Owns: both rules on numbers, and cutting them out of the platform's context crops.
Promises: the published integers wherever the face stands in its frame; rectangles are clipped at the *frame's* border, as published,
so a context crop must be large enough to hold them (``margin`` of the card).
May be imported by detectors, in workers only. Rectangles are x, y in pixels, right and bottom exclusive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from base_detector import Array, Face, Skip

#: FWA looks at this many heads a face, with seeds 0, 1, ... (its demo, ``sample_num``)
HEADS = 10
#: side of a head that the networks take
HEAD_SIDE = 224


def square_box(
    box: Sequence[float] | Array, *, scale: float, frame_size: tuple[int, int], minimum: int | None = None
) -> tuple[int, int, int]:
    """The square about a face box (left, top, right, bottom): (x, y, side) in whole pixels of the frame.

    The rule of FaceForensics++ (Rössler et al., ICCV 2019; ``get_boundingbox`` of its classifier): side = int(scale * longer side), at
    least ``minimum``; centre rounded down to whole pixels; the square is moved inside at the left and top and shrunk at the right and
    bottom of ``frame_size`` (width, height). Boxes come as whole numbers from dlib; others are rounded first. Raises Skip
    ``face_too_small`` when nothing of the square lies in the frame.
    """
    left, top, right, bottom = (round(float(value)) for value in box)
    width, height = frame_size
    side = int(max(right - left, bottom - top) * scale)
    if minimum is not None:
        side = max(side, minimum)
    x = max((left + right) // 2 - side // 2, 0)
    y = max((top + bottom) // 2 - side // 2, 0)
    side = min(side, width - x, height - y)
    if side < 1:
        raise Skip("face_too_small")
    return x, y, side


def cut_square(image: Array, face: Face, *, scale: float) -> Array:
    """The pixels of ``square_box`` from a context crop: (side, side, 3) uint8 RGB, a view; Skip as there.

    The rule runs in pixels of the frame. It moves squares inside at the left and top, so a face there reaches far to the other side: a
    context of 2.0 holds the square of a face whose centre is 0.3 longer sides inside the frame; nearer, it is shrunk to what is there.
    """
    x0, y0 = face.image_origin
    frame_size = face.frame_size or (image.shape[1], image.shape[0])
    x, y, side = square_box(face.box + np.tile(np.array([x0, y0], np.float32), 2), scale=scale, frame_size=frame_size)
    left, top = max(0, x - x0), max(0, y - y0)
    right, bottom = min(x - x0 + side, image.shape[1]), min(y - y0 + side, image.shape[0])
    side = min(right - left, bottom - top)
    if side < 1:
        raise Skip("face_too_small")
    return image[top : top + side, left : left + side]


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

    ``points`` (68, 2) in pixels of ``image`` (H, W, 3) uint8. Raises Skip ``face_too_small``, also when a head lies outside.
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
