"""Opens a submitted file as a medium: picture, video or sound, by its first bytes.

Owns the signatures, and the words for files that are no medium we read. May be imported by all of ``backend.media``.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from PIL import features

from backend.media.boxes import MOST_BOXES, boxes_of, neighbours
from backend.media.endings import ending_of
from backend.media.limits import MediaLimits
from backend.media.medium import Medium
from backend.media.sound_file import SoundMedium, format_of
from backend.media.still import StillMedium
from backend.media.streams import SoundAlone
from backend.media.video import VideoMedium
from base_detector import WorkerFailure
from shared.findings import Note
from shared.signatures import HEAD_BYTES, is_avif, is_bmp, is_iso_image, is_sound, is_tiff, refusal

#: First bytes of what Pillow reads; everything else goes to the demuxers (with their own list).
_IMAGE_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")
#: Sample entries of encrypted pictures and sound: ISO/IEC 23001-7, 4.2 (MPEG Common Encryption), and iTunes' FairPlay.
_ENCRYPTED = frozenset({b"encv", b"enca", b"drmi", b"drms"})
#: The way to the sample entries (ISO/IEC 14496-12, 8.5.2).
_WAY = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")


def open_medium(path: Path, *, limits: MediaLimits) -> AbstractContextManager[Medium]:
    """Open a submitted file by its first bytes, never by its name.

    Raises WorkerFailure: ``unsupported_media`` or a code that names what the file is (``shared.signatures.refusal``),
    ``raw_photo``, ``media_protected``, ``video_unfinished``, ``codec_unknown``, ``media_unreadable``, ``media_too_large``,
    ``media_too_long``, ``no_picture_or_sound``.
    """
    with path.open("rb") as stream:
        untrusted_head = stream.read(HEAD_BYTES)
        if code := _refusal(untrusted_head):
            raise WorkerFailure(code)
        if _is_picture(untrusted_head):
            return StillMedium(path, limits=limits)
        if untrusted_head[4:8] in (b"ftyp", b"moov") and _is_encrypted(stream, size=path.stat().st_size):
            raise WorkerFailure("media_protected")
    ending = ending_of(path)
    if ending.unfinished:
        raise WorkerFailure("video_unfinished")
    medium = _sound_or_video(path, untrusted_head, limits=limits)
    if ending.share < 1:
        medium.notes.append(Note("clip_cut_off", value=round(ending.share, 4)))
    return medium


def _refusal(untrusted_head: bytes) -> str | None:
    if is_avif(untrusted_head) and not features.check("avif"):
        return "avif_picture"
    return refusal(untrusted_head)


def _is_picture(untrusted_head: bytes) -> bool:
    """Whether Pillow reads it, with the plug-in for HEIF."""
    webp = untrusted_head.startswith(b"RIFF") and untrusted_head[8:12] == b"WEBP"
    known = is_iso_image(untrusted_head) or is_bmp(untrusted_head) or is_tiff(untrusted_head)
    return webp or known or untrusted_head.startswith(_IMAGE_SIGNATURES)


def _sound_or_video(path: Path, untrusted_head: bytes, *, limits: MediaLimits) -> SoundMedium | VideoMedium:
    if is_sound(untrusted_head):
        return SoundMedium(path, limits=limits, format=format_of(path))
    try:
        return VideoMedium(path, limits=limits)
    except SoundAlone:
        return SoundMedium(path, limits=limits)


def _is_encrypted(stream: BinaryIO, *, size: int) -> bool:
    """True when a sample entry of an MP4 or MOV file says that its pictures are encrypted.

    The demuxer would hand out the encrypted bytes, and the decoder would make torn pictures of some.
    """
    # the list of sample entries has eight bytes of version and count in front
    lists = boxes_of(stream, _WAY, size=size)
    return any(
        kind in _ENCRYPTED
        for inner, stop in lists
        for kind, _, _ in neighbours(stream, start=inner + 8, end=stop, most=MOST_BOXES)
    )
