"""Fetches a media file from a web address, for those who have a link but no file.

Promises: only http and https, only ports 80 and 443, only public addresses; every name is resolved once, each of its
addresses is checked, and the connection goes to the checked address itself (a second answer of the name server has no
effect), on every hop of a redirect; size, time and number of redirects are limited, however slowly the other side
answers. Only files: no pages, no playlists. Where a file goes, its receiver says. For the portal and for batches. ``Poster`` sends
small messages under the same rules.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import BoundedSemaphore, Thread
from typing import Any, Final, Generic, Protocol, TypeVar
from urllib.parse import unquote, urljoin

import httpcore
import httpx

from shared.errors import UserError
from shared.languages import _, marked

PORTS: Final = frozenset({80, 443})
MOST_REDIRECTS: Final = 5
MOST_URL_CHARACTERS: Final = 2000
AT_ONCE: Final = 3
#: Queries to the name server at once, including abandoned ones.
_RESOLVING: Final = BoundedSemaphore(2 * AT_ONCE)
#: Seconds for one connection attempt, one answer of the name server or one silent stretch.
SILENCE_S: Final = 10.0
#: What to do where an address is of no use.
YOURSELF: Final = marked("Download the file yourself, then upload it.")
USER_AGENT: Final = b"DeepFake-o-meter"

#: IPv4 wrapped by a translator (RFC 6052, RFC 8215) or as an old compatible address (RFC 4291): media is never there.
_WRAPPERS: Final = tuple(ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96"))

#: Protocol assignments and 6to4 relays (RFC 6890, RFC 7526); Python counts only parts of them as not global.
_SPECIAL: Final = tuple(ipaddress.IPv4Network(text) for text in ("192.0.0.0/24", "192.88.99.0/24"))

#: Returns every address of a host, as text.
Resolver = Callable[[str, int], list[str]]


@dataclass(frozen=True)
class Address:
    """A web address whose form was checked; where it leads is checked when connecting."""

    url: httpx.URL

    @property
    def record(self) -> str:
        """The address as kept in the submission: without the query, which may contain a token."""
        return str(self.url.copy_with(query=None, fragment=None))

    @property
    def name(self) -> str:
        """The last part of the path, for display."""
        return unquote(self.url.path.rsplit("/", 1)[-1]) or self.url.host


def read_address(untrusted_url: str, *, any_port: bool = False) -> Address:
    """Check the form of an address: scheme, host, port, no user name; UserError says what is wrong."""
    text = untrusted_url.strip()
    if re.search(r"\s", text):
        raise _refused("Give the web address alone, without other words or spaces.")
    if len(text) > MOST_URL_CHARACTERS or any(ord(char) < 33 for char in text):
        raise _refused("This is not the web address of a file.")
    if re.match(r"(?:[\w-]+\.)+[^\W\d_]{2,}(?:/|$)", text):  # as people write it
        text = f"https://{text}"
    try:
        url = httpx.URL(text)
        host = url.raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError, ValueError):
        raise _refused("This is not the web address of a file.") from None
    if url.scheme not in ("http", "https") or not host:
        raise _refused("Give a web address that begins with http:// or https://.")
    if url.userinfo:
        raise _refused("Addresses with a user name or password are not fetched.", yourself=True)
    if not any_port and (url.port or (443 if url.scheme == "https" else 80)) not in PORTS:
        raise _refused("Only addresses on the usual web ports are fetched.", yourself=True)
    return Address(url)


def is_public(untrusted_address: str) -> bool:
    """Whether an IP address is on the public internet, also when it is wrapped into an IPv6 address."""
    try:
        address = ipaddress.ip_address(untrusted_address.split("%", 1)[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return is_public(str(address.ipv4_mapped))
        if address.sixtofour or address.teredo or address.is_site_local:
            return False
        if any(address in network for network in _WRAPPERS):
            return False
    elif any(address in network for network in _SPECIAL):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved and not address.is_unspecified


def resolve(host: str, port: int) -> list[str]:
    """Addresses of ``host``; OSError when it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Receiver(Protocol):
    """A file on its way to the disk."""

    def write(self, untrusted_data: bytes) -> int:
        """Take one piece; UserError when it would be more than the receiver takes, or cannot be stored."""

    def drop(self) -> None:
        """Remove what was written."""


Received = TypeVar("Received", bound=Receiver)


class Fetcher(Generic[Received]):
    """Fetches files, at most ``at_once`` of them at a time; ``receive`` makes the receiver of one from its untrusted name."""

    def __init__(
        self,
        receive: Callable[[str], Received],
        *,
        limit: int,
        timeout_s: float,
        allow_private: bool = False,
        resolver: Resolver = resolve,
        ssl_context: ssl.SSLContext | None = None,
        at_once: int = AT_ONCE,
    ) -> None:
        self._receive, self._limit, self._timeout_s = receive, limit, timeout_s
        self._allow_private, self._resolver = allow_private, resolver
        self._ssl_context = ssl_context or ssl.create_default_context()
        self._slots = BoundedSemaphore(at_once)

    def fetch(self, untrusted_url: str) -> tuple[Received, str]:
        """The file at a web address, and the address as it is recorded. UserError says why that failed; then nothing of it is
        left on the disk.
        """
        address = read_address(untrusted_url, any_port=self._allow_private)
        if not self._slots.acquire(blocking=False):
            raise UserError(
                "fetch_busy", status=503, title="Busy",
            )  # fmt: skip
        try:
            return self._follow(address), address.record
        finally:
            self._slots.release()

    def _follow(self, address: Address) -> Received:
        deadline = time.monotonic() + self._timeout_s
        backend = _CheckedBackend(self._resolver, allow_private=self._allow_private, deadline=deadline)
        url = address.url
        try:
            with httpcore.ConnectionPool(
                ssl_context=self._ssl_context, network_backend=backend, max_connections=1, max_keepalive_connections=0
            ) as pool:
                for _hop in range(MOST_REDIRECTS + 1):
                    with closing(_Answer(pool, url)) as answer:
                        target = answer.redirect
                        if target is None:
                            return self._store_body(answer, address, deadline=deadline)
                    url = read_address(urljoin(str(url), target), any_port=self._allow_private).url
        except (httpcore.TimeoutException, _TimeIsUp):
            raise UserError(
                "fetch_timed_out", status=504, title="The other site is too slow",
            ) from None  # fmt: skip
        except socket.gaierror:
            raise _unreachable("No site of this name was found. Check the address.") from None
        except httpcore.ConnectError:
            raise _unreachable("No connection to the other site could be made.", yourself=True) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError, UnicodeError):
            raise _unreachable() from None
        raise _refused("This address redirects too many times.", yourself=True)

    def _store_body(self, answer: _Answer, address: Address, *, deadline: float) -> Received:
        answer.check(self._limit)
        media = self._receive(address.name)
        arrived = 0
        try:
            for piece in answer.pieces():
                if time.monotonic() > deadline:
                    raise _TimeIsUp
                media.write(piece)
                arrived += len(piece)
            if not arrived:
                raise _refused("This address leads to an empty file. Check it in a browser.")
            return media
        except BaseException:
            media.drop()
            raise


class Poster:
    """Posts a small message to a web address under the same rules: public addresses, the checked one, limited time; no redirects."""

    def __init__(
        self,
        *,
        timeout_s: float = SILENCE_S,
        allow_private: bool = False,
        resolver: Resolver = resolve,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._timeout_s, self._allow_private, self._resolver = timeout_s, allow_private, resolver
        self._ssl_context = ssl_context or ssl.create_default_context()

    def post(self, untrusted_url: str, body: bytes, *, headers: Mapping[str, str]) -> int:
        """The status of the answer, whose content is not read. UserError says why there was none."""
        url = read_address(untrusted_url, any_port=self._allow_private).url
        deadline = time.monotonic() + self._timeout_s
        backend = _CheckedBackend(self._resolver, allow_private=self._allow_private, deadline=deadline)
        given = {
            "Host": url.netloc.decode("ascii"),
            "User-Agent": USER_AGENT.decode(),
            "Content-Length": str(len(body)),
        }
        given |= {"Connection": "close", **headers}
        request = httpcore.Request(
            "POST",
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=[(name.encode("ascii"), value.encode("ascii")) for name, value in given.items()],
            content=body,
            extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), self._timeout_s)},
        )
        try:
            with httpcore.ConnectionPool(
                ssl_context=self._ssl_context, network_backend=backend, max_connections=1, max_keepalive_connections=0
            ) as pool:
                response = pool.handle_request(request)
                response.close()
                return response.status
        except (httpcore.TimeoutException, _TimeIsUp):
            raise UserError("fetch_timed_out", status=504) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError, UnicodeError):
            raise UserError("fetch_failed", status=502) from None


class _TimeIsUp(Exception):
    """The whole fetch took too long."""


class _Answer:
    """One response, its body not read yet."""

    def __init__(self, pool: httpcore.ConnectionPool, url: httpx.URL) -> None:
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), SILENCE_S)
        request = httpcore.Request(
            "GET",
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=[
                (b"Host", url.netloc), (b"User-Agent", USER_AGENT), (b"Accept", b"video/*, image/*, audio/*, */*;q=0.5"),
                (b"Accept-Encoding", b"identity"), (b"Connection", b"close"),
            ],
            extensions={"timeout": timeouts},
        )  # fmt: skip
        self._response = pool.handle_request(request)
        self._headers = {name.lower(): value for name, value in self._response.headers}

    @property
    def redirect(self) -> str | None:
        """Where a 3xx answer leads."""
        if self._response.status in (301, 302, 303, 307, 308) and b"location" in self._headers:
            return self._headers[b"location"].decode("latin-1")
        return None

    def check(self, limit: int) -> None:
        """UserError when this is not a file, or its announced size is too large."""
        if self._response.status != 200:
            raise _unreachable(
                "The other site did not hand out the file (it answered {status}).",
                yourself=True,
                status=self._response.status,
            )
        if self._headers.get(b"content-type", b"").lower().startswith((b"text/html", b"application/xhtml")):
            raise _refused(
                "This address leads to a web page. Give the address of the video, picture or sound file itself, or download the "
                "file and upload it."
            )
        if self._headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise _unreachable()
        length = self._headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > limit:
            raise too_large(limit)

    def pieces(self) -> Iterable[bytes]:
        """The body, piece by piece as it comes."""
        return self._response.iter_stream()

    def close(self) -> None:
        """Close the connection."""
        self._response.close()


class _CheckedBackend(httpcore.NetworkBackend):
    """Resolves, checks and connects in one go; hands out streams that keep the deadline."""

    def __init__(self, resolver: Resolver, *, allow_private: bool, deadline: float) -> None:
        self._resolver, self._allow_private, self._deadline = resolver, allow_private, deadline
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._resolved(host.strip("[]"), port)
        if not addresses or not (self._allow_private or all(map(is_public, addresses))):
            raise _refused(
                "This address does not lead to a public web site, so nothing was fetched from it.", yourself=True
            )
        stream = self._inner.connect_tcp(addresses[0], port, _left(self._deadline), local_address, socket_options)
        return _TimedStream(stream, deadline=self._deadline)

    def _resolved(self, host: str, port: int) -> list[str]:
        """The resolver's answer within the remaining time. It cannot be interrupted, so it runs in a thread that may be abandoned."""
        if not _RESOLVING.acquire(timeout=_left(self._deadline)):
            raise _TimeIsUp
        answers: SimpleQueue[list[str] | Exception] = SimpleQueue()

        def resolve() -> None:
            try:
                answers.put(self._resolver(host, port))
            except Exception as error:
                answers.put(error)
            finally:
                _RESOLVING.release()

        Thread(target=resolve, name="resolver", daemon=True).start()
        try:
            found = answers.get(timeout=_left(self._deadline))
        except Empty:
            raise _TimeIsUp from None
        if isinstance(found, Exception):
            raise found
        return found

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        raise _refused("This is not the web address of a file.")


class _TimedStream(httpcore.NetworkStream):
    """A stream whose every wait ends at the deadline of the whole fetch."""

    def __init__(self, inner: httpcore.NetworkStream, *, deadline: float) -> None:
        self._inner, self._deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(self._deadline))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, _left(self._deadline))
        return _TimedStream(inner, deadline=self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _TimeIsUp
    return min(left, SILENCE_S)


def _refused(sentence: str, *, yourself: bool = False) -> UserError:
    said = f"{_(sentence)} {_(YOURSELF)}" if yourself else _(sentence)
    return UserError("address_refused", said, status=422, title="Address not accepted")


def _unreachable(sentence: str | None = None, *, yourself: bool = False, **values: object) -> UserError:
    said = _(sentence, **values) if sentence else None
    said = f"{said} {_(YOURSELF)}" if yourself else said
    return UserError("fetch_failed", said, status=422, title="The file could not be fetched")


def too_large(limit: int) -> UserError:
    """The 413 of a file beyond ``limit`` bytes."""
    return UserError(
        "upload_too_large",
        _(
            "The file is larger than {megabytes} MB, the most this site takes. Cut out the part in question, or export it at a lower "
            "quality, and upload that.",
            megabytes=f"{limit / 1_000_000:g}",
        ),
        status=413,
        title="File too large",
    )
