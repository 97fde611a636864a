"""The spectrum of a face as a curve over frequency (Durall et al., arXiv:1911.00686, section 3.1).

Owns: the logarithmic power spectrum, its azimuthal average, and the three shapes in which the authors' experiments use the curve.
Promises: the published numbers to 1e-9 (tests/parity/test_upconv.py). Pure numpy and scipy.
May be imported by detectors and their commands. Grey pictures are (H, W) uint8; float64 throughout.
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np

from base_detector import Array, Skip

#: experiment -> numbers in its curve
BINS: Final = {"CelebA": 80, "FF": 300, "FacesHQ": 722}
#: side of the pictures of Faces-HQ; no other has a curve of 722 numbers
HQ_SIDE: Final = 1024
#: keeps the logarithm finite
_EPSILON: Final = 1e-8
#: a cubic needs four points
_FEWEST: Final = 4


def features(grey: Array, *, experiment: str) -> Array:
    """The curve of a grey face, (BINS[experiment],), as the authors' ``experiment`` (CelebA, FF, FacesHQ) makes it.

    CelebA takes the whole picture and FF its centre third; both scale the curve to their length and divide it by its first
    number. FacesHQ takes the curve as it is, of the 1024 x 1024 pixels in the middle. Raises Skip: ``face_too_small``, or
    ``not_judgeable`` where every pixel is the same and there is no spectrum.
    """
    part = {"CelebA": lambda whole: whole, "FF": centre_third, "FacesHQ": middle}[experiment](grey)
    if not np.ptp(part):
        raise Skip("not_judgeable" if part.size > 1 else "face_too_small")
    profile = radial_profile(part)
    return profile if experiment == "FacesHQ" else stretched(profile, count=BINS[experiment])


def middle(grey: Array) -> Array:
    """The 1024 x 1024 pixels in the middle of the picture. Skip where it has fewer."""
    height, width = grey.shape
    if min(height, width) < HQ_SIDE:
        raise Skip("face_too_small")
    top, left = (height - HQ_SIDE) // 2, (width - HQ_SIDE) // 2
    return grey[top : top + HQ_SIDE, left : left + HQ_SIDE]


def centre_third(grey: Array) -> Array:
    """The picture without a third (rounded down) of its height and width on every side. Skip below 3 pixels."""
    dy, dx = grey.shape[0] // 3, grey.shape[1] // 3
    if not dy or not dx:
        raise Skip("face_too_small")
    return grey[dy:-dy, dx:-dx]


def radial_profile(grey: Array) -> Array:
    """20 ln of the absolute spectrum, averaged over rings one frequency wide about the centre: (n,) from low to high.

    The innermost and the outermost ring are left out, as the published running sums lose them. Empty when there are no others.
    """
    spectrum = np.fft.fftshift(np.fft.fft2(grey)) + _EPSILON
    power = 20 * np.log(np.abs(spectrum))
    rings, pixels = _rings(*power.shape)
    sums = np.bincount(rings, weights=power.ravel(), minlength=len(pixels))
    known = pixels > 0
    profile: Array = (sums[known] / pixels[known])[1:-1]
    return profile


@functools.lru_cache(maxsize=4)
def _rings(height: int, width: int) -> tuple[Array, Array]:
    """The ring of every pixel, (height * width,) integers, and how many pixels each ring has."""
    y, x = np.indices((height, width), np.float64)
    rings = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2).astype(np.intp).ravel()
    return rings, np.bincount(rings)


def stretched(profile: Array, *, count: int) -> Array:
    """A curve of ``count`` numbers with the same ends, by a cubic spline (not-a-knot), divided by its first. Skip below 4 points."""
    from scipy.interpolate import make_interp_spline

    if len(profile) < _FEWEST:
        raise Skip("face_too_small")
    spline = make_interp_spline(np.linspace(0, count, len(profile)), profile, k=3)
    curve = spline(np.linspace(0, count, count))
    return np.asarray(curve / curve[0])
