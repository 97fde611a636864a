"""Smooth changes of shape: an affine map together with a random flow.

Owns: how a picture is moved along such a map, and how a stored face is given another shape before anything is blended into it.
Promises: the same generator state gives the same pixels.
May be imported by detectors.training and its tests.
"""

from __future__ import annotations

import cv2
import numpy as np

from base_detector import Array

#: Standard deviations of a face's change of shape: turn in degrees, logarithm of width and height, shear, flow in shares of the side.
_TURN, _STRETCH, _SHEAR, _FLOW = 3.5, 0.035, 0.02, 0.009
#: A face is enlarged by this much besides, so that fewer turned ones show repeated border.
_ENLARGED = 1.02


def draw_flow(side: int, deviation: float, *, rng: np.random.Generator) -> Array:
    """A smooth random flow, (2, side, side) float32 in pixels: x and y of a grid of 5 x 5 normal draws, drawn smoothly."""
    coarse = rng.normal(0, deviation * side, (2, 5, 5)).astype(np.float32)
    return np.stack([cv2.resize(part, (side, side), interpolation=cv2.INTER_CUBIC) for part in coarse])


def moved_along(face: Array, matrix: Array, flow: Array, *, kind: int) -> Array:
    """``face`` (S, S) moved by the affine ``matrix`` (2, 3) and the flow; the border is repeated. ``kind``: OpenCV's interpolation."""
    side = face.shape[0]
    columns, rows = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    back = cv2.invertAffineTransform(matrix).astype(np.float32)
    map_x = back[0, 0] * columns + back[0, 1] * rows + back[0, 2] + flow[0]
    map_y = back[1, 0] * columns + back[1, 1] * rows + back[1, 2] + flow[1]
    return cv2.remap(face, map_x, map_y, kind, borderMode=cv2.BORDER_REPLICATE)


def reshaped(face: Array, landmarks: Array, *, rng: np.random.Generator) -> tuple[Array, Array]:
    """Give a stored face, (S, S) uint8, another shape: turned, stretched, sheared and pulled a little, and its landmarks with it.

    A few thousand faces seen hundreds of times are learnt by heart; no two draws of this are the same face.
    """
    side = face.shape[0]
    angle, (wide, high) = np.deg2rad(rng.normal(0, _TURN)), np.exp(rng.normal(0, _STRETCH, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[wide, rng.normal(0, _SHEAR)], [0, high]]) * _ENLARGED
    flow = draw_flow(side, _FLOW, rng=rng)
    centre = np.full(2, side / 2)
    offset = centre - linear @ centre
    changed = moved_along(face, np.hstack([linear, offset[:, None]]), flow, kind=cv2.INTER_CUBIC)
    x, y = np.clip(np.round(landmarks).astype(int), 0, side - 1).T
    # the flow leads from the new place to the old one; it hardly changes between the two
    moved = (landmarks - flow[:, y, x].T) @ linear.T + offset
    return changed, moved.astype(np.float32)
