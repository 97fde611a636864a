"""Durable steps on a shared folder: write, fsync the file, rename, fsync the directory.

The only module beside ``shared.store`` that renames files. After a power cut, every function leaves either the old or the new
state, never a mixture.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

#: Prefix of the names that ``set_aside`` gives.
ASIDE: Final = ".damaged-"
#: Prefix of the names of folders that are being deleted.
REMOVED: Final = ".removed-"
#: How file systems say that they give no second name to a file, or not to this user, or not so many.
NO_LINKS: Final = frozenset({errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS})


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
        with contextlib.suppress(OSError):
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
    # O_NONBLOCK: if a FIFO takes the name meanwhile, this fails instead of waiting for its reader
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    with os.fdopen(handle, "ab") as stream:
        stream.write(line.encode() + b"\n")


@contextlib.contextmanager
def staging(target: Path, *, tag: str = "") -> Iterator[Path]:
    """A free name beside ``target`` for an unfinished file or folder; at the end it becomes ``target`` by one durable rename.

    Leftovers of a crash under that name are removed first, those of a failure afterwards. One maker of ``target`` at a time, or each with
    its own ``tag``. A file replaces an existing one; FileExistsError at the end when a folder is made and ``target`` exists already.
    """
    partial = target.with_name(f".{target.name}{tag}.part")
    remove(partial)
    try:
        yield partial
        (move_directory if is_folder(partial) else move_file)(partial, target)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(partial)
        raise


def move_directory(source: Path, target: Path) -> None:
    """Rename a finished directory into place; its files are made durable first. Raises as ``rename`` does."""
    fsync_tree(source)
    rename(source, target)


def files_below(folder: Path) -> list[Path]:
    """Every plain file below ``folder``, relative to it, sorted; nothing that is still in the making (dot-names).

    OSError when something cannot be seen; pathlib's own search would leave it out.
    """

    def trouble(error: OSError) -> None:
        raise error

    walked = os.walk(folder, onerror=trouble)
    found = [Path(parent, name) for parent, _, names in walked for name in names]
    names = [path.relative_to(folder) for path in found if stat.S_ISREG(os.lstat(path).st_mode)]
    return sorted(name for name in names if not any(part.startswith(".") for part in name.parts))


def move_out(folder: int, name: str, target: Path) -> None:
    """Rename the file ``name`` of an open directory to ``target``; its content must be durable already. Raises OSError."""
    os.rename(name, target, src_dir_fd=folder)
    fsync_directory(target.parent)


def rename(source: Path, target: Path) -> None:
    """Rename a directory whose files are durable already.

    Raises FileNotFoundError when ``source`` is gone (another process moved it), FileExistsError when ``target`` exists.
    """
    if exists(target):
        raise FileExistsError(f"{target} exists already")
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY and exists(target):  # it appeared just now
            raise FileExistsError(f"{target} exists already") from None
        raise
    fsync_directory(target.parent)
    if source.parent != target.parent:
        fsync_directory(source.parent)


def given_away(source: Path, target: Path) -> bool:
    """Rename a folder that is not durable yet; False when the two are on different file systems. Who takes it makes it durable."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def claim_name(source: Path, target: Path) -> None:
    """Rename a directory whose files are durable already to a free name, whoever else wants that name now.

    FileExistsError when anything has it, even an empty directory.
    """
    target.mkdir()  # one process only can make it; the rename then replaces the empty directory
    try:
        os.rename(source, target)
    except BaseException:
        with contextlib.suppress(OSError):
            target.rmdir()
        raise
    fsync_directory(target.parent)


def exists(path: Path) -> bool:
    """Whether anything has this name, including a link without a target. Unlike ``Path.exists``, it raises on trouble."""
    return _mode(path) is not None


def is_folder(path: Path) -> bool:
    """Whether this is a directory itself, not a link to one. Raises on trouble."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def _mode(path: Path) -> int | None:
    """Kind and rights of what has this name; None when nothing can have it, since a folder on the way is a file or a link to itself."""
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


def fsync_tree(folder: Path) -> None:
    """fsync every regular file and directory below ``folder``; links, FIFOs and the like have no content."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                fsync_tree(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                handle = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
    fsync_directory(folder)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder of folders and regular files to ``target``, which must not exist; the first failing call raises its own error."""
    target.mkdir()
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                copy_tree(Path(entry.path), target / entry.name)
            elif entry.is_file(follow_symlinks=False):
                shutil.copyfile(entry.path, target / entry.name, follow_symlinks=False)


def second_name(source: Path, target: Path) -> None:
    """Give a file that is never changed a second name, or copy it where the file system has no such links. Not durable yet.

    FileNotFoundError when ``source`` is not a regular file; links are not followed.
    """
    mode = _mode(source)
    if mode is None or not stat.S_ISREG(mode):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source))
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copyfile(source, target, follow_symlinks=False)


def remove(path: Path) -> None:
    """Delete whatever has this name, or nothing; links are not followed."""
    if is_folder(path):
        shutil.rmtree(path)
    else:
        try:
            path.unlink()
        except FileNotFoundError:
            if exists(path):
                raise


def remove_directory(folder: Path) -> None:
    """Remove a directory in two steps (rename to a dot-name, then delete), so that a half-deleted one is never visible.

    Files that are still open on NFS (``.nfs*``) stay under the dot-name until the next sweep.
    """
    hidden = folder.with_name(f"{REMOVED}{folder.name}-{secrets.token_hex(4)}")
    try:
        os.rename(folder, hidden)
    except FileNotFoundError:
        if exists(folder):
            raise
        return
    fsync_directory(folder.parent)
    with contextlib.suppress(OSError):
        remove(hidden)


def take_away(path: Path) -> None:
    """Delete an unfinished file or folder that another process may be about to rename: it gets the whole, or FileNotFoundError."""
    if is_folder(path):
        remove_directory(path)
    else:
        path.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename what is not one of ours to a dot-name beside it, whatever it is (file, folder, link, FIFO); the new path.

    Nothing is opened or followed. The owner of the folder deletes these names when their time is over.
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
