"""The boxes of an MP4 or MOV file (ISO/IEC 14496-12, 4.2), walked without a demuxer. May be imported by ``backend.media``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final

#: How many boxes are looked at: hostile files have millions.
MOST_BOXES: Final = 4096


def boxes_of(stream: BinaryIO, way: Sequence[bytes], *, size: int) -> Iterator[tuple[int, int]]:
    """First byte inside and end of each box at the end of ``way``, kinds from the outermost, in a file of ``size`` bytes.

    At most ``MOST_BOXES`` boxes are looked at.
    """
    parts, looked_at = [(0, size, 0)], 0
    while parts:
        start, end, depth = parts.pop()
        for kind, inner, stop in neighbours(stream, start=start, end=end, most=MOST_BOXES - looked_at):
            looked_at += 1
            if kind == way[depth]:
                if depth == len(way) - 1:
                    yield inner, stop
                else:
                    parts.append((inner, stop, depth + 1))


def neighbours(stream: BinaryIO, *, start: int, end: int, most: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte inside, and end of each box between two places of the file, at most ``most``."""
    for _ in range(most):
        if start + 8 > end:
            return
        stream.seek(start)
        untrusted_head = stream.read(16)
        size, kind, inner = int.from_bytes(untrusted_head[:4], "big"), untrusted_head[4:8], start + 8
        if size == 1:
            size, inner = int.from_bytes(untrusted_head[8:16], "big"), start + 16
        stop = end if size == 0 else min(end, start + size)
        if stop < inner:
            return
        yield kind, inner, stop
        start = stop
