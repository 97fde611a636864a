"""A media file on its way into ``submissions/tmp/<id>/media``: streamed, counted, hashed, and known by its first bytes.

Promises: at most ``limit`` bytes reach the disk; the visitor's file name never becomes a path; the file goes straight
to the submission's own file system, never through a temporary folder. Never opens media. For the front-end only.
"""

from __future__ import annotations

import contextlib
import hashlib
import unicodedata
from collections.abc import Iterator
from types import TracebackType
from typing import Final

from shared.download import too_large
from shared.errors import NO_SPACE, UserError
from shared.languages import marked
from shared.records import JobId, new_id
from shared.signatures import HEAD_BYTES, MEDIA_HEAD_BYTES, is_media, refusal
from shared.store import Store

#: Longest name kept for display (shared.records.Submission).
NAME_LENGTH: Final = 120


def check_head(untrusted_head: bytes) -> None:
    """UserError 415 when a file that begins so is not accepted; where the format is known, it is named."""
    if not is_media(untrusted_head):
        code = refusal(untrusted_head[:HEAD_BYTES]) or "unsupported_media"
        title = marked("The file is empty") if code == "file_empty" else marked("Type of file not accepted")
        raise UserError(code, status=415, title=title)


def display_name(untrusted_name: str | None) -> str:
    """The last part of a name, without control, bidirectional and line characters, at most 120 characters.

    For display only. The end is kept when the name is too long, so that its suffix stays.
    """
    last = (untrusted_name or "").replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(
        char for char in last if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    )
    name = " ".join(kept.split())
    if len(name) > NAME_LENGTH:
        name = name[: NAME_LENGTH - 13] + "…" + name[-12:]
    return name or "upload"


@contextlib.contextmanager
def storage_trouble() -> Iterator[None]:
    """Turn a failing shared folder into the sentence for it: 507 when it is full, 503 otherwise."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise UserError("disk_full", status=507, title="No space left") from error
        raise UserError("store_unavailable", status=503, title="Storage does not answer") from error


def check_space(store: Store, *, wanted: int) -> None:
    """Refuse early (507) while less than twice ``wanted`` bytes are free, so that the jobs in work can finish."""
    with storage_trouble():
        if store.free_bytes() < 2 * wanted:
            raise UserError("disk_full", status=507, title="No space left")


class IncomingMedia:
    """One file being received. A file-like object for Werkzeug's form parser, a sink for the URL download.

    ``drop`` removes what was written, unless ``keep`` was called after the submission took the folder over.
    """

    #: the media is here, not on a page (``frontend.linked``)
    link: None = None

    def __init__(self, store: Store, *, limit: int, untrusted_name: str | None) -> None:
        self.id: JobId = new_id()
        self.name = display_name(untrusted_name)
        self.bytes = 0
        self.head = b""
        self._limit = limit
        self._store = store
        self._sha256 = hashlib.sha256()
        self._kept = False
        with storage_trouble():
            folder = store.open_submission(self.id)
            try:
                self._file = open(folder / "media", "xb", buffering=0)  # noqa: SIM115 - closed by close()
            except OSError:
                store.discard(self.id)
                raise

    @property
    def sha256(self) -> str:
        """Digest of what has arrived, 64 hex digits."""
        return self._sha256.hexdigest()

    def write(self, untrusted_data: bytes | bytearray) -> int:
        """Take one piece; UserError 413 at the limit (nothing beyond it is written), 507 when the disk is full."""
        if self.bytes + len(untrusted_data) > self._limit:
            self.drop()
            raise too_large(self._limit)
        view = memoryview(untrusted_data)
        with storage_trouble():
            while view:
                view = view[self._file.write(view) :]
        if len(self.head) < MEDIA_HEAD_BYTES:
            self.head = (self.head + bytes(untrusted_data[:MEDIA_HEAD_BYTES]))[:MEDIA_HEAD_BYTES]
        self._sha256.update(untrusted_data)
        self.bytes += len(untrusted_data)
        return len(untrusted_data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Werkzeug rewinds a finished part; it is never read back, so this does nothing."""
        return offset

    def read(self, size: int = -1) -> bytes:
        """Never read back through this object."""
        return b""

    def check_kind(self) -> None:
        """UserError 415 when the first bytes are not of an accepted format; where they are known, it names the format."""
        check_head(self.head)

    def keep(self) -> None:
        """The submission owns the folder now: ``drop`` does nothing any more."""
        self._kept = True

    def close(self) -> None:
        """Close the file; calling it again is harmless."""
        self._file.close()

    def drop(self) -> None:
        """Close, and remove the partial file unless it was kept."""
        self.close()
        if not self._kept:
            self._store.discard(self.id)

    def __enter__(self) -> IncomingMedia:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.drop()
