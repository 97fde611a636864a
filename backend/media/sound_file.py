"""Files of sound alone: voice messages, music, podcasts, films without pictures. A cover is no picture.

Owns what FFmpeg may open of them, and their facts. Promises: decoded once, as sound of a video is (``sound``). May be imported by
``backend.media.opening`` and ``extract``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import av
import numpy as np

from backend.media.clock import SoundClock
from backend.media.limits import Deadline, MediaLimits
from backend.media.medium import Picture
from backend.media.sound import Heard, Take, clock_from, first_sound, hear
from backend.media.video import open_container
from base_detector import SOUND_RATE, Array, WorkerFailure
from shared.findings import DecodedMedia, Note

#: What a file of a format of its own begins with -> FFmpeg's demuxer; anything else that ``is_sound`` knows is MP3. FFmpeg's own guess
#: goes by the suffix when a file is short. Those of ``video.FORMATS`` may hold sound alone, too (M4A, WebM, Ogg).
_DEMUXERS: Final = (
    (b"RIFF", "wav"),
    (b"RF64", "wav"),
    (b"fLaC", "flac"),
    (b"\xff\xf0", "aac"),
    (b"\xff\xf1", "aac"),
    (b"\xff\xf8", "aac"),
    (b"\xff\xf9", "aac"),
)
#: The tag before MP3, and sometimes before FLAC and AAC: its length is in four bytes of seven bits (ID3v2.4, 3.1).
_ID3, _ID3_HEAD = b"ID3", 10
#: Seconds that may be missing of those in a FLAC file's header, which is exact.
_SLACK_S: Final = 0.1


class SoundMedium:
    """A file of sound. A context manager; see ``medium.Medium``: it has no pictures. ``listen`` once, then ask for the facts."""

    def __init__(self, path: Path, *, limits: MediaLimits, format: str | None = None) -> None:
        self._limits, self._path, self._format = limits, path, format
        self.notes: list[Note] = []
        self.times: Array = np.zeros(0)
        self._seconds = 0.0
        try:
            self._container = open_container(path, format=format)
        except (av.error.FFmpegError, ValueError):
            raise WorkerFailure("media_unreadable") from None
        try:
            self._stream: Any = first_sound(self._container)
            if self._stream is None:
                raise WorkerFailure("media_unreadable")
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> SoundMedium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def listen(self, take: Take, deadline: Deadline) -> Heard:
        """Decode all of it, see ``sound.hear``. WorkerFailure ``media_unreadable`` when nothing can be decoded."""
        stream = self._stream
        heard = hear(self._container, stream, take, clock=None, limits=self._limits, deadline=deadline)
        if not heard.samples:
            raise WorkerFailure("media_unreadable")
        self._seconds = heard.samples / SOUND_RATE
        if self._container.format.name == "flac" and stream.duration:
            promised_s = float(stream.duration * stream.time_base)
            if self._seconds < promised_s - _SLACK_S:
                self.notes.append(Note("clip_cut_off"))
        self.notes += heard.notes
        return heard

    def again(self) -> Any:
        """The file, opened once more: for its packets."""
        return open_container(self._path, format=self._format)

    def sound_clock(self) -> SoundClock:
        """Times the packets of the sound from the first one, as ``listen`` does."""
        start = self._stream.start_time
        return clock_from(float(start * self._stream.time_base) if start is not None else 0.0)

    def facts(self) -> DecodedMedia:
        """See ``medium.Medium``."""
        return DecodedMedia(
            kind="sound",
            width=0,
            height=0,
            fps=None,
            duration_s=self._seconds,
            frames=0,
            codec=self._stream.codec_context.codec.canonical_name,
            container=self._container.format.name,
            rotation=0,
            has_audio=True,
            lossless=False,
        )

    def pictures(self) -> Iterator[Picture]:
        """See ``medium.Medium``: none."""
        return iter(())

    def whole(self, box: Array) -> bool:
        """See ``medium.Medium``."""
        return True


def format_of(path: Path) -> str:
    """FFmpeg's demuxer for a file that ``shared.signatures.is_sound`` knows."""
    with path.open("rb") as stream:
        untrusted_head = stream.read(_ID3_HEAD)
        if untrusted_head.startswith(_ID3) and len(untrusted_head) == _ID3_HEAD:
            length = 0
            for byte in untrusted_head[6:]:
                length = length << 7 | byte & 0x7F
            stream.seek(_ID3_HEAD + length)
            untrusted_head = stream.read(4)
    return next((name for head, name in _DEMUXERS if untrusted_head.startswith(head)), "mp3")
