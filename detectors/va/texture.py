"""Texture of eyes and teeth, or of nose and face border: the 18 numbers VA's classifiers read (Matern et al., WACVW 2019).

Owns: crop and masks from 68 landmarks, Laws' texture energies, the order of the features.
Promises: masks pixel for pixel and features within 1e-4 of the published code under the library versions of its authors
(tests/parity/test_va.py), on every processor. The arithmetic is 8-bit with its wrap-around and saturation, because the
classifiers were trained on it.
Imported by ``detectors.va.detector`` only.

Landmarks are (68, 2) integers x, y in dlib's order: 30-35 nose, 36-41 and 42-47 eyes, 60-67 inner lips.
"""

from __future__ import annotations

import cv2
import numpy as np

from base_detector import Array

#: longer side the crop is scaled to
SIDE = 256
#: openings (height over width) from which eyes and mouth count as open
_EYE_OPEN, _MOUTH_OPEN = 0.25, 0.15
#: of k-means, the default of scikit-learn 0.19
_STARTS = 10
#: an eye mask needs this many pixels, teeth this share of the mouth mask
_LEAST_EYE_PIXELS, _LEAST_TEETH_SHARE = 10, 0.01

#: Laws' one-dimensional kernels: level, edge, spot, ripple (Laws, 1980)
_KERNELS = {
    "L5": (1, 4, 6, 4, 1),
    "E5": (-1, -2, 0, 2, 1),
    "S5": (-1, 0, 2, 0, -1),
    "R5": (1, -4, 6, -4, 1),
}
#: The order in which the published classifiers saw the energies: that of a Python 2.7 dictionary on a 64-bit machine.
ORDER = ("E5R5", "R5R5", "L5R5", "E5E5", "L5S5", "S5S5", "L5E5", "S5R5", "E5S5")


def eyes_and_teeth(image: Array, landmarks: Array, box: tuple[int, int, int, int]) -> Array | None:
    """The 18 energies of ``deepfake``: eyes, then teeth. None when mouth or eyes are closed, or no teeth show.

    ``image`` (H, W, 3) uint8 RGB; ``box`` the detector's left, top, right, bottom, exclusive at the right and bottom.
    """
    if not (mouth_open(landmarks) and eyes_open(landmarks)):
        return None
    crop, points = _cut(image, landmarks, box, margin=0.0)
    eyes = hull_mask(points[36:42], crop.shape[:2]) | hull_mask(points[42:48], crop.shape[:2])
    mouth = hull_mask(points[60:68], crop.shape[:2])
    crop, eyes, mouth = _scale(crop, eyes, mouth)
    grey = grey_of(crop)
    teeth = brighter_half(grey, mouth)
    if eyes.sum() < _LEAST_EYE_PIXELS or teeth.sum() < _LEAST_TEETH_SHARE * mouth.sum() or not teeth.any():
        return None
    return energies(grey, eyes, teeth)


def nose_and_border(image: Array, landmarks: Array, box: tuple[int, int, int, int]) -> Array | None:
    """The 18 energies of ``face2face``: nose, then the hull of all landmarks. None when a mask is empty. As above."""
    crop, points = _cut(image, landmarks, box, margin=0.1)
    nose, face = hull_mask(points[30:36], crop.shape[:2]), hull_mask(points, crop.shape[:2])
    crop, nose, face = _scale(crop, nose, face)
    if not (nose.any() and face.any()):
        return None
    return energies(grey_of(crop), nose, face)


def mouth_open(landmarks: Array) -> bool:
    """Inner lips: distance of 62 and 66 over that of 60 and 64."""
    return _distance(landmarks, 62, 66) > _MOUTH_OPEN * _distance(landmarks, 60, 64)


def eyes_open(landmarks: Array) -> bool:
    """Both eyes: mean of the two lid distances over the width."""
    return all(
        (_distance(landmarks, s + 1, s + 5) + _distance(landmarks, s + 2, s + 4)) / 2
        > _EYE_OPEN * _distance(landmarks, s, s + 3)
        for s in (36, 42)
    )


def hull_mask(points: Array, shape: tuple[int, int]) -> Array:
    """Filled convex hull of the pixels ``points`` (n, 2) x, y: (h, w) bool; points outside ``shape`` count at its border.

    The rule of scikit-image 0.14: the hull of the four edge midpoints of each marked pixel, filled by the half-open crossing test
    (later versions treat the border otherwise: up to 105 pixels, and 0.05 in a score).
    """
    height, width = shape
    marked = np.clip(points, 0, (width - 1, height - 1)).astype(np.float32)
    steps = np.array([[0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]], np.float32)
    hull = cv2.convexHull((marked[:, None] + steps).reshape(-1, 2))[:, 0].astype(np.float64)
    left, top = np.floor(hull.min(axis=0)).clip(0).astype(int)
    right, bottom = (np.ceil(hull.max(axis=0)).astype(int) + 1).clip(max=(width, height))
    columns, rows = np.arange(left, right), np.arange(top, bottom)[:, None]
    odd = np.zeros((bottom - top, right - left), bool)
    for (x1, y1), (x2, y2) in zip(hull, np.roll(hull, -1, axis=0), strict=True):
        crosses = ((x1 <= columns) & (columns < x2)) | ((x2 <= columns) & (columns < x1))
        if crosses.any():
            odd ^= crosses & (rows < (y2 - y1) * (columns - x1) / (x2 - x1) + y1)
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = odd
    return mask


def brighter_half(grey: Array, mask: Array) -> Array:
    """The brighter of two clusters of the grey values in ``mask`` (h, w) bool: the teeth within the open mouth.

    As the published code has them: k-means of scikit-learn 0.19 with its defaults and ``random_state=0``. Each of ten starts ends at a
    split that no step improves, which need not be the best of all.
    """
    values = grey[mask].astype(np.float64)
    if len(np.unique(values)) < 2:
        return np.zeros_like(mask)
    tolerance, values = 1e-4 * values.var(), values - values.mean()
    seeds = np.random.RandomState(0).randint(np.iinfo(np.int32).max, size=_STARTS)
    ends = [_iterated(values, _start(values, np.random.RandomState(seed)), tolerance=tolerance) for seed in seeds]
    # the first of equals, as there
    best = min(ends, key=lambda ends: float(np.square(values[:, None] - ends).min(axis=1).sum()))
    nearer, bright = _nearer_second(values, best), np.zeros_like(mask)
    bright[mask] = nearer if best[1] > best[0] else ~nearer
    return bright


def _start(values: Array, random: np.random.RandomState) -> Array:
    """Two centres by k-means++ (Arthur and Vassilvitskii, SODA 2007), the second the better of two draws: (2,) float64."""
    first = values[random.randint(len(values))]
    apart = (values - first) ** 2
    drawn = np.searchsorted(np.cumsum(apart), random.random_sample(2) * apart.sum())
    rest = [np.minimum(apart, (values - values[index]) ** 2).sum() for index in drawn]
    return np.array([first, values[drawn[int(np.argmin(rest))]]])


def _iterated(values: Array, centres: Array, *, tolerance: float) -> Array:
    """The two centres (2,) after Lloyd's steps, up to 300, until both together move by less than the root of ``tolerance``."""
    for _ in range(300):
        second = _nearer_second(values, centres)
        moved = np.array([values[~second].mean(), values[second].mean()])
        shift, centres = float(np.abs(moved - centres).sum()), moved
        if shift**2 < tolerance:
            break
    return centres


def _nearer_second(values: Array, centres: Array) -> Array:
    """Which values (n,) are nearer to the second centre than to the first: (n,) bool."""
    return np.asarray(np.abs(values - centres[1]) < np.abs(values - centres[0]))


def energies(grey: Array, first: Array, second: Array) -> Array:
    """Mean energies of two masks, nine each in ``ORDER``: (18,) float64. ``grey`` (h, w) uint8, masks (h, w) bool."""
    # unsigned bytes throughout: the difference wraps around at 256, the filters saturate, the sum of a pair wraps again
    flat = grey - cv2.blur(grey, (15, 15))
    filtered = {
        along_x + along_y: cv2.filter2D(flat, -1, np.outer(kernel_y, kernel_x).astype(np.float32))
        for along_x, kernel_x in _KERNELS.items()
        for along_y, kernel_y in _KERNELS.items()
        if along_x + along_y in ORDER or along_y + along_x in ORDER
    }
    where = np.flatnonzero(first | second)
    maps = {name: _local_mean(picture, where) for name, picture in filtered.items()}
    features = []
    for mask in (first, second):
        inside = mask.ravel()[where]
        for name in ORDER:
            swapped = name[2:] + name[:2]
            energy = maps[name] if swapped == name else (maps[name] + maps[swapped]) / 2
            features.append(energy[inside].astype(np.float32).mean())
    return np.array(features, np.float64)


def _local_mean(picture: Array, where: Array) -> Array:
    """Rounded mean of the 10x10 window of each pixel ``where`` (flat indices): (n,) uint8.

    The published code sums 100 values times 0.01 in float32, so a mean that ends in .5 is rounded up or down by its rounding
    errors, and one grey level more can wrap a later sum around. Those windows are summed again in that order; a library's filter
    would give another answer on a processor with fused multiplication.
    """
    sums = cv2.boxFilter(picture, cv2.CV_32S, (10, 10), normalize=False).ravel()[where]
    means = ((sums + 50) // 100).astype(np.uint8)
    tied = np.flatnonzero(sums % 100 == 50)
    if len(tied):
        padded = cv2.copyMakeBorder(picture, 5, 4, 5, 4, cv2.BORDER_REFLECT_101)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (10, 10))
        own = windows[np.unravel_index(where[tied], picture.shape)].reshape(len(tied), 100)
        means[tied] = np.rint(np.add.accumulate(own * np.float32(0.01), axis=1, dtype=np.float32)[:, -1]).astype(
            np.uint8
        )
    return means


def grey_of(image: Array) -> Array:
    """(h, w, 3) uint8 RGB -> (h, w) uint8, the 14-bit weights of OpenCV 3.4 (OpenCV 4 has 15 bits: one level off here and there)."""
    red, green, blue = (image[..., channel].astype(np.int32) for channel in range(3))
    return ((red * 4899 + green * 9617 + blue * 1868 + 8192) >> 14).astype(np.uint8)


def _cut(image: Array, landmarks: Array, box: tuple[int, int, int, int], *, margin: float) -> tuple[Array, Array]:
    """The box, widened by ``margin`` of its height on each side and clipped, and the landmarks in it."""
    wider = int((box[3] - box[1]) * margin)
    left, top = max(0, box[0] - wider), max(0, box[1] - wider)
    right, bottom = min(image.shape[1], box[2] + wider), min(image.shape[0], box[3] + wider)
    return image[top:bottom, left:right], landmarks - (left, top)


def _scale(crop: Array, *masks: Array) -> tuple[Array, ...]:
    height, width = crop.shape[:2]
    factor = SIDE / max(height, width)
    size = (int(width * factor), int(height * factor))
    scaled = [cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool) for mask in masks]
    return (cv2.resize(crop, size, interpolation=cv2.INTER_LINEAR), *scaled)


def _distance(landmarks: Array, first: int, second: int) -> float:
    return float(np.hypot(*(landmarks[first] - landmarks[second]).astype(np.float64)))
