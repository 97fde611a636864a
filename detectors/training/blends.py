"""Self-blended faces: a face joined with a slightly altered copy of itself, along a mask drawn over its landmarks.

Owns: what a blend is and how strong its traces are. After Face X-ray (Li et al., CVPR 2020, arXiv:1912.13458: a pasted region's
boundary betrays it), Self-Blended Images (Shiohara and Yamasaki, CVPR 2022, arXiv:2204.08376: the copy comes from the same picture) and
Exposing DeepFake Videos by Detecting Face Warping Artifacts (Li and Lyu, CVPRW 2019, arXiv:1811.00656: the pasted face was resampled).
Promises: outside the mask the blend equals its original bit for bit; the same generator state gives the same blend.
May be imported by detectors.training and its tests.
"""

from __future__ import annotations

import cv2
import numpy as np

from base_detector import Array
from detectors.training.warps import draw_flow, moved_along

#: Mean position of MTCNN's five points in the frame of dlib's mean face (inner 51 points, unit square: Kazemi and Sullivan's shape).
_FIVE = np.array([[0.226, 0.216], [0.755, 0.216], [0.490, 0.560], [0.254, 0.780], [0.726, 0.780]], np.float32)
#: Jaw from ear to ear, eyebrows from right to left, in the same frame.
_JAW = np.array(
    [
        *(
            [-0.13, 0.22],
            [-0.12, 0.38],
            [-0.10, 0.53],
            [-0.06, 0.69],
            [0.01, 0.84],
            [0.11, 0.97],
            [0.23, 1.07],
            [0.35, 1.15],
        ),
        [0.49, 1.18],
        *(
            [0.63, 1.15],
            [0.75, 1.07],
            [0.87, 0.97],
            [0.97, 0.84],
            [1.04, 0.69],
            [1.08, 0.53],
            [1.10, 0.38],
            [1.11, 0.22],
        ),
    ],
    np.float32,
)
_BROWS = np.array([[0.98, 0.10], [0.80, 0.02], [0.59, 0.07], [0.39, 0.07], [0.18, 0.02], [0.00, 0.10]], np.float32)
_EYES = np.array([[0.02, 0.02], [0.96, 0.02], [1.00, 0.22], [0.90, 0.36], [0.10, 0.36], [-0.02, 0.22]], np.float32)
_MOUTH = np.array(
    [[0.49, 0.48], [0.74, 0.66], [0.80, 0.80], [0.66, 0.98], [0.49, 1.02], [0.32, 0.98], [0.18, 0.80], [0.24, 0.66]]
)

#: Mean change inside the mask, in grey levels, below which there is nothing to learn and the blend is made again.
LEAST_CHANGE = 1.5
_ATTEMPTS = 4


def blend(
    face: Array, landmarks: Array, *, rng: np.random.Generator, pasted: Array | None = None
) -> tuple[Array, Array]:
    """Blend ``face`` ((P, P) float32 luma or (P, P, 3) RGB, 0..255) with an altered copy: the blend, its mask ((P, P) float32, 0..1).

    ``landmarks`` are MTCNN's five points in the face's pixels. ``pasted``: take the copy from this picture of the same face, which
    was not compressed yet, say. Where the mask is 0 the blend equals ``face``.
    """
    for attempt in range(_ATTEMPTS):
        mask = draw_mask(face.shape[0], landmarks, rng=rng)
        source = _altered_copy(face if pasted is None else pasted, landmarks, rng=rng, stronger=attempt > 0)
        mixed = face + (mask if face.ndim == 2 else mask[:, :, None]) * (source - face)
        weight = float(mask.sum())
        change = float(np.abs(mixed - face).sum()) / max(weight, 1.0) / (face.size / mask.size)
        if weight > 0.02 * mask.size and change >= LEAST_CHANGE:
            break
    return np.clip(mixed, 0, 255), mask


def draw_mask(side: int, landmarks: Array, *, rng: np.random.Generator) -> Array:
    """A face region as swaps paste it: hull with shaken corners, softened or shrunk, times a blend ratio: (side, side) in 0..1."""
    shape = _outline(rng)
    centre = shape.mean(axis=0)
    shape = centre + (shape - centre) * rng.uniform(0.86, 1.1, 2) + rng.normal(0, 0.025, shape.shape)
    corners = np.hstack([shape, np.ones((len(shape), 1))]) @ _frame_to_pixels(landmarks)
    hull = cv2.convexHull(corners.astype(np.float32)).reshape(-1, 2)
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.round(hull * 16).astype(np.int32)], 255, lineType=cv2.LINE_AA, shift=4)
    soft: Array = mask.astype(np.float32) * np.float32(1 / 255)
    if rng.random() < 0.5:  # blurred and cut again: round corners, a wavy edge, grown or shrunk
        soft = cv2.GaussianBlur(soft, (0, 0), side * rng.uniform(0.015, 0.05))
        cut = rng.uniform(0.25, 0.75)
        soft = np.clip((soft - cut) * np.float32(rng.uniform(3, 12)) + 0.5, 0, 1, dtype=np.float32)
    width = side * float(np.exp(rng.uniform(np.log(0.004), np.log(0.05))))
    soft = cv2.GaussianBlur(soft, (0, 0), max(width, 0.4))
    soft[soft < 1 / 255] = 0
    ratio = rng.choice([0.5, 0.75, 1.0, 1.0, 1.0])
    return np.minimum(soft * np.float32(ratio), np.float32(1))


def _outline(rng: np.random.Generator) -> Array:
    kind = rng.random()
    if kind < 0.35:  # the whole face with a part of the forehead: autoencoder swaps
        brows = _BROWS - np.array([0, rng.uniform(0.05, 0.35)], np.float32)
        return np.concatenate([_JAW[1:-1], brows])
    if kind < 0.6:  # jaw and eyebrows: graphics-based swaps
        return np.concatenate([_JAW[rng.integers(0, 3) :][: 17 - rng.integers(0, 3)], _BROWS])
    if kind < 0.8:  # the inner face: eyebrows to below the mouth
        return np.concatenate([_BROWS, _MOUTH[1:-1] + np.array([0, 0.04]), _EYES[2:5]])
    if kind < 0.84:
        return _EYES
    if kind < 0.88:
        return _MOUTH
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)  # an oval or a box with round corners
    power = rng.choice([1.0, 0.5])
    x, y = np.cos(angle), np.sin(angle)
    x, y = np.sign(x) * np.abs(x) ** power, np.sign(y) * np.abs(y) ** power
    return np.stack([0.49 + 0.56 * x, 0.52 + 0.6 * y], axis=1)


def _frame_to_pixels(landmarks: Array) -> Array:
    """Affine map (3, 2) from the mean face's frame to pixels, least squares over the five points."""
    return np.linalg.lstsq(np.hstack([_FIVE, np.ones((5, 1), np.float32)]), landmarks, rcond=None)[0]


def _altered_copy(face: Array, landmarks: Array, *, rng: np.random.Generator, stronger: bool) -> Array:
    """The face that is pasted: moved a little, its tones and its sharpness changed."""
    source = face
    if rng.random() < 0.75:
        source = _moved(source, landmarks, rng=rng)
    if stronger or rng.random() < 0.65:
        source = _toned(source, rng=rng)
    if stronger or rng.random() < 0.75:
        source = _resampled(source, rng=rng)
    if rng.random() < 0.25:
        noise = rng.standard_normal(face.shape, dtype=np.float32)
        source = source + noise * np.float32(rng.uniform(0.5, 5))
    return source


def _moved(face: Array, landmarks: Array, *, rng: np.random.Generator) -> Array:
    """Small affine map about the nose, at times with a smooth random flow; all in shares of the side."""
    side = face.shape[0]
    x, y = (float(v) for v in landmarks[2])
    angle, grow = np.deg2rad(rng.normal(0, 1.2)), rng.uniform(0.96, 1.04, 2)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * grow
    shift = rng.normal(0, 0.009, 2) * side
    offset = np.array([x, y]) - linear @ np.array([x, y]) + shift
    matrix = np.hstack([linear, offset[:, None]])
    kind = cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_LINEAR
    if rng.random() < 0.7:
        return cv2.warpAffine(face, matrix, (side, side), flags=kind, borderMode=cv2.BORDER_REPLICATE)
    return moved_along(face, matrix, draw_flow(side, 0.008, rng=rng), kind=kind)


def _toned(face: Array, *, rng: np.random.Generator) -> Array:
    """Brightness, contrast, gamma, and at times light from another side."""
    mean = float(face.mean())
    toned = (face - mean) * np.float32(rng.uniform(0.8, 1.25)) + np.float32(mean + rng.normal(0, 10))
    if rng.random() < 0.3:
        power = np.float32(np.exp(rng.normal(0, 0.12)))
        toned = np.float32(255) * (np.clip(toned, 0, 255) * np.float32(1 / 255)) ** power
    if rng.random() < 0.25:
        ramp = np.linspace(-1, 1, face.shape[0], dtype=np.float32) * np.float32(rng.normal(0, 10))
        slope = ramp[:, None] if rng.random() < 0.5 else ramp[None]
        toned = toned + (slope if face.ndim == 2 else slope[:, :, None])
    if face.ndim == 3 and rng.random() < 0.5:  # another camera's white
        toned = toned * rng.uniform(0.95, 1.05, 3).astype(np.float32)
    return toned


def _resampled(face: Array, *, rng: np.random.Generator) -> Array:
    """Fewer pixels and back (a generator's output is small), a blur, or a sharpening."""
    side, kind = face.shape[0], rng.random()
    if kind < 0.65:
        small = max(24, round(side * rng.uniform(0.3, 0.85)))
        down = cv2.resize(face, (small, small), interpolation=cv2.INTER_AREA)
        up = cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_LINEAR
        return cv2.resize(down, (side, side), interpolation=up)
    if kind < 0.85:
        return cv2.GaussianBlur(face, (0, 0), side / 128 * rng.uniform(0.5, 1.8))
    blurred = cv2.GaussianBlur(face, (0, 0), side / 128 * rng.uniform(0.8, 2.0))
    return face + (face - blurred) * np.float32(rng.uniform(0.3, 1.2))
