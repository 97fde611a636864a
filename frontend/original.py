"""The submitted file, as the result page plays or shows it beside the findings.

Owns which formats a browser may be offered. Promises: the file is found and sent, never opened to look into it: what it is was found by
the media worker and is in the result. For the front-end only.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.records import JobId
from shared.results import MediaFacts
from shared.store import Store

#: Codecs of pictures that every current browser plays, by container: type of the file.
_VIDEO: Final[dict[str, tuple[str, frozenset[str]]]] = {
    "mov,mp4,m4a,3gp,3g2,mj2": ("video/mp4", frozenset({"h264", "av1", "vp9", "hevc"})),
    "matroska,webm": ("video/webm", frozenset({"vp8", "vp9", "av1"})),
}
#: HEVC is played by some browsers only: its full name lets the others pass on to the next source.
_HEVC: Final = 'video/mp4; codecs="hvc1.1.6.L120.90"'
_SOUND: Final[dict[str, tuple[str, frozenset[str]]]] = {
    "mp3": ("audio/mpeg", frozenset({"mp3"})),
    "wav": ("audio/wav", frozenset({"pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_f32le"})),
    "flac": ("audio/flac", frozenset({"flac"})),
    "ogg": ("audio/ogg", frozenset({"opus", "vorbis", "flac"})),
    "aac": ("audio/aac", frozenset({"aac"})),
    "mov,mp4,m4a,3gp,3g2,mj2": ("audio/mp4", frozenset({"aac", "mp3"})),
    "matroska,webm": ("audio/webm", frozenset({"opus", "vorbis"})),
}
_PICTURE: Final[dict[str, str]] = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


@dataclass(frozen=True)
class Original:
    """A submitted file that a browser can show: where it is, the type it is sent with, and its type in a ``source`` of the page."""

    path: Path
    mimetype: str
    source_type: str


def original_of(store: Store, job: JobId, media: MediaFacts) -> Original | None:
    """The submitted file of ``job``; None where browsers cannot show its format, and when it is gone."""
    kind = _type_of(media)
    if kind is None:
        return None
    for _ in range(2):  # it may move to the next stage between the two looks
        stage = store.stage_of(job)
        if stage is None:
            return None
        path = store.job(stage, job) / "media"
        if _is_file(path):
            hevc = media.kind == "video" and media.codec == "hevc"
            return Original(path, kind, _HEVC if hevc else kind)
    return None


def _type_of(media: MediaFacts) -> str | None:
    if media.kind == "image":
        return _PICTURE.get(media.container)
    known = (_VIDEO if media.kind == "video" else _SOUND).get(media.container)
    return known[0] if known and media.codec in known[1] else None


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False
