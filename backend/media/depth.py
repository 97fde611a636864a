"""Pixels of an image as 8-bit RGB: transparency on white, 16 bits reduced to 8, and what holds fewer bits than it says.

Scanners and cameras write 10 or 12 bits of a sample into a PNG of 16: read as 16 bits it is nearly black. Owns the rule that
tells such a picture from a dark one. Imported by ``backend.media.still`` only.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image, ImageCms

from backend.media.colours import to_srgb
from base_detector import Array
from shared.findings import Note

#: Pixels that are brought from Pillow to numpy at a time.
_BAND_PIXELS: Final = 1 << 20
#: Bits that fewer-bit pictures have in practice; 8 were never scaled to 16.
_KNOWN_BITS: Final = (8, 10, 12)
#: A dark 8-bit picture written as 16 bits has at most 16 different levels below 4096; one of 10 or 12 bits has hundreds.
_LEAST_LEVELS: Final = 64
#: Where a PNG file has its bits a sample (3rd edition, 11.2.1).
_DEPTH_AT: Final = 24


def as_rgb(image: Image.Image, *, source: Path | io.BytesIO, single: bool) -> tuple[Array, list[Note]]:
    """Decode the current picture of ``image``, opened from ``source``; ``single``: it is no animation.

    (H, W, 3) uint8 RGB, and what was done to its colours. In bands of rows: Pillow holds 4 bytes a pixel, and each whole copy of a
    large picture costs as much again.
    """
    image.load()
    width, height = image.size
    rows = max(1, _BAND_PIXELS // width)
    bands = [(0, top, width, min(height, top + rows)) for top in range(0, height, rows)]
    deep = image.mode.startswith(("I", "F"))
    bits = _bits(lambda: (np.asarray(image.crop(band)) for band in bands)) if deep else None
    scale = ((1 << bits) - 1) / 255 if bits else 257.0
    transform = to_srgb(image) if single else None
    whole = np.empty((height, width, 3), np.uint8)
    see_through = False
    for band in bands:
        part = image.crop(band)
        if not deep and _has_alpha(part):
            part, thin = _on_white(part.convert("RGBA"))
            see_through |= thin
        whole[band[1] : band[3]] = _grey(part, scale=scale) if deep else _colour(part, transform)
    notes = [Note("colours_converted")] if transform else []
    notes += [Note("transparent")] if see_through and single else []
    if image.format == "PNG" and single and not deep and _is_dark(whole, bands):
        whole, bits = _stretched(whole, source)
    if bits is not None and bits != 8:
        notes.append(Note("levels_stretched", value=bits))
    return whole, notes


def _is_dark(whole: Array, bands: Sequence[tuple[int, int, int, int]]) -> bool:
    """Whether nothing but white (what is transparent) is above the upper 8 bits that 12 bits in 16 have."""
    parts = [whole[band[1] : band[3]] for band in bands]
    return all(((part < 16) | (part == 255)).all() for part in parts) and any((part < 16).any() for part in parts)


def _bits(bands: Callable[[], Iterator[Array]]) -> int | None:
    """How many bits samples of 16 bits really have: one of ``_KNOWN_BITS`` where no level is above them and the lowest are used."""
    most = max(float(band.max()) for band in bands())
    bits = next((bits for bits in _KNOWN_BITS if most < 1 << bits), None)
    if bits is None or bits == 8:
        return bits
    levels = np.zeros(1 << bits, bool)
    for band in bands():
        levels[np.clip(band, 0, None).astype(np.int64)] = True
    return bits if levels.sum() >= _LEAST_LEVELS else None


def _stretched(whole: Array, source: Path | io.BytesIO) -> tuple[Array, int | None]:
    """A colour PNG of fewer bits than 16 again, from all its bits, and their number; others stay. ``whole``: the upper 8 bits."""
    content = source.read_bytes() if isinstance(source, Path) else source.getvalue()
    if content[_DEPTH_AT] != 16:
        return whole, None
    full = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if full is None or full.dtype != np.uint16 or full.shape[:2] != whole.shape[:2]:
        return whole, None
    colours = full[..., :3] if full.ndim == 3 else full[..., None]
    bits = _bits(lambda: iter([colours]))
    if bits is None:
        return whole, None
    top = (1 << bits) - 1
    image = np.broadcast_to(colours[..., ::-1], whole.shape).astype(np.float32) * (255 / top)
    if full.ndim == 3 and full.shape[2] == 4:
        alpha = full[..., 3:].astype(np.float32)
        alpha /= top if alpha.max() <= top else 65535
        image = image * alpha + 255 * (1 - alpha)
    return np.clip(image, 0, 255).round().astype(np.uint8), bits


def _grey(part: Image.Image, *, scale: float) -> Array:
    """A band of more than 8 bits a pixel, (h, w, 1) uint8."""
    grey: Array = np.clip(np.asarray(part).astype(np.float64) / scale, 0, 255).round().astype(np.uint8)
    return grey[..., None]


def _has_alpha(part: Image.Image) -> bool:
    return part.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in part.info


def _on_white(part: Image.Image) -> tuple[Image.Image, bool]:
    """A band of RGBA put on white, and whether a pixel of it was not opaque."""
    thin = part.getchannel("A").getextrema()[0] != 255
    return Image.alpha_composite(Image.new("RGBA", part.size, "white"), part), thin


def _colour(part: Image.Image, transform: ImageCms.ImageCmsTransform | None) -> Array:
    """A band without transparency as (h, w, 3) uint8 RGB, through ``transform`` where there is one."""
    if transform is None:
        return np.asarray(part.convert("RGB"))
    return np.asarray(ImageCms.applyTransform(part if part.mode == "CMYK" else part.convert("RGB"), transform))
