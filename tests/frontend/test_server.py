"""The web server on a real socket: slow, many, large and broken senders, and a visitor who is served all the same."""

from __future__ import annotations

import contextlib
import io
import json
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask
from waitress.buffers import TempfileBasedBuffer

from frontend import server
from frontend.portal import portal
from frontend.server import create_web_server
from tests.frontend.stories import JPEG, PIN, finish

HEAD = (
    b"POST /submit HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n"
)


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Flask], int]]:
    """Serve an application as ``deepfake-o-meter serve`` does, in a thread; gives the port."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    running: list[tuple[Any, threading.Thread]] = []

    def begin(app: Flask) -> int:
        settings = portal(app).settings.model_copy(update={"port": 0})
        web = create_web_server(app, settings)
        thread = threading.Thread(target=web.run, daemon=True)
        thread.start()
        running.append((web, thread))
        return int(web.effective_port)

    yield begin
    for web, thread in running:
        for channel in list(web.active_channels.values()):
            channel.lingers = False
            channel.handle_close()
        web.close()
        thread.join(5)
        web.task_dispatcher.shutdown()


class Slow:
    """Connections that have sent the head of an upload and then send ten bytes a second."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.sockets: list[socket.socket] = []

    def open(self, count: int, *, peers: int, head: bytes = HEAD % 5_000_000) -> None:
        for number in range(count):
            sender = socket.socket()
            sender.bind((f"127.0.3.{1 + number % peers}", 0))
            sender.connect(("127.0.0.1", self.port))
            sender.sendall(head)
            self.sockets.append(sender)

    def trickle(self, *, seconds: float, piece: bytes = b"x" * 10, pause: float = 0.2) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for sender in self.sockets:
                with contextlib.suppress(OSError):
                    sender.sendall(piece)
            time.sleep(pause)

    def answers(self) -> list[bytes]:
        """What each has got: b"" for a connection that was closed without a word; still open ones give nothing."""
        found = []
        for sender in self.sockets:
            sender.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                try:
                    found.append(sender.recv(65536))
                except ConnectionError:
                    found.append(b"")
        return found

    def close(self) -> None:
        for sender in self.sockets:
            sender.close()


@pytest.fixture
def slow() -> Iterator[Callable[[int], Slow]]:
    opened: list[Slow] = []

    def make(port: int) -> Slow:
        opened.append(Slow(port))
        return opened[-1]

    yield make
    for item in opened:
        item.close()


def upload(client: httpx.Client, media: bytes, **headers: str) -> httpx.Response:
    """Fetch the form and send it with a file."""
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/").text)
    assert token
    fields = {"csrf_token": token[1], "detectors": "mesonet", "pin": PIN, "consent": "yes"}
    return client.post(
        "/submit", data=fields, files={"media": ("a.jpg", media)}, headers={"Accept": "application/json"} | headers
    )


def test_hundred_and_ten_slow_senders_do_not_hold_up_a_visitor(app: Flask, listen: Any, slow: Any) -> None:
    port = listen(app)
    slow(port).open(110, peers=50)
    times = []
    for number in range(10):
        begun = time.monotonic()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            assert upload(client, JPEG + bytes(1_500_000) + bytes([number])).status_code == 201
        times.append(time.monotonic() - begun)
    assert sorted(times)[-2] < 5


def test_slow_body_is_cut_with_an_answer_and_a_steady_one_is_not(
    app: Flask, listen: Any, slow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MEASURED_S", 1.5)
    port = listen(app)
    trickling, steady = slow(port), slow(port)
    trickling.open(5, peers=5)
    steady.open(1, peers=1)
    sender = threading.Thread(
        target=steady.trickle, kwargs={"seconds": 5, "piece": bytes(4000), "pause": 0.1}, daemon=True
    )
    sender.start()
    trickling.trickle(seconds=4)
    cut = trickling.answers()
    assert len(cut) == 5
    assert all(b" 408 " in answer and b'"request_too_slow"' in answer for answer in cut)
    sender.join()
    assert steady.answers() == []


def test_head_that_never_ends_and_connection_that_says_nothing_are_closed(
    app: Flask, listen: Any, slow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.5)
    port = listen(app)
    senders = slow(port)
    senders.open(3, peers=3, head=b"GET / HTTP/1.1\r\nX-A: ")
    senders.trickle(seconds=3, piece=b"a")
    assert senders.answers() == [b""] * 3


def test_one_peer_has_so_many_connections_and_no_more(app: Flask, listen: Any, slow: Any) -> None:
    port = listen(app)
    greedy = slow(port)
    greedy.open(server.MOST_OF_ONE_PEER + 20, peers=1, head=b"GET / HTTP/1.1\r\n")
    time.sleep(1.5)
    assert greedy.answers() == [b""] * 20
    assert httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).status_code == 200


@pytest.mark.parametrize(
    ("accept", "kind"), [("application/json", "application/problem+json"), ("text/html", "text/html")]
)
def test_body_beyond_the_servers_limit_is_refused_in_the_askers_form(
    build: Any, listen: Any, accept: str, kind: str
) -> None:
    port = listen(build(max_upload_mb=1))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        answer = upload(client, JPEG + bytes(8_000_000), Accept=accept)
    assert answer.status_code == 413
    assert answer.headers["Content-Type"].startswith(kind)
    assert "larger than 1 MB" in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def ask(port: int, request: bytes) -> tuple[bytes, bytes]:
    """Send bytes and read to the end of the answer: its head and its body."""
    with socket.create_connection(("127.0.0.1", port)) as sender:
        sender.settimeout(5)
        sender.sendall(request)
        answer = b""
        while piece := sender.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize(
    ("request_line", "header", "status"),
    [
        (b"POST / HTTP/1.1", b"Content-Length: x", 400),
        (b"get / HTTP/1.1", b"", 400),
        (b"GET /\xc3\xa4 HTTP/1.1", b"", 400),
        (b"GET / HTTP/1.1", b"X: " + b"a" * 40_000, 431),
        (b"POST / HTTP/1.1", b"Transfer-Encoding: gzip", 501),
        (b"POST / HTTP/1.1", b"Transfer-Encoding: chunked\r\n\r\nzz", 400),
    ],
)
def test_what_the_server_itself_refuses_gets_a_page_that_says_what_to_do(
    app: Flask, listen: Any, request_line: bytes, header: bytes, status: int
) -> None:
    head, body = ask(listen(app), request_line + b"\r\nHost: a\r\n" + header + b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert b"text/html" in head
    assert b"default-src 'none'" in head
    assert b'href="/static/portal.css"' in body
    assert b"generated by" not in body


def test_script_whose_request_cannot_be_read_gets_problem_json(app: Flask, listen: Any) -> None:
    head, body = ask(listen(app), b"POST / HTTP/1.1\r\nAccept: application/json\r\nContent-Length: x\r\n\r\n")
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == "http_400"


def test_body_that_is_too_large_is_not_asked_for(app: Flask, listen: Any) -> None:
    """curl waits for "100 Continue" before it sends a large file."""
    head = HEAD % 70_000_000
    answer, body = ask(listen(app), head[:-2] + b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert "50 MB" in json.loads(body)["detail"]


def test_rest_of_a_refused_file_is_read_as_long_as_it_comes(
    app: Flask, listen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection closed on unread data is reset, and a browser that is still sending may lose the page."""
    monkeypatch.setattr(server, "LINGER_PACE_S", 0.5)
    port = listen(app)
    with (
        socket.create_connection(("127.0.0.1", port)) as sender,
        socket.create_connection(("127.0.0.1", port)) as silent,
    ):
        for one in (sender, silent):
            one.settimeout(5)
            one.sendall(HEAD % 70_000_000)
        for _ in range(20):
            sender.sendall(bytes(20_000))
            time.sleep(0.1)
        assert sender.recv(65536).startswith(b"HTTP/1.1 413 ")
        assert silent.recv(65536).startswith(b"HTTP/1.1 413 ")
        assert _is_reset(silent)  # nobody waits for one who sends nothing


def _is_reset(sender: socket.socket) -> bool:
    try:
        for _ in range(20):
            sender.sendall(bytes(1000))
            time.sleep(0.02)
    except ConnectionError:
        return True
    return False


def test_field_beyond_its_limit_is_not_called_a_file_that_is_too_large(app: Flask, listen: Any) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{listen(app)}", timeout=10) as client:
        token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/").text)
        assert token
        fields = {"csrf_token": token[1], "pin": "1" * 300_000}
        answer = client.post(
            "/submit", data=fields, files={"media": ("a.jpg", JPEG)}, headers={"Accept": "application/json"}
        )
    assert answer.status_code == 413
    assert "file" not in answer.json()["detail"]


def test_upload_without_room_for_it_is_refused_before_it_is_sent(
    app: Flask, listen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 3_000_000

    port = listen(app)
    monkeypatch.setattr(server.shutil, "disk_usage", lambda _: Usage)
    with socket.create_connection(("127.0.0.1", port)) as sender:
        sender.settimeout(5)
        sender.sendall(HEAD % 2_000_000)
        answer = b""
        while piece := sender.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 507 ")
    assert b'"disk_full"' in answer
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert upload(client, JPEG).status_code == 201


@pytest.mark.parametrize(("reason", "status"), [(28, 507), (27, 507), (5, 503)])
def test_spool_that_fails_in_mid_upload_ends_in_an_answer(
    app: Flask, listen: Any, monkeypatch: pytest.MonkeyPatch, reason: int, status: int
) -> None:
    class Broken:
        def __init__(self) -> None:
            self.file = io.BytesIO()

        def write(self, data: bytes) -> int:
            raise OSError(reason, "not written")

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def close(self) -> None:
            self.file.close()
            raise OSError(reason, "not written")

    port = listen(app)
    with monkeypatch.context() as patch:
        patch.setattr(TempfileBasedBuffer, "newfile", lambda _: Broken())
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            answer = upload(client, JPEG + bytes(3_000_000))
    assert answer.status_code == status
    assert answer.json()["status"] == status
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        assert upload(client, JPEG + bytes(3_000_000)).status_code == 201


def test_spool_is_on_the_disk_of_the_data(app: Flask, listen: Any, slow: Any) -> None:
    port = listen(app)
    senders = slow(port)
    senders.open(1, peers=1)
    senders.sockets[0].sendall(bytes(400_000))
    spool = str(portal(app).settings.frontend_state.absolute() / "spool")
    _wait_until(lambda: _spools(spool) == 1)
    assert Path(spool).stat().st_mode & 0o077 == 0
    senders.sockets[0].close()
    _wait_until(lambda: _spools(spool) == 0)


def _spools(folder: str) -> int:
    """How many files in ``folder`` this process has open, those without a name included."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found += folder in str(link.readlink())
    return found


def _wait_until(condition: Any, *, within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_reader_who_stops_is_closed_and_holds_no_thread(
    build: Any, listen: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A part of a video (Range) is sent from its file, not by a thread that waits for the reader."""
    app = build(portal_threads=2)
    port = listen(app)
    video = tmp_path / "long.mp4"
    video.write_bytes(bytes(40_000_000))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        job = upload(client, JPEG).json()["id"]
        finish(app, job, video=video)
        token = re.search(r'name="csrf_token" value="([^"]+)"', client.get(f"/r/{job}").text)
        assert token
        client.post(f"/r/{job}/pin", data={"csrf_token": token[1], "pin": PIN})
        path = f"/r/{job}/files/video/side_by_side.mp4"
        part = client.get(path, headers={"Range": "bytes=100-30000099"})
        assert (part.status_code, len(part.content)) == (206, 30_000_000)
        assert part.headers["Content-Range"] == "bytes 100-30000099/40000000"
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        readers = []
        for _ in range(4):
            reader = socket.create_connection(("127.0.0.1", port))
            reader.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nRange: bytes=0-\r\n\r\n".encode())
            assert reader.recv(1000).startswith(b"HTTP/1.1 206 ")
            readers.append(reader)
        assert client.get("/healthz").status_code == 200
    monkeypatch.setattr(server, "IDLE_S", 1.0)
    time.sleep(2.5)
    for reader in readers:
        received = 0
        reader.settimeout(5)
        with contextlib.suppress(ConnectionError):
            while piece := reader.recv(1 << 20):
                received += len(piece)
        assert received < 39_000_000
        reader.close()
