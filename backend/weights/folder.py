"""Installed weights: what the cards name, what lies in the folder, and how it gets there.

Owns: the folder of weights (``<folder>/<detector>/<file>``): downloading, adding, checking. Promises: a file appears under its
name only after its size and sha256 equal the card's, in one rename; a broken-off download goes on where it stopped; two
downloads of one file at once wait for each other; never more than the card's bytes are stored; errors say what to do.
May be imported by the composition root and ``backend.commands.weights``.
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
from dataclasses import dataclass, replace
from io import BufferedRandom
from pathlib import Path
from typing import Literal

import httpx

from backend.weights.download import TIMEOUT, Progress, Transfer, is_archive, unpack_member, wrong_file
from base_detector import Card, WeightsFile
from shared import durable
from shared.errors import UserError

State = Literal["installed", "missing", "differs"]

#: an address that fails in one of these ways is followed by the card's alternatives
_TRY_ELSEWHERE = ("weights_link_dead", "weights_unreachable", "weights_mismatch")


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
    """Why the weights of ``card`` cannot be used (``weights_missing``, ``weights_mismatch``), None when all it needs are right."""
    entries = list_weights([card], folder)
    if card.lacks([entry.item for entry in entries if entry.state == "missing"]):
        return "weights_missing"
    return "weights_mismatch" if any(entry.state == "differs" for entry in entries) else None


def installed_sha256(card: Card, folder: Path) -> dict[str, str]:
    """file -> sha256 of every installed file of ``card``; with a card that names no sha256, what really lies there."""
    found = {}
    for entry in list_weights([card], folder):
        if entry.state != "missing":
            found[entry.item.file] = entry.item.sha256 or _sha256_of(entry.path)
    return found


def verify(cards: Iterable[Card], folder: Path) -> list[Installed]:
    """As ``list_weights``, but every file is read again from the disk."""
    _hashes.clear()
    return list_weights(cards, folder)


def add(card: Card, source: Path, folder: Path, *, name: str | None = None) -> Installed:
    """Install the operator's own copy of one of the card's files; UserError when it is none of them.

    Its sha256 says which file it is. Where the card has none its name does, or ``name``; names and shapes are checked when it is loaded.
    """
    try:
        with source.open("rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise UserError("weights_mismatch", f"{source} is no regular file.")
            size = os.fstat(stream.fileno()).st_size
            item = _item_for(card, source, size, hashlib.file_digest(stream, "sha256").hexdigest(), name)
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


def _item_for(card: Card, source: Path, size: int, digest: str, name: str | None) -> WeightsFile:
    for item in card.weights:
        if item.sha256 and (item.bytes, item.sha256) == (size, digest):
            return item
    for item in card.weights:
        if not item.sha256 and size and item.file == (name or source.name):
            return item
    known = "; ".join(
        f"{item.file}: {item.bytes} bytes, sha256 {item.sha256}" if item.sha256 else f"{item.file} (by its name)"
        for item in card.weights
    )
    raise UserError(
        "weights_mismatch",
        f"{source} ({size} bytes, sha256 {digest}) is none of the files of {card.id}, so it was not installed. "
        f"Wanted: {known or 'none at all'}.",
    )


def remove(card: Card, file: str, folder: Path) -> None:
    """Take an installed file away, for one that does not load."""
    item = next(item for item in card.weights if item.file == file)
    _path(card, item, folder).unlink(missing_ok=True)


def fetch(
    card: Card,
    item: WeightsFile,
    folder: Path,
    *,
    progress: Progress | None = None,
    client: httpx.Client | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Installed:
    """Get one file of ``card`` from its publisher, or from the first of the alternatives that has it, unless it is there already.

    UserError says what failed and what to do. ``client`` may carry the operator's proxy or certificates; by default httpx reads them
    from the environment.
    """
    path = _path(card, item, folder)
    try:
        with contextlib.ExitStack() as stack:
            if _state(path, item) != "installed":
                own = client or stack.enter_context(httpx.Client(follow_redirects=True, timeout=TIMEOUT))
                _fetch_anywhere(card, item, path, lambda part, url: Transfer(part, card, url, progress, own, pause))
    except OSError as error:
        raise _storage_error(error, folder) from error
    return _installed(card, item, folder)


def _fetch_anywhere(card: Card, item: WeightsFile, path: Path, transfer: Callable[[_Part, str], Transfer]) -> None:
    addresses = ([] if item.manual else [item.url]) + list(item.alternatives)
    failures = []
    for address in addresses:
        try:
            _fetch_from(address, card, item, path, transfer)
            return
        except UserError as error:
            if error.code not in _TRY_ELSEWHERE:
                raise
            failures.append(error)
    if item.manual:
        raise UserError(
            "weights_manual",
            f"{item.file} is not offered to programs: get it from {item.url} and install it with 'deepfake-o-meter weights add "
            f"{card.id} FILE'." + "".join(f" ({error.sentence})" for error in failures),
        )
    if len(failures) == 1:
        raise failures[0]
    raise UserError(failures[-1].code, " ".join(error.sentence for error in failures))


def _fetch_from(
    address: str, card: Card, item: WeightsFile, path: Path, transfer: Callable[[_Part, str], Transfer]
) -> None:
    if not (item.member or is_archive(address, item.file)):
        with _part(path, item) as part:
            if _state(path, item) != "installed":  # another fetch may have finished while this one waited
                transfer(part, address).run()
                part.install(origin=address, card=card)
        return
    # the archive stays beside the files until the last of them is taken out: eleven files may come in one
    whole = replace(item, file=f"{hashlib.sha256(address.encode()).hexdigest()[:16]}.archive", sha256="", bytes=0)
    archive = path.parent / whole.file
    with _part(archive, whole) as part:
        if _state(archive, whole) != "installed":
            transfer(part, address).run()
            part.install(origin=address, card=card)
    with _part(path, item) as part:
        if _state(path, item) != "installed":
            part.restart()
            try:
                unpack_member(archive, item.member or Path(item.file).name, part.stream, most=item.bytes)
            except BaseException:
                part.restart()
                raise
            part.install(origin=f"{item.member or item.file} in {address}", card=card)
    if all(_state(path.parent / other.file, other) == "installed" for other in card.weights if other.url == item.url):
        archive.unlink(missing_ok=True)


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
        if self.item.sha256 and digest != self.item.sha256:
            self.restart()
            raise wrong_file(origin, self.item, card, f"sha256 {digest}")
        self.stream.flush()
        durable.move_file(self.path, self.target)


@contextlib.contextmanager
def _part(target: Path, item: WeightsFile) -> Iterator[_Part]:
    """Open and lock the part of ``target``; it stays when the work breaks off, and the lock ends with its process.

    The sha256 in its name keeps the parts of two versions of a card apart.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}.{item.sha256[:12] or 'unknown'}.part")
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
        size = path.stat().st_size
        if not item.sha256:
            return "installed" if path.is_file() and size else "differs"
        if size != item.bytes:
            return "differs"
        return "installed" if _sha256_of(path) == item.sha256 else "differs"
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError:
        return "differs"  # there, but a folder or not readable


def _sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        facts = os.fstat(stream.fileno())
        key = (str(path), facts.st_ino, facts.st_size, facts.st_mtime_ns)
        if key not in _hashes:
            _hashes[key] = hashlib.file_digest(stream, "sha256").hexdigest()
        return _hashes[key]
