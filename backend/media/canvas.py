"""The canvas: pixels the renderer draws on, either I420 (what H.264 takes) or RGB (for stills).

Owns drawing on planes and lettering. Drawing straight into I420 planes avoids two colour conversions of every frame, which
are most of the cost of a side-by-side video beyond decoding and encoding. Colours are RGB everywhere; I420 is limited range, with
the colour matrix of the media, so that its pictures need no conversion either. May be imported by the renderer's modules only;
needs numpy, OpenCV, Pillow.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from base_detector import Array

Colour = Sequence[int]

#: Pillow's Aileron has ASCII and little else
_PLAIN = str.maketrans({"–": "-", "—": "-", "−": "-", "×": "x", "“": '"', "”": '"', "‘": "'", "’": "'", "ß": "ss"})

#: OpenCV takes points as integers with this many binary places: lines land between pixels
_SHIFT = 4


def even(value: float) -> int:
    """The nearest even number: I420 chroma has one sample for two pixels."""
    return round(value / 2) * 2


class Matrix(Enum):
    """Shares of red and blue in luma: ITU-R BT.601-7, item 2.5.1, for small pictures, and BT.709-6, item 3.2, for large ones."""

    BT601 = (0.299, 0.114)
    BT709 = (0.2126, 0.0722)


@lru_cache(maxsize=512)
def _ycbcr(red: int, green: int, blue: int, matrix: Matrix) -> tuple[int, int, int]:
    """Y, Cb, Cr of an 8-bit RGB colour, limited range (both recommendations, the items behind those of ``Matrix``)."""
    kr, kb = matrix.value
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    return (
        round(16 + 219 / 255 * luma),
        round(128 + 224 / 255 * (blue - luma) / (2 * (1 - kb))),
        round(128 + 224 / 255 * (red - luma) / (2 * (1 - kr))),
    )


class Canvas:
    """``width`` x ``height`` pixels (even numbers). ``planar``: I420; else RGB. The pixels start undefined: ``fill`` first."""

    def __init__(self, width: int, height: int, *, planar: bool, matrix: Matrix = Matrix.BT709) -> None:
        self._matrix = matrix
        self.width, self.height, self.planar = width, height, planar
        if planar:
            self.array: Array = np.zeros((height * 3 // 2, width), np.uint8)
            flat, size = self.array.reshape(-1), width * height
            chroma = (height // 2, width // 2)
            self._planes: tuple[Array, ...] = (
                flat[:size].reshape(height, width),
                flat[size : size * 5 // 4].reshape(chroma),
                flat[size * 5 // 4 :].reshape(chroma),
            )
            self._scales = (1, 2, 2)
        else:
            self.array = np.zeros((3, height, width), np.uint8)
            self._planes = tuple(self.array)
            self._scales = (1, 1, 1)

    def copy_from(self, other: Canvas) -> None:
        """Take over the pixels of a canvas of the same size and kind."""
        np.copyto(self.array, other.array)

    def rgb(self) -> Array:
        """(height, width, 3) uint8 RGB of an RGB canvas."""
        if self.planar:
            raise ValueError("an I420 canvas has no RGB pixels")
        return np.ascontiguousarray(np.moveaxis(self.array, 0, 2))

    def fill(self, rect: tuple[float, float, float, float], colour: Colour) -> None:
        """Fill x1, y1, x2, y2 (rounded to even numbers, clipped)."""
        x1, y1, x2, y2 = (max(0, even(value)) for value in rect)
        for plane, value, scale in self._each(colour):
            plane[y1 // scale : y2 // scale, x1 // scale : x2 // scale] = value

    def frame(self, rect: tuple[float, float, float, float], colour: Colour, *, thickness: int) -> None:
        """Outline x1, y1, x2, y2 inwards with bars ``thickness`` wide, clipped at the canvas."""
        x1, y1, x2, y2 = (even(value) for value in rect)
        t = min(even(thickness), max(2, (x2 - x1) // 2), max(2, (y2 - y1) // 2))
        for bar in ((x1, y1, x2, y1 + t), (x1, y2 - t, x2, y2), (x1, y1, x1 + t, y2), (x2 - t, y1, x2, y2)):
            self.fill(bar, colour)

    def line(self, points: Sequence[tuple[float, float]] | Array, colour: Colour, *, thickness: int) -> None:
        """An anti-aliased line through ``points`` (n, 2)."""
        where = np.asarray(points, np.float64).reshape(-1, 1, 2)
        for plane, value, scale in self._each(colour):
            fixed = np.round((where + 0.5) / scale * (1 << _SHIFT) - (1 << (_SHIFT - 1))).astype(np.int32)
            cv2.polylines(plane, [fixed], False, value, max(1, round(thickness / scale)), cv2.LINE_AA, _SHIFT)

    def dot(self, centre: tuple[float, float], colour: Colour, *, radius: float) -> None:
        """A filled, anti-aliased disc."""
        one = 1 << _SHIFT
        for plane, value, scale in self._each(colour):
            x, y = (round((c + 0.5) / scale * one - one / 2) for c in centre)
            cv2.circle(plane, (x, y), round(radius / scale * one), value, -1, cv2.LINE_AA, _SHIFT)

    def text(
        self, words: str, at: tuple[float, float], colour: Colour, *, size: int, bold: bool = False, anchor: str = "l"
    ) -> None:
        """Write ``words`` with the middle of its line at ``at[1]``; ``at[0]`` is its left, middle or right (anchor l, m, r)."""
        sprite = _lettering(words, size, bold)
        left = at[0] - {"l": 0.0, "m": sprite.width / 2, "r": float(sprite.width)}[anchor]
        x, y = even(left), even(at[1] - sprite.alpha.shape[0] / 2)
        for number, (plane, value, scale) in enumerate(self._each(colour)):
            _blend(plane, sprite.halved if scale == 2 else sprite.alpha, value, x // scale, y // scale, copy=number > 0)

    def paste(self, planes: Sequence[Array], x: int, y: int) -> None:
        """Copy planes of the canvas's kind (Y, U, V or R, G, B) to x, y (even numbers)."""
        for plane, picture, scale in zip(self._planes, planes, self._scales, strict=True):
            height, width = picture.shape
            plane[y // scale : y // scale + height, x // scale : x // scale + width] = picture

    def _each(self, colour: Colour) -> Iterator[tuple[Array, int, int]]:
        red, green, blue = (int(part) for part in colour)
        values = _ycbcr(red, green, blue, self._matrix) if self.planar else (red, green, blue)
        return zip(self._planes, values, self._scales, strict=True)


# --------------------------------------------------------------------------- lettering


@dataclass(frozen=True)
class _Sprite:
    """Coverage of one line of text, (h, w) float32 in [0, 1] with even sides, and the same at half size."""

    alpha: Array
    halved: Array
    width: int


def text_width(words: str, *, size: int, bold: bool = False) -> int:
    """Width of ``words`` in pixels."""
    return _lettering(words, size, bold).width


def fitted(words: str, *, size: int, width: float, bold: bool = False) -> str:
    """``words``, cut with an ellipsis where they are wider than ``width`` pixels."""
    if text_width(words, size=size, bold=bold) <= width:
        return words
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _cut_width(words, middle, size, bold) <= width else (low, middle - 1)
    return words[:low].rstrip() + "…"


def _cut_width(words: str, length: int, size: int, bold: bool) -> int:
    return text_width(words[:length].rstrip() + "…", size=size, bold=bold)


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Aileron, which is part of Pillow, so that the worker's image needs no fonts."""
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):  # a Pillow built without FreeType
        raise RuntimeError("Pillow was built without FreeType; install the wheel from PyPI")
    return font


def legible(untrusted_words: str) -> str:
    """``untrusted_words`` in the font's letters: accents are dropped, dashes and quotes made plain, the rest becomes ``?``."""
    plain = unicodedata.normalize("NFKD", untrusted_words.translate(_PLAIN))
    letters = (letter for letter in plain if not unicodedata.combining(letter))
    return "".join(letter if " " <= letter <= "~" else "?" for letter in letters)


@lru_cache(maxsize=2048)
def _lettering(untrusted_words: str, size: int, bold: bool) -> _Sprite:
    words = legible(untrusted_words)
    font, stroke = _font(size), size / 60 if bold else 0
    ascent, descent = font.getmetrics()
    width = max(2, round(font.getlength(words) + 2 * stroke))
    height = ascent + descent
    picture = Image.new("L", (width + width % 2 + 2, height + height % 2), 0)
    ImageDraw.Draw(picture).text((stroke, 0), words, fill=255, font=font, stroke_width=stroke)
    alpha = np.asarray(picture, np.float32) / 255
    rows, columns = alpha.shape
    return _Sprite(alpha, alpha.reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3)), width)


def _blend(plane: Array, alpha: Array, value: int, x: int, y: int, *, copy: bool) -> None:
    """Mix ``value`` into ``plane`` by ``alpha`` with its top left at x, y; clipped at the borders."""
    height, width = plane.shape
    top, left = max(0, -y), max(0, -x)
    bottom, right = min(alpha.shape[0], height - y), min(alpha.shape[1], width - x)
    if bottom <= top or right <= left:
        return
    part = plane[y + top : y + bottom, x + left : x + right]
    share = alpha[top:bottom, left:right]
    part[...] = np.round(part + (value - part.astype(np.float32)) * share).astype(np.uint8)
