"""First bytes of files that both sides must know. The portal checks them, and so does the media worker, which does not trust the portal.

Needs the standard library only. May be imported by all.
"""

from __future__ import annotations

from typing import Final

#: Brands of still images inside the box structure of MP4 (HEIF, AVIF): their tiles would be read as small videos.
_ISO_IMAGE_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis"})


def is_iso_image(untrusted_head: bytes) -> bool:
    """Whether a file that begins with these bytes (12 or more) is a HEIF or AVIF image."""
    return untrusted_head[4:8] == b"ftyp" and untrusted_head[8:12] in _ISO_IMAGE_BRANDS
