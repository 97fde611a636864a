"""The face crop that several published detectors share: the square "1.3 box".

Owns: its rule on numbers, and cutting it out of the platform's context crops.
Promises: the published integers wherever the face is in its frame; squares are clipped at the *frame's* border, as published, so a
context crop must be large enough to hold them (``margin`` of the card).
May be imported by detectors, in workers only. Rectangles are x, y in pixels, right and bottom exclusive.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from base_detector import Array, Face, Skip


def square_box(
    box: Sequence[float] | Array, *, scale: float, frame_size: tuple[int, int], minimum: int | None = None
) -> tuple[int, int, int]:
    """The square about a face box (left, top, right, bottom): (x, y, side) in whole pixels of the frame.

    The rule of FaceForensics++ (Rössler et al., ICCV 2019; ``get_boundingbox`` of its classifier): side = int(scale * longer side), at
    least ``minimum``; centre rounded down to whole pixels; the square is moved inside at the left and top and shrunk at the right and
    bottom of ``frame_size`` (width, height). Boxes come as whole numbers from dlib; others are rounded first. Raises Skip
    ``face_too_small`` when no part of the square is in the frame.
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
