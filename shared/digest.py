"""The sha256 of a file. May be imported by all but the contract of detectors."""

from __future__ import annotations

import hashlib
import os
from io import BufferedRandom, BufferedReader
from pathlib import Path

#: (path, device, inode, size, time of change) -> sha256
_known: dict[tuple[str, int, int, int, int], str] = {}


def sha256_of(source: Path | BufferedReader | BufferedRandom) -> str:
    """64 hexadecimal digits over the content of a file, read in blocks; of an open one from where it stands."""
    if isinstance(source, Path):
        with source.open("rb") as stream:
            return sha256_of(stream)
    return hashlib.file_digest(source, "sha256").hexdigest()


def remembered_sha256(path: Path) -> str:
    """The same, read once as long as the file does not change: weights of 500 MB are asked for again and again."""
    with path.open("rb") as stream:
        facts = os.fstat(stream.fileno())
        key = (str(path), facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
        if key not in _known:
            _known[key] = sha256_of(stream)
        return _known[key]


def forget_remembered() -> None:
    """Read every file anew."""
    _known.clear()
