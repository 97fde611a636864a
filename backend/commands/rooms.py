"""Folders of our own for the time of one command, removed however it ends.

A signal ends a command like an error does: what was begun is cleaned up. What a ``kill -9`` left is removed by the next command:
a lock says whether its process lives, since it ends with the process (``flock``). Imported by the commands.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final

from shared import durable

#: Name of all our temporary folders: ours are recognised by it, by their owner and by their lock.
PREFIX: Final = "deepfake-o-meter-"
#: In each room, locked while its process lives.
LOCK: Final = "lock"
#: Folder of a room for what is about to be replaced.
REPLACED: Final = "replaced"
#: Of a room whose process is dead, this remains until the next command ends: the runners know abandoned containers by it.
_WORKERS: Final = "workers"


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the block as an error does; the exit status is 128 + the signal's number, as in a shell.

    A second signal does not wait: rooms are removed, and the process ends. Its workers end with it.
    """
    stopping = False

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            for folder in list(_open_rooms):
                _put_back(folder)
                shutil.rmtree(folder, ignore_errors=True)
            os._exit(128 + number)
        stopping = True
        raise SystemExit(128 + number)

    # SIGINT even where it is ignored: a shell without job control starts background commands so. SIGHUP not: that is nohup's wish
    numbers = [signal.SIGINT, signal.SIGTERM]
    numbers += [signal.SIGHUP] * (signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """A room for media, face packs and workers: in ``parent``, or in the folder for temporary files."""
    where = parent or Path(tempfile.gettempdir())
    where.mkdir(parents=True, exist_ok=True)
    with room(where, prefix=PREFIX) as folder:
        yield folder


@contextlib.contextmanager
def room(parent: Path, *, prefix: str) -> Iterator[Path]:
    """A new folder ``<prefix>...`` in ``parent``, ours until the block ends. OSError when ``parent`` cannot be written."""
    _for_each_abandoned(parent, prefix, _empty)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix)).absolute()
    _open_rooms.append(folder)
    handle = None
    try:
        handle = _locked_from_birth(folder)
        yield folder
    finally:
        _put_back(folder)
        _remove(folder)
        if handle is not None:
            os.close(handle)
        _open_rooms.remove(folder)
        _for_each_abandoned(parent, prefix, _remove)


_open_rooms: list[Path] = []


def _locked_from_birth(folder: Path) -> int:
    """A lock that no other process can have taken before us: it gets its name when it is locked."""
    fresh = folder / f"{LOCK}.{secrets.token_hex(4)}"
    handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks: then nobody removes our room either
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        durable.move_file(fresh, folder / LOCK)
    return handle


def _for_each_abandoned(parent: Path, prefix: str, do: Callable[[Path], None]) -> None:
    """``do`` with every room below ``parent`` that is ours and whose process is dead."""
    with contextlib.suppress(OSError):
        for folder in [Path(entry.path) for entry in os.scandir(parent) if entry.name.startswith(prefix)]:
            handle = _taken_over(folder)
            if handle is not None:
                try:
                    _put_back(folder)
                    do(folder)
                finally:
                    os.close(handle)


def _taken_over(folder: Path) -> int | None:
    """The lock of a room whose process is dead, now ours; None for a room in use, and for what is no room of ours."""
    try:
        info = os.lstat(folder)
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
            return None
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _put_back(folder: Path) -> None:
    """Give what was about to be replaced its name again, unless the new one has it."""
    with contextlib.suppress(OSError):
        for kept in list((folder / REPLACED).iterdir()):
            with contextlib.suppress(FileExistsError):
                durable.claim_name(kept, folder.parent / kept.name)


def _empty(folder: Path) -> None:
    """Remove the media and crops of a dead process. Locks stay: containers that it left are found and ended by them."""
    for entry in list(folder.iterdir()):
        if entry.name == _WORKERS:
            for worker in list(entry.glob("*/*")):
                if worker.is_dir() and not worker.is_symlink():
                    _remove(worker)
        elif entry.name != LOCK:
            _remove(entry)


def _remove(path: Path) -> None:
    """Remove a file or tree; a worker that is just ending may still write into it, so it is tried again."""
    for _ in range(3):
        with contextlib.suppress(OSError):
            durable.remove(path)
            return
    shutil.rmtree(path, ignore_errors=True)
