"""A long batch: 2,000 clips, killed three times; every clip has one row, and memory stays where it was. ``make soak`` runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.batch.clips import ROOT, command, environment, tiny_clips

CLIPS = 2000
#: One clip in so many shows a face: the rest is decoded and searched, and costs little.
FACES = 4
KILLED_AT = (200, 450, 700)


def rows_kept(out: Path) -> int:
    """Rows in shards and in the journal, as another process sees them."""
    shards = sum(pq.read_metadata(path).num_rows for path in (out / "rows").glob("*.parquet"))
    return shards + sum(path.read_bytes().count(b"\n") for path in (out / "journal").glob("*.jsonl"))


def family(process: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield process
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in task.read_text().split():
            yield from family(int(child))


def memory_mb(process: int) -> dict[str, float]:
    """Private memory of the command and of its workers together, MB (Pss counts shared pages once)."""
    sizes = {}
    for pid in family(process):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        sizes[pid] = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000
    return {"command": sizes.pop(process), "workers": sum(sizes.values())}


def watched(process: subprocess.Popen[bytes], out: Path, *, until: int, say: Path) -> list[dict[str, float]]:
    """Memory while the rows grow, until there are ``until`` of them or the process has ended; also written to ``say``."""
    seen: list[dict[str, float]] = []
    began = time.time()
    while process.poll() is None and (kept := rows_kept(out)) < until:
        try:
            seen.append(
                {"rows": kept, "s": round(time.time() - began, 1), "load": os.getloadavg()[0]} | memory_mb(process.pid)
            )
            with say.open("a") as stream:
                stream.write(json.dumps(seen[-1]) + "\n")
        except (OSError, ValueError):  # a worker that ends just now
            pass
        time.sleep(5)
    return seen


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_two_thousand_clips_killed_three_times_have_one_row_each_and_memory_stays_flat(
    tmp_path: Path, astronaut: np.ndarray, weights_folder: Path
):
    tiny_clips(tmp_path / "in", astronaut, count=CLIPS, faces=FACES)
    out, log = tmp_path / "out", tmp_path / "memory.jsonl"
    call = command(tmp_path / "in", "--out", out, "--detectors", "mesonet", "--json")
    settings = environment(tmp_path / "var", weights=weights_folder)
    for rows in KILLED_AT:
        with subprocess.Popen(call, cwd=ROOT, env=settings, start_new_session=True) as process:
            watched(process, out, until=rows, say=log)
            assert process.poll() is None, "killed in the middle"
            process.send_signal(signal.SIGKILL)
    with subprocess.Popen(call, cwd=ROOT, env=settings, start_new_session=True) as process:
        seen = watched(process, out, until=CLIPS + 1, say=log)
    assert process.returncode == 0
    rows = pq.read_table(out / "rows", columns=["file", "sha256", "status", "mesonet_score", "same_as"]).to_pylist()
    assert len(rows) == CLIPS
    assert len({row["file"] for row in rows}) == CLIPS
    assert len({row["sha256"] for row in rows}) == CLIPS
    assert {row["status"] for row in rows} == {"judged"}
    assert all(row["same_as"] is None for row in rows)
    assert sum(row["mesonet_score"] is not None for row in rows) == CLIPS / FACES
    # by the middle each worker has met what it needs most: until then memory grows in steps (70 MB at one file in five hundred)
    first, last = seen[2 * len(seen) // 5 : 3 * len(seen) // 5], seen[-len(seen) // 5 :]
    for part in ("command", "workers"):
        grown = np.median([item[part] for item in last]) / np.median([item[part] for item in first])
        assert grown < 1.1, f"{part}: {grown:.2f} times"
