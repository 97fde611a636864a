"""Nothing of a command stays behind, however it ends: by a signal, by two, or by ``kill -9`` (the next command removes it then)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backend.commands import rooms

ROOT = Path(__file__).resolve().parents[2]

#: Holds a room with a file in it and waits; ``slow``: its clean-up waits as well.
HOLDER = """
import sys, time
from pathlib import Path
from backend.commands import rooms
with rooms.stopped_by_signals(), rooms.scratch(Path(sys.argv[1])) as room:
    (room / "media").write_bytes(b"a face")
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaning", flush=True)
        time.sleep(60 * (len(sys.argv) > 2))
"""


def _holder(folder: Path, *more: str, ignoring: int | None = None) -> subprocess.Popen[str]:
    def before() -> None:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)  # the tests themselves may run under nohup
        if ignoring is not None:
            signal.signal(ignoring, signal.SIG_IGN)

    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), *more],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_nothing_and_is_the_exit_status(number: signal.Signals, tmp_path: Path):
    with _holder(tmp_path) as process:
        assert list(tmp_path.glob("*/media"))
        process.send_signal(number)
        assert process.wait(10) == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_a_second_signal_does_not_wait(tmp_path: Path):
    with _holder(tmp_path, "slow") as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout
        assert process.stdout.readline() == "cleaning\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    assert list(tmp_path.iterdir()) == []


def test_under_nohup_a_closed_terminal_stops_nothing(tmp_path: Path):
    with _holder(tmp_path, ignoring=signal.SIGHUP) as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert process.poll() is None
        process.terminate()


def test_what_a_killed_process_left_is_removed_by_the_next_one_and_nothing_else(tmp_path: Path):
    with _holder(tmp_path) as killed, _holder(tmp_path) as alive:
        others = [tmp_path / f"{rooms.PREFIX}of-another-program", tmp_path / "deepfake", tmp_path / "x"]
        for folder in others:
            folder.mkdir()
            (folder / "file").write_text("not ours")
        linked = tmp_path / f"{rooms.PREFIX}link"
        linked.symlink_to(tmp_path / "x")
        killed.kill()
        killed.wait()
        assert len(list(tmp_path.glob("*/media"))) == 2
        with rooms.scratch(tmp_path) as room:
            assert len(list(tmp_path.glob("*/media"))) == 1, "what was judged goes at once"
        assert len(list(tmp_path.glob("*/media"))) == 1
        alive.terminate()
    assert sorted(tmp_path.iterdir()) == sorted([*others, linked])
    assert not room.exists()


def test_a_result_that_a_killed_process_was_replacing_is_put_back(tmp_path: Path):
    room = tmp_path / f"{rooms.PREFIX}dead"
    (room / rooms.REPLACED / "clip").mkdir(parents=True)
    (room / rooms.REPLACED / "clip" / "result.json").write_text("older")
    (room / rooms.REPLACED / "other").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "result.json").write_text("newer")
    (room / rooms.LOCK).touch()
    with rooms.scratch(tmp_path):
        assert (tmp_path / "clip" / "result.json").read_text() == "older"
    assert (tmp_path / "other" / "result.json").read_text() == "newer"
    assert sorted(os.listdir(tmp_path)) == ["clip", "other"]
