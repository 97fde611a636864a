"""The unfinished file beside its target, and how it becomes the finished one.

Promises: a file appears under its name only when it is the one its card names, in one rename; an unfinished file is kept after an
interruption; two that want the same file wait for each other, even in two processes. May be imported by ``backend.weights``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Final

from base_detector import Card, WeightsFile
from shared import durable
from shared.digest import sha256_of
from shared.errors import UserError

#: Most bytes of a file whose size its card does not give.
MOST_BYTES: Final = 8_000_000_000


@dataclass(frozen=True)
class Wanted:
    """One weights file of a card, and where it belongs; or the archive that it is taken from: ``inside`` is the file then."""

    card: Card
    item: WeightsFile
    path: Path
    inside: str = ""

    @property
    def title(self) -> str:
        """What it is called in a message."""
        return f"the archive with {self.inside}" if self.inside else self.item.file

    @property
    def by_hand(self) -> str:
        """How a copy from elsewhere is installed. Without a known sha256, only the name says which file it is."""
        file = self.inside or self.item.file
        named = "" if self.item.sha256 else f" --as {file}"
        taken = f"Take {file} out of it, then install it" if self.inside else "A copy is installed"
        return f"{taken} with 'deepfake-o-meter weights add {self.card.id} FILE{named}'."

    @property
    def key(self) -> str:
        """Its name in the list of known files."""
        return f"{self.card.id}/{self.item.file}"


@dataclass(frozen=True)
class Begun:
    """Where the bytes of a part come from. ``total``: of the whole file, 0 where that was not said."""

    url: str = ""
    validator: str = ""
    total: int = 0


@dataclass(frozen=True)
class Part:
    """The unfinished file of ``wanted``, open and locked by us."""

    stream: BufferedRandom
    path: Path
    wanted: Wanted

    def size(self) -> int:
        """Bytes it has so far; the next write appends."""
        return self.stream.seek(0, os.SEEK_END)

    def restart(self) -> int:
        """Empty it; 0, the new size."""
        self.stream.seek(0)
        self.stream.truncate()
        return 0

    def sha256(self) -> str:
        """Of its content."""
        self.stream.seek(0)
        return sha256_of(self.stream)

    def begun(self) -> Begun:
        """Where its bytes come from, as ``begin`` noted it."""
        try:
            return Begun(**json.loads(self._note.read_bytes()))
        except (OSError, ValueError, TypeError):
            return Begun()

    def begin(self, begun: Begun) -> None:
        """Note where its bytes come from: without a known sha256, half of one file and half of another would pass."""
        if begun != self.begun():
            durable.replace_json(self._note, asdict(begun))

    def install(self, *, origin: str, stated: str = "") -> str:
        """Give the file its name when it is the right one; otherwise empty it and raise UserError. Its sha256.

        ``stated``: the sha256 that its host gives, where the card has none.
        """
        digest, known = self.sha256(), self.wanted.item.sha256 or stated
        if known and digest != known:
            self.restart()
            raise wrong_file(origin, self.wanted, difference=f"sha256 {digest} instead of {known}")
        if not digest.startswith(named_sha256(self.wanted.item)):
            self.restart()
            raise wrong_file(origin, self.wanted, difference=f"sha256 {digest}, its name says another")
        self.stream.flush()
        durable.move_file(self.path, self.wanted.path)
        self._note.unlink(missing_ok=True)
        return digest

    @property
    def _note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.from")


@contextlib.contextmanager
def part_of(wanted: Wanted) -> Iterator[Part]:
    """Open and lock the part of ``wanted``; it is kept after an interruption, and the lock ends with its process.

    The sha256 in its name keeps the parts of two versions of a card apart.
    """
    target = wanted.path
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}.{wanted.item.sha256[:12] or 'unknown'}.part")
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        with os.fdopen(handle, "r+b") as stream:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # the previous holder of the lock may have renamed or removed this file: then its name leads elsewhere now
            if not _is_named(handle, path):
                continue
            part = Part(stream, path, wanted)
            try:
                yield part
            finally:
                if _is_named(handle, path) and not part.size():
                    path.unlink()
                    path.with_name(f"{path.name}.from").unlink(missing_ok=True)
            return


def named_sha256(item: WeightsFile) -> str:
    """The first digits of the sha256 that PyTorch writes into the names of its files (``vgg19-dcbb9e9d.pth``), "" elsewhere."""
    found = re.fullmatch(r"https://download\.pytorch\.org/.*-([0-9a-f]{8,})\.pth", item.url)
    return found[1] if found and item.url.endswith(item.file) else ""


def _is_named(handle: int, path: Path) -> bool:
    """Whether the open file is the one that ``path`` leads to."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def wrong_file(origin: str, wanted: Wanted, *, difference: str) -> UserError:
    """The error for a file that is not the one its card names."""
    card, item = wanted.card, wanted.item
    known = f" (sha256 {item.sha256})" if item.sha256 else ""
    return UserError(
        "weights_mismatch",
        f"{origin} is not the file that the card of {card.id} names ({difference}), so it was not installed. Get {wanted.title}"
        f"{known} elsewhere. {wanted.by_hand}",
    )
