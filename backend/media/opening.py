"""Opens a submitted file as a medium: image or video, by its first bytes.

Owns the signatures. May be imported by all of ``backend.media``.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from backend.media.limits import MediaLimits
from backend.media.medium import Medium
from backend.media.still import StillMedium
from backend.media.video import VideoMedium
from base_detector import WorkerFailure
from shared.signatures import is_iso_image

#: First bytes of what Pillow reads; everything else goes to the demuxers (with their own list).
_IMAGE_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")


def open_medium(path: Path, *, limits: MediaLimits) -> AbstractContextManager[Medium]:
    """Open a submitted file by its first bytes, never by its name.

    Raises WorkerFailure: ``unsupported_media``, ``media_unreadable``, ``media_too_large``, ``media_too_long``; and
    NotApplicable(``no_video``) when it holds sound only.
    """
    with path.open("rb") as stream:
        untrusted_head = stream.read(32)
    if is_iso_image(untrusted_head):
        raise WorkerFailure("unsupported_media")
    webp = untrusted_head.startswith(b"RIFF") and untrusted_head[8:12] == b"WEBP"
    if webp or untrusted_head.startswith(_IMAGE_SIGNATURES):
        return StillMedium(path, limits=limits)
    return VideoMedium(path, limits=limits)
