"""Installed weights: what the cards name, what lies in the folder, and how it gets there.

Owns: the folder of weights (``<folder>/<detector>/<file>``): downloading, adding, checking. Promises: a file appears under its
name only after its size and sha256 equal the card's, in one rename; a broken-off download goes on where it stopped; two
downloads of one file at once wait for each other; never more than the card's bytes are stored; errors say what to do.
May be imported by the composition root and ``backend.weights_cli``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Literal

import httpx

from base_detector import Card, WeightsFile
from shared import durable
from shared.errors import UserError

#: told after each block: (bytes that lie here now, bytes of the whole file)
Progress = Callable[[int, int], None]
State = Literal["installed", "missing", "differs"]

#: seconds to connect, and between two blocks
_TIMEOUT = httpx.Timeout(60, connect=15)
#: a connection that breaks off is taken up again this often, after so many seconds
_TRIES, _PAUSE_S = 3, 1.0


@dataclass(frozen=True)
class Installed:
    """One weights file of a card and its state in the folder."""

    detector: str
    item: WeightsFile
    path: Path
    state: State


def list_weights(cards: Iterable[Card], folder: Path) -> list[Installed]:
    """Every file the cards name, with its state; contents are hashed once and remembered while the file does not change."""
    return [_installed(card, item, folder) for card in cards for item in card.weights]


def unavailable_code(card: Card, folder: Path) -> str | None:
    """Why the weights of ``card`` cannot be used (``weights_missing``, ``weights_mismatch``), None when all are right."""
    states = {entry.state for entry in list_weights([card], folder)}
    if "missing" in states:
        return "weights_missing"
    return "weights_mismatch" if "differs" in states else None


def verify(cards: Iterable[Card], folder: Path) -> list[Installed]:
    """As ``list_weights``, but every file is read again from the disk."""
    _hashes.clear()
    return list_weights(cards, folder)


def add(card: Card, source: Path, folder: Path) -> Installed:
    """Install the operator's own copy of one of the card's files, whatever its name; UserError when it is none of them."""
    try:
        with source.open("rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise UserError("weights_mismatch", f"{source} is no regular file.")
            size = os.fstat(stream.fileno()).st_size
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            item = next((item for item in card.weights if (item.bytes, item.sha256) == (size, digest)), None)
            if item is None:
                known = "; ".join(f"{item.file}: {item.bytes} bytes, sha256 {item.sha256}" for item in card.weights)
                raise UserError(
                    "weights_mismatch",
                    f"{source} ({size} bytes, sha256 {digest}) is none of the files of {card.id}, so it was not installed. "
                    f"Wanted: {known or 'none at all'}.",
                )
            with _part(_path(card, item, folder), item) as part:
                part.restart()
                stream.seek(0)
                try:
                    shutil.copyfileobj(stream, part.stream)
                except BaseException:
                    part.restart()  # half a copy is no download to go on with
                    raise
                part.install(origin=str(source), card=card)
    except FileNotFoundError:
        raise UserError("no_such_file", f"{source} is not there.") from None
    except OSError as error:
        raise _storage_error(error, folder) from error
    return _installed(card, item, folder)


def fetch(
    card: Card,
    item: WeightsFile,
    folder: Path,
    *,
    progress: Progress | None = None,
    client: httpx.Client | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Installed:
    """Download one file of ``card`` unless it is there already; UserError says what failed and what to do.

    ``client`` may carry the operator's proxy or certificates; by default httpx reads them from the environment.
    """
    path = _path(card, item, folder)
    if _state(path, item) != "installed":
        try:
            with _part(path, item) as part, contextlib.ExitStack() as stack:
                if _state(path, item) != "installed":  # another fetch may have finished while this one waited
                    own = client or stack.enter_context(httpx.Client(follow_redirects=True, timeout=_TIMEOUT))
                    _Download(part, card, progress or _silent, own, pause).run()
        except OSError as error:
            raise _storage_error(error, folder) from error
    return _installed(card, item, folder)


# --------------------------------------------------------------------------- download


class _BrokenOff(Exception):
    """The server ended its answer before the file was whole, or cannot give it now."""


@dataclass(frozen=True)
class _Download:
    """One download into a part."""

    part: _Part
    card: Card
    progress: Progress
    client: httpx.Client
    pause: Callable[[float], None]

    def run(self) -> None:
        """Transfer, check and install; what lay here before is not trusted when the whole does not add up."""
        resumed = self.part.size() > 0
        self._transfer_all()
        if resumed and self.part.sha256() != self.part.item.sha256:
            self.part.restart()
            self._transfer_all()
        self.part.install(origin=self.part.item.url, card=self.card)

    def _transfer_all(self) -> None:
        item = self.part.item
        for left in reversed(range(_TRIES)):
            try:
                self._transfer()
                return
            except (httpx.RequestError, httpx.InvalidURL, _BrokenOff) as error:
                if not left:
                    raise UserError(
                        "weights_unreachable",
                        f"{item.url} could not be fetched ({str(error) or type(error).__name__}); {self.part.size()} of "
                        f"{item.bytes} bytes lie here. Check the network, then run 'deepfake-o-meter weights fetch {self.card.id}' "
                        "again: it goes on from there.",
                    ) from None
                self.pause(_PAUSE_S)

    def _transfer(self) -> None:
        """Append what is missing, from the start where the server cannot resume."""
        part, item = self.part, self.part.item
        have = part.size() if part.size() <= item.bytes else part.restart()
        self.progress(have, item.bytes)
        if have == item.bytes:
            return
        # identity: ranges and sizes count the file's own bytes, not those of a compressed transfer
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with self.client.stream("GET", item.url, headers=headers) as response:
            self._raise_for(response)
            if have and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                have = part.restart()
                if response.status_code != httpx.codes.OK:
                    raise _BrokenOff("the server cannot resume")
            announced = response.headers.get("Content-Length", "")
            if announced.isdecimal() and have + int(announced) != item.bytes:
                part.restart()
                raise _wrong_file(item.url, item, self.card, f"{have + int(announced)} bytes instead of {item.bytes}")
            for (
                block
            ) in response.iter_raw():  # as received: with a block size, what came last before a break would be lost
                have += len(block)
                if have > item.bytes:
                    part.restart()
                    raise _wrong_file(item.url, item, self.card, f"more than {item.bytes} bytes")
                part.stream.write(block)
                self.progress(have, item.bytes)
        if have < item.bytes:
            raise _BrokenOff("the connection ended early")

    def _raise_for(self, response: httpx.Response) -> None:
        status, item = response.status_code, self.part.item
        if status in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE):
            return
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise _BrokenOff(f"the server answers {status}")
        raise UserError(
            "weights_link_dead",
            f"{item.url} answers {status} {response.reason_phrase}: the link is dead. Get {item.file} (sha256 {item.sha256}) "
            f"elsewhere and install it with 'deepfake-o-meter weights add {self.card.id} FILE'.",
        )


def _wrong_file(origin: str, item: WeightsFile, card: Card, difference: str) -> UserError:
    return UserError(
        "weights_mismatch",
        f"{origin} holds another file than the card of {card.id} names ({difference}), so it was not installed. Get {item.file} "
        f"(sha256 {item.sha256}) elsewhere and install it with 'deepfake-o-meter weights add {card.id} FILE'.",
    )


def _silent(have: int, total: int) -> None:
    """Tell nobody."""


# --------------------------------------------------------------------------- folder


@dataclass(frozen=True)
class _Part:
    """The unfinished file beside its target, locked by us."""

    stream: BufferedRandom
    path: Path
    target: Path
    item: WeightsFile

    def size(self) -> int:
        return self.stream.seek(0, os.SEEK_END)

    def restart(self) -> int:
        """Throw away what lies here; 0, the new size."""
        self.stream.seek(0)
        self.stream.truncate()
        return 0

    def sha256(self) -> str:
        self.stream.seek(0)
        return hashlib.file_digest(self.stream, "sha256").hexdigest()

    def install(self, *, origin: str, card: Card) -> None:
        """Give the file its name when it is the right one; UserError otherwise, and nothing of it stays."""
        digest = self.sha256()
        if digest != self.item.sha256:
            self.restart()
            raise _wrong_file(origin, self.item, card, f"sha256 {digest}")
        self.stream.flush()
        durable.move_file(self.path, self.target)


@contextlib.contextmanager
def _part(target: Path, item: WeightsFile) -> Iterator[_Part]:
    """Open and lock the part of ``target``; it stays when the work breaks off, and the lock ends with its process.

    The sha256 in its name keeps the parts of two versions of a card apart.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}.{item.sha256[:12]}.part")
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        with os.fdopen(handle, "r+b") as stream:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # whoever held the lock may have renamed or removed this file: then its name leads elsewhere now
            if not _is_named(handle, path):
                continue
            part = _Part(stream, path, target, item)
            try:
                yield part
            finally:
                if _is_named(handle, path) and not part.size():
                    path.unlink()
            return


def _is_named(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _path(card: Card, item: WeightsFile, folder: Path) -> Path:
    if Path(item.file).is_absolute() or ".." in Path(item.file).parts:
        raise UserError("bad_card", f"The card of {card.id} names a weights file outside its folder: {item.file}.")
    return folder / card.id / item.file


def _storage_error(error: OSError, folder: Path) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError("disk_full", f"The disk of {folder} is full. Free some space, then try again.")
    return UserError(
        "weights_not_stored", f"{folder} could not be written ({error.strerror or error}). Check its owner and rights."
    )


# --------------------------------------------------------------------------- state

#: (path, inode, size, time of change) -> sha256, so that the catalog does not read 500 MB for each page
_hashes: dict[tuple[str, int, int, int], str] = {}


def _installed(card: Card, item: WeightsFile, folder: Path) -> Installed:
    path = _path(card, item, folder)
    return Installed(card.id, item, path, _state(path, item))


def _state(path: Path, item: WeightsFile) -> State:
    try:
        with path.open("rb") as stream:
            facts = os.fstat(stream.fileno())
            if facts.st_size != item.bytes:
                return "differs"
            key = (str(path), facts.st_ino, facts.st_size, facts.st_mtime_ns)
            if key not in _hashes:
                _hashes[key] = hashlib.file_digest(stream, "sha256").hexdigest()
            return "installed" if _hashes[key] == item.sha256 else "differs"
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError:
        return "differs"  # there, but a folder or not readable
