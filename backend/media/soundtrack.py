"""The sound of the result video.

Owns the choice between copying the packets (AAC, MP3: what every browser plays in MP4) and encoding them as AAC.
Broken sound does not fail the video: it ends where it breaks, and ``finish`` says so. Imported by ``render`` only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np

from backend.media.clock import SoundClock
from backend.media.video import demuxed

#: sound an MP4 may hold and every browser plays
_KEPT = frozenset({"aac", "mp3", "mp3float"})
_RATE = 48_000
#: samples of a frame of AAC
_AAC_FRAME = 1024
#: sound may be this late or early before it is put in its place: less than people notice (ITU-R BT.1359-1: 45 ms early, 125 ms late)
_LATE_S = 0.1


class Sound:
    """The first sound stream of what ``reopen`` opens, added to ``container`` (before its first packet).

    ``clock`` times it as the pictures are timed; without one (animated images) there is no sound.
    """

    def __init__(self, reopen: Callable[[], Any], container: Any, *, clock: SoundClock | None) -> None:
        self._container, self._clock = container, clock
        self._state = "none"
        self._waiting: tuple[float, Any] | None = None
        self._source: Any = None
        self._packets: Iterator[Any] = iter(())
        with contextlib.suppress(av.error.FFmpegError, ValueError):
            self._open(reopen)

    def until(self, time_s: float) -> None:
        """Add the sound up to ``time_s`` seconds of the video."""
        try:
            while (waiting := self._next()) is not None and waiting[0] <= time_s:
                self._container.mux(waiting[1])
                self._waiting = None
        except (av.error.FFmpegError, ValueError):
            self._state, self._packets, self._waiting = "lost", iter(()), None

    def finish(self) -> str:
        """``none`` (there was none), ``kept``, ``aac`` (re-encoded) or ``lost`` (it broke off)."""
        return self._state

    def close(self) -> None:
        """Close the media."""
        if self._source is not None:
            self._source.close()

    # -- inside

    def _open(self, reopen: Callable[[], Any]) -> None:
        if self._clock is None:
            return
        self._source = reopen()
        if not self._source.streams.audio:
            return
        stream = self._source.streams.audio[0]
        if stream.codec_context.name in _KEPT:
            self._target = self._container.add_stream_from_template(stream)
            self._packets, self._state = self._copied(stream), "kept"
        else:
            self._target = self._container.add_stream("aac", rate=_RATE, layout="stereo")
            self._packets, self._state = self._encoded(stream), "aac"

    def _next(self) -> tuple[float, Any] | None:
        if self._waiting is None:
            packet = next(self._packets, None)
            if packet is not None:
                self._waiting = (float(packet.pts * packet.time_base), packet)
        return self._waiting

    def _copied(self, stream: Any) -> Iterator[Any]:
        """The packets from the first picture on, timed by the clock of the pictures."""
        assert self._clock is not None
        last = -1
        for packet in demuxed(self._source, stream):
            if packet.pts is None or packet.size == 0:
                continue
            packet.pts = round(self._clock.at(float(packet.pts * packet.time_base)) / packet.time_base)
            if packet.pts <= last or packet.pts < 0:  # before the first picture, or time decreases
                continue
            packet.dts = last = packet.pts
            packet.stream = self._target
            yield packet

    def _encoded(self, stream: Any) -> Iterator[Any]:
        """The decoded sound as stereo AAC, from the first picture on. Where sound is missing for a moment there is silence."""
        assert self._clock is not None
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=_RATE)
        written = None
        for frame in (frame for packet in demuxed(self._source, stream) for frame in packet.decode()):
            if frame.pts is None or (at := self._clock.at(frame.time)) < 0:
                continue
            due = round(at * _RATE)
            written = due if written is None else written
            if due - written > _LATE_S * _RATE:
                for part in _silence(due - written):
                    part.pts, part.time_base = written, Fraction(1, _RATE)
                    written += part.samples
                    yield from self._target.encode(part)
            if written - due > _LATE_S * _RATE:  # the sound goes back: what was heard is not heard again
                continue
            for part in resampler.resample(frame):
                part.pts, part.time_base = written, Fraction(1, _RATE)
                written += part.samples
                yield from self._target.encode(part)
        yield from self._target.encode()


def _silence(samples: int) -> Iterator[Any]:
    """``samples`` (and up to 1,023 fewer) of silence, in frames as AAC has them."""
    for _ in range(samples // _AAC_FRAME):
        frame = av.AudioFrame.from_ndarray(np.zeros((2, _AAC_FRAME), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = _RATE
        yield frame
