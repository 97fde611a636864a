"""``bundle.zip``: everything of a report in one file, made while it is sent.

Nothing of it is stored: the video would be on the disk twice. A plan is made first (the archive's own bytes, and between them which part of
which file), so that the length is known and any part can be sent (Range). Small texts are compressed, everything else is stored
as it is; memory does not grow with the video. Promises: the same report gives the same bytes; only what ``Reading`` hands out is in it.
For the front-end only.
"""

from __future__ import annotations

import io
import zipfile
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

from frontend.reading import Reading

NAME: Final = "bundle.zip"
#: Texts up to this size are compressed, in memory.
MOST_COMPRESSED: Final = 4_000_000
_TEXTS: Final = frozenset({".json", ".csv", ".html", ".txt"})
#: The earliest time a zip can hold, so that the bundle does not depend on when it was made.
_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)
_CHUNK: Final = 1 << 20

#: A piece of the archive: bytes of its own, or a whole file with its length.
Piece = bytes | tuple[Path, int]


class _Planner(io.RawIOBase):
    """What ``zipfile`` writes to: keeps the archive's own bytes, and of a file's content its place only."""

    def __init__(self) -> None:
        self.pieces: dict[int, Piece] = {}
        self._at = self._end = 0
        self._file: tuple[Path, int] | None = None

    @contextmanager
    def content_of(self, file: Path) -> Iterator[None]:
        """What is written here is the content of ``file``."""
        start = self._at
        self._file = (file, 0)
        yield
        if self._at > start:
            self.pieces[start] = (file, self._at - start)
        self._file = None

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        return self._at

    def write(self, data: Any) -> int:
        if self._file is None:
            self.pieces[self._at] = bytes(data)  # a header written again has the length of the first one
        self._at += len(data)
        self._end = max(self._end, self._at)
        return len(data)


class Bundle:
    """The archive of one report: ``length`` in bytes, and a ``tag`` that changes with its content."""

    def __init__(self, pieces: dict[int, Piece], *, tag: str) -> None:
        self.tag, self._pieces = tag, pieces
        start = max(pieces)
        last = pieces[start]
        self.length = start + (len(last) if isinstance(last, bytes) else last[1])

    def open(self) -> io.BufferedReader:
        """A file of it, which can be read from any place."""
        return io.BufferedReader(_Reader(self._pieces, self.length))


class _Reader(io.RawIOBase):
    def __init__(self, pieces: dict[int, Piece], length: int) -> None:
        self._starts = sorted(pieces)
        self._pieces = [pieces[start] for start in self._starts]
        self.length, self._at = length, 0
        self._open: tuple[int, BinaryIO] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.length}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer``, at most to the end of a piece; OSError when a file became shorter meanwhile."""
        if self._at >= self.length or not len(buffer):
            return 0
        number = bisect_right(self._starts, self._at) - 1
        piece, offset = self._pieces[number], self._at - self._starts[number]
        if isinstance(piece, bytes):
            data = piece[offset : offset + len(buffer)]
        else:
            data = self._file(number, piece[0], offset).read(min(len(buffer), piece[1] - offset))
            if not data:
                raise OSError(f"{piece[0].name} became shorter while it was sent")
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None
        super().close()

    def _file(self, number: int, path: Path, offset: int) -> BinaryIO:
        if self._open is None or self._open[0] != number:
            if self._open is not None:
                self._open[1].close()
            self._open = (number, path.open("rb"))
        self._open[1].seek(offset)
        return self._open[1]


def bundle_of(reading: Reading) -> Bundle:
    """The bundle of a report; PermanentError(not_found) when one of its files is missing or is not a regular file."""
    names = sorted({*reading.result.files, "result.json"})
    states = []
    for name in names:
        info = reading.path(name).stat()
        states.append((name, info.st_size, info.st_mtime_ns))
    return Bundle(_planned(reading.folder, tuple(states)), tag=sha256(repr(states).encode()).hexdigest()[:32])


@lru_cache(maxsize=4)  # a download that goes on, or is made in parts, asks again and again
def _planned(folder: Path, states: tuple[tuple[str, int, int], ...]) -> dict[int, Piece]:
    planner = _Planner()
    with zipfile.ZipFile(planner, "w") as bundle:
        for name, size, _ in states:
            compressed = Path(name).suffix in _TEXTS and size <= MOST_COMPRESSED
            entry = zipfile.ZipInfo(name, _NO_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3  # Unix: the permission bits count
            entry.file_size = size  # lets zipfile choose ZIP64 for large videos
            if compressed:
                bundle.writestr(entry, (folder / name).read_bytes())
                continue
            with (
                bundle.open(entry, "w") as target,
                (folder / name).open("rb") as source,
                planner.content_of(folder / name),
            ):
                while block := source.read(_CHUNK):  # for the checksum
                    target.write(block)
    return planner.pieces
