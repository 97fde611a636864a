"""Opens what a worker wrote without trusting names: no link is followed, no FIFO is waited for, nothing is read beyond its cap.

Arrays are read from their bytes; nothing is unpickled.

Imported by this folder and, for single files, by the pipeline.
"""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog
from pydantic import ValidationError

from base_detector import Array
from shared import durable
from shared.errors import PermanentError

log = structlog.get_logger()

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: An untrusted folder is ``<exchange>/<job>/out/<name>`` at most: the worker may have swapped the last three names.
_SUSPECTS: Final = 3
_NO_KERNEL_COPY: Final = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class Refused(Exception):
    """The file is not what it should be. ``too_large``: it exceeds its cap."""

    def __init__(self, reason: str, *, too_large: bool = False) -> None:
        super().__init__(reason)
        self.too_large = too_large


@contextlib.contextmanager
def open_folder(untrusted: Path) -> Iterator[int]:
    """A descriptor of the folder; its last three names must be folders, not links to folders."""
    parts = untrusted.absolute().parts
    trusted, suspects = parts[:-_SUSPECTS], parts[-_SUSPECTS:]
    handle = os.open(Path(*trusted) if trusted else "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in suspects:
            try:
                inner = os.open(name, _FOLDER, dir_fd=handle)
            except OSError as error:
                raise Refused(f"{name}: {error.strerror}") from None
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


@contextlib.contextmanager
def open_file(folder: int, name: str, *, max_bytes: int) -> Iterator[int]:
    """A descriptor of the regular file ``name`` in the open folder; Refused when it is not one, or larger than ``max_bytes``."""
    try:
        handle = os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        raise Refused(f"{name}: {error.strerror}") from None
    try:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            raise Refused(f"{name} is not a regular file")
        if info.st_size > max_bytes:
            raise Refused(f"{name} has {info.st_size} bytes, allowed are {max_bytes}", too_large=True)
        yield handle
    finally:
        os.close(handle)


def read_file(folder: int, name: str, *, max_bytes: int) -> bytes:
    """The content of a file; a file that grows while we read is refused too."""
    with open_file(folder, name, max_bytes=max_bytes) as handle, os.fdopen(os.dup(handle), "rb") as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise Refused(f"{name} grows", too_large=True)
    return content


def copy_file(folder: int, name: str, target: Path, *, max_bytes: int) -> int:
    """Copy a file to ``target`` (new, or replaced), inside the kernel where it can; the number of bytes."""
    with open_file(folder, name, max_bytes=max_bytes) as source, target.open("wb") as stream:
        written, chunk = 0, _kernel_copy
        while True:
            wanted = min(1 << 30, max_bytes + 1 - written)
            try:
                count = chunk(source, stream.fileno(), wanted)
            except OSError as error:
                if chunk is _plain_copy or error.errno not in _NO_KERNEL_COPY:
                    raise
                chunk = _plain_copy
                continue
            if not count:
                return written
            written += count
            if written > max_bytes:
                raise Refused(f"{name} grows", too_large=True)


def take_file(folder: int, name: str, target: Path, *, max_bytes: int, moved: bool) -> int:
    """Bring a file to ``target``, a new name; the number of bytes. With ``moved`` by a rename, where that is possible, else by a copy.

    A rename keeps the worker's own inode. Whoever still has the file open for writing, or another name of it, can change it after the
    check, and can truncate it: a memory map of a truncated file kills its reader, which is the dispatcher. So files of containers are
    always copied (their exchange folder stays mounted, and what runs there may be hostile). A process of ours is trusted with more
    anyway: it is the same user and could open the job's folder by its path; it has closed the file when it answers. Even so only a
    file with one name is moved: never one that we, or a mistake, linked into the room.
    """
    if moved:
        with open_file(folder, name, max_bytes=max_bytes) as source:
            info = os.fstat(source)
            if info.st_nlink == 1 and info.st_uid == os.geteuid() and _renamed(folder, name, target):
                found = os.lstat(target)
                if (found.st_dev, found.st_ino) != (info.st_dev, info.st_ino):
                    raise Refused(f"{name} was exchanged")
                return os.fstat(source).st_size
    return copy_file(folder, name, target, max_bytes=max_bytes)


def _renamed(folder: int, name: str, target: Path) -> bool:
    """False when ``target`` is on another file system."""
    try:
        durable.move_out(folder, name, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise Refused(f"{name}: {error.strerror}") from None
        return False
    return True


def _kernel_copy(source: int, target: int, count: int) -> int:
    return (
        os.copy_file_range(source, target, count)
        if hasattr(os, "copy_file_range")
        else _plain_copy(source, target, count)
    )


def _plain_copy(source: int, target: int, count: int) -> int:
    left = block = os.read(source, min(count, 1 << 20))
    while left:
        left = left[os.write(target, left) :]
    return len(block)


def count_values(untrusted_json: bytes) -> int:
    """About how many values it holds, counted before it is parsed: a parser makes fifty bytes and more of a value that takes three, and
    a list of all mistakes shows them again and again.
    """
    return sum(map(untrusted_json.count, (b",", b"[", b"{")))


def read_array(untrusted_npy: bytes, *, name: str, dtype: np.dtype[Any], dimensions: int) -> Array:
    """The array in a ``.npy`` file (format 1.0, rows first, no more bytes than its header asks for); Refused when it is anything else."""
    stream = io.BytesIO(untrusted_npy)
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise Refused(f"{name} has format {version}")
        shape, fortran, found = np.lib.format.read_array_header_1_0(stream)
    except Refused:
        raise
    except Exception as error:  # numpy's parser lets through whatever ast and tokenize raise
        raise Refused(f"{name}: {type(error).__name__}") from None
    rest = len(untrusted_npy) - stream.tell()
    if (
        found != dtype
        or fortran
        or len(shape) != dimensions
        or min(shape) < 0
        or rest != math.prod(shape) * dtype.itemsize
    ):
        raise Refused(f"{name} does not have the layout of the contract")
    return np.frombuffer(untrusted_npy, dtype, offset=stream.tell()).reshape(shape)


def harvest_file(untrusted_out: Path, name: str, target: Path, *, max_bytes: int, moved: bool = False) -> None:
    """Take the regular file ``name`` to ``target`` (``moved``: see ``take_file``); PermanentError: ``output_too_large`` or
    ``media_bad_output``.
    """
    if Path(name).name != name:
        raise ValueError(f"{name!r} is not a plain file name")
    try:
        with open_folder(untrusted_out) as folder:
            take_file(folder, name, target, max_bytes=max_bytes, moved=moved)
    except Refused as error:
        with contextlib.suppress(IsADirectoryError):
            target.unlink(missing_ok=True)
        raise refusal("media_bad_output", error) from None


def refusal(code: str, error: Exception) -> PermanentError:
    """The error for refused output: ``code``, or ``output_too_large``; the broken rule is logged."""
    log.warning("output_refused", code=code, reason=_first_reason(error))
    if isinstance(error, Refused) and error.too_large:
        code = "output_too_large"
    return PermanentError(code)


def _first_reason(error: Exception) -> str:
    """Which rule was broken, without text from the worker."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"{'.'.join(str(part)[:40] for part in first['loc'][:4])}: {first['type']}"
    return str(error)
