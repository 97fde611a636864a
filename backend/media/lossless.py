"""Whether a picture's file keeps each pixel as it was saved: detectors of faint traces judge only such files.

Owns the rule, by format and kind of pixels. It says how this file was written, not what the picture went through before: a PNG made of
a JPEG passes. Imported by ``backend.media.still`` only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from PIL import Image

#: Kinds of pixels with all their levels. A palette (P) and black and white (1) were reduced, often with dots for the levels between;
#: CMYK and YCbCr are not what a camera or generator gives, and are converted.
_MODES: Final = ("L", "LA", "I", "I;16", "I;16B", "RGB", "RGBA")
#: Ways of packing in TIFF that lose nothing (TIFF 6.0, sections 8, 9, 13; Adobe's notes), in Pillow's words.
_TIFF: Final = ("raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate", "lzma", "zstd")
#: Where a PNG file has its bits a sample (3rd edition, 11.2.1), and a BMP file the size of its header and its bits a pixel.
_PNG_DEPTH_AT, _BMP_HEADER_AT, _BMP_DEPTHS_AT = 24, 14, {12: 24}
_BMP_DEPTH_AT: Final = 28
#: Chunks of a WebP file that are looked at: hostile files have millions.
_MOST_CHUNKS: Final = 64


def is_lossless(image: Image.Image, path: Path) -> bool:
    """Whether the opened, not yet decoded picture of ``path`` has the pixels that were saved."""
    kind = image.format
    if kind == "WEBP":
        return b"VP8L" in set(_chunks(path)) and not getattr(image, "is_animated", False)
    if image.mode not in _MODES:
        return False
    if kind == "TIFF":
        return image.info.get("compression") in _TIFF
    if kind not in ("PNG", "BMP"):
        return False
    with path.open("rb") as stream:
        untrusted_head = stream.read(32)
    if kind == "PNG":
        return untrusted_head[_PNG_DEPTH_AT] >= 8 and not getattr(image, "is_animated", False)
    header = int.from_bytes(untrusted_head[_BMP_HEADER_AT : _BMP_HEADER_AT + 4], "little")
    (bits,) = struct.unpack_from("<H", untrusted_head, _BMP_DEPTHS_AT.get(header, _BMP_DEPTH_AT))
    return bits in (8, 24, 32)  # 16 have five or six bits a colour


def _chunks(path: Path) -> Iterator[bytes]:
    """Names of the chunks of a RIFF file; VP8 and VP8L hold the pixels of WebP (its container specification, "Extended File Format")."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = 12
        for _ in range(_MOST_CHUNKS):
            if start + 8 > size:
                return
            stream.seek(start)
            name, length = struct.unpack("<4sI", stream.read(8))
            yield name
            start += 8 + length + length % 2
