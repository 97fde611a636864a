"""Opens a submitted file as a medium: image or video, by its first bytes.

Owns the signatures, and the words for files that are no medium we read. May be imported by all of ``backend.media``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from PIL import features

from backend.media.endings import ending_of
from backend.media.limits import MediaLimits
from backend.media.medium import Medium
from backend.media.still import StillMedium
from backend.media.video import VideoMedium
from base_detector import WorkerFailure
from shared.findings import Note
from shared.signatures import HEAD_BYTES, is_avif, refusal

#: First bytes of what Pillow reads; everything else goes to the demuxers (with their own list).
_IMAGE_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")
#: Sample entries of encrypted streams: ISO/IEC 23001-7, 4.2 (MPEG Common Encryption), and iTunes' FairPlay.
_ENCRYPTED = frozenset({b"encv", b"drmi"})
#: The way to the sample entries (ISO/IEC 14496-12, 8.5.2), and how many boxes are looked at: hostile files have millions.
_WAY, _MOST_BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"), 4096


def open_medium(path: Path, *, limits: MediaLimits) -> AbstractContextManager[Medium]:
    """Open a submitted file by its first bytes, never by its name.

    Raises WorkerFailure: ``unsupported_media`` or a code that names what the file is (``shared.signatures.refusal``),
    ``media_protected``, ``video_unfinished``, ``codec_unknown``, ``media_unreadable``, ``media_too_large``, ``media_too_long``; and
    NotApplicable(``no_video``) when it has no pictures.
    """
    with path.open("rb") as stream:
        untrusted_head = stream.read(HEAD_BYTES)
        if is_avif(untrusted_head) and features.check("avif"):
            return StillMedium(path, limits=limits)
        if code := refusal(untrusted_head):
            raise WorkerFailure(code)
        webp = untrusted_head.startswith(b"RIFF") and untrusted_head[8:12] == b"WEBP"
        if webp or untrusted_head.startswith(_IMAGE_SIGNATURES):
            return StillMedium(path, limits=limits)
        if untrusted_head[4:8] in (b"ftyp", b"moov") and _is_encrypted(stream, size=path.stat().st_size):
            raise WorkerFailure("media_protected")
    ending = ending_of(path)
    if ending.unfinished:
        raise WorkerFailure("video_unfinished")
    medium = VideoMedium(path, limits=limits)
    if ending.share < 1:
        medium.notes.append(Note("clip_cut_off", value=round(ending.share, 4)))
    return medium


def _is_encrypted(stream: BinaryIO, *, size: int) -> bool:
    """True when a sample entry of an MP4 or MOV file says that its pictures are encrypted.

    The demuxer would hand out the encrypted bytes, and the decoder would make torn pictures of some.
    """
    parts, looked_at = [(0, size, 0)], 0
    while parts:
        start, end, depth = parts.pop()
        for kind, inner, stop in _boxes(stream, start=start, end=end):
            looked_at += 1
            if looked_at > _MOST_BOXES:
                return False
            if depth == len(_WAY):
                if kind in _ENCRYPTED:
                    return True
            elif kind == _WAY[depth]:
                # the list of sample entries has eight bytes of version and count in front
                parts.append((inner + 8 * (kind == b"stsd"), stop, depth + 1))
    return False


def _boxes(stream: BinaryIO, *, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte inside, and end of each box between two places of the file (ISO/IEC 14496-12, 4.2)."""
    while start + 8 <= end:
        stream.seek(start)
        untrusted_head = stream.read(16)
        size, kind, inner = int.from_bytes(untrusted_head[:4], "big"), untrusted_head[4:8], start + 8
        if size == 1:
            size, inner = int.from_bytes(untrusted_head[8:16], "big"), start + 16
        stop = end if size == 0 else min(end, start + size)
        if stop < inner:
            return
        yield kind, inner, stop
        start = stop
