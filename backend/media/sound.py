"""Sound as detectors of voices hear it: the first sound stream of a file as mono float samples, 16,000 a second.

Owns decoding, mixing and resampling of sound, and its place on the time line of the pictures. Promises: the level is untouched (but for
what exceeds full scale); memory does not grow with the length; damaged parts are silence of the same length, and noted. Imported by
``extract`` and ``sound_file``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import av
import numpy as np

from backend.media.clock import Piece, SoundClock
from backend.media.limits import Deadline, MediaLimits
from backend.media.video import demuxed
from base_detector import SOUND_RATE, Array, WorkerFailure
from shared.findings import Note

#: Rates of sound that people record and measuring devices write; others are those of a broken header.
_RATES: Final = (1_000, 768_000)
#: Sound may be this late or early before it is put in its place, as in the result video (``soundtrack``).
_LATE_S: Final = 0.1
#: A stream that fails to decode this many packets in a row is given up, as a video is.
_MOST_FAILURES: Final = 1000
#: Formats without stamps: FFmpeg counts them, as if the rate never changed.
_COUNTED: Final = frozenset({"wav", "flac", "mp3", "aac"})
#: Containers whose flag of a damaged packet is believed: they count packets. Others flag the last one of a file when it is not full.
_FLAGGED: Final = frozenset({"mpegts"})
#: Samples of silence that are made at a time.
_BLOCK: Final = 1 << 16
#: Kinds of samples, by FFmpeg's names: type, and what is subtracted and divides, as in ``swr_convert`` to float.
_KINDS: Final[dict[str, tuple[type[np.generic], int, int]]] = {
    "u8": (np.uint8, 128, 1 << 7),
    "s16": (np.int16, 0, 1 << 15),
    "s32": (np.int32, 0, 1 << 31),
    "s64": (np.int64, 0, 1 << 63),
    "flt": (np.float32, 0, 1),
    "dbl": (np.float64, 0, 1),
}
#: Float samples are cut here before they are resampled: the filter must stay finite whatever a file holds.
_MOST: Final = 8.0

Take = Callable[[Array], None]


@dataclass
class Heard:
    """``samples`` that were given, the first one ``start_s`` seconds after the first picture (0 in a file without pictures)."""

    samples: int = 0
    start_s: float = 0.0
    notes: list[Note] = field(default_factory=list)


def first_sound(container: Any) -> Any | None:
    """The first sound stream of an open container, None without one; WorkerFailure ``codec_unknown`` where nothing can decode it."""
    stream = next(iter(container.streams.audio), None)
    if stream is not None and stream.codec_context is None:
        raise WorkerFailure("codec_unknown")
    return stream


def clock_from(zero_s: float) -> SoundClock:
    """The clock of a sound without pictures that begins at the stamp ``zero_s``.

    A pause of up to ten seconds is one; any other step is a fault of the clock, and the sound goes on.
    """
    return SoundClock((Piece(-np.inf, -np.inf, 0.0),), zero_s=zero_s)


def hear(
    container: Any, stream: Any, take: Take, *, clock: SoundClock | None, limits: MediaLimits, deadline: Deadline
) -> Heard:
    """Decode ``stream`` and give it to ``take`` in pieces: (n,) float32 mono at SOUND_RATE, -1 to 1.

    ``clock`` times it as the pictures are timed; None: there are none, so the first sample is at 0. Raises WorkerFailure
    ``media_too_long``, ``media_timed_out``, and what ``take`` raises. No sample: nothing could be decoded.
    """
    names = set(container.format.name.split(","))
    ear = _Ear(take, clock=clock, limits=limits, counted=bool(names & _COUNTED))
    for frame in _frames(container, stream, ear, deadline):
        ear.hear(frame)
    return ear.finish()


def _frames(container: Any, stream: Any, ear: _Ear, deadline: Deadline) -> Iterator[Any]:
    """Decoded frames; ``ear`` is told of packets that are lost."""
    packets, failures = demuxed(container, stream), 0
    flags = bool(set(container.format.name.split(",")) & _FLAGGED)
    while failures <= _MOST_FAILURES:
        deadline.check()
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:  # a part of the file cannot be read; what the decoder holds is still to come
            packet = None
        try:
            if flags and packet is not None and packet.is_corrupt:
                ear.lose(packet)
                continue
            yield from stream.codec_context.decode(packet)
            failures = 0
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            ear.lose(packet)
            failures += 1
        if packet is None:
            return


class _Ear:
    """Puts decoded frames one behind the other on the time line, mixed and resampled."""

    def __init__(self, take: Take, *, clock: SoundClock | None, limits: MediaLimits, counted: bool) -> None:
        self._take, self._clock, self._limits, self._counted = take, clock, limits, counted
        self._rate, self._resampler = 0, None
        #: samples at the rate of the stream since the last change of rate, and when those before it ended
        self._written, self._since_s = 0, 0.0
        self._lost, self._lost_s = False, 0.0
        self._holes: list[tuple[float, float]] = []
        self._heard = Heard()
        self._begun = False

    def lose(self, packet: Any) -> None:
        """A packet was damaged: what is missing before the next frame is a hole."""
        self._lost = True
        if packet is not None and packet.duration and packet.time_base:
            self._lost_s += float(packet.duration * packet.time_base)

    def hear(self, frame: Any) -> None:
        """Take one decoded frame."""
        rate = int(frame.sample_rate)
        if not frame.samples or not _RATES[0] <= rate <= _RATES[1]:
            return
        if rate != self._rate:
            self._change(rate)
        mono = _mono(frame)
        sound = np.isfinite(mono)
        if not sound.all() or frame.is_corrupt:
            mono = np.where(sound, mono, np.float32(0)) if not frame.is_corrupt else np.zeros_like(mono)
            self._holes.append((self._now_s(), self._now_s() + len(mono) / rate))
        if self._place(frame):
            self._write(mono)

    def finish(self) -> Heard:
        """Give what the resampler holds; what was heard in all."""
        if self._resampler is not None:
            self._give(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        if self._lost_s > _LATE_S:  # a file that breaks off within its last frame is whole
            self._holes.append((self._now_s(), self._now_s() + self._lost_s))
        if self._holes and self._heard.samples:
            start, end = (
                round(max(0.0, self._heard.start_s + at), 3) for at in (self._holes[0][0], self._holes[-1][1])
            )
            lost_s = round(sum(stop - begin for begin, stop in self._holes), 3)
            self._heard.notes.append(Note("sound_damaged", start_s=start, end_s=end, value=lost_s))
        return self._heard

    # -- inside

    def _place(self, frame: Any) -> bool:
        """Fill what is missing before ``frame`` with silence; False when it repeats what was heard."""
        if self._counted or frame.pts is None:
            if self._lost_s:
                self._hole(round(self._lost_s * self._rate))
            self._lost, self._lost_s = False, 0.0
            return True
        if self._clock is None:
            self._clock = clock_from(float(frame.time))
        at = self._clock.at(float(frame.time))
        if not self._begun:
            self._begun, self._heard.start_s = True, round(at, 6)
        late = round((at - self._heard.start_s - self._now_s()) * self._rate)
        least = 1 if self._lost else _LATE_S * self._rate
        if late >= least:
            if self._lost:
                self._hole(late)
            else:
                self._silence(late)
        self._lost, self._lost_s = False, 0.0
        return late > -_LATE_S * self._rate

    def _now_s(self) -> float:
        """When the next sample is heard, seconds from the first one."""
        return self._since_s + (self._written / self._rate if self._rate else 0.0)

    def _hole(self, samples: int) -> None:
        self._holes.append((self._now_s(), self._now_s() + samples / self._rate))
        self._silence(samples)

    def _silence(self, samples: int) -> None:
        self._limits.check_length(0, self._now_s() + samples / self._rate)
        for start in range(0, samples, _BLOCK):
            self._write(np.zeros(min(_BLOCK, samples - start), np.float32))

    def _write(self, mono: Array) -> None:
        self._written += len(mono)
        self._limits.check_length(0, self._now_s())
        self._give(mono if self._resampler is None else self._resampler.resample_chunk(mono))

    def _give(self, samples: Array) -> None:
        if len(samples):
            self._heard.samples += len(samples)
            self._take(np.clip(samples, -1.0, 1.0))

    def _change(self, rate: int) -> None:
        """Begin to resample from ``rate``. HQ is soxr's usual quality; detectors' published samples were made with it."""
        import soxr  # not in the images of detectors, which import the pack's writer

        if self._resampler is not None:
            self._give(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        self._since_s, self._written, self._rate = self._now_s(), 0, rate
        same = rate == SOUND_RATE
        self._resampler = None if same else soxr.ResampleStream(rate, SOUND_RATE, 1, dtype="float32", quality="HQ")


def _mono(frame: Any) -> Array:
    """The mean of all channels, (n,) float32."""
    kind, count = frame.format, len(frame.layout.channels)
    dtype, zero, scale = _KINDS[kind.packed.name]
    # not ``to_ndarray``: of eight planes PyAV makes nine, and the ninth is no sound
    planes = frame.planes[: count if kind.is_planar else 1]
    each = frame.samples * (1 if kind.is_planar else count)
    channels = np.stack([np.frombuffer(plane, dtype, count=each) for plane in planes])
    if not kind.is_planar:
        channels = channels.reshape(frame.samples, count).T
    if scale != 1:
        channels = (channels.astype(np.float64) - zero) / scale
    mixed: Array = channels.mean(axis=0, dtype=np.float64) if len(channels) > 1 else channels[0]
    return np.clip(mixed, -_MOST, _MOST).astype(np.float32)
