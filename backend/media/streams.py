"""Which video stream of a file is looked at, and what its first picture says about how it must be read.

Owns the choice among several streams and the notes that follow from stream and picture alone. Imported by ``backend.media.video``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import av
from av.video.frame import VideoFrame

from base_detector import WorkerFailure
from shared.findings import Note

#: Streams of pictures about the video: cover art, and the small pictures of a seek bar.
_ABOUT: Final = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
#: Two tracks with this share of each other's frames show the same time.
_SAME_TIME: Final = 0.9
#: Transfer characteristics of bright screens, PQ and HLG: ITU-T H.273, table 3.
_HDR: Final = frozenset({16, 18})
#: Sample entries of Dolby Vision streams that may lack a usual base picture: Dolby Vision Streams within ISO base media file format 2.4.
_DOLBY: Final = frozenset({"dvh1", "dvhe", "dva1", "dvav", "dav1"})
#: H.273: "unspecified". Dolby Vision's profile 5 gives no transfer characteristics; those with a usual base picture do.
_UNSPECIFIED: Final = 2


class SoundAlone(Exception):
    """The container has sound and no pictures, but for a cover."""


def choose_stream(container: Any) -> tuple[Any, list[Note]]:
    """The video stream to judge, and a note when there are others.

    FFmpeg's choice, which players make too; but where another stream shows the same frames larger, that one (cameras put a small copy
    for their display first). Raises SoundAlone; WorkerFailure ``no_picture_or_sound`` (captions or data), ``codec_unknown``,
    ``media_unreadable``.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & _ABOUT]
    if not streams:
        if container.streams.audio:
            raise SoundAlone
        raise WorkerFailure("no_picture_or_sound" if container.streams else "media_unreadable")
    readable = [stream for stream in streams if stream.codec_context is not None]
    if not readable:
        raise WorkerFailure("codec_unknown")
    sized = [stream for stream in readable if stream.width and stream.height]
    if not sized:
        raise WorkerFailure("media_unreadable")
    best = container.streams.best("video")
    chosen = _largest(best if best in sized else sized[0], sized)
    others = [stream for stream in streams if stream is not chosen and stream.frames != 1]  # a single one is a preview
    return chosen, [Note("other_tracks", value=float(len(others)))] if others else []


def picture_notes(stream: Any, frame: VideoFrame) -> list[Note]:
    """What the first picture of ``stream`` says about all of them."""
    notes = []
    if frame.color_trc in _HDR:
        notes.append(Note("hdr"))
    elif stream.codec_context.codec_tag in _DOLBY and frame.color_trc == _UNSPECIFIED:
        notes.append(Note("dolby_vision"))
    if frame.interlaced_frame:
        notes.append(Note("interlaced"))
    return notes


def _largest(chosen: Any, streams: Sequence[Any]) -> Any:
    """The largest of the streams that have as many frames as ``chosen``, as far as the file says how many."""
    same = [stream for stream in streams if chosen.frames and _alike(stream.frames, chosen.frames)]
    return max([chosen, *same], key=lambda stream: stream.width * stream.height)


def _alike(one: int, other: int) -> bool:
    return min(one, other) >= _SAME_TIME * max(one, other)
