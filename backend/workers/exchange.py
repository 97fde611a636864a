"""The exchange folder of one worker, and the rooms jobs get in it.

Promises: whatever a worker does in its folder (links, FIFOs, a swapped socket, a tree too deep to walk), our side never leaves
the folder: every step uses directory descriptors with ``O_NOFOLLOW``. A job's files are hard-linked in,
read-only, and are removed when the room closes. Imported by ``backend.workers.worker``, the runners and the pool.

The folder holds ``worker.sock`` and one folder per job: ``<job>/<links>``, ours, and ``<job>/out``, the worker's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger()

SOCKET_NAME: Final = "worker.sock"
#: More entries or levels than a correct worker writes.
MAX_ENTRIES: Final = 20_000
MAX_DEPTH: Final = 6
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Exchange:
    """The folder ``folder``, made when it is missing.

    ``shared``: the worker is another user (a container's ``nobody``), and the folder is open to it, with the sticky bit, so
    that it cannot change our files. The folder above must keep all other users out.
    ``linked``: the worker cannot change our files through a hard link, or is trusted; otherwise files are copied in.
    """

    def __init__(self, folder: Path, *, shared: bool, linked: bool) -> None:
        self.folder = folder
        self._mode = 0o777 if shared else 0o700
        self._linked = linked
        folder.mkdir(exist_ok=True)
        os.chmod(folder, self._mode | (stat.S_ISVTX if shared else 0))
        self._handle = os.open(folder, _FOLDER_FLAGS)
        self._ours: set[tuple[int, int]] = set()

    def close(self) -> None:
        """Remove the folder with all it holds."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        remove_tree(self.folder)

    def wipe(self, *, keep_socket: bool = False) -> None:
        """Remove what an earlier worker left."""
        for name in os.listdir(self._handle):
            if not (keep_socket and name == SOCKET_NAME):
                remove_tree(self.folder / name)

    # -- the socket

    def dial(self, *, timeout_s: float) -> socket.socket | None:
        """A connection to the worker; None while it does not listen yet. ConnectionRefusedError when the name is not a socket.

        The name is opened without following links, and the connection goes to that very inode: the length of the path does not
        matter (sun_path holds 107 bytes), and a link to another service's socket is refused.
        """
        try:
            handle = os.open(SOCKET_NAME, os.O_PATH | os.O_NOFOLLOW, dir_fd=self._handle)
        except FileNotFoundError:
            return None
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if not stat.S_ISSOCK(os.fstat(handle).st_mode):
                raise ConnectionRefusedError(errno.ENOTSOCK, "worker.sock is not a socket")
            connection.settimeout(timeout_s)
            try:
                connection.connect(f"/proc/self/fd/{handle}")
            except (ConnectionRefusedError, BlockingIOError, TimeoutError):  # left by a worker that died, or just bound
                connection.close()
                return None
            return connection
        except BaseException:
            connection.close()
            raise
        finally:
            os.close(handle)

    # -- rooms

    @contextlib.contextmanager
    def room(self, job: str) -> Iterator[Room]:
        """A room for ``job``, emptied and removed afterwards."""
        _check_name(job)
        if job in os.listdir(self._handle):
            remove_tree(self.folder / job)
        os.mkdir(job, 0o755, dir_fd=self._handle)
        handle = os.open(job, _FOLDER_FLAGS, dir_fd=self._handle)
        try:
            os.chmod(handle, 0o755)  # noqa: S103  mkdir's mode went through the umask
            os.mkdir("out", 0o700, dir_fd=handle)
            out = os.open("out", _FOLDER_FLAGS, dir_fd=handle)
            os.chmod(out, self._mode)
            os.close(out)
            yield Room(self.folder / job, handle, linked=self._linked, ours=self._ours)
        finally:
            os.close(handle)
            self._ours.clear()
            remove_tree(self.folder / job)

    def too_much(self, *, max_bytes: int) -> bool:
        """Whether the worker wrote more than ``max_bytes``, too many files, or a tree too deep. What we put in does not count."""
        left = _Left(max_bytes, MAX_ENTRIES)
        return not self._fits(self._handle, left, MAX_DEPTH)

    def _fits(self, folder: int, left: _Left, depth: int) -> bool:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    info = entry.stat(follow_symlinks=False)
                except OSError:  # it was removed meanwhile
                    continue
                if (info.st_dev, info.st_ino) in self._ours:
                    continue
                left.entries -= 1
                left.bytes -= info.st_blocks * 512
                if left.entries < 0 or left.bytes < 0:
                    return False
                if stat.S_ISDIR(info.st_mode) and not self._folder_fits(entry.name, folder, left, depth):
                    return False
        return True

    def _folder_fits(self, name: str, above: int, left: _Left, depth: int) -> bool:
        if depth == 0:
            return False
        try:
            handle = os.open(name, _FOLDER_FLAGS, dir_fd=above)
        except (FileNotFoundError, NotADirectoryError):  # it was removed, or swapped for a link
            return True
        except OSError:  # not readable for us: a correct worker's output is
            return False
        try:
            return self._fits(handle, left, depth - 1)
        finally:
            os.close(handle)


class _Left:
    def __init__(self, bytes_left: int, entries: int) -> None:
        self.bytes, self.entries = bytes_left, entries


class Room:
    """One job's place in the exchange folder. ``out`` is where the worker writes; everything in it is untrusted."""

    def __init__(self, folder: Path, handle: int, *, linked: bool, ours: set[tuple[int, int]]) -> None:
        self.out = folder / "out"
        self._folder, self._handle, self._linked, self._ours = folder, handle, linked, ours

    def path(self, name: str) -> str:
        """``name`` as the worker gets it: relative to the exchange folder."""
        return f"{self._folder.name}/{name}"

    def link(self, source: Path, name: str) -> None:
        """Give the file or folder ``source`` to the worker as ``name``, read-only."""
        _check_name(name)
        self._take(source, name, self._handle)

    def _take(self, source: Path, name: str, folder: int) -> None:
        info = os.stat(source, follow_symlinks=False)
        if stat.S_ISDIR(info.st_mode):
            os.mkdir(name, 0o755, dir_fd=folder)
            handle = os.open(name, _FOLDER_FLAGS, dir_fd=folder)
            try:
                os.chmod(handle, 0o755)  # noqa: S103  mkdir's mode went through the umask
                for child in os.listdir(source):
                    self._take(source / child, child, handle)
            finally:
                os.close(handle)
        elif stat.S_ISREG(info.st_mode):
            self._take_file(source, info, name, folder)
        else:
            raise ValueError(f"{source} is neither a file nor a folder")

    def _take_file(self, source: Path, info: os.stat_result, name: str, folder: int) -> None:
        if self._linked and info.st_mode & 0o004:
            try:
                os.link(source, name, dst_dir_fd=folder, follow_symlinks=False)
                self._ours.add((info.st_dev, info.st_ino))
                return
            except OSError as error:  # another file system, or one without hard links
                if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
                    raise
        with source.open("rb") as reader:
            handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o444, dir_fd=folder)
            with os.fdopen(handle, "wb") as writer:
                os.chmod(writer.fileno(), 0o444)
                shutil.copyfileobj(reader, writer, 1 << 20)
                copied = os.fstat(writer.fileno())
        self._ours.add((copied.st_dev, copied.st_ino))


def remove_tree(path: Path) -> None:
    """Remove a file or a tree, however deep, without following links. What cannot be removed is logged."""
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)  # uses directory descriptors: no links are followed
        else:
            os.unlink(path)
    except FileNotFoundError:
        return
    except (RecursionError, OSError):
        # a tree deeper than Python's stack, or one that changes while we remove it: rm walks it without recursion
        done = subprocess.run(["rm", "-rf", "--", str(path)], capture_output=True, check=False)  # noqa: S603, S607
        if done.returncode:
            log.warning("exchange_not_removed", path=str(path), reason=done.stderr.decode(errors="replace")[:200])


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a plain file name")
