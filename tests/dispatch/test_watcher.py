"""Events wake, the scan decides."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

from backend.dispatch.watcher import Watcher


def test_an_arrival_wakes_before_the_next_scan(tmp_path: Path):
    watcher = Watcher(tmp_path)
    try:
        threading.Timer(0.05, lambda: (tmp_path / "x").mkdir()).start()
        started = time.monotonic()
        assert watcher.wait(60)
        assert time.monotonic() - started < 30
    finally:
        watcher.close()


def test_a_quiet_folder_waits_for_the_scan(tmp_path: Path):
    watcher = Watcher(tmp_path)
    try:
        assert not watcher.wait(0.05)
    finally:
        watcher.close()


def test_a_vanished_folder_is_watched_again_when_it_is_back(tmp_path: Path):
    folder = tmp_path / "new"
    folder.mkdir()
    watcher = Watcher(folder)
    try:
        shutil.rmtree(folder)
        deadline = time.monotonic() + 5
        while watcher._alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        watcher.wait(0.05)  # without the folder: no events, no exception
        folder.mkdir()
        watcher.wait(0.05)  # repaired
        while watcher.wait(0.05):
            pass
        (folder / "x").mkdir()
        assert watcher.wait(5)
        assert watcher.restarts >= 1
    finally:
        watcher.close()
