"""First bytes of files that both sides must know. The portal checks them, and so does the media worker, which does not trust the portal.

Needs the standard library only. May be imported by all.
"""

from __future__ import annotations

import re
from typing import Final

#: As many first bytes as ``refusal`` and ``is_avif`` need: an ``ftyp`` box with a dozen brands.
HEAD_BYTES: Final = 64

#: Brands of HEIF pictures and their sequences (ISO/IEC 23008-12, annex B; Nokia's registrations).
_HEIF_BRANDS: Final = frozenset(
    b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1 miaf 1pic MiHB MiHE avci avcs jpeg jpgs vvic vvis".split()
)
#: Those of them whose pictures are coded in HEVC (annex B.4): stills, and sequences, of which the still is read.
_HEIC_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"MiHB", b"MiHE"}
)
#: Brands of AVIF (AV1 Image File Format 1.1, chapter 6).
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
#: Brands that HEIF and AVIF files share: the others in the list say which of the two it is.
_EITHER: Final = frozenset({b"mif1", b"mif2", b"msf1", b"miaf", b"1pic"})

#: What a file that is not accepted begins with -> the code that names it. Sources: the formats' own specifications.
_NOT_ACCEPTED: Final[tuple[tuple[bytes, str], ...]] = (
    (rb"\x00\x05\x16[\x00\x07]", "apple_double"),  # RFC 1740, annexes A and B
    (rb"\x00\x00\x00\x0cJXL \r\n\x87\n|\xff\x0a", "jpeg_xl_picture"),  # ISO/IEC 18181-2
    (rb"\x00\x00\x00\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "jpeg_2000_picture"),  # ISO/IEC 15444-1, annexes A and I
    # Canon's CR2 and CR3, Fujifilm, Olympus, Panasonic, Sigma, Minolta; other makes look like TIFF
    (rb"II\*\x00.{4}CR|.{4}ftypcrx |FUJIFILMCCD-RAW|IIR[OS]|IIU\x00|MMOR|FOVb|\x00MRM", "raw_photo"),
    # a JPEG or PNG whose bytes went through a conversion of text: UTF-8, line ends, Base64
    (
        rb"\xc3\xbf\xc3\x98\xc3\xbf|\xc2\x89PNG|\xef\xbf\xbd(?:PNG|.{0,3}\xef\xbf\xbd)|\x89PNG(?!\r\n\x1a\n)"
        rb"|data:(?:image|video)/|/9j/[24]|iVBORw0KGgo",
        "changed_as_text",
    ),
    (rb"\x00{64}", "only_zeros"),
    (rb"8BPS", "photoshop_file"),
    (rb"%PDF-", "pdf_document"),
    (rb"PK\x03\x04|PK\x05\x06|Rar!\x1a\x07|7z\xbc\xaf\x27\x1c|\x1f\x8b\x08|\xfd7zXZ\x00", "archive_file"),
    (rb"(?:\xef\xbb\xbf)?\s*<(?:svg|\?xml[^>]*>\s*(?:<!--.*?-->\s*)?(?:<!DOCTYPE )?<?svg)", "svg_drawing"),
    (rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?(?:-->|$)\s*)?<(?:!doctype html|html|head|body|script)", "web_page"),
    # a piece of a stream in MP4 (ISO/IEC 14496-12, 8.16): its beginning, which tells what is in it, is a file of its own
    (rb".{4}(?:styp|moof|sidx)", "video_piece"),
    (rb"#!AMR|FORM.{4}AIF[CF]|caff\x00|riff\x2e\x91\xcf\x11", "sound_file"),  # AMR (RFC 4867), AIFF, CAF, Sony's Wave64
)
_PATTERNS: Final = tuple(
    (re.compile(pattern, re.DOTALL | (re.IGNORECASE if code in ("svg_drawing", "web_page") else 0)), code)
    for pattern, code in _NOT_ACCEPTED
)


#: Fewer bytes may be those of a format that begins with letters.
_LEAST_TEXT: Final = 16

#: Sound that is read: MP3 with a tag (ID3v2) and without (ISO/IEC 11172-3, 2.4.1.3), AAC in ADTS (ISO/IEC 13818-7, 6.2), WAV,
#: FLAC (RFC 9639).
_SOUND: Final = re.compile(
    rb"ID3[\x02-\x04]|\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xe7]|\xff[\xf0\xf1\xf8\xf9][\x40-\x7f]|(?:RIFF|RF64).{4}WAVE|fLaC\x00",
    re.DOTALL,
)
#: Pictures of Pillow's that begin with letters only: BMP (the size of its header tells it from text), TIFF 6.0 and BigTIFF.
_BMP: Final = re.compile(rb"BM.{4}\x00{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00{3}", re.DOTALL)
_TIFF: Final = re.compile(rb"II[*+]\x00|MM\x00[*+]", re.DOTALL)

#: What a file that the media pass reads begins with, pictures first; HEIF and AVIF are in the boxes of MP4 as well, see ``is_media``.
#: JPEG, PNG, GIF, WebP; AVI, Matroska and WebM, Flash (Adobe, Video File Format 10.1), Ogg, MPEG programme and elementary streams
#: (ISO/IEC 13818-1 and -2); MP4 and QuickTime: ISO/IEC 14496-12 section 4.3, QuickTime File Format "atoms".
_MEDIA: Final = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF.{4}(?:WEBP|AVI )|\x1a\x45\xdf\xa3|FLV\x01|OggS|\x00\x00\x01[\xba\xb3]"
    rb"|.{4}(?:ftyp|moov|mdat|wide|free|skip|pnot)",
    re.DOTALL,
)
#: As many first bytes as ``is_media`` needs: five packets of a transport stream and the piece of one before them.
MEDIA_HEAD_BYTES: Final = 6 * 192
#: Bytes from one sync byte of a transport stream to the next: ISO/IEC 13818-1, 2.4.3.2; with the time stamps of cameras and Blu-ray.
_PACKETS: Final = (188, 192)
_SYNC: Final = 0x47


def is_media(untrusted_head: bytes) -> bool:
    """Whether a file with these first bytes (``MEDIA_HEAD_BYTES``, or the whole file) is of a kind that the media pass reads.

    Decided by content: transport streams share their suffix ``.ts`` with source code.
    """
    if refusal(untrusted_head[:HEAD_BYTES]) is not None:
        return False
    head = untrusted_head[:HEAD_BYTES]
    known = is_iso_image(head) or is_sound(head) or is_tiff(head) or is_bmp(head)
    return known or bool(_MEDIA.match(untrusted_head)) or _is_transport_stream(untrusted_head)


def _is_transport_stream(untrusted_head: bytes) -> bool:
    """Whether there are five sync bytes in a row; a recording may begin within a packet."""
    for packet in _PACKETS:
        for start in range(min(packet, len(untrusted_head) - 4 * packet)):
            if all(untrusted_head[start + number * packet] == _SYNC for number in range(5)):
                return True
    return False


def is_iso_image(untrusted_head: bytes) -> bool:
    """Whether a file that begins with these bytes (``HEAD_BYTES``) is a HEIF or AVIF image."""
    return bool(_brands(untrusted_head))


def is_sound(untrusted_head: bytes) -> bool:
    """Whether it is a file of sound in a format of its own; sound alone in MP4, Matroska and Ogg is known only when it is opened."""
    return bool(_SOUND.match(untrusted_head))


def is_bmp(untrusted_head: bytes) -> bool:
    """Whether it is a Windows bitmap."""
    return bool(_BMP.match(untrusted_head))


def is_tiff(untrusted_head: bytes) -> bool:
    """Whether it is a TIFF picture, or one of the many raw formats of cameras that look like it."""
    return bool(_TIFF.match(untrusted_head)) and refusal(untrusted_head) is None


def is_heif(untrusted_head: bytes) -> bool:
    """Whether it is a HEIF picture that is read: coded in HEVC, as phones do."""
    brands = _brands(untrusted_head)
    return bool(brands) and not _HEIC_BRANDS.isdisjoint(brands) and not is_avif(untrusted_head)


def is_avif(untrusted_head: bytes) -> bool:
    """Whether it is an AVIF picture or animation."""
    brands = _brands(untrusted_head)
    return bool(brands) and not _AVIF_BRANDS.isdisjoint(brands)


def refusal(untrusted_head: bytes) -> str | None:
    """The code of a file known by its first bytes that is not accepted: its sentence says what the file is and what to do.

    None for anything else, accepted or unknown.
    """
    if not untrusted_head:
        return "file_empty"
    for pattern, code in _PATTERNS:
        if pattern.match(untrusted_head):
            return code
    if is_iso_image(untrusted_head) and not is_avif(untrusted_head) and not is_heif(untrusted_head):
        return "heif_picture"
    return "text_file" if _is_text(untrusted_head) else None


def _is_text(untrusted_head: bytes) -> bool:
    """Whether these are letters, in UTF-8: an error message of a site, a playlist, captions, a link. Media have other bytes soon."""
    if len(untrusted_head) < _LEAST_TEXT:
        return False
    try:
        text = untrusted_head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < HEAD_BYTES - 3 or len(untrusted_head) < HEAD_BYTES:  # no letter that was cut in two
            return False
        text = untrusted_head[: error.start].decode("utf-8")
    return all(char.isprintable() or char in "\t\r\n\ufeff" for char in text)


def _brands(untrusted_head: bytes) -> list[bytes]:
    """Brands of a still picture inside the box structure of MP4, the major one first; none for a video."""
    if untrusted_head[4:8] != b"ftyp" or untrusted_head[8:12] not in _HEIF_BRANDS | _AVIF_BRANDS:
        return []
    major = untrusted_head[8:12]
    end = min(len(untrusted_head), int.from_bytes(untrusted_head[:4], "big"))
    listed = [untrusted_head[at : at + 4] for at in range(16, end - 3, 4)]
    return [major, *listed] if major in _EITHER else [major]
