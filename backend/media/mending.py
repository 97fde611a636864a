"""How much of a damaged JPEG or PNG is whole, and a file of that part alone.

A decoder fills what is missing with grey, and a grey half of a face would be judged. So the file is made smaller instead: its
height becomes the number of rows that the bytes still determine, and everything below is not decoded at all. Owns the search for
that row. Promises: no row that depends on missing or damaged bytes remains; a file without a fault is left alone. Imported by
``backend.media.still`` only.
"""

from __future__ import annotations

import io
import itertools
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import av
import numpy as np
from PIL import Image

from backend.media.limits import MediaLimits
from base_detector import Array, WorkerFailure

#: Rows of pixels compared at a time.
_BAND: Final = 256
#: What is put behind the last byte to see which rows depend on it: bytes that differ early, none of them a marker.
_TAILS: Final = tuple(bytes(np.random.default_rng(seed).integers(0, 255, 64, dtype=np.uint8)) for seed in range(3))
#: Zeros in a row that a lost block of a disk or of a download leaves: no coded picture has as many unless it is one flat colour.
_LOST_BLOCK: Final = bytes(256)
#: Bytes at the end of the coded picture without which its last rows must change.
_LAST_BYTES: Final = 8
#: Fewer rows than this show nothing.
_LEAST_ROWS: Final = 16
#: A marker (T.81, B.1.1.2): 0xFF is filler before another one, and a coded byte before 0.
_MARKER: Final = re.compile(rb"\xff[^\x00\xff]")
#: SOFn markers: ITU-T T.81, table B.1 (all but DHT, JPG and DAC).
_FRAME_HEADERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PNG: Final = b"\x89PNG\r\n\x1a\n"
#: Samples a pixel for each colour type: PNG 3rd edition, table 8.
_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

#: Highest number of a row's filter: PNG 3rd edition, table 11.
_LAST_FILTER: Final = 4


@dataclass(frozen=True)
class WholePart:
    """A picture file made of the whole rows of a damaged one, and their share of its height in [0, 1]."""

    content: bytes
    share: float


def whole_part(content: bytes, *, limits: MediaLimits) -> WholePart | None:
    """The whole part of a damaged JPEG or PNG; None for a file without a fault, and for other formats.

    Raises WorkerFailure ``picture_cut_off`` when nothing useful is whole, ``media_unreadable`` when the damage cannot be confined
    to the lower part, ``media_too_large`` before anything is decoded.
    """
    try:
        if content.startswith(b"\xff\xd8"):
            return _whole_jpeg(content, limits)
        return _whole_png(content, limits) if content.startswith(_PNG) else None
    except (OSError, ValueError, SyntaxError, struct.error, zlib.error, IndexError, KeyError):
        return None  # not understood: the decoder has the last word


# --------------------------------------------------------------------------- JPEG


@dataclass(frozen=True)
class _Jpeg:
    """Where things are in a JPEG file: the frame header's height, the coded data, and whether every coefficient is coded."""

    height_at: int
    height: int
    width: int
    progressive: bool
    #: end of the last scan's coded data
    coded_end: int
    #: where the last scan's coded data begins
    coded_start: int
    #: the file has its end marker
    ended: bool
    #: each component has all bits of all coefficients in the scans up to here
    complete: bool

    @classmethod
    def of(cls, content: bytes) -> _Jpeg | None:
        """Read the markers of the first picture (T.81, annex B); None without a frame or a scan."""
        frame: tuple[int, int] | None = None
        levels: dict[int, Array] = {}
        start = stop = 0
        at, ended = 2, False
        while (at := _next_marker(content, at)) >= 0:
            kind = content[at + 1]
            at += 2
            if kind == 0xD9:
                ended = True
                break
            if kind == 0x01 or 0xD0 <= kind <= 0xD8:
                continue
            length = int.from_bytes(content[at : at + 2], "big")
            if kind in _FRAME_HEADERS and frame is None and at + length <= len(content):
                frame = (at + 3, kind)
                levels = {content[at + 8 + 3 * n]: np.full(64, 16) for n in range(content[at + 7])}
            if kind == 0xDA and at + length <= len(content):
                _note_scan(levels, content[at + 2 : at + length])
                start = at + length
                stop = _coded_end(content, start)
                at = stop
            else:
                at += max(2, length)
        if frame is None or not start:
            return None
        height, width = struct.unpack(">HH", content[frame[0] : frame[0] + 4])
        complete = bool(levels) and all((level == 0).all() for level in levels.values())
        return cls(frame[0], height, width, frame[1] & 3 == 2, stop, start, ended, complete)


def _next_marker(content: bytes, at: int) -> int:
    """Place of the next marker's 0xFF at or behind ``at``; -1 at the end of the file."""
    found = _MARKER.search(content, at)
    return found.start() if found else -1


def _coded_end(content: bytes, at: int) -> int:
    """Where the coded data that begin at ``at`` end: at a marker that is no restart, or with the file."""
    while (at := _next_marker(content, at)) >= 0:
        if not 0xD0 <= content[at + 1] <= 0xD7:
            return at
        at += 2
    return len(content)


def _note_scan(levels: dict[int, Array], header: bytes) -> None:
    """Note which bits of which coefficients a scan holds (T.81, B.2.3): 0 = down to the last one."""
    count = header[0]
    first, last, approximation = header[1 + 2 * count : 4 + 2 * count]
    for number in range(count):
        if header[1 + 2 * number] in levels:
            levels[header[1 + 2 * number]][first : last + 1] = approximation & 15


def _whole_jpeg(content: bytes, limits: MediaLimits) -> WholePart | None:
    parts = _Jpeg.of(content)
    if parts is None:
        if _has_end(content):
            return None
        raise WorkerFailure("picture_cut_off")
    limits.check_pixels(parts.width, parts.height)
    if parts.ended and _decodes_cleanly(content[: parts.coded_end] + b"\xff\xd9"):
        return None
    coded = content[: parts.coded_end]
    if parts.ended:
        if not parts.progressive and not _is_damaged(coded, parts):
            return None
        lost = content.find(_LOST_BLOCK, parts.coded_start, parts.coded_end)
        if lost < 0:
            raise WorkerFailure("media_unreadable")  # damaged somewhere above the place where it shows
        coded = content[:lost]
    # what a broken download or card fills a file up with is no picture
    coded = coded[: max(parts.coded_start, len(coded.rstrip(b"\x00\xff")))]
    rows = _rows_determined(coded, parts.height) if parts.complete else 0
    if rows == parts.height:
        return WholePart(coded + b"\xff\xd9", 1.0)
    if rows < _LEAST_ROWS:
        raise WorkerFailure("picture_cut_off")
    smaller = coded[: parts.height_at] + struct.pack(">H", rows) + coded[parts.height_at + 2 :] + b"\xff\xd9"
    if not _decodes_cleanly(smaller):
        raise WorkerFailure("media_unreadable")  # damaged above the cut as well
    return WholePart(smaller, rows / parts.height)


def _has_end(content: bytes) -> bool:
    return content.rstrip(b"\x00").endswith(b"\xff\xd9")


def _rows_determined(coded: bytes, height: int) -> int:
    """How many rows from the top do not change, whatever follows ``coded``: those below depend on bytes that are missing."""
    plain = _decoded(coded + b"\xff\xd9")
    rows = height
    for tail in _TAILS:
        other = _decoded(coded + tail + b"\xff\xd9")
        for top in range(0, rows, _BAND):
            differs = (plain[top : top + _BAND] != other[top : top + _BAND]).reshape(len(plain[top : top + _BAND]), -1)
            if differs.any():
                rows = min(rows, top + int(differs.any(axis=1).argmax()))
                break
    return rows


def _is_damaged(coded: bytes, parts: _Jpeg) -> bool:
    """Whether the coded data of a sequential JPEG hold another number of blocks than the picture has.

    Each interval between restart markers is tried: where blocks are missing, bytes put at its end become part of the picture.
    Without restart markers, left-over bytes tell as well.
    """
    restarts = list(_restarts(coded, parts.coded_start))
    if any(coded[at + 1] != 0xD0 + number % 8 for number, at in enumerate(restarts)):
        return True
    pieces = [coded[start:stop] for start, stop in itertools.pairwise([0, *restarts, len(coded)])]
    plain = _decoded(coded + b"\xff\xd9")
    for tail in _TAILS:
        if not np.array_equal(plain, _decoded(tail.join(pieces) + tail + b"\xff\xd9")):
            return True
    return not restarts and _rows_determined(coded[:-_LAST_BYTES].rstrip(b"\xff"), parts.height) == parts.height


def _restarts(coded: bytes, at: int) -> Iterator[int]:
    """Places of the restart markers behind ``at``."""
    while (at := _next_marker(coded, at)) >= 0:
        if 0xD0 <= coded[at + 1] <= 0xD7:
            yield at
        at += 2


def _decoded(content: bytes) -> Array:
    """The stored picture, (H, W) or (H, W, C) uint8, not turned and in its own colours."""
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        return np.asarray(image)


def _decodes_cleanly(content: bytes) -> bool:
    """Whether FFmpeg's decoder, which is stricter than libjpeg, finds no fault in the coded data of a JPEG.

    A kind of JPEG that it does not know has no fault.
    """
    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode"}
    decoder.thread_count = 1
    try:
        decoder.decode(av.Packet(content))
        decoder.decode(None)
    except av.error.InvalidDataError:
        return False
    except av.error.FFmpegError:
        return True
    return True


# --------------------------------------------------------------------------- PNG


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Kind, body and soundness of each chunk (PNG 3rd edition, 5.3); the last one may be cut short."""
    at = len(_PNG)
    while at + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        body = content[at + 8 : at + 8 + length]
        check = content[at + 8 + length : at + 12 + length]
        yield kind, body, len(check) == 4 and zlib.crc32(kind + body) == int.from_bytes(check, "big")
        at += 12 + length


def _whole_png(content: bytes, limits: MediaLimits) -> WholePart | None:
    chunks = list(_chunks(content))
    kinds = [kind for kind, _, _ in chunks]
    if all(sound for kind, _, sound in chunks if kind == b"IDAT") and b"IEND" in kinds and b"IDAT" in kinds:
        return None
    if b"acTL" in kinds or not chunks or chunks[0][0] != b"IHDR" or not chunks[0][2]:
        return None  # an animation ends where it is damaged
    head = chunks[0][1]
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head)
    limits.check_pixels(width, height)
    stride = 1 + (width * depth * _SAMPLES[colour] + 7) // 8
    coded, finished = _sound_data(chunks, most=stride * height)
    if interlaced:
        if finished:
            return None
        raise WorkerFailure("picture_cut_off")
    raw = zlib.decompressobj().decompress(coded, stride * height) if coded else b""
    rows = len(raw) // stride
    wrong = np.flatnonzero(np.frombuffer(raw, np.uint8)[: rows * stride : stride] > _LAST_FILTER)
    if len(wrong):  # what follows is no picture, and neither is the end of the row before
        rows = int(wrong[0]) - 1
    if rows >= height:
        return WholePart(_png(chunks, head, raw[: stride * height]), 1.0)
    rows -= 1  # its last bytes may come from something else that the file ends in
    if rows < _LEAST_ROWS:
        raise WorkerFailure("picture_cut_off")
    head = head[:4] + struct.pack(">I", rows) + head[8:]
    return WholePart(_png(chunks, head, raw[: rows * stride]), rows / height)


def _sound_data(chunks: list[tuple[bytes, bytes, bool]], *, most: int) -> tuple[bytes, bool]:
    """The compressed picture up to the first damaged chunk, and whether it is all there; ``most``: its bytes when unpacked.

    Of a chunk that the file ends in, what is there counts, but not the zeros that a file was filled up with.
    """
    pieces = [(body, sound) for kind, body, sound in chunks if kind == b"IDAT"]
    whole = b"".join(body for body, _ in pieces)
    if _unpacks(whole, most=most):
        return whole, True
    sound = 0
    while sound < len(pieces) and pieces[sound][1]:
        sound += 1
    coded = b"".join(body for body, _ in pieces[:sound])
    if sound == len(pieces) - 1 and chunks[-1][0] == b"IDAT":
        coded += pieces[sound][0].rstrip(b"\x00")
    return coded, False


def _unpacks(coded: bytes, *, most: int) -> bool:
    """Whether ``coded`` is a whole compressed stream with a right checksum of at most ``most`` bytes; no more are unpacked."""
    reader, size = zlib.decompressobj(), 0
    try:
        while coded and not reader.eof and size <= most:
            size += len(reader.decompress(coded, 1 << 20))
            coded = reader.unconsumed_tail
    except zlib.error:
        return False
    return reader.eof and size <= most


def _png(chunks: list[tuple[bytes, bytes, bool]], head: bytes, raw: bytes) -> bytes:
    """A PNG file of filtered rows, with the sound chunks that stood before the picture."""
    parts = [(b"IHDR", head)]
    for kind, body, sound in chunks[1:]:
        if kind in (b"IDAT", b"IEND"):
            break
        if sound:
            parts.append((kind, body))
    parts += [(b"IDAT", zlib.compress(raw, 1)), (b"IEND", b"")]
    return _PNG + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
