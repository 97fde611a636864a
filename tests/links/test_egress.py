"""The way out of a link's container: what it refuses, and where its limits are."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.links.egress import Egress

PUBLIC = "93.184.216.34"


class Far:
    """A server of the internet: counts connections and sends back what it gets."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                near, _ = self.server.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._echo, args=(near,), daemon=True).start()

    def _echo(self, near: socket.socket) -> None:
        with near:
            while data := near.recv(65536):
                near.sendall(data)

    def connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        """The network, where PUBLIC is this server."""
        return socket.create_connection(("127.0.0.1", self.port) if address[0] == PUBLIC else address, timeout)


@pytest.fixture
def far() -> Iterator[Far]:
    server = Far()
    yield server
    server.server.close()


def ask(path: Path, line: bytes) -> tuple[socket.socket, bytes]:
    way = socket.socket(socket.AF_UNIX)
    way.settimeout(20)
    way.connect(str(path))
    way.sendall(line)
    answer = b""
    while not answer.endswith(b"\n"):
        piece = way.recv(1)
        if not piece:
            break
        answer += piece
    return way, answer


def wish(host: str, port: int = 443) -> bytes:
    return json.dumps({"host": host, "port": port}).encode() + b"\n"


REFUSED = [
    "127.0.0.1", "2130706433", "0177.0.0.1", "0x7f.1", "localhost", "::1", "[::1]", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1",
    "192.168.1.1", "172.16.0.1", "100.64.0.1", "0.0.0.0", "fd00::1", "fe80::1", "64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("host", REFUSED)
def test_no_connection_to_an_address_that_is_not_public(tmp_path: Path, far: Far, host: str) -> None:
    asked = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        asked.append(address)
        return far.connect(address, timeout)

    with Egress(tmp_path / "way", most_bytes=10**6, timeout_s=30, connect=connect) as egress:
        way, answer = ask(tmp_path / "way", wish(host))
        way.close()
        assert answer == b"closed\n"
    assert asked == []
    assert far.connections == 0
    assert egress.refused <= 1


def test_a_name_with_one_private_address_is_refused_and_a_second_answer_has_no_effect(tmp_path: Path, far: Far) -> None:
    answers = iter([[PUBLIC, "127.0.0.1"], [PUBLIC], ["127.0.0.1"]])
    asked: list[str] = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        asked.append(address[0])
        return far.connect(address, timeout)

    with Egress(
        tmp_path / "way",
        most_bytes=10**6,
        timeout_s=30,
        resolver=lambda host, port: next(answers),
        connect=connect,
    ) as egress:
        for expected in (b"closed\n", b"open\n", b"closed\n"):
            way, answer = ask(tmp_path / "way", wish("rebinding.example"))
            way.close()
            assert answer == expected
        assert egress.refused == 2
    assert asked == [PUBLIC]


@pytest.mark.parametrize(
    "line", [wish(PUBLIC, 22), b"{}\n", b"[1]\n", b"GET / HTTP/1.1\n", b"x" * 3000, b'{"host": 1}\n']
)
def test_other_ports_and_other_words_lead_nowhere(tmp_path: Path, far: Far, line: bytes) -> None:
    with Egress(tmp_path / "way", most_bytes=10**6, timeout_s=30, connect=far.connect):
        way, answer = ask(tmp_path / "way", line)
        way.close()
        assert answer in (b"closed\n", b"")
    assert far.connections == 0


def test_bytes_go_both_ways_until_they_are_used_up(tmp_path: Path, far: Far) -> None:
    with Egress(tmp_path / "way", most_bytes=300_000, timeout_s=30, connect=far.connect):
        way, answer = ask(tmp_path / "way", wish(PUBLIC))
        assert answer == b"open\n"
        way.sendall(b"hello")
        assert way.recv(5) == b"hello"
        received, piece = 0, b"-"
        with contextlib.suppress(OSError):  # the way is closed: a broken pipe, or the reading ends
            while piece and received < 10**7:
                way.sendall(bytes(10_000))
                piece = way.recv(65536)
                received += len(piece)
        way.close()
        assert received <= 150_000


def test_a_fetch_whose_time_is_over_is_cut_off(tmp_path: Path, far: Far) -> None:
    with Egress(tmp_path / "way", most_bytes=10**6, timeout_s=0.5, connect=far.connect):
        way, answer = ask(tmp_path / "way", wish(PUBLIC))
        assert answer in (b"open\n", b"")
        assert way.recv(1) == b""
        way.close()


def test_a_long_path_is_no_trouble(tmp_path: Path, far: Far) -> None:
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    with Egress(folder / "way", most_bytes=10**6, timeout_s=30, connect=far.connect):
        assert (folder / "way").is_socket()
