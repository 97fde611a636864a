"""Clips whose clock is not one line: written with PyAV, and where no muxer writes such a file, patched in its bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

#: Pictures of one recording, and seconds between two of them.
PICTURES, STEP = 25, 0.04
_TICKS = 90_000


def recording(
    path: Path,
    stamps_s: Sequence[float] | None = None,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    sound_s: Sequence[float] = (),
    offsets: bool = False,
) -> Path:
    """A clip of 160 x 120 whose pictures are stamped ``stamps_s`` (a multiple of ``PICTURES`` of them: that many recordings).

    Each recording starts with a key frame. ``sound_s``: stamps of the packets of an MP2 or AAC tone. ``offsets``: every second
    packet of an MP4 gets an offset of its own, so that its table can be patched.
    """
    stamps = list(np.arange(PICTURES) * STEP) if stamps_s is None else list(stamps_s)
    packets = _packets(codec, options or {}, len(stamps))
    reorders = any(shown != decoded for _, shown, decoded, _ in packets)
    with av.open(str(path), "w", options=container or {}) as out:
        stream = out.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        if path.suffix != ".avi":
            stream.time_base = Fraction(1, _TICKS)
        tone = out.add_stream("aac", rate=48000, layout="stereo") if len(sound_s) else None
        rows = []
        for data, shown, decoded, key in packets:
            packet = av.Packet(data)
            packet.pts = round(stamps[shown] * _TICKS) + (900 if offsets and decoded % 2 else 0)
            packet.dts = round((_decoded_s(stamps, decoded) if reorders else stamps[shown]) * _TICKS)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, _TICKS), key
            rows.append((packet.dts / _TICKS, packet))
        for stamp, packet in _sound(tone, sound_s):
            rows.append((stamp, packet))
        for _, packet in sorted(rows, key=lambda row: row[0]):
            out.mux(packet)
    return path


def _decoded_s(stamps: Sequence[float], decoded: int) -> float:
    """When a picture of a recording with B-frames is decoded: three pictures early."""
    first = decoded - decoded % PICTURES
    place = decoded - 3
    return stamps[place] if place >= first else stamps[first] - (first - place) * STEP


def _packets(codec: str, options: dict[str, str], count: int) -> list[tuple[bytes, int, int, bool]]:
    """(bytes, place on the screen, place in the file, key frame) of ``count`` pictures, in the order of the file."""
    found: list[tuple[bytes, int, int, bool]] = []
    for start in range(0, count, PICTURES):
        encoder = av.CodecContext.create(codec, "w")
        encoder.width, encoder.height, encoder.pix_fmt = 160, 120, "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
        encoder.options = options
        frames: list[av.VideoFrame | None] = [_picture(start + k, k) for k in range(min(PICTURES, count - start))]
        for frame in [*frames, None]:
            for packet in encoder.encode(frame):
                found.append((bytes(packet), start + packet.pts, len(found), packet.is_keyframe))
    return found


def _picture(number: int, pts: int) -> av.VideoFrame:
    """A grey picture with a bar that moves, so that each differs."""
    image = np.full((120, 160, 3), 90, np.uint8)
    image[:, 4 * number % 150 : 4 * number % 150 + 10] = 200
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame.pts = pts
    return frame


def _sound(tone, stamps: Sequence[float]) -> list[tuple[float, av.Packet]]:
    if tone is None:
        return []
    encoder = av.CodecContext.create("aac", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48000, "stereo", "fltp"
    encoder.open()
    packets = []
    while len(packets) < len(stamps):
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 48000, 1024 * len(packets)
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    made = []
    for stamp, data in zip(stamps, packets, strict=False):
        packet = av.Packet(data)
        packet.pts = packet.dts = round(stamp * 48000)
        packet.stream, packet.time_base = tone, Fraction(1, 48000)
        made.append((stamp, packet))
    return made


# --------------------------------------------------------------------------- patches


def joined(path: Path, first: Path, second: Path) -> Path:
    """``second`` behind ``first``, byte for byte: what ``cat`` does with TS and PS."""
    path.write_bytes(first.read_bytes() + second.read_bytes())
    return path


def patch_offsets(path: Path, change: Callable[[int, int], int]) -> Path:
    """Change the composition offset of each sample of an MP4: ``change(sample, ticks)``; the table is made signed."""
    data = bytearray(path.read_bytes())
    at = data.index(b"ctts")
    data[at + 4] = 1
    (count,) = struct.unpack_from(">I", data, at + 8)
    sample = 0
    for entry in range(count):
        run, ticks = struct.unpack_from(">Ii", data, at + 12 + 8 * entry)
        assert run == 1, "one entry a sample"
        struct.pack_into(">i", data, at + 16 + 8 * entry, change(sample, ticks))
        sample += run
    path.write_bytes(data)
    return path


def patch_fragments(path: Path, change: Callable[[int, int], int]) -> Path:
    """Change the start of each fragment of a fragmented MP4: ``change(fragment, ticks)``."""
    data = bytearray(path.read_bytes())
    at, fragment = data.find(b"tfdt"), 0
    while at >= 0:
        assert data[at + 4] == 1
        (ticks,) = struct.unpack_from(">Q", data, at + 8)
        struct.pack_into(">Q", data, at + 8, change(fragment, ticks))
        at, fragment = data.find(b"tfdt", at + 4), fragment + 1
    assert fragment > 1
    path.write_bytes(data)
    return path


def patch_flv(path: Path, change: Callable[[int], int]) -> Path:
    """Change the stamp (ms) of each picture of an FLV."""
    data = bytearray(path.read_bytes())
    at = 13
    while at + 11 < len(data):
        kind, size = data[at], int.from_bytes(data[at + 1 : at + 4], "big")
        if kind == 9 and data[at + 12] == 1:  # a picture, not its header
            stamp = change(data[at + 7] << 24 | int.from_bytes(data[at + 4 : at + 7], "big"))
            data[at + 4 : at + 7], data[at + 7] = (stamp & 0xFFFFFF).to_bytes(3, "big"), stamp >> 24
        at += 11 + size + 4
    path.write_bytes(data)
    return path


def patch_clusters(path: Path, change: Callable[[int, int], int]) -> Path:
    """Change the stamp (ms) of each cluster of a Matroska file that was written for streaming: ``change(cluster, ms)``."""
    data = bytearray(path.read_bytes())
    at, cluster = data.find(b"\x1f\x43\xb6\x75"), 0
    while at >= 0:
        stamp = data.index(b"\xe7", at, at + 16)
        size = data[stamp + 1] & 0x7F
        value = change(cluster, int.from_bytes(data[stamp + 2 : stamp + 2 + size], "big"))
        data[stamp + 2 : stamp + 2 + size] = value.to_bytes(size, "big")
        at, cluster = data.find(b"\x1f\x43\xb6\x75", at + 4), cluster + 1
    assert cluster > 1
    path.write_bytes(data)
    return path
