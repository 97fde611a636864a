"""Damages a file as the way to a visitor damages it: ``corrupt`` writes a copy, for benchmarks of robustness.

Owns: what each named corruption does to a picture, the pictures of a clip, or a sound. Promises: the same file, name and seed give the
same pixels; times of pictures stay; a clip's own sound is kept. Runs in the media worker; not imported by other modules.

Numbers are ours unless a source is named. A clip that is changed picture by picture has to be written again: as JPEGs where that is the
corruption, else with H.264 at CRF 12, which loses little; a still becomes PNG. So a file that was lossy may look lossless afterwards.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
import soxr
from PIL import Image

from backend.media.limits import Deadline, MediaLimits
from backend.media.medium import Picture
from backend.media.opening import open_medium
from backend.media.sound import first_sound, hear
from backend.media.sound_file import SoundMedium
from backend.media.soundtrack import Sound
from backend.media.still import StillMedium
from backend.media.video import VideoMedium, open_container
from base_detector import SOUND_RATE, Array, WorkerFailure

Progress = Callable[[int, int], None]
Change = Callable[[Array, np.random.Generator], Array]

#: Clock of the clips that are written: that of MPEG.
_CLOCK: Final = Fraction(1, 90_000)
#: H.264 of clips whose pictures were changed.
_NEARLY_LOSSLESS: Final = 12
#: Like a messenger, after no one in particular: small, strongly compressed.
_MESSENGER_SIDE, _MESSENGER_CRF, _MESSENGER_STILL, _MESSENGER_JPEG = 640, 30, 1280, 70


@dataclass(frozen=True)
class Corruption:
    """What is done to each picture, and how the result is stored: as JPEGs of a quality, or with H.264 at a CRF.

    ``still``: whether stills are damaged so, too. ``side``: longest side in pixels of a clip and of a still.
    """

    change: Change | None = None
    jpeg: int | None = None
    crf: int = _NEARLY_LOSSLESS
    still: bool = True
    side: tuple[int, int] | None = None


def _half(picture: Array, _: np.random.Generator) -> Array:
    """Half of the width and height, means of four pixels."""
    height, width = picture.shape[:2]
    return cv2.resize(picture, (max(2, width // 2), max(2, height // 2)), interpolation=cv2.INTER_AREA)


def _blurred(picture: Array, _: np.random.Generator) -> Array:
    """Gaussian of 2 pixels."""
    return cv2.GaussianBlur(picture, (0, 0), 2.0)


def _noisy(picture: Array, rng: np.random.Generator) -> Array:
    """White noise of 8 grey levels of 255."""
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * 8
    return np.clip(picture + noise, 0, 255).round().astype(np.uint8)


def _brighter(picture: Array, _: np.random.Generator) -> Array:
    """A third brighter; what is above white is cut."""
    return np.clip(picture * np.float32(4 / 3), 0, 255).round().astype(np.uint8)


PICTURES: Final[dict[str, Corruption]] = {
    "jpeg_90": Corruption(jpeg=90),
    "jpeg_60": Corruption(jpeg=60),
    "jpeg_30": Corruption(jpeg=30),
    "h264_23": Corruption(crf=23, still=False),
    "h264_32": Corruption(crf=32, still=False),
    "h264_40": Corruption(crf=40, still=False),
    "half_size": Corruption(_half),
    "blur": Corruption(_blurred),
    "noise": Corruption(_noisy),
    "brightness": Corruption(_brighter),
    "messenger": Corruption(jpeg=None, crf=_MESSENGER_CRF, side=(_MESSENGER_SIDE, _MESSENGER_STILL)),
}


@dataclass(frozen=True)
class Codec:
    """How a sound is stored: container, codec, samples and kbit a second."""

    layout: str
    codec: str
    rate: int
    kbit: int = 0
    change: Change | None = None


def _hiss(sound: Array, rng: np.random.Generator) -> Array:
    """White noise 20 dB below the sound."""
    level = float(np.sqrt(np.mean(np.square(sound)))) / 10
    return np.asarray(sound + level * rng.standard_normal(len(sound), dtype=np.float32), np.float32)


def _quieter(sound: Array, _: np.random.Generator) -> Array:
    """12 dB less."""
    return np.asarray(sound * np.float32(10 ** (-12 / 20)), np.float32)


SOUNDS: Final[dict[str, Codec]] = {
    "mp3_64": Codec("mp3", "libmp3lame", 44_100, 64),
    "aac_32": Codec("mp4", "aac", 44_100, 32),
    "sound_messenger": Codec("ogg", "libopus", 48_000, 24),
    "telephone": Codec("wav", "pcm_mulaw", 8_000),
    "quieter": Codec("wav", "pcm_s16le", SOUND_RATE, change=_quieter),
    "sound_noise": Codec("wav", "pcm_s16le", SOUND_RATE, change=_hiss),
}  # fmt: skip


def corrupt(
    media: Path, out: Path, *, how: str, seed: int, limits: MediaLimits, progress: Progress = lambda done, total: None
) -> dict[str, Any]:
    """Write the copy of ``media`` damaged by ``how`` to ``out``; answers ``units``, how many pictures or samples were written.

    0: the corruption is not for this kind of file, and nothing is written. WorkerFailure(``bad_request``) for an unknown name, else
    as of the media pass.
    """
    if how not in PICTURES and how not in SOUNDS:
        raise WorkerFailure("bad_request")
    deadline, rng = Deadline(limits), np.random.default_rng(seed)
    with open_medium(media, limits=limits) as medium:
        if how in SOUNDS:
            units = _store_sound(medium, out, SOUNDS[how], rng, media=media, limits=limits, deadline=deadline)
        elif isinstance(medium, SoundMedium):
            units = 0
        elif isinstance(medium, StillMedium) and len(medium.times) == 1:
            units = _store_still(medium, out, PICTURES[how], rng)
        else:
            units = _store_clip(medium, out, PICTURES[how], rng, media=media, deadline=deadline, progress=progress)
    return {"units": units}


# --------------------------------------------------------------------------- pictures


def _store_still(medium: StillMedium, out: Path, corruption: Corruption, rng: np.random.Generator) -> int:
    """A still as PNG, or as JPEG where that is the corruption."""
    if not corruption.still:
        return 0
    picture = _changed(next(medium.pictures()).rgb(), corruption, rng, side=corruption.side and corruption.side[1])
    quality = _MESSENGER_JPEG if corruption.side else corruption.jpeg
    out.write_bytes(_jpeg(picture, quality) if quality else _png(picture))
    return 1


def _store_clip(
    medium: Any,
    out: Path,
    corruption: Corruption,
    rng: np.random.Generator,
    *,
    media: Path,
    deadline: Deadline,
    progress: Progress,
) -> int:
    """A clip with its sound: H.264 in MP4, or JPEGs in MOV."""
    side = corruption.side and corruption.side[0]
    done = 0
    with av.open(str(out), "w", format="mov" if corruption.jpeg else "mp4") as container:
        writer: _Writer | None = None
        for picture in medium.pictures():
            deadline.check()
            rgb = _changed(picture.rgb(), corruption, rng, side=side)
            if writer is None:  # the clock of the sound is known after the first picture
                clock = medium.sound_clock() if isinstance(medium, VideoMedium) else None
                sound = Sound(lambda: open_container(media), container, clock=clock)
                writer = _Writer(container, rgb, corruption, sound)
            writer.add(rgb, picture)
            done += 1
            progress(done, len(medium.times))
        if writer is not None:
            writer.finish(medium.facts().duration_s)
    return done


class _Writer:
    """Writes the pictures of one clip, all in the size of the first, and its sound beside them."""

    def __init__(self, container: Any, first: Array, corruption: Corruption, sound: Sound) -> None:
        self._container, self._quality, self._sound = container, corruption.jpeg, sound
        height, width = (max(2, side - side % 2) for side in first.shape[:2])
        self._size, self._last = (width, height), -1
        options = {} if self._quality else {"crf": str(corruption.crf), "preset": "medium"}
        self._stream = container.add_stream("mjpeg" if self._quality else "libx264", rate=30, options=options)
        self._stream.width, self._stream.height = self._size
        self._stream.pix_fmt = "yuvj420p" if self._quality else "yuv420p"
        self._stream.codec_context.time_base = self._stream.time_base = _CLOCK

    def add(self, rgb: Array, picture: Picture) -> None:
        """One picture at its time. Of an odd side the last row or column is left out; one of another size is scaled."""
        width, height = self._size
        if any(not 0 <= own - wanted <= 1 for own, wanted in zip(rgb.shape[1::-1], self._size, strict=True)):
            rgb = cv2.resize(rgb, self._size, interpolation=cv2.INTER_AREA)
        self._last = max(self._last + 1, round(picture.time_s / _CLOCK))
        self._container.mux(self._packets(np.ascontiguousarray(rgb[:height, :width]), self._last))
        self._sound.until(picture.time_s)

    def finish(self, seconds: float) -> None:
        """What the encoder holds, and the rest of the sound."""
        if not self._quality:
            self._container.mux(self._stream.encode(None))
        self._sound.until(seconds)
        self._sound.close()

    def _packets(self, rgb: Array, stamp: int) -> list[Any]:
        if not self._quality:
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = stamp, _CLOCK
            return list(self._stream.encode(frame))
        packet = av.Packet(_jpeg(rgb, self._quality))
        packet.stream, packet.time_base = self._stream, _CLOCK
        packet.pts = packet.dts = stamp
        packet.is_keyframe = True
        return [packet]


def _changed(rgb: Array, corruption: Corruption, rng: np.random.Generator, *, side: int | None) -> Array:
    """A picture as the corruption makes it, before it is stored."""
    if corruption.change is not None:
        rgb = corruption.change(rgb, rng)
    if side is not None and max(rgb.shape[:2]) > side:
        factor = side / max(rgb.shape[:2])
        height, width = (max(2, round(length * factor)) for length in rgb.shape[:2])
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    return rgb


def _jpeg(rgb: Array, quality: int) -> bytes:
    memory = io.BytesIO()
    Image.fromarray(rgb).save(memory, "JPEG", quality=quality)
    return memory.getvalue()


def _png(rgb: Array) -> bytes:
    memory = io.BytesIO()
    Image.fromarray(rgb).save(memory, "PNG")
    return memory.getvalue()


# --------------------------------------------------------------------------- sound


def _store_sound(
    medium: Any,
    out: Path,
    codec: Codec,
    rng: np.random.Generator,
    *,
    media: Path,
    limits: MediaLimits,
    deadline: Deadline,
) -> int:
    """The first sound of a file alone, mono, as the pack has it, then through the codec."""
    pieces: list[Array] = []
    if isinstance(medium, SoundMedium):
        medium.listen(pieces.append, deadline)
    elif isinstance(medium, VideoMedium):
        next(medium.pictures())  # the clock of the sound is known after the first picture
        with open_container(media) as container:
            stream = first_sound(container)
            if stream is not None:
                hear(container, stream, pieces.append, clock=medium.sound_clock(), limits=limits, deadline=deadline)
    if not pieces:
        return 0
    sound = np.concatenate(pieces)
    if codec.change is not None:
        sound = codec.change(sound, rng)
    if codec.rate != SOUND_RATE:
        sound = soxr.resample(sound, SOUND_RATE, codec.rate, quality="HQ")
    _encode(np.clip(sound, -1, 1).astype(np.float32), out, codec)
    return len(sound)


def _encode(sound: Array, out: Path, codec: Codec) -> None:
    """Store (n,) float32 samples of the codec's rate."""
    with av.open(str(out), "w", format=codec.layout) as container:
        stream: Any = container.add_stream(codec.codec, rate=codec.rate, layout="mono")
        if codec.kbit:
            stream.bit_rate = codec.kbit * 1000
        frame = av.AudioFrame.from_ndarray(sound[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = codec.rate, 0, Fraction(1, codec.rate)
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=codec.rate)
        fifo = av.AudioFifo()
        for part in resampler.resample(frame):
            fifo.write(part)
        samples = stream.codec_context.frame_size or 4096
        while (piece := fifo.read(samples, partial=True)) is not None:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
