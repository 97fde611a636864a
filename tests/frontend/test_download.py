"""Files from web addresses: public ones only, whatever a name server, a redirect or a slow host tries."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from frontend.media import IncomingMedia
from frontend.portal import portal
from shared import download
from shared.download import Fetcher, is_public, read_address
from shared.errors import UserError
from shared.records import JobId
from shared.store import Store
from tests.frontend.stories import JPEG, Uploader

PRIVATE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.0.8", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "::127.0.0.1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
    "2001:db8::1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2001:0:0:0:0:0:80ff:fffe", "not an address",
]  # fmt: skip
FORMS = [
    "http://127.0.0.1/a.mp4", "http://2130706433/a.mp4", "http://0177.0.0.1/a.mp4", "http://0x7f000001/a.mp4", "http://127.1/a.mp4",
    "http://[::1]/a.mp4", "http://[::ffff:127.0.0.1]/a.mp4", "http://[::ffff:7f00:1]/a.mp4", "http://localhost/a.mp4",
    "http://169.254.169.254/latest/meta-data/", "http://0/a.mp4", "http://10.0.0.1/a.mp4", "https://192.168.0.1/a.mp4",
]  # fmt: skip
NOT_FETCHED = [
    "file:///etc/passwd", "ftp://example.org/a.mp4", "gopher://example.org/", "data:image/png;base64,AAAA", "javascript:alert(1)",
    "//example.org/a.mp4", "http://", "http:///a.mp4", "https://user@example.org/a.mp4",
    "https://u:p@example.org/a.mp4", "http://example.org:22/a.mp4", "http://example.org:8080/a.mp4", "http://example.org:0/",
    "http://exa mple.org/", "http://example.org/a\r\nHost: x", "http://example.org:99999/", "http://[::1", "x" * 3000,
    "http://" + "a" * 300 + ".org/",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_address_inside_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_address_of_the_open_internet_is_public(address: str) -> None:
    assert is_public(address)


class Host:
    """A local web server; ``pages`` maps paths to handlers, ``seen`` counts connections."""

    def __init__(self) -> None:
        self.pages: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.seen: list[str] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.seen.append(self.path)
                with_page = host.pages.get(self.path.split("?", 1)[0])
                try:
                    if with_page:
                        with_page(self)
                    else:
                        self.send_error(404)
                except (BrokenPipeError, ConnectionResetError):
                    pass

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def page(content: bytes, *, status: int = 200, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in ({"Content_Length": str(len(content))} | headers).items():
            if value:
                handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


@pytest.fixture
def host() -> Iterator[Host]:
    found = Host()
    yield found
    found.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "submissions", tmp_path / "results").prepare(tmp_path / "state")


def into(store: Store, *, limit: int, **rest: Any) -> Fetcher[IncomingMedia]:
    """A fetcher as the portal has it."""
    return Fetcher(lambda name: IncomingMedia(store, limit=limit, untrusted_name=name), limit=limit, **rest)


@pytest.fixture
def fetcher(store: Store) -> Fetcher[IncomingMedia]:
    return into(store, limit=1_000_000, timeout_s=5, allow_private=True)


def _code(fetcher: Fetcher[IncomingMedia], url: str) -> str:
    with pytest.raises(UserError) as caught:
        fetcher.fetch(url)
    return caught.value.code


def test_file_is_fetched_with_name_digest_and_size(fetcher: Fetcher[IncomingMedia], store: Store, host: Host) -> None:
    host.pages["/clips/my%20clip.jpg"] = page(JPEG)
    media, source = fetcher.fetch(f"{host.url}/clips/my%20clip.jpg?token=secret#t=1")
    with media:
        assert (store.job("tmp", media.id) / "media").read_bytes() == JPEG
        assert media.name == "my clip.jpg"
        assert "secret" not in source
    assert store.ids("tmp") == []


def test_address_in_the_form_becomes_a_submission(build: Any, host: Host) -> None:
    app: Flask = build(url_allow_private=True)
    host.pages["/a.jpg"] = page(JPEG)
    job = Uploader(app.test_client()).submit(media=None, url=f"{host.url}/a.jpg?x=1")
    submission = portal(app).store.read_submission("new", JobId(job))
    assert submission.source_url == f"{host.url}/a.jpg"
    assert submission.original_name == "a.jpg"


@pytest.mark.parametrize("url", NOT_FETCHED)
def test_what_is_no_plain_web_address_is_refused_unconnected(store: Store, url: str) -> None:
    connected: list[str] = []
    fetcher = into(store, limit=1000, timeout_s=1, resolver=lambda name, _: connected.append(name) or ["127.0.0.1"])
    assert _code(fetcher, url) == "address_refused"


@pytest.mark.parametrize("url", FORMS)
def test_no_spelling_of_an_inner_address_is_connected(store: Store, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: pytest.fail("connected"))
    assert _code(into(store, limit=1000, timeout_s=1), url) in ("address_refused", "fetch_failed")
    assert store.ids("tmp") == []


def test_one_inner_address_among_public_ones_is_enough_to_refuse(store: Store) -> None:
    fetcher = into(store, limit=1000, timeout_s=1, resolver=lambda *_: ["8.8.8.8", "10.0.0.1"])
    assert _code(fetcher, "http://example.org/a.mp4") == "address_refused"


def test_name_that_changes_its_answer_is_connected_where_it_was_checked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    connected: list[str] = []

    def rebinding(name: str, _: int) -> list[str]:
        asked.append(name)
        return ["93.184.216.34"] if len(asked) == 1 else ["127.0.0.1"]

    def refuse(address: tuple[str, int], *_: Any, **__: Any) -> None:
        connected.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    assert _code(into(store, limit=1000, timeout_s=1, resolver=rebinding), "http://example.org/a.mp4") == "fetch_failed"
    assert asked == ["example.org"]
    assert connected == ["93.184.216.34"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_from_a_public_host_to_an_inner_one_is_refused(
    store: Store, host: Host, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    host.pages["/a.mp4"] = page(b"", status=status, Location="http://inner.example.org/secret")
    host.pages["/secret"] = page(JPEG)
    names = {"public.example.org": "93.184.216.34", "inner.example.org": "127.0.0.1"}
    real = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda _, *a, **k: real(("127.0.0.1", host.port), *a, **k))
    fetcher = into(store, limit=1000, timeout_s=2, resolver=lambda name, _: [names[name]])
    assert _code(fetcher, "http://public.example.org/a.mp4") == "address_refused"
    assert host.seen == ["/a.mp4"]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://example.org/a", "http://u:p@127.0.0.1/"])
def test_redirect_to_another_scheme_or_with_a_password_is_refused(
    fetcher: Fetcher[IncomingMedia], host: Host, target: str
) -> None:
    host.pages["/a"] = page(b"", status=302, Location=target)
    assert _code(fetcher, f"{host.url}/a") == "address_refused"


def test_redirects_are_followed_and_counted(fetcher: Fetcher[IncomingMedia], host: Host) -> None:
    host.pages["/1"] = page(b"", status=302, Location="/2")
    host.pages["/2"] = page(b"", status=302, Location="3.jpg")
    host.pages["/3.jpg"] = page(JPEG)
    with fetcher.fetch(f"{host.url}/1")[0] as media:
        assert media.bytes == len(JPEG)
    host.pages["/loop"] = page(b"", status=302, Location="/loop")
    assert _code(fetcher, f"{host.url}/loop") == "address_refused"
    assert host.seen.count("/loop") == 6


def test_too_large_a_file_stops_at_the_limit_whatever_it_announces(
    fetcher: Fetcher[IncomingMedia], store: Store, host: Host
) -> None:
    host.pages["/honest"] = page(b"x", Content_Length="2000000")
    host.pages["/endless"] = page(JPEG + bytes(3_000_000), Content_Length="")
    for path in ("/honest", "/endless"):
        assert _code(fetcher, host.url + path) == "upload_too_large"
    assert store.ids("tmp") == []


def test_slow_body_and_slow_headers_end_at_the_time_limit(store: Store, host: Host) -> None:
    ended = threading.Event()

    def drip(handler: BaseHTTPRequestHandler, head: bytes) -> None:
        handler.wfile.write(head)
        while not ended.wait(0.05):
            handler.wfile.write(b"x")
            handler.wfile.flush()

    host.pages["/body"] = lambda handler: drip(handler, b"HTTP/1.0 200 OK\r\n\r\n")
    host.pages["/head"] = lambda handler: drip(handler, b"HTTP/1.0 200 OK\r\nX: ")
    fetcher = into(store, limit=1_000_000, timeout_s=0.5, allow_private=True)
    for path in ("/body", "/head"):
        begun = time.monotonic()
        assert _code(fetcher, host.url + path) == "fetch_timed_out"
        assert time.monotonic() - begun < 15, "the drip never ends by itself"
    ended.set()
    assert store.ids("tmp") == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (page(b"<html>", Content_Type="text/html; charset=utf-8"), "address_refused"),
        (page(b"x", Content_Encoding="gzip"), "fetch_failed"),
        (page(b"", status=200), "address_refused"),
        (page(b"x", status=500), "fetch_failed"),
        (page(b"x", status=206), "fetch_failed"),
    ],
)
def test_what_is_no_file_is_refused_with_a_reason(
    fetcher: Fetcher[IncomingMedia], host: Host, answer: Any, code: str
) -> None:
    host.pages["/a"] = answer
    assert _code(fetcher, f"{host.url}/a") == code


def test_body_that_breaks_off_is_not_taken_for_the_file(
    fetcher: Fetcher[IncomingMedia], store: Store, host: Host
) -> None:
    host.pages["/a"] = page(JPEG, Content_Length="5000")
    assert _code(fetcher, f"{host.url}/a") == "fetch_failed"
    assert store.ids("tmp") == []


def test_only_a_few_are_fetched_at_once(fetcher: Fetcher[IncomingMedia], host: Host) -> None:
    go, inside = threading.Event(), threading.Semaphore(0)

    def wait(handler: BaseHTTPRequestHandler) -> None:
        inside.release()
        go.wait(5)
        page(JPEG)(handler)

    host.pages["/a"] = wait
    threads = [threading.Thread(target=lambda: fetcher.fetch(f"{host.url}/a")[0].drop()) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert inside.acquire(timeout=5)
    assert _code(fetcher, f"{host.url}/a") == "fetch_busy"
    go.set()
    for thread in threads:
        thread.join()
    with fetcher.fetch(f"{host.url}/a")[0] as media:
        assert media.bytes == len(JPEG)


def test_name_without_address_is_a_clear_error(store: Store) -> None:
    def unknown(*_: Any) -> list[str]:
        raise socket.gaierror("no such host")

    assert _code(into(store, limit=1000, timeout_s=1, resolver=unknown), "http://example.org/") == "fetch_failed"


def test_international_names_are_read() -> None:
    assert read_address("https://bücher.example/a.mp4").url.raw_host == b"xn--bcher-kva.example"


def test_name_server_that_never_answers_costs_the_time_limit_and_no_more(store: Store) -> None:
    asked = threading.Event()

    def silent(_: str, __: int) -> list[str]:
        asked.set()
        released.wait(30)
        return ["203.0.113.7"]

    released = threading.Event()
    fetcher = into(store, limit=1_000_000, timeout_s=0.3, resolver=silent)
    begun = time.monotonic()
    assert _code(fetcher, "http://slow.example/a.mp4") == "fetch_timed_out"
    assert asked.is_set()
    assert time.monotonic() - begun < 15, "the name server answers after thirty seconds"
    released.set()


def test_questions_to_the_name_server_are_bounded(store: Store) -> None:
    released = threading.Event()
    fetcher = into(store, limit=1_000_000, timeout_s=0.05, resolver=lambda *_: released.wait(30) and [])
    before = threading.active_count()
    for _ in range(12):
        assert _code(fetcher, "http://slow.example/a.mp4") == "fetch_timed_out"
    assert threading.active_count() - before <= 2 * download.AT_ONCE
    released.set()


@pytest.mark.parametrize("text", ["example.org/a.mp4", "www.example.org", " müller.example/clip.mp4 "])
def test_address_without_https_is_read_as_people_mean_it(text: str) -> None:
    assert str(read_address(text).url).startswith("https://")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("look at this https://example.org/a.mp4", "address alone"),
        ("http://192.168.1.1/a.mp4", "public web site"),
        ("http://example.org:8080/a.mp4", "usual web ports"),
        ("C:\\clip.mp4", "begins with http"),
    ],
)
def test_address_that_is_not_fetched_is_answered_with_what_to_do(store: Store, text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        into(store, limit=1000, timeout_s=5).fetch(text)
    assert words in caught.value.sentence
    assert re.search("Download the file yourself|Give", caught.value.sentence)


def test_name_that_no_site_has_and_site_that_does_not_answer_are_told_apart(store: Store) -> None:
    def nobody(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(UserError, match="No site of this name"):
        into(store, limit=1000, timeout_s=5, resolver=nobody).fetch("https://no-such-site.example/a.mp4")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(UserError, match="No connection to the other site"):
        into(store, limit=1000, timeout_s=5, allow_private=True).fetch(f"http://127.0.0.1:{port}/a.mp4")
