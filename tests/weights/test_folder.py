"""Installing weights: from a real HTTP server that breaks off, lies, or is gone; from an operator's file; twice at once."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from backend.weights.folder import WeightsFolder
from backend.weights.state import Installed
from base_detector import Card, WeightsFile
from shared.errors import UserError
from tests.weights.hosts import running

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes: several blocks
PUBLISHED = hashlib.sha256(CONTENT).hexdigest()


class Publisher(ThreadingHTTPServer):
    """Serves ``content`` at any path; the knobs make it misbehave. Requests are kept as their Range headers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = CONTENT
        self.status = 200
        self.ranges = True
        self.wrong_range = False
        self.announce = True
        self.cut_after: list[int] = []  # bytes after which an answer breaks off, one entry an answer
        self.asked: list[str | None] = []
        self.gate: threading.Event | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.h5"


class _Handler(BaseHTTPRequestHandler):
    server: Publisher

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if server.gate:
            server.gate.wait(10)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
        body = server.content[start:]
        self.send_response(206 if wanted and server.ranges else 200)
        if wanted and server.ranges:
            shown = start + 7 if server.wrong_range else start
            self.send_header("Content-Range", f"bytes {shown}-{len(server.content) - 1}/{len(server.content)}")
        if server.announce:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.cut_after:
            body = body[: server.cut_after.pop(0)]
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client had enough
            self.wfile.write(body)
        self.close_connection = True


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    server = Publisher()
    with running(server):
        yield server


def card_of(url: str, *, content: bytes = CONTENT, file: str = "file.h5") -> Card:
    item = WeightsFile(file, url, "MIT", hashlib.sha256(content).hexdigest(), len(content))
    return Card(
        id="toy", version="1", title="Toy", summary="", paper="", year=2026, licence="MIT", input="face", sampling="fps:1",
        margin=1.0, threshold=0.5, aggregation="mean", weights=(item,), parameters={}, memory_mb=1, seconds_per_face=1.0,
        batch=1, sees=(), limits=(), state="enabled", folder=Path("."),
    )  # fmt: skip


def fetch(card: Card, folder: Path, **kwargs) -> Installed:
    return WeightsFolder(folder).fetch(card, card.weights[0], pause=lambda seconds: None, **kwargs)


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "toy").iterdir())


def test_a_fetched_file_lies_under_its_name_and_counts_as_installed(publisher: Publisher, tmp_path: Path):
    card = card_of(publisher.url)
    assert WeightsFolder(tmp_path).unavailable(card) == "weights_missing"
    told: list[tuple[int, int]] = []
    entry = fetch(card, tmp_path, progress=lambda have, total: told.append((have, total)))
    assert entry.path.read_bytes() == CONTENT
    assert entry.path == tmp_path / "toy" / "file.h5"
    assert entry.state == "installed"
    assert WeightsFolder(tmp_path).unavailable(card) is None
    assert leftovers(tmp_path) == ["file.h5"]
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert len(told) > 3


def test_an_installed_file_is_not_fetched_again(publisher: Publisher, tmp_path: Path):
    card = card_of(publisher.url)
    fetch(card, tmp_path)
    fetch(card, tmp_path)
    assert publisher.asked == [None]


def test_a_broken_connection_is_taken_up_where_it_ended(publisher: Publisher, tmp_path: Path):
    publisher.cut_after = [100_000, 50_000]
    entry = fetch(card_of(publisher.url), tmp_path)
    assert entry.path.read_bytes() == CONTENT
    assert publisher.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_a_fetch_given_up_goes_on_later_from_what_is_stored(publisher: Publisher, tmp_path: Path):
    card = card_of(publisher.url)
    publisher.cut_after = [90_000, 0, 0]
    with pytest.raises(UserError, match=r"90,000 of 512,000 bytes are stored.*weights fetch toy") as caught:
        fetch(card, tmp_path)
    assert caught.value.code == "weights_unreachable"
    assert not (tmp_path / "toy" / "file.h5").exists()
    assert fetch(card, tmp_path).path.read_bytes() == CONTENT
    assert publisher.asked[-1] == "bytes=90000-"
    assert leftovers(tmp_path) == ["file.h5"]


@pytest.mark.parametrize("knob", ["ranges", "wrong_range"])
def test_a_server_that_cannot_resume_is_read_from_the_start(publisher: Publisher, tmp_path: Path, knob: str):
    publisher.cut_after = [100_000]
    if knob == "ranges":
        publisher.ranges = False
    else:
        publisher.wrong_range = True
    assert fetch(card_of(publisher.url), tmp_path).path.read_bytes() == CONTENT
    assert publisher.asked == ([None, "bytes=100000-"] if knob == "ranges" else [None, "bytes=100000-", None])


def test_damaged_leftovers_are_thrown_away_and_the_file_is_fetched_whole(publisher: Publisher, tmp_path: Path):
    card = card_of(publisher.url)
    part = tmp_path / "toy" / f".file.h5.{PUBLISHED[:12]}.part"
    part.parent.mkdir()
    part.write_bytes(b"\0" * 1000)
    assert fetch(card, tmp_path).path.read_bytes() == CONTENT
    assert publisher.asked == ["bytes=1000-", None]
    part.write_bytes(b"\0" * (len(CONTENT) + 5))
    fetch(card, tmp_path)
    (tmp_path / "toy" / "file.h5").unlink()
    assert fetch(card, tmp_path).path.read_bytes() == CONTENT


def test_another_file_of_the_same_size_is_refused_and_nothing_of_it_stays(publisher: Publisher, tmp_path: Path):
    publisher.content = b"x" * len(CONTENT)
    with pytest.raises(UserError, match=r"is not the file that the card of toy names.*weights add toy") as caught:
        fetch(card_of(publisher.url), tmp_path)
    assert caught.value.code == "weights_mismatch"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("announce", [True, False])
@pytest.mark.parametrize("size", [len(CONTENT) + 1, 5_000_000])
def test_never_more_than_the_cards_bytes_are_stored(publisher: Publisher, tmp_path: Path, announce: bool, size: int):
    publisher.content, publisher.announce = b"y" * size, announce
    told: list[int] = []
    with pytest.raises(UserError, match=r"instead of 512000|more than 512000") as caught:
        fetch(card_of(publisher.url), tmp_path, progress=lambda have, total: told.append(have))
    assert caught.value.code == "weights_mismatch"
    assert max(told) <= len(CONTENT)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("status", [404, 410, 403])
def test_a_dead_link_says_where_to_put_a_copy_from_elsewhere(publisher: Publisher, tmp_path: Path, status: int):
    publisher.status = status
    with pytest.raises(
        UserError, match=rf"answers {status}.*the link is dead.*{PUBLISHED}.*weights add toy FILE"
    ) as caught:
        fetch(card_of(publisher.url), tmp_path)
    assert caught.value.code == "weights_link_dead"
    assert publisher.asked == [None]
    assert leftovers(tmp_path) == []


def test_a_server_in_trouble_is_asked_three_times(publisher: Publisher, tmp_path: Path):
    publisher.status = 503
    with pytest.raises(UserError, match="the server answers 503"):
        fetch(card_of(publisher.url), tmp_path)
    assert len(publisher.asked) == 3


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/file", "ftp://127.0.0.1/file", "http://[::1", ""])
def test_an_address_nobody_answers_at_is_named(tmp_path: Path, url: str):
    with pytest.raises(UserError, match="could not be fetched") as caught:
        fetch(card_of(url), tmp_path)
    assert caught.value.code == "weights_unreachable"


def test_a_changed_file_is_noticed_and_replaced(publisher: Publisher, tmp_path: Path):
    card = card_of(publisher.url)
    path = fetch(card, tmp_path).path
    flipped = bytearray(CONTENT)
    flipped[1234] ^= 1
    path.write_bytes(flipped)
    assert WeightsFolder(tmp_path).unavailable(card) == "weights_mismatch"
    assert [entry.state for entry in WeightsFolder(tmp_path).verify([card])] == ["differs"]
    assert fetch(card, tmp_path).state == "installed"
    assert path.read_bytes() == CONTENT


def test_verify_reads_the_disk_again_even_where_the_time_of_change_was_put_back(publisher: Publisher, tmp_path: Path):
    card = card_of(publisher.url)
    path = fetch(card, tmp_path).path
    before = path.stat()
    with path.open("r+b") as stream:
        stream.write(b"\xff")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [entry.state for entry in WeightsFolder(tmp_path).verify([card])] == ["differs"]


def _fetch_in_process(url: str, folder: Path, answers) -> None:
    card = card_of(url)
    answers.put(WeightsFolder(folder).fetch(card, card.weights[0]).state)


def test_two_fetches_at_once_download_once_and_both_succeed(publisher: Publisher, tmp_path: Path):
    publisher.gate = threading.Event()
    spawn = multiprocessing.get_context("spawn")
    answers = spawn.Queue()
    both = [spawn.Process(target=_fetch_in_process, args=(publisher.url, tmp_path, answers)) for _ in range(2)]
    for process in both:
        process.start()
    while not publisher.asked:
        assert any(process.is_alive() for process in both)
        threading.Event().wait(0.02)
    threading.Event().wait(0.1)  # the other one reaches the lock meanwhile, or comes later: both orders must do
    publisher.gate.set()
    assert [answers.get(timeout=30) for _ in both] == ["installed", "installed"]
    for process in both:
        process.join(10)
    answers.close()
    answers.join_thread()
    assert publisher.asked == [None]
    assert leftovers(tmp_path) == ["file.h5"]
    assert (tmp_path / "toy" / "file.h5").read_bytes() == CONTENT


def test_a_link_in_place_of_the_unfinished_file_is_not_followed(publisher: Publisher, tmp_path: Path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"keep")
    part = tmp_path / "toy" / f".file.h5.{PUBLISHED[:12]}.part"
    part.parent.mkdir()
    part.symlink_to(victim)
    with pytest.raises(UserError, match="could not be written"):
        fetch(card_of(publisher.url), tmp_path)
    assert victim.read_bytes() == b"keep"


def test_an_operators_copy_is_installed_under_the_published_name(tmp_path: Path):
    card = card_of("http://127.0.0.1:9/gone")
    source = tmp_path / "download (1).bin"
    source.write_bytes(CONTENT)
    entry = WeightsFolder(tmp_path / "weights").add(card, source)
    assert entry.state == "installed"
    assert entry.path.read_bytes() == CONTENT
    assert source.exists()
    assert leftovers(tmp_path / "weights") == ["file.h5"]


def test_a_copy_that_is_none_of_the_published_files_is_refused(tmp_path: Path):
    card = card_of("http://127.0.0.1:9/gone")
    source = tmp_path / "wrong"
    source.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(UserError, match=f"not a file of toy.*{PUBLISHED}") as caught:
        WeightsFolder(tmp_path / "weights").add(card, source)
    assert caught.value.code == "weights_mismatch"
    assert not (tmp_path / "weights").exists()
    with pytest.raises(UserError, match="is not there"):
        WeightsFolder(tmp_path / "weights").add(card, tmp_path / "nowhere")
    with pytest.raises(UserError, match="not a regular file"):
        WeightsFolder(tmp_path / "weights").add(card, tmp_path)


def test_a_named_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="not a regular file"):
        WeightsFolder(tmp_path / "weights").add(card_of("http://127.0.0.1:9/gone"), tmp_path / "pipe")


def test_a_card_cannot_place_files_outside_its_folder(publisher: Publisher, tmp_path: Path):
    for name in ("../evil", "/tmp/evil", "a/../../evil"):
        card = replace(card_of(publisher.url, file=name))
        with pytest.raises(UserError, match="outside its folder"):
            fetch(card, tmp_path)
    assert publisher.asked == []


def test_a_folder_in_place_of_a_file_is_no_installed_file(tmp_path: Path):
    card = card_of("http://127.0.0.1:9/gone")
    (tmp_path / "toy" / "file.h5").mkdir(parents=True)
    assert WeightsFolder(tmp_path).unavailable(card) == "weights_mismatch"
