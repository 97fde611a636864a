"""Whether the picture of a clip moves at all: a photograph shown as a film is one piece of evidence, however many frames it has.

Owns the measure. May be imported by ``backend.media.extract``.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from base_detector import Array

#: Longer side of the pictures compared: each pixel is the mean of about 64 of the shot detector's, so that grain and coding vanish.
_SIDE: Final = 32
#: Levels by which the mean of such a part may differ from the first picture's. A photograph coded as a film changes by 2 to 5 (sharp edges
#: differ from key frame to key frame); of 265 clips of people the calmest changes by 20 within 60 frames.
_MOST_LEVELS: Final = 8.0
#: A shorter clip may be of a person who keeps still; one who does so for as long was not among the clips measured.
_LEAST_S: Final = 2.0
#: Fewer frames show nothing.
_LEAST_FRAMES: Final = 3


class Stillness:
    """Fed with the small version of each frame; ``stands_still`` afterwards."""

    def __init__(self) -> None:
        self._first: Array | None = None
        self._count, self._last_s, self._moved = 0, 0.0, False

    def feed(self, thumb: Array, *, time_s: float) -> None:
        """Take the next frame, (h, w, 3) uint8, shown ``time_s`` after the first."""
        self._count, self._last_s = self._count + 1, time_s
        if self._moved:
            return
        height, width = thumb.shape[:2]
        scale = _SIDE / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(thumb, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        if self._first is None:
            self._first = small
        self._moved = small.shape != self._first.shape or float(np.abs(small - self._first).max()) > _MOST_LEVELS

    @property
    def stands_still(self) -> bool:
        """True when no part of any frame differed from the first one, for some time."""
        return self._count >= _LEAST_FRAMES and self._last_s >= _LEAST_S and not self._moved
