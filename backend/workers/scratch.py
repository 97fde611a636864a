"""Claims a folder of the local scratch for one back-end, so that two on one machine never use each other's workers or jobs.

Owns ``<scratch>/workers/main``, ``<scratch>/jobs/main`` and the folders beside them. The first back-end gets ``main`` and, after a crash,
finds it again; while it runs, even stopped, others on the same scratch get folders with random names. A file lock says who is alive: it
ends with the process, however that ends. (Local disk only: the shared folders have no locks.) Imported by the pool, the runners and the
dispatcher.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import Final

from backend.workers.exchange import remove_tree

_LOCK: Final = "lock"


class Claim:
    """A claimed folder, ours until ``close``. ``lasting``: the next back-end on this scratch finds it again."""

    def __init__(self, folder: Path, handle: int, *, lasting: bool) -> None:
        self.folder, self.lasting, self._handle = folder, lasting, handle

    def close(self) -> None:
        """Release it; a folder that does not last is removed."""
        if not self.lasting:
            remove_tree(self.folder)
        os.close(self._handle)


def claim(room: Path) -> Claim:
    """Claim ``room/main``, or a new folder beside it when that one is in use."""
    room.mkdir(parents=True, exist_ok=True)
    os.chmod(room, 0o700)  # the folders below are open to containers' users: this keeps all others out
    for name, lasting in (("main", True), (f"extra-{secrets.token_hex(4)}", False)):
        folder = room / name
        folder.mkdir(exist_ok=True)
        handle = _locked(folder)
        if handle is not None:
            return Claim(folder.resolve(), handle, lasting=lasting)
    raise AssertionError("a new folder cannot be locked by another")


def abandoned(folder: Path) -> bool:
    """Whether the back-end that claimed ``folder`` is dead. A folder we cannot see is on another machine."""
    if not (folder / _LOCK).is_file():
        return False
    handle = _locked(folder)
    if handle is None:
        return False
    os.close(handle)
    return True


def remove_abandoned(room: Path) -> None:
    """Remove folders of dead back-ends, except ``main``."""
    for folder in room.glob("extra-*"):
        if abandoned(folder):
            remove_tree(folder)


def _locked(folder: Path) -> int | None:
    lock = folder / _LOCK
    if lock.is_symlink() or (lock.exists() and not lock.is_file()):
        remove_tree(lock)  # not one of our locks, and it could never be taken
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
