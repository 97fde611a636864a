"""The only way out of a link's container: a unix socket in its exchange folder, behind which this side checks and connects.

Promises: ports 80 and 443 only; every address of a name must be public, and the connection goes to one that was checked (a second answer
of the name server has no effect); bytes, connections and time of one fetch are limited. Playlists, redirects and embedded addresses come
here as everything else does. Speaks one line of JSON ``{host, port}``, answers ``open`` or ``closed``, then passes bytes on.
Imported by ``backend.links.fetching``.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

import structlog

from shared.download import PORTS, Resolver, is_public, resolve

log = structlog.get_logger()

#: Connections at once; a page and its clip need a few.
AT_ONCE: Final = 16
#: Connections of one fetch in all: a clip in pieces needs one for each.
IN_ALL: Final = 3000
CONNECT_S: Final = 10.0
SILENCE_S: Final = 30.0
_BLOCK: Final = 1 << 16
_LINE: Final = 1000


class Egress:
    """Listens on ``path`` from entering to leaving the block; ``refused`` counts connections that led nowhere public."""

    def __init__(
        self,
        path: Path,
        *,
        most_bytes: int,
        timeout_s: float,
        allow_private: bool = False,
        resolver: Resolver = resolve,
        connect: Callable[[tuple[str, int], float], socket.socket] = socket.create_connection,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._allow_private, self._resolver, self._clock = path, allow_private, resolver, clock
        self._connect = connect
        self._left, self._until = most_bytes, clock() + timeout_s
        self._slots, self._made = threading.BoundedSemaphore(AT_ONCE), 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.refused = 0

    def __enter__(self) -> Self:
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            place = f"/proc/self/fd/{folder}/{self._path.name}"  # a path of any length: sun_path holds 107 bytes
            self._listener.bind(place)
            os.chmod(place, 0o666)  # noqa: S103  the container's user is another one; the folder above keeps all others out
        finally:
            os.close(folder)
        self._listener.listen(AT_ONCE)
        self._listener.settimeout(0.2)
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(CONNECT_S + 2)
        self._listener.close()

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, name="egress", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                near, _ = self._listener.accept()
                self._made += 1
                if self._made > IN_ALL or not self._slots.acquire(timeout=CONNECT_S):
                    near.close()
                    continue
                self._threads = [thread for thread in self._threads if thread.is_alive()]
                self._start(self._serve, near)

    def _serve(self, near: socket.socket) -> None:
        try:
            with near:
                near.settimeout(CONNECT_S)
                far = self._connected(near)
                if far is None:
                    near.sendall(b"closed\n")
                    return
                with far:
                    near.sendall(b"open\n")
                    self._pass_on(near, far)
        except OSError:
            return
        finally:
            self._slots.release()

    def _connected(self, near: socket.socket) -> socket.socket | None:
        untrusted = _line(near)
        try:
            wanted = json.loads(untrusted)
            host, port = str(wanted["host"]).strip("[]"), int(wanted["port"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        if len(host) > 255 or (port not in PORTS and not self._allow_private):
            self._refuse()
            return None
        try:
            addresses = self._resolver(host, port)
        except (OSError, UnicodeError):
            return None
        if not addresses or not (self._allow_private or all(map(is_public, addresses))):
            self._refuse()
            return None
        for address in addresses[:4]:
            with contextlib.suppress(OSError):
                return self._connect((address, port), CONNECT_S)
        return None

    def _refuse(self) -> None:
        with self._lock:
            self.refused += 1
        log.warning("egress_refused")

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        """Pass bytes on both ways until one side ends, is silent for too long, or the fetch has used up its bytes or its time."""
        near.settimeout(SILENCE_S)
        far.settimeout(SILENCE_S)
        other = {near: far, far: near}
        heard = self._clock()
        while not self._over.is_set() and self._clock() < min(self._until, heard + SILENCE_S):
            ready, _, _ = select.select(list(other), [], [], 0.5)
            for side in ready:
                data = side.recv(_BLOCK)
                if not data or not self._spend(len(data)):
                    return
                other[side].sendall(data)
                heard = self._clock()

    def _spend(self, count: int) -> bool:
        with self._lock:
            self._left -= count
            return self._left >= 0


def _line(near: socket.socket) -> bytes:
    found = b""
    while not found.endswith(b"\n") and len(found) < _LINE:
        piece = near.recv(1)
        if not piece:
            break
        found += piece
    return found
