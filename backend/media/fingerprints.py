"""Marks by which a later copy of a file is found on this installation: of its pictures, and of its sound.

Owns how they are made; ``shared.seen`` compares them. Pictures: pHash (Zauner, "Implementation and benchmarking of perceptual image
hash functions", 2010): the low frequencies of a picture's cosine transform, each above or below their median; here 16 x 16 of 64 x 64,
256 bits. Sound: Haitsma and Kalker, "A highly robust audio fingerprinting system" (ISMIR 2002): the signs of differences of energy
between 33 bands from one moment to the next, 32 bits, here 16 times a second. Promises: from a mark no picture and no voice can be
made. May be imported by ``backend.media``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from backend.media.medium import Picture
from base_detector import SOUND_RATE, Array, Shot
from shared.origin import MOST_PICTURE_MARKS, MOST_SOUND_MARKS, Fingerprint

#: Side of the picture that is transformed, and of the frequencies that are kept.
_SIDE, _KEPT = 64, 16
#: Levels (of 255) that a picture varies by at least; what is flatter, black or white looks like every other.
_FLAT: Final = 8.0
#: Share of a still picture's side that is left out on each side in its second mark.
_BORDER: Final = 0.025
#: Pictures that are marked on the way, a second.
_A_SECOND: Final = 4.0
#: Bands of the sound, and between which frequencies: as in the paper.
_BANDS, _LOWEST_HZ, _HIGHEST_HZ = 33, 300.0, 2000.0
#: So many samples are joined to one: nothing above 2 kHz is looked at. Then samples of one look (0.38 s) and between two (1/16 s).
_FEWER, _WINDOW, _HOP = 3, 2048, 333
#: Below this (of full scale, root mean square) there is nothing to hear.
_SILENCE: Final = 1e-3


def picture_mark(grey: Array) -> Array | None:
    """The mark of a picture (H, W) uint8 as (32,) uint8; None for one that is nearly flat."""
    from scipy.fft import dctn  # takes a fifth of a second, and not every job wants marks

    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    if float(small.std()) < _FLAT:
        return None
    low = dctn(small, norm="ortho")[:_KEPT, :_KEPT].ravel()
    low[0] = np.median(low[1:])  # the mean brightness says nothing
    return np.packbits(low > np.median(low[1:]))


def _without_borders(grey: Array) -> Array:
    """The middle of a picture: a twentieth less in width and height."""
    down, right = (round(side * _BORDER) for side in grey.shape)
    return np.ascontiguousarray(grey[down : grey.shape[0] - down, right : grey.shape[1] - right])


def apart(one: Array, other: Array) -> int:
    """In how many of 256 bits two marks differ."""
    differing: Array = np.bitwise_xor(one, other)
    return int(np.unpackbits(differing).sum())


class PictureMarks:
    """Feed it pictures in order; ``chosen`` afterwards."""

    def __init__(self) -> None:
        self._marks: list[tuple[int, Array]] = []
        self._next_s = 0.0
        #: of the only picture
        self._inner: Array | None = None

    def feed(self, picture: Picture) -> None:
        """Mark the picture where one is due."""
        if picture.time_s < self._next_s:
            return
        self._next_s = picture.time_s + 1 / _A_SECOND
        grey = cv2.cvtColor(picture.thumb(), cv2.COLOR_BGR2GRAY)
        mark = picture_mark(grey)
        if mark is not None:
            self._inner = picture_mark(_without_borders(grey)) if not self._marks else None
            self._marks.append((picture.index, mark))

    def chosen(self, shots: Sequence[Shot]) -> tuple[str, ...]:
        """Marks by shot: of each shot the one in its middle first, more where it is longer, at most ``MOST_PICTURE_MARKS``."""
        numbers = np.array([index for index, _ in self._marks])
        if not len(numbers):
            return ()
        if self._inner is not None:  # a single picture has nothing else by which a cropped copy is found
            return tuple(mark.tobytes().hex() for mark in (self._marks[0][1], self._inner))
        frames = max(1, sum(shot.end - shot.start + 1 for shot in shots))
        places: list[float] = []
        for shot in shots:
            length = shot.end - shot.start + 1
            parts = max(1, int(MOST_PICTURE_MARKS * length / frames))
            places += [shot.start + length * (part + 0.5) / parts for part in range(parts)]
        if len(places) > MOST_PICTURE_MARKS:
            keep = np.linspace(0, len(places) - 1, MOST_PICTURE_MARKS).round().astype(int)
            places = [places[at] for at in keep]
        rows = sorted({int(np.abs(numbers - place).argmin()) for place in places})
        return tuple(self._marks[row][1].tobytes().hex() for row in rows)


def sound_marks(samples: Array) -> str:
    """The marks of a sound (n,) float32 at SOUND_RATE, of its first minute."""
    from scipy.fft import rfft

    last = (MOST_SOUND_MARKS * _HOP + _WINDOW) * _FEWER
    heard = np.asarray(samples[:last], np.float32)
    heard = heard[: len(heard) // _FEWER * _FEWER].reshape(-1, _FEWER).mean(axis=1)
    if len(heard) < _WINDOW + _HOP:
        return ""
    looks = np.lib.stride_tricks.sliding_window_view(heard, _WINDOW)[::_HOP]
    spectrum = rfft(looks * np.hanning(_WINDOW).astype(np.float32), axis=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    edges = np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, _BANDS + 1) * _WINDOW * _FEWER / SOUND_RATE
    energy = np.add.reduceat(power[:, : int(edges[-1]) + 1], edges[:-1].astype(int), axis=1)
    marks = np.packbits(np.diff(np.diff(energy, axis=1), axis=0) > 0, axis=1)
    loud = np.sqrt(np.mean(np.square(looks), axis=1)) >= _SILENCE
    digits = marks.tobytes().hex()
    return "".join(
        digits[8 * at : 8 * at + 8] if told else "-" * 8 for at, told in enumerate((loud[1:] & loud[:-1]).tolist())
    )


def fingerprint(pictures: PictureMarks | None, shots: Sequence[Shot], samples: Array) -> Fingerprint:
    """The marks of a file: of its pictures (None: it has none), and of what was heard, (n,) float32, (0,) for nothing."""
    return Fingerprint(pictures.chosen(shots) if pictures else (), sound_marks(samples))
