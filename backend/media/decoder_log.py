"""What FFmpeg says while it decodes: its log lines, caught instead of printed.

Some decoders name damage in their log only (HEVC: a missing reference), not on the picture. Owns the level of FFmpeg's log, which is
one for the whole process: while one log is open, a second one stays empty. May be imported by ``backend.media.damage``.
"""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

import av.logging

#: FFmpeg's own numbers: lower is worse (libavutil/log.h).
ERROR, INFO = av.logging.ERROR, av.logging.INFO
#: Seconds that decoding threads get to hand over a line before the decoder is closed: closing waits for them while it holds
#: Python's lock, which they need for a line.
_GRACE_S = 0.01

_only_one = threading.Lock()


class Line(NamedTuple):
    """``source`` is FFmpeg's name of the decoder, parser or demuxer that wrote ``text``."""

    level: int
    source: str
    text: str


class DecoderLog:
    """Collects FFmpeg's lines of all threads up to ``level``. ``close`` it before the decoder is closed."""

    def __init__(self, *, level: int) -> None:
        self._open = _only_one.acquire(blocking=False)
        self._lines: list[tuple[int, str, str]] = []
        if not self._open:
            return
        av.logging.set_skip_repeated(False)  # a repeated line may be about another picture
        self._capture = av.logging.Capture(local=False)
        self._lines = self._capture.__enter__()
        av.logging.set_level(level)

    def take(self) -> list[Line]:
        """The lines since the last call."""
        count = len(self._lines)
        if not count:
            return []
        lines = [Line(*line) for line in self._lines[:count]]
        del self._lines[:count]
        return lines

    def close(self) -> None:
        """Stop listening; twice does no harm."""
        if not self._open:
            return
        self._open = False
        av.logging.set_level(None)  # PyAV's default: FFmpeg's lines are dropped before Python is asked
        time.sleep(_GRACE_S)
        self._capture.__exit__(None, None, None)
        av.logging.set_skip_repeated(True)
        _only_one.release()
