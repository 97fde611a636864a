"""Durable steps on a shared folder: write, fsync the file, rename, fsync the directory.

The only module beside ``shared.store`` that renames files. Every function leaves either the old or the new
state behind after a power cut, never a mixture.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any, Final

#: Begin of the names that ``set_aside`` gives.
ASIDE: Final = ".damaged-"


def fsync_directory(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_bytes(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write ``content`` to ``path`` atomically: readers see the old or the new file, whole. A folder of that name is set aside."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.replace(temporary, path)
        except IsADirectoryError:
            set_aside(path)
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    fsync_directory(path.parent)


def replace_json(path: Path, content: Any, *, mode: int = 0o644) -> None:
    """``replace_bytes`` of JSON text; NaN and infinity are refused (ValueError)."""
    replace_bytes(path, json.dumps(content, allow_nan=False, ensure_ascii=False, indent=1).encode(), mode=mode)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file of lines, made when it is missing; what is not a file under that name is set aside first."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        set_aside(path)
    # O_NONBLOCK: should a FIFO take the name just now, this fails instead of waiting for its reader
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    with os.fdopen(handle, "ab") as stream:
        stream.write(line.encode() + b"\n")


def move_directory(source: Path, target: Path) -> None:
    """Rename a finished directory into place; its files are made durable first.

    Raises FileNotFoundError when ``source`` is gone (somebody else moved it), FileExistsError when ``target`` exists.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists already")
    fsync_tree(source)
    os.rename(source, target)
    fsync_directory(target.parent)
    if source.parent != target.parent and source.parent.exists():
        fsync_directory(source.parent)


def fsync_tree(folder: Path) -> None:
    """fsync every regular file and directory below ``folder``."""
    for root, _, files in os.walk(folder):
        for name in files:
            handle = os.open(Path(root) / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        fsync_directory(Path(root))


def remove_directory(folder: Path) -> None:
    """Remove a directory in two steps (rename to a dot-name, then delete) so that nobody sees a half-deleted one.

    What an open file keeps alive on NFS (``.nfs*``) stays under the dot-name and is taken by the next sweep.
    """
    hidden = folder.with_name(f".removed-{folder.name}-{secrets.token_hex(4)}")
    try:
        os.rename(folder, hidden)
    except FileNotFoundError:
        return
    fsync_directory(folder.parent)
    shutil.rmtree(hidden, ignore_errors=True)


def set_aside(path: Path) -> Path:
    """Rename what is not one of ours to a dot-name beside it, whatever it is (file, folder, link, FIFO); the new path.

    Nothing is opened or followed. Whoever owns the folder deletes these names when their time is over.
    """
    aside = path.with_name(f"{ASIDE}{path.name}-{secrets.token_hex(4)}")
    os.rename(path, aside)
    fsync_directory(path.parent)
    return aside


def move_file(source: Path, target: Path) -> None:
    """Rename a finished file into place (replacing what is there), durably."""
    handle = os.open(source, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(source, target)
    fsync_directory(target.parent)
