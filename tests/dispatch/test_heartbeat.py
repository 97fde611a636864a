"""One dispatcher a folder: the claim."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from backend.dispatch.heartbeat import STALE_S, Heartbeat
from shared.errors import PermanentError


def test_a_second_dispatcher_is_refused_while_the_first_beats(tmp_path: Path):
    first, second = Heartbeat(tmp_path), Heartbeat(tmp_path)
    first.claim()
    with pytest.raises(PermanentError, match="second_dispatcher"):
        second.claim()
    first.beat()


def test_the_folder_is_free_after_a_release(tmp_path: Path):
    first = Heartbeat(tmp_path)
    first.claim()
    first.release()
    Heartbeat(tmp_path).claim()
    assert not list(tmp_path.glob(".probe*")), "probes are cleaned up"


def foreign_claim(folder: Path, *, age_s: float) -> Path:
    """A claim of another machine, last renewed ``age_s`` ago on the folder's clock."""
    claim = folder / ".dispatcher-7.json"
    claim.write_text(json.dumps({"token": "t", "host": "other", "boot": "another boot", "pid": 1, "started": "1"}))
    now = claim.stat().st_mtime
    os.utime(claim, (now - age_s, now - age_s))
    return claim


def test_a_claim_of_another_machine_holds_until_it_is_stale(tmp_path: Path):
    foreign_claim(tmp_path, age_s=STALE_S - 5)
    with pytest.raises(PermanentError, match="second_dispatcher"):
        Heartbeat(tmp_path).claim()
    foreign_claim(tmp_path, age_s=STALE_S + 5)
    Heartbeat(tmp_path).claim()


def test_a_zombie_learns_that_it_was_replaced(tmp_path: Path):
    zombie = Heartbeat(tmp_path, stale_s=-1)
    zombie.claim()
    claim = next(tmp_path.glob(".dispatcher-*"))
    owner = json.loads(claim.read_text()) | {"boot": "another boot"}
    claim.write_text(json.dumps(owner))
    Heartbeat(tmp_path, stale_s=-1).claim()
    with pytest.raises(PermanentError, match="second_dispatcher"):
        zombie.beat()


def test_a_dispatcher_killed_on_this_machine_is_replaced_at_once(tmp_path: Path):
    code = (
        "import sys, os, signal; from pathlib import Path; from backend.dispatch.heartbeat import Heartbeat;"
        "Heartbeat(Path(sys.argv[1])).claim(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -9
    assert list(tmp_path.glob(".dispatcher-*"))
    Heartbeat(tmp_path).claim()


def test_of_many_rivals_for_a_dead_claim_exactly_one_wins(tmp_path: Path):
    foreign_claim(tmp_path, age_s=STALE_S + 5)
    barrier, won = threading.Barrier(12), []

    def rival() -> None:
        heartbeat = Heartbeat(tmp_path)
        barrier.wait()
        try:
            heartbeat.claim()
            won.append(heartbeat)
        except PermanentError:
            pass

    threads = [threading.Thread(target=rival) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    won[0].beat()
