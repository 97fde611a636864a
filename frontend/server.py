"""The web server in front of the portal: waitress, with limits on slow, idle, large and many connections.

Waitress reads a whole request before a thread works on it, so a slow sender takes a connection but not a thread. This module
adds what it lacks: a minimum rate, a limit per network peer, room for many connections, an answer to a body that is too large or
does not fit on the disk (an error page like every other one, made by the application; the rest of the body is read, so that the
page arrives), a page for what is no request at all, and a spool on the disk of the portal's data. Entry: ``create_web_server``.
For the composition root only.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from flask import Flask
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import Error

from frontend.faults import API_PATH, bare_answer, bare_headers
from frontend.security import network_of, trusts_proxy
from frontend.upload import REFUSED, request_limit
from shared.errors import NO_SPACE
from shared.settings import Settings

log = structlog.get_logger()

#: Connections at once. Each needs a file descriptor for itself, one for a spooled upload and one for a file that is sent.
MOST_CONNECTIONS: Final = 1000
DESCRIPTORS_EACH: Final = 3
#: Descriptors for everything else: the log, the records that are read, mails, downloads.
DESCRIPTORS_BESIDE: Final = 200

#: Connections of one network peer. A browser opens six; behind a reverse proxy this limit is the proxy's business.
MOST_OF_ONE_PEER: Final = 64

#: Seconds without a byte in either direction, after which a connection is closed.
IDLE_S: Final = 60.0
#: Seconds for the head of a request.
HEAD_S: Final = 20.0
#: The least rate of a body, bytes a second, as the mean over ``MEASURED_S``. A modem of 1998 sends half of that.
LEAST_RATE: Final = 8_000
MEASURED_S: Final = 60.0

#: Bodies beyond this are spooled to the disk: a thousand senders at once may not fill the memory.
IN_MEMORY: Final = 65_536
LARGEST_HEAD: Final = 32_768
AT_ONCE: Final = 65_536
#: Bytes of a request that say whether a program or a browser sent it.
BEGINNING: Final = 64

#: Waitress warns of each request that waits for a thread; a busy minute would fill the log.
QUIET: Final = "waitress.queue"

#: How long the rest of a refused body is read and dropped. A connection closed on unread data is reset, and a browser that sends
#: the whole file before it reads the answer (Chromium does) may lose the page: so all of it is read, at least ``LEAST_RATE`` of it
#: in each ``LINGER_PACE_S`` seconds, and at most for ``LINGER_S``.
LINGER_S: Final = 180.0
LINGER_PACE_S: Final = 10.0


#: Refusals of the server that the application words, by HTTP status -> code of shared.errors.
REFUSALS: Final[Mapping[int, str]] = {
    408: "request_too_slow",
    413: "upload_too_large",
    503: "store_unavailable",
    507: "disk_full",
}


def _error(status: HTTPStatus) -> Error:
    """What waitress keeps as the trouble of a request."""
    error = Error("")
    error.code, error.reason = status.value, status.phrase
    return error


class _Refusal(WSGITask):  # type: ignore[misc]  # waitress has no types
    """Lets the application answer a request whose body the server did not take, then closes the connection."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ["wsgi.input"] = io.BytesIO()
        environ["CONTENT_LENGTH"] = "0"
        environ[REFUSED] = REFUSALS[self.request.error.code]
        return environ

    def execute(self) -> None:
        self.set_close_on_finish()
        super().execute()


def _drop_spool(request: Any) -> None:
    """Close the spool of a request that will not be worked on; closing writes what is left, and the disk may be full."""
    with contextlib.suppress(OSError):
        if request is not None and request.body_rcv is not None:
            request.close()


class _BareAnswer(ErrorTask):  # type: ignore[misc]
    """An answer without the application: the request is not HTTP that it could read, or the application itself failed."""

    def execute(self) -> None:
        error = self.request.error
        accept = self.request.headers.get("ACCEPT", "")
        kind, body = bare_answer(error.code, as_json=_is_for_programs(self.channel.beginning, accept))
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [("Content-Type", kind), *bare_headers().items()]
        self.content_length = len(body)
        self.set_close_on_finish()
        if getattr(self.request, "command", "") != "HEAD":
            self.write(body)


def _is_for_programs(beginning: bytes, accept: str) -> bool:
    """Whether JSON is wanted, by the first bytes of the request: waitress drops a head that it does not take."""
    path = beginning.partition(b" ")[2]
    return path.startswith(API_PATH.encode()) or ("json" in accept and "html" not in accept)


def _task_of_error(channel: HTTPChannel, request: Any) -> WSGITask | ErrorTask:
    """An error page of the application where a request has a head to answer to, else a page that needs no application."""
    channel.lingers = True
    if not request.headers_finished or request.error.code not in REFUSALS:
        return _BareAnswer(channel, request)
    return _Refusal(channel, request)


class Channel(HTTPChannel):  # type: ignore[misc]
    """One connection. Waitress calls ``readable`` at least once a second, which is where the clock is looked at."""

    error_task_class = staticmethod(_task_of_error)
    request: Any

    def __init__(self, server: BaseWSGIServer, sock: socket.socket, addr: Any, adj: Any, map: Any = None) -> None:
        self.network = network_of(addr[0])
        self.lingers = False
        self._begun = self._measured_from = 0.0
        self._measured = 0
        self._space_checked = False
        self.beginning = b""
        self._linger_until: float | None = None
        self._dropped, self._dropped_from = 0, 0.0
        super().__init__(server, sock, addr, adj, map)

    def write_soon(self, data: Any) -> int:
        """Queue a piece of an answer. The reader was waiting for us: its silence is counted from now on."""
        if not self.total_outbufs_len:
            self.last_activity = time.time()
        return int(super().write_soon(data))

    # -- reading

    def send_continue(self) -> None:
        """Ask for the body (Expect: 100-continue), unless its length alone is refused."""
        if self.request.error:
            self.request.expect_continue = False
            return
        super().send_continue()

    def received(self, data: bytes) -> bool:
        """Take a piece of a request; a disk that is full or away ends in an answer."""
        if self.request is None:
            self._begun = self._measured_from = time.monotonic()
            self._measured, self._space_checked = 0, False
            self.beginning = data[:BEGINNING]
        self._measured += len(data)
        try:
            taken: bool = super().received(data)
            if self.request is not None and self.request.headers_finished and not self._space_checked:
                self._space_checked = True
                if not self._has_space():
                    self._refuse(_error(HTTPStatus.INSUFFICIENT_STORAGE))
        except OSError as error:
            full = error.errno in (*NO_SPACE, errno.EFBIG)
            log.warning("spool_failed", reason=errno.errorcode.get(error.errno or 0, "unknown"))
            self._refuse(_error(HTTPStatus.INSUFFICIENT_STORAGE if full else HTTPStatus.SERVICE_UNAVAILABLE))
            return True
        return taken

    def _has_space(self) -> bool:
        """Whether the disk has room for this body and for the bodies that others have announced, spooled and stored."""
        if self.request.content_length <= IN_MEMORY:
            return True
        announced = sum(item.request.content_length for item in self.server.active_channels.values() if item.request)
        free = shutil.disk_usage(tempfile.gettempdir()).free
        return bool(free >= 2 * announced)

    def _refuse(self, error: Error) -> None:
        """Answer ``error`` to the request that is being received and take nothing more of it."""
        with self.requests_lock:
            request, self.request = self.request, None
            request.error, request.completed = error, True
            _drop_spool(request)
            request.body_rcv = None
            self.requests.append(request)
            if len(self.requests) == 1:
                self.server.add_task(self)

    def handle_read(self) -> None:
        if self._linger_until is None:
            super().handle_read()
            return
        try:
            self._dropped += len(self.recv(self.adj.recv_bytes))  # closes at the end of the stream
        except OSError:
            self.handle_close()

    # -- the clock

    def readable(self) -> bool:
        now = time.monotonic()
        if self._linger_until is not None:
            if now > self._linger_until or self._stopped_sending(now):
                self.handle_close()
            return bool(self.connected)
        self._check_pace(now)
        return bool(self.connected and super().readable())

    def _stopped_sending(self, now: float) -> bool:
        """Whether the rest of a refused body comes too slowly to wait for it."""
        if now - self._dropped_from < LINGER_PACE_S:
            return False
        slow = self._dropped < LEAST_RATE * LINGER_PACE_S
        self._dropped, self._dropped_from = 0, now
        return slow

    def writable(self) -> bool:
        return bool(self.connected and self._linger_until is None and super().writable())

    def _check_pace(self, now: float) -> None:
        if self.total_outbufs_len and time.time() - self.last_activity > IDLE_S:
            self.handle_close()  # the answer is not read
        elif self.request is not None and not self.requests and self._is_slow(now):
            if self.request.headers_finished:
                self._refuse(_error(HTTPStatus.REQUEST_TIMEOUT))
            else:
                self.handle_close()

    def _is_slow(self, now: float) -> bool:
        if not self.request.headers_finished:
            return now - self._begun > HEAD_S
        if now - self._measured_from < MEASURED_S:
            return False
        slow = self._measured < LEAST_RATE * MEASURED_S
        self._measured_from, self._measured = now, 0
        return slow

    # -- leaving

    def handle_close(self) -> None:
        """Close, after a while in which the rest of a refused body is read when there is one."""
        if self.lingers and self._linger_until is None and self.connected:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
                self._dropped_from = time.monotonic()
                self._linger_until = self._dropped_from + LINGER_S
                self.will_close = False
                return
        super().handle_close()
        _drop_spool(self.request)


def create_web_server(app: Flask, settings: Settings) -> Any:
    """Listen for ``app`` as the settings say; ``run`` serves until an interrupt, ``close`` ends it. OSError: cannot listen.

    Sets the temporary folder and the limit of open files of this process.
    """
    spool = settings.frontend_state / "spool"
    spool.mkdir(parents=True, exist_ok=True, mode=0o700)
    tempfile.tempdir = str(spool.absolute())  # waitress asks tempfile for its spool files; they never have a name
    logging.getLogger(QUIET).setLevel(logging.ERROR)
    listeners: dict[int, Any] = {}
    server = create_server(
        app,
        map=listeners,
        host=settings.host,
        port=settings.port,
        threads=settings.portal_threads,
        connection_limit=_connections(),
        asyncore_use_poll=True,  # select() ends at descriptor 1023
        recv_bytes=AT_ONCE,
        inbuf_overflow=IN_MEMORY,
        max_request_header_size=LARGEST_HEAD,
        max_request_body_size=request_limit(settings.max_upload_mb) + 1,
        channel_timeout=int(IDLE_S),
        cleanup_interval=10,
        # what an untrusted peer says of its address is dropped in frontend.security, which knows the proxies
        clear_untrusted_proxy_headers=not settings.trusted_proxies,
        ident=None,
    )
    for listener in listeners.values():
        if isinstance(listener, BaseWSGIServer):
            listener.channel_class = _opener(settings)
    return server


def _opener(settings: Settings) -> Any:
    """What waitress calls for a new connection: makes a channel, or hangs up on a peer that has too many."""

    def open_channel(server: BaseWSGIServer, sock: socket.socket, addr: Any, adj: Any, map: Any = None) -> None:
        network = network_of(addr[0])
        if not trusts_proxy(settings, addr[0]):
            held = sum(channel.network == network for channel in server.active_channels.values())
            if held >= MOST_OF_ONE_PEER:
                sock.close()
                return
        Channel(server, sock, addr, adj, map)

    return open_channel


def _connections() -> int:
    """How many connections the limit of open files allows, raised as far as this process may."""
    wanted = MOST_CONNECTIONS * DESCRIPTORS_EACH + DESCRIPTORS_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST_CONNECTIONS
    return max(50, (soft - DESCRIPTORS_BESIDE) // DESCRIPTORS_EACH)
