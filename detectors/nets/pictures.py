"""Pictures as networks for whole pictures take them: scaled, cut to the middle, with a mean of 0 and a deviation of 1.

Owns: torchvision's rules of scaling and cutting, and CLIP's normalisation.
Promises: the pixels of the published preparation (tests/parity/test_commfor.py, test_univfd.py, test_cnndetection.py), in memory that
the shape of a picture does not blow up.
May be imported by detectors, in workers only.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from base_detector import Array
from detectors.nets.faces import IMAGENET_MEAN, IMAGENET_STD

#: CLIP's mean and deviation of red, green, blue (clip/clip.py of OpenAI)
CLIP_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
CLIP_STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
#: A picture this many times as long as wide is cut before it is scaled: one pixel wide and 30,000 long it would take 17 GB at 440
_LONGEST = 16


def centre(picture: Array, side: int) -> Array:
    """The middle (side, side, 3) of a picture (h, w, 3) uint8, a view where it is large enough (torchvision's CenterCrop).

    Half a pixel is rounded to even. A smaller picture gets black borders first, the odd pixel of them right and below.
    """
    height, width = picture.shape[:2]
    above, left = max(0, side - height), max(0, side - width)
    if above or left:
        edges = (above // 2, (above + 1) // 2), (left // 2, (left + 1) // 2), (0, 0)
        picture = np.pad(picture, edges)
        height, width = picture.shape[:2]
    top, left = round((height - side) / 2), round((width - side) / 2)
    return picture[top : top + side, left : left + side]


def scaled_centre(picture: Array, *, shorter: int, side: int, method: Image.Resampling) -> Array:
    """``centre`` of a picture (h, w, 3) uint8 RGB scaled to ``shorter`` pixels on its shorter side: (side, side, 3) uint8.

    The longer side loses its fraction (torchvision's Resize). ``side`` is at most ``shorter``. Pillow averages when it shrinks.
    Of strips sixteen times as long as wide only the middle is computed: levels may differ by a few from cutting after scaling.
    """
    height, width = picture.shape[:2]
    least = min(height, width)
    size = int(shorter * width / least), int(shorter * height / least)
    whole = Image.fromarray(np.ascontiguousarray(picture))
    if max(size) <= _LONGEST * shorter:
        return centre(np.asarray(whole.resize(size, method)), side)
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    # the place of the middle in the original, in fractions of a pixel
    across, down = width / size[0], height / size[1]
    box = left * across, top * down, (left + side) * across, (top + side) * down
    return np.asarray(whole.resize((side, side), method, box=box))


def normalized(picture: Array, *, mean: Array = IMAGENET_MEAN, deviation: Array = IMAGENET_STD) -> Array:
    """(h, w, 3) uint8 RGB -> (3, h, w) float32 with this mean and deviation of red, green, blue in 0..1 taken to 0 and 1."""
    values = picture.astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(((values - mean) / deviation).transpose(2, 0, 1))
