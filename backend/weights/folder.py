"""The folder of weights (``<folder>/<detector>/<file>``): what the cards name, what is installed, fetching, adding, checking.

Promises: a file appears under its name only after its size and sha256 equal the card's, in one rename; an interrupted download
continues where it stopped; two downloads of one file wait for each other; never more than the card's bytes are stored; errors say
what to do. May be imported by the composition root, ``backend.commands``, ``backend.workers.availability`` and the pipeline.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import Literal

import httpx

from backend.weights.archives import is_archive, unpack_member
from backend.weights.download import TIMEOUT, Progress, Transfer
from backend.weights.part import Wanted, part_of
from base_detector import Card, WeightsFile
from shared import durable
from shared.errors import NO_SPACE, UserError

State = Literal["installed", "missing", "differs"]

#: After these errors, the card's alternative addresses are tried.
_TRY_ELSEWHERE = ("weights_link_dead", "weights_unreachable", "weights_mismatch")


@dataclass(frozen=True)
class Installed:
    """One weights file of a card and its state in the folder."""

    detector: str
    item: WeightsFile
    path: Path
    state: State


class WeightsFolder:
    """The weights below ``folder``, one folder per detector."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def entries(self, cards: Iterable[Card]) -> list[Installed]:
        """Every file the cards name, with its state; a file is hashed once, and again only after it changed."""
        return [_installed(self._wanted(card, item)) for card in cards for item in card.weights]

    def verify(self, cards: Iterable[Card]) -> list[Installed]:
        """As ``entries``, but every file is read again."""
        _hashes.clear()
        return self.entries(cards)

    def unavailable(self, card: Card) -> str | None:
        """Why the weights of ``card`` cannot be used (``weights_missing``, ``weights_mismatch``), None when all are right."""
        entries = self.entries([card])
        if card.lacks([entry.item for entry in entries if entry.state == "missing"]):
            return "weights_missing"
        return "weights_mismatch" if any(entry.state == "differs" for entry in entries) else None

    def sha256(self, card: Card) -> dict[str, str]:
        """file -> sha256 of every installed file of ``card``; where the card has none, that of the file."""
        return {
            entry.item.file: entry.item.sha256 or _sha256_of(entry.path)
            for entry in self.entries([card])
            if entry.state != "missing"
        }

    def add(self, card: Card, source: Path, *, name: str | None = None) -> Installed:
        """Install the operator's own copy of one of the card's files; UserError when it is not one of them.

        Its sha256 says which file it is. Where the card has none, its name does, or ``name``; names and shapes are checked when it is
        loaded.
        """
        with _opened(source) as stream, self._storing():
            size = os.fstat(stream.fileno()).st_size
            item = _item_for(card, source, size, hashlib.file_digest(stream, "sha256").hexdigest(), name)
            wanted = self._wanted(card, item)
            with part_of(wanted) as part:
                part.restart()
                stream.seek(0)
                try:
                    shutil.copyfileobj(stream, part.stream)
                except BaseException:
                    part.restart()  # half a copy is not a download to continue
                    raise
                if not item.sha256 and wanted.path.is_file():  # until the new one loads, the user's only copy
                    durable.move_file(wanted.path, _before(wanted))
                part.install(origin=str(source))
        return _installed(wanted)

    def keep(self, card: Card, file: str) -> None:
        """An added file loads: delete the one it replaced."""
        _before(self._named(card, file)).unlink(missing_ok=True)

    def remove(self, card: Card, file: str) -> bool:
        """Delete an added file that does not load; whether the one it replaced is back."""
        wanted = self._named(card, file)
        if _before(wanted).is_file():
            durable.move_file(_before(wanted), wanted.path)
            return True
        wanted.path.unlink(missing_ok=True)
        return False

    def _named(self, card: Card, file: str) -> Wanted:
        return self._wanted(card, next(item for item in card.weights if item.file == file))

    def fetch(
        self,
        card: Card,
        item: WeightsFile,
        *,
        progress: Progress | None = None,
        client: httpx.Client | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> Installed:
        """Get one file of ``card`` from its publisher, or from the first alternative that has it, unless it is installed.

        UserError says what failed and what to do. ``client`` may carry the operator's proxy or certificates; by default httpx reads
        them from the environment.
        """
        wanted = self._wanted(card, item)
        with self._storing(), contextlib.ExitStack() as stack:
            if _state(wanted) != "installed":
                own = client or stack.enter_context(httpx.Client(follow_redirects=True, timeout=TIMEOUT))
                _Fetch(wanted, progress, own, pause).run()
        return _installed(wanted)

    def _wanted(self, card: Card, item: WeightsFile) -> Wanted:
        if Path(item.file).is_absolute() or ".." in Path(item.file).parts:
            raise UserError("bad_card", f"The card of {card.id} names a weights file outside its folder: {item.file}.")
        return Wanted(card, item, self.folder / card.id / item.file)

    @contextlib.contextmanager
    def _storing(self) -> Iterator[None]:
        """Turn the errors of a folder that cannot be written into a message that says what to do."""
        try:
            yield
        except OSError as error:
            if error.errno in NO_SPACE:
                raise UserError(
                    "disk_full", f"The disk of {self.folder} is full. Free some space, then try again."
                ) from error
            reason = error.strerror or error
            raise UserError(
                "weights_not_stored", f"{self.folder} could not be written ({reason}). Check its owner and rights."
            ) from error


# --------------------------------------------------------------------------- fetching


@dataclass(frozen=True)
class _Fetch:
    """One file on its way from whichever of its addresses has it."""

    wanted: Wanted
    progress: Progress | None
    client: httpx.Client
    pause: Callable[[float], None]

    def run(self) -> None:
        """Try the card's address, then its alternatives; UserError names each that failed."""
        card, item = self.wanted.card, self.wanted.item
        failures = []
        for address in ([] if item.manual else [item.url]) + list(item.alternatives):
            try:
                self._fetch_from(address)
                return
            except UserError as error:
                if error.code not in _TRY_ELSEWHERE:
                    raise
                failures.append(error)
        if item.manual:
            raise UserError(
                "weights_manual",
                f"{item.file} cannot be downloaded automatically: get it from {item.url} and install it with 'deepfake-o-meter "
                f"weights add {card.id} FILE'." + "".join(f" ({error.sentence})" for error in failures),
            )
        if len(failures) == 1:
            raise failures[0]
        raise UserError(failures[-1].code, " ".join(error.sentence for error in failures))

    def _fetch_from(self, address: str) -> None:
        if self.wanted.item.member or is_archive(address, self.wanted.item.file):
            self._fetch_member(address)
        else:
            self._download(address, self.wanted)

    def _download(self, address: str, wanted: Wanted) -> None:
        with part_of(wanted) as part:
            if _state(wanted) != "installed":  # another fetch may have finished while this one waited
                Transfer(part, address, self.progress, self.client, self.pause).run()
                part.install(origin=address)

    def _fetch_member(self, address: str) -> None:
        """Get the archive at ``address``, then take the file out of it."""
        card, item, path = self.wanted.card, self.wanted.item, self.wanted.path
        # the archive is kept until the last file is taken out: one archive may hold eleven
        whole = replace(item, file=f"{hashlib.sha256(address.encode()).hexdigest()[:16]}.archive", sha256="", bytes=0)
        archive = Wanted(card, whole, path.parent / whole.file)
        self._download(address, archive)
        member = item.member or Path(item.file).name
        with part_of(self.wanted) as part:
            if _state(self.wanted) != "installed":
                part.restart()
                try:
                    unpack_member(archive.path, member, part.stream, most=item.bytes)
                except BaseException:
                    part.restart()
                    raise
                part.install(origin=f"{item.member or item.file} in {address}")
        siblings = (Wanted(card, other, path.parent / other.file) for other in card.weights if other.url == item.url)
        if all(_state(sibling) == "installed" for sibling in siblings):
            archive.path.unlink(missing_ok=True)


# --------------------------------------------------------------------------- adding


def _before(wanted: Wanted) -> Path:
    """Where a replaced file waits until the added one has loaded."""
    return wanted.path.with_name(f".{wanted.path.name}.before")


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[BufferedReader]:
    """The operator's file, open for reading; UserError when it cannot be read."""
    try:
        handle = os.open(
            source, os.O_RDONLY | os.O_NONBLOCK
        )  # without O_NONBLOCK, a named pipe would wait for a writer
    except FileNotFoundError:
        raise UserError("no_such_file", f"{source} is not there.") from None
    except OSError as error:
        raise UserError("no_such_file", f"{source} could not be read ({error.strerror or error}).") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UserError("weights_mismatch", f"{source} is not a regular file.")
    with os.fdopen(handle, "rb") as stream:
        yield stream


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
        f"{source} ({size} bytes, sha256 {digest}) is not a file of {card.id}, so it was not installed. "
        f"Wanted: {known or 'none at all'}.",
    )


# --------------------------------------------------------------------------- state

#: (path, inode, size, time of change) -> sha256, so that the catalog does not read 500 MB each time
_hashes: dict[tuple[str, int, int, int], str] = {}


def _installed(wanted: Wanted) -> Installed:
    return Installed(wanted.card.id, wanted.item, wanted.path, _state(wanted))


def _state(wanted: Wanted) -> State:
    path, item = wanted.path, wanted.item
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
        return "differs"  # it exists, but is a folder or not readable


def _sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        facts = os.fstat(stream.fileno())
        key = (str(path), facts.st_ino, facts.st_size, facts.st_mtime_ns)
        if key not in _hashes:
            _hashes[key] = hashlib.file_digest(stream, "sha256").hexdigest()
        return _hashes[key]
