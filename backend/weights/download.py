"""Downloads a published file.

Promises: an interrupted transfer continues where it stopped, and only when the file is still the same; never more is stored than the
card's size, nor more than the disk has room for; errors say what to do. May be imported by ``backend.weights``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx

from backend.weights.part import MOST_BYTES, Begun, Part, wrong_file
from backend.weights.places import Places, Refused, host_of, published_sha256, revision, validator
from shared.errors import UserError

#: Called after each block: (bytes stored so far, bytes of the whole file; 0 = not known).
Progress = Callable[[int, int], None]

#: Seconds to connect, and between two blocks.
TIMEOUT: Final = httpx.Timeout(60, connect=15)
#: A broken connection is retried this often, after so many seconds; longer where the server asks for it, up to the second figure.
_TRIES, _PAUSE_S, _MOST_PAUSE_S = 3, 1.0, 30.0
#: Bytes left free on the disk: a full one stops the portal.
_SPARE: Final = 100_000_000


class _BrokenOff(Exception):
    """The server ended its answer before the file was whole, or cannot give it now. ``pause_s``: how long it asks to wait."""

    def __init__(self, happened: str, *, busy: bool = False, pause_s: float = _PAUSE_S) -> None:
        super().__init__(happened)
        self.busy, self.pause_s = busy, pause_s


@dataclass(frozen=True)
class Stated:
    """What the host said of the file; "" where it did not."""

    sha256: str = ""
    revision: str = ""


@dataclass
class Transfer:
    """One download of ``url`` into a part."""

    part: Part
    url: str
    progress: Progress | None
    places: Places
    pause: Callable[[float], None]
    stated: Stated = Stated()

    def run(self) -> Stated:
        """Transfer what is missing; if the whole is wrong, what was stored before is not trusted."""
        item, resumed = self.part.wanted.item, self.part.size() > 0
        self._transfer_all()
        if resumed and item.sha256 and self.part.sha256() != item.sha256:
            self.part.restart()
            self._transfer_all()
        return self.stated

    def _transfer_all(self) -> None:
        for left in reversed(range(_TRIES)):
            try:
                self._transfer()
                return
            except Refused as refusal:
                raise self._explained(refusal) from None
            except (httpx.RequestError, httpx.InvalidURL, _BrokenOff) as error:
                if not left:
                    raise self._given_up(error) from None
                self.pause(error.pause_s if isinstance(error, _BrokenOff) else _PAUSE_S)

    def _transfer(self) -> None:
        """Append what is missing, from the start where the server cannot resume."""
        part, item = self.part, self.part.wanted.item
        have = part.size() if part.size() <= (item.bytes or MOST_BYTES) else part.restart()
        begun = part.begun()
        if have and not item.sha256 and begun.url != self.url:
            have = part.restart()  # half of another file, for all we know
        self._report(have, item.bytes or begun.total)
        if have == item.bytes and have:
            return
        # identity: ranges and sizes count bytes of the file, not of a compressed transfer
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with self.places.opened(self.url, name=self._name, headers=headers) as response:
            self.stated = Stated(published_sha256(response), revision(response))
            if have and not item.bytes and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                if _total(response) in (0, have):
                    return  # nothing is left to send: the whole file was stored already
                part.restart()
                raise _BrokenOff("the file changed meanwhile")
            self._raise_for(response)
            if have and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                have = part.restart()
                if response.status_code != httpx.codes.OK:
                    raise _BrokenOff("the server cannot resume")
            if have and begun.url == self.url and self._changed(begun, response):
                part.restart()
                raise _BrokenOff("the file changed meanwhile")
            self._store(response, have)

    @staticmethod
    def _changed(begun: Begun, response: httpx.Response) -> bool:
        """Whether the rest that ``response`` gives is of another file. If-Range would ask for that; hosts that do not know it send all."""
        stated, other_size = validator(response), begun.total and _total(response) not in (0, begun.total)
        return bool(other_size or (begun.validator and stated and stated != begun.validator))

    @property
    def _name(self) -> str:
        """What the file is called in a folder."""
        item = self.part.wanted.item
        return item.member or item.file.rsplit("/", 1)[-1]

    def _store(self, response: httpx.Response, have: int) -> None:
        """Append the body of ``response`` after the ``have`` bytes."""
        part, item = self.part, self.part.wanted.item
        most = item.bytes or MOST_BYTES
        announced = response.headers.get("Content-Length", "")
        total = have + int(announced) if announced.isdecimal() else item.bytes
        if item.bytes and total != item.bytes:
            part.restart()
            raise wrong_file(self.url, part.wanted, difference=f"{total} bytes instead of {item.bytes}")
        self._need_room(total - have)
        part.begin(Begun(self.url, validator(response), total))
        # as received: with a block size, the last bytes before a break would be lost
        for block in response.iter_raw():
            have += len(block)
            if have > most:
                part.restart()
                raise wrong_file(self.url, part.wanted, difference=f"more than {most} bytes")
            part.stream.write(block)
            self._report(have, total)
        if have < total:
            raise _BrokenOff("the connection ended early")

    def _need_room(self, wanted: int) -> None:
        free = shutil.disk_usage(self.part.path.parent).free - _SPARE
        if wanted > free:
            raise UserError(
                "disk_full",
                f"{self.part.wanted.title} needs {wanted:,} bytes more, and the disk of {self.part.path.parent} has room for "
                f"{max(free, 0):,}. Free some space, then run the same command again: it continues from there.",
            )

    def _report(self, have: int, total: int) -> None:
        if self.progress:
            self.progress(have, total)

    # -- what went wrong, for people

    def _raise_for(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE):
            return
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            asked = response.headers.get("Retry-After", "")
            pause_s = min(float(asked), _MOST_PAUSE_S) if asked.isdecimal() else _PAUSE_S
            busy = status == httpx.codes.TOO_MANY_REQUESTS
            raise _BrokenOff(f"the server answers {status}", busy=busy, pause_s=max(pause_s, _PAUSE_S))
        raise Refused("weights_link_dead", f"it answers {status} {response.reason_phrase}: the link is dead")

    def _explained(self, refusal: Refused) -> UserError:
        """The refusal of a place, with the file and what the operator can do about it."""
        wanted, sha256 = self.part.wanted, self.part.wanted.item.sha256
        known = f" (sha256 {sha256})" if sha256 else ""
        do = refusal.do or f"Get {wanted.title}{known} elsewhere."
        sentence = f"{self.url} could not be fetched: {refusal.happened}. {do} {wanted.by_hand}"
        return UserError(refusal.code, sentence)

    def _given_up(self, error: Exception) -> UserError:
        card, item, size = self.part.wanted.card, self.part.wanted.item, self.part.size()
        total = item.bytes or self.part.begun().total
        stored = f"{size:,} of {total:,} bytes are stored" if total else f"{size:,} bytes are stored"
        again = f"run 'deepfake-o-meter weights fetch {card.id}' again: it continues from there"
        if isinstance(error, _BrokenOff) and error.busy:
            return UserError(
                "weights_busy",
                f"{self.url} could not be fetched: too many downloads from this machine or its network ({error}); {stored}. Wait some "
                f"minutes, then {again}.",
            )
        return UserError(
            "weights_unreachable",
            f"{self.url} could not be fetched ({str(error) or type(error).__name__}); {stored}. Check the network, then {again}.",
        )


def _total(response: httpx.Response) -> int:
    """Bytes of the whole file by ``Content-Range``, 0 where it does not say."""
    found = re.fullmatch(r"bytes [^/]+/(\d+)", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else 0


def size_at(address: str, *, name: str, places: Places) -> int:
    """Bytes of the file at ``address`` as its host states them, without downloading it; 0 where it does not, or does not answer."""
    host = host_of(address)
    if host in places.away:
        return 0
    try:
        with places.opened(address, name=name, headers={"Accept-Encoding": "identity"}) as response:
            stated = response.headers.get("Content-Length", "")
            return int(stated) if response.status_code == httpx.codes.OK and stated.isdecimal() else 0
    except httpx.TransportError:
        places.away.add(host)
        return 0
    except (httpx.HTTPError, httpx.InvalidURL, Refused):
        return 0
