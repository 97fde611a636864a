"""Rooms show a job its own files and nothing else; what a worker does in its folder leads nowhere."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.workers.exchange import Exchange, remove_tree
from backend.workers.spec import WorkerError
from backend.workers.worker import Worker
from tests.workers.other_user import run_as_nobody

Start = Callable[..., Worker]


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Exchange]:
    made = Exchange(tmp_path / "exchange", shared=True, linked=True)
    yield made
    made.close()


def test_a_file_and_a_folder_are_linked_in_not_copied(exchange: Exchange, pack: Path, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.write_bytes(b"film")
    with exchange.room("job") as room:
        room.link(media, "media")
        room.link(pack, "pack")
        inside = exchange.folder / "job"
        assert (inside / "media").samefile(media)
        assert {p.name: p.samefile(pack / p.name) for p in (inside / "pack").iterdir()} == dict.fromkeys(
            ("pack.json", "faces.npy", "crops.bin", "pictures.npy", "pictures.bin", "windows.npy", "sound.f32"), True
        )
        assert (room.path("media"), room.path("out/pack")) == ("job/media", "job/out/pack")
        assert list(room.out.iterdir()) == []
    assert list(exchange.folder.iterdir()) == []
    assert media.read_bytes() == b"film", "only the link went"
    assert len(list(pack.iterdir())) == 7


def test_where_links_could_be_written_through_files_are_copied(tmp_path: Path, pack: Path) -> None:
    exchange = Exchange(tmp_path / "exchange", shared=False, linked=False)
    with exchange.room("job") as room:
        room.link(pack, "pack")
        copy = exchange.folder / "job/pack/crops.bin"
        assert not copy.samefile(pack / "crops.bin")
        assert copy.read_bytes() == (pack / "crops.bin").read_bytes()
        assert stat.S_IMODE(copy.stat().st_mode) == 0o444
    exchange.close()


def test_a_file_closed_to_the_workers_user_is_copied_open(exchange: Exchange, tmp_path: Path) -> None:
    private = tmp_path / "plan.json"
    private.write_bytes(b"{}")
    private.chmod(0o600)
    with exchange.room("job") as room:
        room.link(private, "plan.json")
        inside = exchange.folder / "job/plan.json"
        assert stat.S_IMODE(inside.stat().st_mode) == 0o444
    assert stat.S_IMODE(private.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_the_containers_user_can_write_out_and_nothing_else(exchange: Exchange, pack: Path) -> None:
    with exchange.room("job") as room:
        room.link(pack, "pack")
        attempts = f"""
import os
os.chdir({str(exchange.folder)!r})
def fails(step):
    try:
        step()
    except PermissionError:
        return True
print(open("job/pack/pack.json").read(1) == "{{",
      fails(lambda: open("job/pack/crops.bin", "r+b")), fails(lambda: os.unlink("job/pack/crops.bin")),
      fails(lambda: os.chmod("job/pack/crops.bin", 0o666)), fails(lambda: os.rename("job", "mine")),
      fails(lambda: os.rename("job/out", "job/in")), fails(lambda: os.mkdir("job/more")),
      open("job/out/scores.json", "w").write("x"), os.mkdir("job/out/masks"), open("worker.sock.tmp", "w").write("x"))
"""
        # a worker sees its folder through a mount; here the folders above must be passable
        for above in exchange.folder.parents:
            if above.stat().st_uid == os.geteuid() and "pytest" in str(above):
                above.chmod(0o755)
        assert run_as_nobody(attempts).split() == [*["True"] * 7, "1", "None", "1"]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", ".hidden", "a\0b", "a" * 200])
def test_only_plain_names_get_in(exchange: Exchange, tmp_path: Path, name: str) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"x")
    with exchange.room("job") as room, pytest.raises(ValueError, match="plain"):
        room.link(source, name)
    with pytest.raises(ValueError, match="plain"), exchange.room(name):
        pass


def test_links_and_pipes_are_not_taken_in(exchange: Exchange, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    with exchange.room("job") as room:
        for name in ("link", "pipe"):
            with pytest.raises(ValueError, match="neither"):
                room.link(tmp_path / name, name)


def test_a_socket_swapped_for_a_link_to_anothers_is_not_dialled(exchange: Exchange, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        with contextlib.chdir(tmp_path):  # the address of a socket is short
            other.bind("engine.sock")
        other.listen(1)
        other.settimeout(0.2)
        (exchange.folder / "worker.sock").symlink_to(tmp_path / "engine.sock")
        with pytest.raises(OSError, match="not a socket"):
            exchange.dial(timeout_s=0.2)
        with pytest.raises(TimeoutError):
            other.accept()


@pytest.mark.parametrize("swap", ["link", "pipe", "file", "folder"])
def test_a_worker_whose_socket_is_none_is_refused(start: Start, tmp_path: Path, swap: str) -> None:
    worker = start()
    worker._connection.close()  # type: ignore[union-attr]
    name = worker._exchange.folder / "worker.sock"
    name.unlink()
    {
        "link": lambda: name.symlink_to("/run/docker.sock"),
        "pipe": lambda: os.mkfifo(name),
        "file": lambda: name.write_text("x"),
        "folder": name.mkdir,
    }[swap]()
    with pytest.raises(WorkerError, match="detector_bad_output"):
        worker.open(timeout_s=5)


def test_a_tree_deeper_than_pythons_stack_is_removed(tmp_path: Path) -> None:
    top = tmp_path / "deep"
    top.mkdir()
    handle = os.open(top, os.O_RDONLY)
    for _ in range(4000):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)
    remove_tree(top)
    assert not top.exists()


def test_removing_a_room_removes_no_target_of_a_link(exchange: Exchange, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    with exchange.room("job") as room:
        (room.out / "link").symlink_to(precious)
        (room.out / "file").symlink_to(precious / "file")
        os.mkfifo(room.out / "pipe")
    assert (precious / "file").read_text() == "kept"


def test_what_a_worker_may_write_counts_without_what_we_gave_it(exchange: Exchange, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.write_bytes(b"x" * 1_000_000)
    with exchange.room("job") as room:
        room.link(media, "media")
        assert not exchange.too_much(max_bytes=100_000)
        (room.out / "file").write_bytes(b"x" * 200_000)
        assert exchange.too_much(max_bytes=100_000)
        assert not exchange.too_much(max_bytes=300_000)


def test_a_deep_tree_and_a_closed_folder_are_too_much(exchange: Exchange) -> None:
    with exchange.room("job") as room:
        (room.out / "a/b").mkdir(parents=True)
        assert not exchange.too_much(max_bytes=1_000_000)
        (room.out / "/".join("abcdefghij")).mkdir(parents=True)
        assert exchange.too_much(max_bytes=1_000_000)


def test_a_folder_swapped_for_a_link_is_not_measured(exchange: Exchange) -> None:
    with exchange.room("job") as room:
        (room.out / "link").symlink_to("/usr")
        assert not exchange.too_much(max_bytes=100_000)


def test_a_room_left_by_a_crash_is_emptied_first(exchange: Exchange) -> None:
    (exchange.folder / "job").mkdir()
    (exchange.folder / "job/old").write_text("of another attempt")
    with exchange.room("job"):
        assert [path.name for path in (exchange.folder / "job").iterdir()] == ["out"]
