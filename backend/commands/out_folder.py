"""``--out``: the user's folder in which each file gets a folder with its result.

Promises: nothing is changed or removed that we did not write. A result is known by its marker, which names the media and the sha256 of each
file of the result; the result of the same media replaces it, whole, when it is complete. Whatever else has the wanted name keeps it, and
the result gets another one. Imported by ``analyze``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import ClassVar, Final, Literal

from backend.commands import rooms
from shared import durable
from shared.digest import sha256_of
from shared.errors import PermanentError, UserError
from shared.names import folder_name, name_key, shown
from shared.reading import read_record
from shared.records import Record

#: The file that makes a folder one of our results.
MARKER: Final = ".deepfake-o-meter.json"
#: What file managers leave in every folder they show: no work of the user's.
TRACES: Final = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", ".directory"})
#: What file systems answer to names they cannot have, as FAT to ``Clip: part 1?``.
_NAME_REFUSED: Final = (errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG)
#: Bytes that must fit before work is begun: a small result has about this.
_PROBE: Final = 1_000_000


class ResultMarker(Record):
    """``.deepfake-o-meter.json`` in a result: which media it belongs to, and what we wrote (relative name -> sha256)."""

    max_bytes: ClassVar[int] = 64_000_000

    schema_version: Literal[1] = 1
    media_sha256: str
    files: dict[str, str]


@dataclass
class OutFolder:
    """An ``--out`` that can be written, for the time of one command; made by ``opened``. Threads may share it."""

    folder: Path
    _room: Path
    _given: set[str] = field(default_factory=set)
    _placing: threading.Lock = field(default_factory=threading.Lock)

    def check(self) -> None:
        """UserError(out_not_writable) when nothing can be written there now."""
        probe = self._room / f"probe-{secrets.token_hex(4)}"
        try:
            with probe.open("wb") as stream:
                stream.write(bytes(_PROBE))
                stream.flush()
                os.fsync(stream.fileno())
            probe.unlink()
        except OSError as error:
            with contextlib.suppress(OSError):
                probe.unlink()
            raise _not_writable(self.folder, error) from None

    def publish(self, report: Path, *, name: str, media_sha256: str, sums: Mapping[str, str] | None = None) -> Path:
        """Copy a finished report to ``<folder>/<name>``, or to the next free ``<name>-2``, ``-3``, ...; returns where it is.

        ``sums``: sha256 of its files, as the report lists them. With them the report is given away: renamed, and not read again,
        where it is on the file system of ``folder``. UserError(out_not_writable) when that fails; an older result is unharmed then.
        """
        staging = self._room / f"new-{secrets.token_hex(4)}"
        try:
            known: Mapping[str, str] = {}
            if sums is not None and durable.given_away(report, staging):
                known = sums
            else:
                shutil.copytree(report, staging)
            files = {path: known.get(path) or sha256_of(staging / path) for path in _files(staging)}
            marker = ResultMarker(media_sha256=media_sha256, files=files)
            durable.replace_json(staging / MARKER, marker.model_dump(mode="json"))
            durable.fsync_tree(staging)
            wanted = folder_name(name, otherwise="media")
            try:
                return self._place(staging, wanted, media_sha256)
            except OSError as error:
                if error.errno not in _NAME_REFUSED:
                    raise
                return self._place(staging, _plainest(wanted), media_sha256)
        except OSError as error:
            raise _not_writable(self.folder, error) from None
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    # -- inside

    def _place(self, staging: Path, name: str, media_sha256: str) -> Path:
        with self._placing:
            for number in count(1):
                unique = name if number == 1 else f"{name}-{number}"
                if name_key(unique) in self._given:
                    continue
                target = self.folder / unique
                if self._becomes(staging, target, media_sha256):
                    self._given.add(name_key(unique))
                    return target
        raise AssertionError("numbers do not end")

    def _becomes(self, staging: Path, target: Path, media_sha256: str) -> bool:
        """Whether ``staging`` got the name ``target``: it was free, or it was the unchanged result of the same media."""
        if not durable.exists(target) and self._has_alike(target.name):
            return False
        try:
            durable.claim_name(staging, target)
        except FileExistsError:
            return is_own_result(target, media_sha256=media_sha256) and self._replaces(staging, target)
        return True

    def _replaces(self, staging: Path, target: Path) -> bool:
        """Put ``staging`` in the place of an older result; False when another process took that one away meanwhile."""
        older = self._room / rooms.REPLACED / target.name
        older.parent.mkdir(exist_ok=True)
        try:
            durable.rename(target, older)
        except FileNotFoundError:
            return False
        try:
            durable.claim_name(staging, target)
        except FileExistsError:  # another process was quicker; what we took away was to be replaced anyway
            return False
        except BaseException:
            with contextlib.suppress(OSError):
                durable.rename(older, target)
            raise
        shutil.rmtree(older, ignore_errors=True)
        return True

    def _has_alike(self, name: str) -> bool:
        """Whether something in the folder has a name that other file systems take for the same one."""
        return any(name_key(entry) == name_key(name) for entry in os.listdir(self.folder))


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[OutFolder]:
    """``--out``, made when it is missing; UserError(out_not_writable) when nothing can be written there."""
    made = [path for path in (folder, *folder.parents) if not durable.exists(path)]
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_empty, made)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            out = OutFolder(folder, stack.enter_context(rooms.room(folder, prefix=f".{rooms.PREFIX}")))
        except OSError as error:
            raise _not_writable(folder, error) from None
        out.check()
        yield out


def claimants(name: str) -> str:
    """Equal for wanted names that may ask for the same folder, ``clip`` and ``clip-2`` among them: who comes first changes who gets it."""
    plain = folder_name(re.sub(r"(-\d+)+$", "", folder_name(name, otherwise="media")), otherwise="media")
    return name_key(_plainest(plain))


def _plainest(wanted: str) -> str:
    """A name that every file system can have."""
    return re.sub(r"[^\w.()\[\] -]", "_", wanted)[:40]


def is_own_result(folder: Path, *, media_sha256: str) -> bool:
    """Whether ``folder`` is a result of ours for this media, with nothing in it that we did not write or that was changed since."""
    try:
        if not durable.is_folder(folder):
            return False
        marker = read_record(folder / MARKER, ResultMarker)
        if marker.media_sha256 != media_sha256 or set(_files(folder)) - {MARKER} != set(marker.files):
            return False
        return all(sha256_of(folder / name) == digest for name, digest in marker.files.items())
    except (OSError, PermanentError):
        return False


def _files(folder: Path) -> list[str]:
    """Everything below a folder but folders, as relative names; links count as themselves, traces of file managers do not."""
    return [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if (path.is_symlink() or not path.is_dir()) and path.name not in TRACES and not path.name.startswith("._")
    ]


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # there are results in it
            return


def _not_writable(folder: Path, error: OSError) -> UserError:
    reason = error.strerror or type(error).__name__
    return UserError(
        "out_not_writable", f"{shown(folder)} cannot be written ({reason}). Choose another folder with --out."
    )
