"""Whether a video's file is all there: what its own headers promise, against the bytes that came.

Owns the reading of the outermost headers of MP4, AVI, WAV and Matroska. Opens nothing else and decodes nothing. Imported by
``backend.media.opening`` only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

#: First boxes of MP4 and QuickTime files: ISO/IEC 14496-12, 4.3; QuickTime File Format, "atoms".
_ISO: Final = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"uuid"})
#: Boxes looked at: hostile files have millions.
_MOST_BOXES: Final = 4096
_EBML: Final = b"\x1a\x45\xdf\xa3"
#: The element around all others of a Matroska file: RFC 9559, 5.1.
_SEGMENT: Final = b"\x18\x53\x80\x67"
#: From this length on a WAV header promises nothing: programs that write into a pipe do not know the end yet (FFmpeg, SoX).
_UNKNOWN_RIFF: Final = 0x7FFF0000
#: Bytes that writers miscount by, as a padding byte of RIFF.
_SLACK: Final = 16


@dataclass(frozen=True)
class Ending:
    """``unfinished``: what says where the pictures are never came. ``share``: bytes here of those that the headers promise, in (0, 1]."""

    unfinished: bool = False
    share: float = 1.0


def ending_of(path: Path) -> Ending:
    """How a video's file ends, as far as its headers tell; one that does not say its length counts as whole."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        untrusted_head = stream.read(64)
        if untrusted_head[4:8] in _ISO:
            return _iso(stream, size)
        if untrusted_head.startswith(b"RIFF"):
            promised = int.from_bytes(untrusted_head[4:8], "little")
            unknown = untrusted_head[8:12] == b"WAVE" and promised >= _UNKNOWN_RIFF
            return Ending() if unknown else _share(size, 8 + promised)
        if untrusted_head.startswith(_EBML):
            return _matroska(untrusted_head, size)
    return Ending()


def _share(size: int, promised: int) -> Ending:
    return Ending(share=size / promised) if size + _SLACK < promised else Ending()


def _iso(stream: BinaryIO, size: int) -> Ending:
    """An MP4 is written pictures first; the box that tells them apart, ``moov``, comes when the recording or download ends."""
    kinds, promised = set(), size
    for kind, stop in _outer_boxes(stream, size):
        if kind != b"moov" or stop <= size:
            kinds.add(kind)
        if kind == b"mdat":  # anything may be appended to a file, and read as a box of absurd length
            promised = max(promised, stop)
    if b"moov" not in kinds and b"mdat" in kinds:
        return Ending(unfinished=True)
    return _share(size, promised)


def _outer_boxes(stream: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Kind and promised end of each outermost box (ISO/IEC 14496-12, 4.2)."""
    start = 0
    for _ in range(_MOST_BOXES):
        if start + 8 > size:
            return
        stream.seek(start)
        untrusted_head = stream.read(16)
        length, least = int.from_bytes(untrusted_head[:4], "big"), 8
        if length == 1:
            length, least = int.from_bytes(untrusted_head[8:16], "big"), 16
        if length and length < least:
            return
        stop = start + length if length else size  # 0: to the end of the file
        yield untrusted_head[4:8], stop
        start = stop


def _matroska(untrusted_head: bytes, size: int) -> Ending:
    """The length of the segment; live recordings leave it open (all bits set: RFC 8794, 6.2)."""
    at = untrusted_head.find(_SEGMENT)
    if at < 0 or at + 12 > len(untrusted_head):
        return Ending()
    first = untrusted_head[at + 4]
    width = 9 - first.bit_length()  # leading zero bits of the first byte, plus one
    coded = int.from_bytes(untrusted_head[at + 4 : at + 4 + width], "big") & ((1 << 7 * width) - 1)
    if width > 8 or coded == (1 << 7 * width) - 1:
        return Ending()
    return _share(size, at + 4 + width + coded)
