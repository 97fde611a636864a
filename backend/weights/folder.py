"""The folder of weights (``<folder>/<detector>/<file>``): what the cards name, what is installed, fetching, adding, checking.

Promises: a file appears under its name only after its size and sha256 equal the card's, in one rename; an interrupted download
continues where it stopped; two downloads of one file wait for each other; never more than the card's bytes are stored; errors say
what to do. May be imported by the composition root, ``backend.commands``, ``backend.workers.availability`` and the pipeline.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from io import BufferedReader
from pathlib import Path

import httpx

from backend.weights import fetching
from backend.weights.download import Progress
from backend.weights.fetching import Fetching
from backend.weights.known import Known
from backend.weights.part import Wanted, part_of
from backend.weights.places import Places
from backend.weights.state import Installed, installed
from base_detector import Card, WeightsFile
from shared import durable
from shared.digest import remembered_sha256, sha256_of
from shared.errors import NO_SPACE, UserError


class WeightsFolder:
    """The weights below ``folder``, one folder per detector."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known = Known(folder)

    def entries(self, cards: Iterable[Card]) -> list[Installed]:
        """Every file the cards name, with its state; a file is hashed once, and again only after it changed."""
        return [installed(self.wanted(card, item), self.known) for card in cards for item in card.weights]

    def verify(self, cards: Iterable[Card]) -> list[Installed]:
        """As ``entries``, but every file is read again. UserError when the memory of the first ones is damaged."""
        self.known.check()
        return [installed(self.wanted(card, item), self.known, again=True) for card in cards for item in card.weights]

    def unavailable(self, card: Card) -> str | None:
        """Why the weights of ``card`` cannot be used (``weights_missing``, ``weights_mismatch``), None when all are right."""
        entries = self.entries([card])
        if card.lacks([entry.item for entry in entries if entry.state == "missing"]):
            return "weights_missing"
        return "weights_mismatch" if any(entry.state == "differs" for entry in entries) else None

    def sha256(self, card: Card) -> dict[str, str]:
        """file -> sha256 of every installed file of ``card``; where the card has none, that of the file."""
        return {
            entry.item.file: entry.item.sha256 or remembered_sha256(entry.path)
            for entry in self.entries([card])
            if entry.state != "missing"
        }

    def add(self, card: Card, source: Path, *, name: str | None = None) -> Installed:
        """Install the operator's own copy of one of the card's files; UserError when it is not one of them.

        Its sha256 says which file it is. Where the card has none, its name does, or ``name``; it is on trial then until ``keep`` or
        ``remove``, since only loading it shows whether its names and shapes fit.
        """
        with _opened(source) as stream, self.storing():
            size = os.fstat(stream.fileno()).st_size
            digest = sha256_of(stream)
            item = _item_for(card, source, size, digest, name)
            wanted = self.wanted(card, item)
            with part_of(wanted) as part:
                part.restart()
                stream.seek(0)
                try:
                    shutil.copyfileobj(stream, part.stream)
                except BaseException:
                    part.restart()  # half a copy is not a download to continue
                    raise
                if not item.sha256 and wanted.path.is_file():  # until the new one loads, the user's only copy
                    durable.move_file(wanted.path, before(wanted.path))
                digest = part.install(origin=str(source))
            if not item.sha256:
                self.known.remember(wanted.key, wanted.path, sha256=digest, origin="added by hand", trial=True)
        return installed(wanted, self.known)

    def keep(self, card: Card, file: str) -> None:
        """An added file loads: delete the one it replaced."""
        wanted = self._named(card, file)
        with self.storing():
            if not wanted.item.sha256:
                self.known.settle(wanted.key)
            before(wanted.path).unlink(missing_ok=True)

    def remove(self, card: Card, file: str) -> bool:
        """Delete an added file that does not load; whether the one it replaced is back."""
        wanted = self._named(card, file)
        with self.storing():
            self.known.forget(wanted.key)
            if before(wanted.path).is_file():
                durable.move_file(before(wanted.path), wanted.path)
                return True
            wanted.path.unlink(missing_ok=True)
            return False

    def _named(self, card: Card, file: str) -> Wanted:
        return self.wanted(card, next(item for item in card.weights if item.file == file))

    @contextlib.contextmanager
    def fetching(
        self,
        files: Iterable[tuple[Card, WeightsFile]],
        *,
        cards: Iterable[Card] = (),
        client: httpx.Client | None = None,
        pause: Callable[[float], None] = time.sleep,
        accept_changed: bool = False,
    ) -> Iterator[Fetching]:
        """A run that fetches these files; archives that are not needed any more are deleted at its end.

        ``cards``: detectors that may have one of them already.
        ``client`` may carry the operator's proxy or certificates; by default httpx reads them from the environment.
        """
        wanted = tuple(self.wanted(card, item) for card, item in files)
        with contextlib.ExitStack() as stack:
            own = client or stack.enter_context(fetching.client())
            others = tuple(self.wanted(card, item) for card in cards for item in card.weights)
            run = Fetching(wanted, self.known, Places(own), pause, accept_changed, others)
            with self.storing():
                yield run
                run.tidy()

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

        Others of the card that are in the same archive come with it. UserError says what failed and what to do.
        """
        files = [(card, other) for other in card.weights if other == item or not other.optional]
        with self.fetching(files, client=client, pause=pause) as run:
            return run.fetch(self.wanted(card, item), progress=progress)

    def wanted(self, card: Card, item: WeightsFile) -> Wanted:
        """The file ``item`` of ``card``, and its place in this folder; UserError for a place outside."""
        if Path(item.file).is_absolute() or ".." in Path(item.file).parts:
            raise UserError("bad_card", f"The card of {card.id} names a weights file outside its folder: {item.file}.")
        return Wanted(card, item, self.folder / card.id / item.file)

    @contextlib.contextmanager
    def storing(self) -> Iterator[None]:
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


# --------------------------------------------------------------------------- adding


def before(path: Path) -> Path:
    """Where the replaced file ``path`` waits until the added one has loaded."""
    return path.with_name(f".{path.name}.before")


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
