"""The file of one entry, at hand for its judgement: a local one as it is, one from a web address fetched first.

Web addresses are fetched as the portal does it (``shared.download``): public addresses only, with limits on size and time. Promises: a
fetched file is removed when the block ends; a pipe or device is never waited for. Raises UserError. May be imported by ``backend.batch``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backend.batch.entries import Entry
from shared.digest import sha256_of
from shared.download import Fetcher, too_large
from shared.errors import StoreTrouble, UserError
from shared.names import shown
from shared.reading import RecordInvalid, open_regular
from shared.records import new_id
from shared.settings import Settings


@dataclass(frozen=True)
class AtHand:
    """A file that can be read now: its digest, its size in bytes."""

    path: Path
    sha256: str
    bytes: int


class Source:
    """Where the files of a batch come from; ``folder`` takes fetched ones. Threads may share it."""

    def __init__(self, folder: Path, settings: Settings, *, at_once: int) -> None:
        limit = settings.max_upload_mb * 1_000_000
        folder.mkdir(parents=True, exist_ok=True)
        self._fetcher = Fetcher(
            lambda _: _Fetched(folder / new_id(), limit=limit),
            limit=limit,
            timeout_s=settings.url_timeout_s,
            allow_private=settings.url_allow_private,
            at_once=at_once,
        )

    @contextlib.contextmanager
    def opened(self, entry: Entry) -> Iterator[AtHand]:
        """The file of ``entry``; UserError when it cannot be read or fetched."""
        if entry.url is None:
            assert entry.path is not None
            yield _local(entry.path)
            return
        try:
            fetched, _ = self._fetcher.fetch(entry.url)
        except UserError as error:
            raise _for_an_operator(error) from None
        try:
            yield fetched.at_hand()
        finally:
            fetched.drop()


class _Fetched:
    """One file being fetched."""

    def __init__(self, path: Path, *, limit: int) -> None:
        self._path, self._limit, self._bytes = path, limit, 0
        self._sha256 = hashlib.sha256()
        try:
            self._file = open(path, "xb")  # noqa: SIM115 - closed by at_hand() and drop()
        except OSError as error:
            raise StoreTrouble(error) from error

    def write(self, untrusted_data: bytes) -> int:
        self._bytes += len(untrusted_data)
        if self._bytes > self._limit:
            self.drop()
            raise too_large(self._limit)
        try:
            self._file.write(untrusted_data)
        except OSError as error:
            raise StoreTrouble(error) from error
        self._sha256.update(untrusted_data)
        return len(untrusted_data)

    def at_hand(self) -> AtHand:
        self._file.close()
        return AtHand(self._path, self._sha256.hexdigest(), self._bytes)

    def drop(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)


def _local(path: Path) -> AtHand:
    try:
        real = path.resolve(strict=True)  # a link of the user's own is followed
        with os.fdopen(open_regular(real), "rb") as stream:
            return AtHand(real, sha256_of(stream), os.fstat(stream.fileno()).st_size)
    except RecordInvalid:
        what = "is a folder" if path.is_dir() else "is a pipe or a device, not a file"
        raise UserError("no_such_file", f"{shown(path)} {what}.") from None
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the name; a circle of links
        reason = getattr(error, "strerror", None) or "not a name of a file"
        raise UserError("no_such_file", f"{shown(path)} cannot be read ({reason}).") from None


def _for_an_operator(error: UserError) -> UserError:
    """The portal's sentences tell a visitor to upload; here the file is put into the list."""
    if error.code == "upload_too_large":
        words = f"{error.sentence.partition(',')[0]}, the most that is fetched. Raise DFOM_MAX_UPLOAD_MB, or download it and name the file."
        return UserError(error.code, words)
    sentence = error.sentence.replace("then upload it", "then name the file in the list")
    return UserError(error.code, sentence.replace("and upload that", "and name the file in the list"))
