"""Damages clips on purpose, packet by packet or in the bytes of the file."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import av

#: (bytes of a packet, random numbers) -> bytes of the damaged packet, None for a lost one.
Harm = Callable[[bytes, random.Random], bytes | None]


def cut_short(data: bytes, rnd: random.Random) -> bytes:
    return data[: max(40, len(data) // 2)]


def zeroed(data: bytes, rnd: random.Random) -> bytes:
    half = max(40, len(data) // 2)
    return data[:half] + bytes(len(data) - half)


def overwritten(data: bytes, rnd: random.Random) -> bytes:
    """All behind the first third is noise."""
    third = max(40, len(data) // 3)
    return data[:third] + rnd.randbytes(max(0, len(data) - third))


def scratched(data: bytes, rnd: random.Random) -> bytes:
    """Sixteen bytes of noise in the first third."""
    at = max(40, len(data) // 4)
    return data[:at] + rnd.randbytes(16) + data[at + 16 :]


def emptied(data: bytes, rnd: random.Random) -> bytes:
    """Sixteen zeros in the first third."""
    at = max(40, len(data) // 4)
    return data[:at] + bytes(16) + data[at + 16 :]


def lost(data: bytes, rnd: random.Random) -> None:
    return None


def damage_packets(clip: Path, out: Path, harms: dict[int, Harm]) -> Path:
    """Copy ``clip`` to ``out`` with the packets of the given numbers (decoding order) harmed."""
    rnd = random.Random(5)
    with av.open(str(clip)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        number = 0
        for packet in source.demux(video=0):
            if not packet.size:
                continue
            if number in harms:
                data = harms[number](bytes(packet), rnd)
                if data is None:
                    number += 1
                    continue
                harmed = av.Packet(data)
                harmed.pts, harmed.dts, harmed.duration = packet.pts, packet.dts, packet.duration
                harmed.time_base, harmed.is_keyframe = packet.time_base, packet.is_keyframe
                packet = harmed
            packet.stream = stream
            target.mux(packet)
            number += 1
    return out


#: Number of the stream of pictures (PID) in a transport stream that FFmpeg writes.
_PICTURES = 0x100


def overwrite_bytes(clip: Path, out: Path, *, share: float, count: int) -> Path:
    """Copy ``clip`` to ``out`` with ``count`` bytes of noise at ``share`` of its length."""
    data = bytearray(clip.read_bytes())
    at = int(len(data) * share)
    data[at : at + count] = random.Random(7).randbytes(count)
    out.write_bytes(data)
    return out


def lose_ts_packets(clip: Path, out: Path, *, share: float, count: int) -> Path:
    """Copy a transport stream without ``count`` of its 188-byte packets, the first a picture's, at ``share`` of its length."""
    data = clip.read_bytes()
    at = int(len(data) // 188 * share) * 188
    while int.from_bytes(data[at + 1 : at + 3], "big") & 0x1FFF != _PICTURES:
        at += 188
    out.write_bytes(data[:at] + data[at + 188 * count :])
    return out
