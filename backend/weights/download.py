"""Downloads a published file.

Promises: an interrupted transfer continues where it stopped; never more is stored than the card's size; errors say what to do.
May be imported by ``backend.weights``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx

from backend.weights.part import MOST_BYTES, Part, wrong_file
from shared.errors import UserError

#: Called after each block: (bytes stored so far, bytes of the whole file; 0 = not known).
Progress = Callable[[int, int], None]

#: Seconds to connect, and between two blocks.
TIMEOUT: Final = httpx.Timeout(60, connect=15)
#: A broken connection is retried this often, after so many seconds.
_TRIES, _PAUSE_S = 3, 1.0


class _BrokenOff(Exception):
    """The server ended its answer before the file was whole, or cannot give it now."""


@dataclass(frozen=True)
class Transfer:
    """One download of ``url`` into a part."""

    part: Part
    url: str
    progress: Progress | None
    client: httpx.Client
    pause: Callable[[float], None]

    def run(self) -> None:
        """Transfer what is missing; if the whole is wrong, what was stored before is not trusted."""
        item, resumed = self.part.wanted.item, self.part.size() > 0
        self._transfer_all()
        if resumed and item.sha256 and self.part.sha256() != item.sha256:
            self.part.restart()
            self._transfer_all()

    def _transfer_all(self) -> None:
        card, item = self.part.wanted.card, self.part.wanted.item
        for left in reversed(range(_TRIES)):
            try:
                self._transfer()
                return
            except (httpx.RequestError, httpx.InvalidURL, _BrokenOff) as error:
                if not left:
                    size = self.part.size()
                    stored = f"{size} of {item.bytes} bytes are stored" if item.bytes else f"{size} bytes are stored"
                    raise UserError(
                        "weights_unreachable",
                        f"{self.url} could not be fetched ({str(error) or type(error).__name__}); {stored}. Check the network, "
                        f"then run 'deepfake-o-meter weights fetch {card.id}' again: it continues from there.",
                    ) from None
                self.pause(_PAUSE_S)

    def _transfer(self) -> None:
        """Append what is missing, from the start where the server cannot resume."""
        part, item = self.part, self.part.wanted.item
        have = part.size() if part.size() <= (item.bytes or MOST_BYTES) else part.restart()
        self._report(have, item.bytes)
        if have == item.bytes and have:
            return
        # identity: ranges and sizes count bytes of the file, not of a compressed transfer
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with self.client.stream("GET", self.url, headers=headers) as response:
            if have and not item.bytes and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing is left to send: the whole file was stored already
            self._raise_for(response)
            if have and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                have = part.restart()
                if response.status_code != httpx.codes.OK:
                    raise _BrokenOff("the server cannot resume")
            self._store(response, have)

    def _store(self, response: httpx.Response, have: int) -> None:
        """Append the body of ``response`` after the ``have`` bytes."""
        part, item = self.part, self.part.wanted.item
        most = item.bytes or MOST_BYTES
        announced = response.headers.get("Content-Length", "")
        total = have + int(announced) if announced.isdecimal() else item.bytes
        if item.bytes and total != item.bytes:
            part.restart()
            raise wrong_file(self.url, part.wanted, difference=f"{total} bytes instead of {item.bytes}")
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

    def _report(self, have: int, total: int) -> None:
        if self.progress:
            self.progress(have, total)

    def _raise_for(self, response: httpx.Response) -> None:
        status, card, item = response.status_code, self.part.wanted.card, self.part.wanted.item
        if status in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE):
            return
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise _BrokenOff(f"the server answers {status}")
        known = f" (sha256 {item.sha256})" if item.sha256 else ""
        raise UserError(
            "weights_link_dead",
            f"{self.url} answers {status} {response.reason_phrase}: the link is dead. Get {item.file}{known} elsewhere and "
            f"install it with 'deepfake-o-meter weights add {card.id} FILE'.",
        )
