"""A folder of the scratch for one back-end: a lock that cannot be a lock does not keep everybody out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.workers.scratch import claim


def a_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, a_link], ids=["folder", "FIFO", "link"])
def test_a_lock_that_is_none_is_made_anew(tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / "jobs" / "main").mkdir(parents=True)
    make(tmp_path / "jobs" / "main" / "lock")
    first = claim(tmp_path / "jobs")
    assert first.folder == tmp_path / "jobs" / "main"
    second = claim(tmp_path / "jobs")
    assert second.folder != first.folder, "the new lock holds"
    second.close()
    first.close()
    assert not second.folder.exists()
