"""A medium as the media pass sees it: facts, presentation times, and its pictures one after the other, upright.

Owns the common interface of videos (``backend.media.video``) and images (``backend.media.still``), and ``Orientation``.
May be imported by all of ``backend.media``, and by nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from base_detector import Array
from shared.findings import DecodedMedia, Note


@dataclass(frozen=True)
class Orientation:
    """How stored pixels become upright: mirrored left to right first, then turned clockwise by quarter turns."""

    quarter_turns: int = 0
    mirrored: bool = False

    @classmethod
    def from_display_matrix(cls, matrix: bytes) -> Orientation:
        """Read a display matrix (ISO/IEC 14496-12, 6.2.2): nine 32-bit numbers a b u c d v x y w, nearest quarter turn.

        A stored point (x, y) is shown at (a x + c y, b x + d y); a negative determinant mirrors.
        """
        a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32, count=9).astype(float)
        mirrored = a * d - b * c < 0
        if mirrored:
            a, b = -a, -b
        return cls(round(math.degrees(math.atan2(b, a)) / 90) % 4, bool(mirrored))

    @classmethod
    def from_exif(cls, value: object) -> Orientation:
        """Read EXIF tag 0x0112 (EXIF 2.32, table 6); anything unknown means upright."""
        known = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (1, False), 7: (1, True), 8: (3, False)}
        return cls(*known.get(value if isinstance(value, int) else 1, (0, False)))

    @property
    def degrees(self) -> int:
        """Clockwise turn in degrees: 0, 90, 180 or 270."""
        return self.quarter_turns * 90

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height as shown."""
        return (height, width) if self.quarter_turns % 2 else (width, height)

    def edge_of_bottom(self) -> str:
        """The side of the upright picture at which the stored picture's last row is shown."""
        return ("bottom", "left", "top", "right")[self.quarter_turns]

    def upright(self, image: Array) -> Array:
        """Turn an image (H, W, 3), C-contiguous; the same array when it is upright already."""
        if self.mirrored:
            image = cv2.flip(image, 1)
        if self.quarter_turns:
            codes = (cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE)
            image = cv2.rotate(image, codes[self.quarter_turns - 1])
        return image


class Picture(Protocol):
    """One decoded picture. ``index`` counts decoded pictures from 0, ``time_s`` counts from the first one.

    ``damaged``: the decoder filled holes in it, so nothing may be measured on it.
    """

    @property
    def index(self) -> int: ...
    @property
    def time_s(self) -> float: ...
    @property
    def damaged(self) -> bool: ...
    @property
    def size(self) -> tuple[int, int]:
        """Width and height of ``rgb``: pictures of one medium may differ."""
        ...

    def rgb(self) -> Array:
        """The picture upright and in full size, (H, W, 3) uint8 RGB, C-contiguous, not to be written to."""
        ...

    def thumb(self) -> Array:
        """A small version for the shot detector, (h, w, 3) uint8 BGR, subsampled. All of a medium have one size."""
        ...


class Medium(Protocol):
    """An opened medium; its pictures can be iterated once."""

    @property
    def times(self) -> Array:
        """Expected presentation times of all pictures, (n,) float64, ascending from 0: what sampling is planned on."""
        ...

    def pictures(self) -> Iterator[Picture]:
        """All pictures in presentation order. WorkerFailure(``media_unreadable``) when not one decodes."""
        ...

    @property
    def notes(self) -> Sequence[Note]:
        """What a reader of the scores must know; complete after the last picture."""
        ...

    def whole(self, box: Array) -> bool:
        """False when a face in ``box`` (x1 y1 x2 y2, upright) reaches into a part that its file does not have any more."""
        ...

    def facts(self) -> DecodedMedia:
        """Facts; sizes and counts are final after the last picture."""
        ...
