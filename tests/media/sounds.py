"""Makes and encodes the sound that the media tests listen to, with PyAV, when they run."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def tone(seconds: float, *, rate: int = 16_000, hertz: float = 440.0, level: float = 0.3) -> np.ndarray:
    """A tone, (n,) float32."""
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_sound(
    path: Path,
    samples: np.ndarray,
    *,
    codec: str,
    rate: int = 44_100,
    format: str | None = None,
    start: int = 0,
    cover: np.ndarray | None = None,
    tags: dict[str, str] | None = None,
    bit_rate: int | None = None,
) -> Path:
    """Encode ``samples``, (channels, n) or (n,) float32; ``start``: stamp of the first one; ``cover``: an RGB picture."""
    planes = np.atleast_2d(samples).astype(np.float32)
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[len(planes)]
    with av.open(str(path), "w", format=format) as container:
        container.metadata.update(tags or {})
        add_sound(container, planes, codec=codec, rate=rate, layout=layout, start=start, bit_rate=bit_rate, cover=cover)
    return path


def add_sound(container, planes, *, codec, rate, layout="mono", start=0, bit_rate=None, cover=None, packets=()) -> None:
    """Encode ``planes`` as a stream of ``container``, which has no packets yet; then write ``packets`` of its other streams."""
    stream = container.add_stream(codec, rate=rate, layout=layout)
    if bit_rate:
        stream.bit_rate = bit_rate
    context = stream.codec_context
    context.options = {"strict": "experimental"}  # FFmpeg's own encoder of Vorbis
    context.open()
    if cover is not None:
        picture = container.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = cover.shape[1], cover.shape[0], "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(cover), format="rgb24")
        container.mux([*picture.encode(shown), *picture.encode()])
    size = context.frame_size or 1024
    resampler = av.AudioResampler(format=context.format, layout=layout, rate=rate, frame_size=size)
    packed = np.ascontiguousarray(planes.T).reshape(1, -1)  # PyAV counts a ninth plane behind eight
    whole = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
    whole.sample_rate, whole.pts, whole.time_base = rate, start, Fraction(1, rate)
    for frame in [*resampler.resample(whole), *resampler.resample(None)]:
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
    for packet in packets:
        container.mux(packet)


def wav(
    data: bytes, *, kind: int = 1, channels: int = 1, rate: int = 16_000, bits: int = 16, promised: int | None = None
) -> bytes:
    """A WAV file of these bytes of samples; ``kind`` 1 is PCM, 3 float; ``promised``: the length that its headers claim."""
    length = len(data) if promised is None else promised
    head = struct.pack("<HHIIHH", kind, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)
    riff = min(length + 36, 0xFFFFFFFF)
    return (
        b"RIFF"
        + struct.pack("<I", riff)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + head
        + b"data"
        + struct.pack("<I", length)
        + data
    )
