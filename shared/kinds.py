"""What a file is, as far as its first bytes say it for sure: sound, picture or video, and whether its pixels were compressed with loss.

For the form, which offers only detectors that fit the chosen file. The media pass opens the file and decides; what is said here is None
where only that can tell. Needs the standard library only. May be imported by all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from shared.signatures import HEAD_BYTES, is_avif, is_bmp, is_heif, is_media, is_sound, is_tiff

#: ``still``: one picture; ``picture``: one picture or an animation.
Kind = Literal["sound", "still", "picture", "video"]

#: Headers of streams in an Ogg file, which all come first (RFC 3533, chapter 4): of sound (RFC 7845, Vorbis I, RFC 9639), of pictures.
_OGG_SOUND: Final = re.compile(rb"OpusHead|\x01vorbis|\x7fFLAC|Speex   ")
_OGG_PICTURES: Final = re.compile(rb"\x80theora|BBCD\x00|OVP80|\x01video|fishead")
#: Matroska (RFC 9559): the elements Tracks and SeekPosition.
_TRACKS: Final = b"\x16\x54\xae\x6b"
_SEEK_POSITION: Final = b"\x53\xac"
#: Brands of MP4 with sound alone (Apple's; mp4ra.org).
_SOUND_BRANDS: Final = (b"M4A ", b"M4B ", b"F4A ")
#: Where a PNG file has its bits a sample and its kind of colours, of which 3 is a palette (3rd edition, 11.2.1).
_PNG_DEPTH_AT, _PNG_COLOURS_AT, _PALETTE = 24, 25, 3
#: Bit of a WebP file's flags that says it moves (its container specification, "Extended File Format").
_WEBP_MOVES: Final = 0x02


@dataclass(frozen=True)
class Look:
    """What the first bytes say. ``lossy``: the pixels are not those that were first saved; None where that is not known."""

    kind: Kind | None = None
    lossy: bool | None = None


def look_at(untrusted_head: bytes) -> Look:
    """What a file with these first bytes (``MEDIA_HEAD_BYTES``, or the whole file) is."""
    head = untrusted_head[:HEAD_BYTES]
    if is_sound(head):
        return Look("sound")
    if head.startswith(b"\xff\xd8\xff") or is_heif(head):
        return Look("still", lossy=True)
    if is_avif(head) or head.startswith(b"GIF8"):
        return Look("picture", lossy=True)
    if is_bmp(head) or is_tiff(head):
        return Look("still")
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) > _PNG_COLOURS_AT:
        reduced = head[_PNG_COLOURS_AT] == _PALETTE or head[_PNG_DEPTH_AT] < 8 or b"acTL" in untrusted_head
        return Look("picture", lossy=True if reduced else None)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        moves = head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & _WEBP_MOVES)
        return Look("picture", lossy=True if moves or head[12:16] == b"VP8 " else None)
    return _container(untrusted_head)


def _container(untrusted_head: bytes) -> Look:
    """Of a file that may hold pictures, sound or both."""
    video = Look("video", lossy=True)
    if not is_media(untrusted_head):
        return Look()
    if untrusted_head.startswith(b"OggS"):
        pictures, sound = _OGG_PICTURES.search(untrusted_head), _OGG_SOUND.search(untrusted_head)
        return video if pictures else Look("sound") if sound else Look()
    if untrusted_head.startswith(b"\x1a\x45\xdf\xa3"):
        tracks = _tracks(untrusted_head)
        if tracks is None:
            return Look()
        return video if b"V_" in tracks else Look("sound") if b"A_" in tracks else Look()
    if untrusted_head[4:8] == b"ftyp" and untrusted_head[8:12] in _SOUND_BRANDS:
        return Look("sound")
    return video


def _tracks(untrusted_head: bytes) -> bytes | None:
    """The list of tracks of a Matroska or WebM file, None when not all of it is here."""
    start = untrusted_head.find(_TRACKS)
    if untrusted_head[start + 4 : start + 6] == _SEEK_POSITION:  # named in the index before
        start = untrusted_head.find(_TRACKS, start + 1)
    if start < 0 or start + 5 > len(untrusted_head):
        return None
    first = untrusted_head[start + 4]
    length = 9 - first.bit_length()  # of the number that says how long it is (RFC 8794, chapter 4)
    if not 1 <= length <= 8:
        return None
    size = int.from_bytes(untrusted_head[start + 4 : start + 4 + length], "big") & ((1 << 7 * length) - 1)
    begin = start + 4 + length
    return untrusted_head[begin : begin + size] if begin + size <= len(untrusted_head) else None
