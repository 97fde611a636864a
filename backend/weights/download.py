"""How a published file comes over the network, and out of an archive.

Owns: transfers that go on where they broke off, and taking one member out of a zip or tar. Promises: never more is stored than was
asked for; nothing of an archive but the asked-for member's bytes is used, whatever its paths and links say; errors say what to do.
May be imported by ``backend.weights.folder``.
"""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from io import BufferedRandom
from pathlib import Path, PurePosixPath
from typing import IO, Final, Protocol

import httpx

from base_detector import Card, WeightsFile
from shared.errors import UserError

#: told after each block: (bytes that lie here now, bytes of the whole file; 0 = nobody knows)
Progress = Callable[[int, int], None]

#: seconds to connect, and between two blocks
TIMEOUT: Final = httpx.Timeout(60, connect=15)
#: a connection that breaks off is taken up again this often, after so many seconds
_TRIES, _PAUSE_S = 3, 1.0
#: bytes of a file whose size the card does not know
_MOST_BYTES: Final = 8_000_000_000
_ARCHIVES: Final = (".zip", ".tar", ".tar.gz", ".tgz")


class Part(Protocol):
    """The unfinished file beside its target, locked by us."""

    @property
    def stream(self) -> BufferedRandom:
        """Open for reading and writing."""

    @property
    def item(self) -> WeightsFile:
        """What it shall become."""

    def size(self) -> int:
        """Bytes that lie here."""

    def restart(self) -> int:
        """Throw them away; 0."""

    def sha256(self) -> str:
        """Of what lies here."""


class _BrokenOff(Exception):
    """The server ended its answer before the file was whole, or cannot give it now."""


@dataclass(frozen=True)
class Transfer:
    """One download of ``url`` into a part."""

    part: Part
    card: Card
    url: str
    progress: Progress | None
    client: httpx.Client
    pause: Callable[[float], None]

    def run(self) -> None:
        """Transfer what is missing; what lay here before is not trusted when the whole does not add up."""
        resumed = self.part.size() > 0
        self._transfer_all()
        if resumed and self.part.item.sha256 and self.part.sha256() != self.part.item.sha256:
            self.part.restart()
            self._transfer_all()

    def _transfer_all(self) -> None:
        item = self.part.item
        for left in reversed(range(_TRIES)):
            try:
                self._transfer()
                return
            except (httpx.RequestError, httpx.InvalidURL, _BrokenOff) as error:
                if not left:
                    whole = f"of {item.bytes} bytes lie" if item.bytes else "bytes lie"
                    raise UserError(
                        "weights_unreachable",
                        f"{self.url} could not be fetched ({str(error) or type(error).__name__}); {self.part.size()} {whole} "
                        f"here. Check the network, then run 'deepfake-o-meter weights fetch {self.card.id}' again: it goes on from "
                        "there.",
                    ) from None
                self.pause(_PAUSE_S)

    def _transfer(self) -> None:
        """Append what is missing, from the start where the server cannot resume."""
        part, item = self.part, self.part.item
        most = item.bytes or _MOST_BYTES
        have = part.size() if part.size() <= most else part.restart()
        self._tell(have, item.bytes)
        if have == item.bytes and have:
            return
        # identity: ranges and sizes count the file's own bytes, not those of a compressed transfer
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with self.client.stream("GET", self.url, headers=headers) as response:
            if have and not item.bytes and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing is left to send: it lay here whole
            self._raise_for(response)
            if have and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                have = part.restart()
                if response.status_code != httpx.codes.OK:
                    raise _BrokenOff("the server cannot resume")
            announced = response.headers.get("Content-Length", "")
            total = have + int(announced) if announced.isdecimal() else item.bytes
            if item.bytes and total != item.bytes:
                part.restart()
                raise wrong_file(self.url, item, self.card, f"{total} bytes instead of {item.bytes}")
            # as received: with a block size, what came last before a break would be lost
            for block in response.iter_raw():
                have += len(block)
                if have > most:
                    part.restart()
                    raise wrong_file(self.url, item, self.card, f"more than {most} bytes")
                part.stream.write(block)
                self._tell(have, total)
        if have < total:
            raise _BrokenOff("the connection ended early")

    def _tell(self, have: int, total: int) -> None:
        if self.progress:
            self.progress(have, total)

    def _raise_for(self, response: httpx.Response) -> None:
        status, item = response.status_code, self.part.item
        if status in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE):
            return
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise _BrokenOff(f"the server answers {status}")
        known = f" (sha256 {item.sha256})" if item.sha256 else ""
        raise UserError(
            "weights_link_dead",
            f"{self.url} answers {status} {response.reason_phrase}: the link is dead. Get {item.file}{known} elsewhere and "
            f"install it with 'deepfake-o-meter weights add {self.card.id} FILE'.",
        )


def wrong_file(origin: str, item: WeightsFile, card: Card, difference: str) -> UserError:
    """The error of a file that is not the one the card names."""
    known = f" (sha256 {item.sha256})" if item.sha256 else ""
    return UserError(
        "weights_mismatch",
        f"{origin} holds another file than the card of {card.id} names ({difference}), so it was not installed. Get {item.file}"
        f"{known} elsewhere and install it with 'deepfake-o-meter weights add {card.id} FILE'.",
    )


# --------------------------------------------------------------------------- archives


def is_archive(address: str, file: str) -> bool:
    """Whether ``address`` leads to an archive that holds ``file``, by its name."""
    path = re.split("[?#]", address, maxsplit=1)[0].lower()
    return path.endswith(_ARCHIVES) and not file.lower().endswith(_ARCHIVES)


def unpack_member(archive: Path, member: str, target: IO[bytes], *, most: int = 0) -> None:
    """Write ``member`` (a path in the archive, or name or pattern of one file in it) to ``target``; UserError when it cannot be had."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                name = _the_one(member, [info.filename for info in opened.infolist() if not info.is_dir()], archive)
                with opened.open(name) as source:
                    _copy(source, target, most or _MOST_BYTES, member)
            return
        with tarfile.open(archive) as opened_tar:
            names = {info.name: info for info in opened_tar if info.isreg()}
            taken = opened_tar.extractfile(names[_the_one(member, list(names), archive)])
            if taken:
                with taken:
                    _copy(taken, target, most or _MOST_BYTES, member)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        archive.unlink(missing_ok=True)
        raise UserError(
            "weights_mismatch", f"The archive with {member} is damaged ({error}); it was thrown away. Fetch it again."
        ) from None


def _the_one(member: str, names: list[str], archive: Path) -> str:
    found = (
        [name for name in names if name.removeprefix("./") == member]
        or [name for name in names if name.endswith(f"/{member}")]
        or [name for name in names if fnmatchcase(PurePosixPath(name).name, member)]
    )
    if len(found) != 1:
        held = ", ".join(sorted(names)[:20]) or "nothing"
        raise UserError(
            "weights_mismatch",
            f"The archive holds {'no' if not found else 'more than one'} {member}; it holds {held}. It lies at {archive}: take the file "
            "out by hand and install it with 'deepfake-o-meter weights add'.",
        )
    return found[0]


def _copy(source: IO[bytes], target: IO[bytes], most: int, member: str) -> None:
    have = 0
    while block := source.read(1 << 20):
        have += len(block)
        if have > most:
            raise UserError(
                "weights_mismatch", f"{member} in the archive is larger than {most} bytes, so it was not used."
            )
        target.write(block)
