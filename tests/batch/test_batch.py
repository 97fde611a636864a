"""A batch: a row for every file whatever is wrong with it, nothing twice, and what it does not do while others come first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from backend.batch.entries import Entry
from backend.batch.judging import Visitors
from backend.batch.run import open_batch
from backend.dispatch.heartbeat import Heartbeat, is_claimed
from shared.errors import RetryableError, StoreTrouble, UserError
from tests.batch.clips import ROOT
from tests.batch.stand_in import StandIn, files, record, run


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble of the machine is tried again at once."""
    monkeypatch.setattr("backend.batch.hands.PAUSES_S", (0.0,))


def stored(out: Path) -> list[dict[str, Any]]:
    """All rows of the shards."""
    rows: list[dict[str, Any]] = pq.read_table(out / "rows").to_pylist()
    return rows


def test_every_file_has_a_row_whatever_is_wrong_with_it(tmp_path: Path):
    entries = files(tmp_path / "in", [b"a", b"bad", b"b", b"odd", b"never", b"dies", b"c"])
    entries += [Entry("gone.mp4", tmp_path / "gone.mp4"), Entry("in", tmp_path / "in")]
    os.mkfifo(tmp_path / "pipe.mp4")
    entries += [Entry("pipe.mp4", tmp_path / "pipe.mp4"), Entry("ftp", None, "http://127.0.0.1/a.mp4")]
    with open_batch(tmp_path / "out", record(), entries) as batch:
        run(batch, StandIn(tmp_path / "var"), tmp_path / "scratch")
    rows = {row["file"]: row for row in stored(tmp_path / "out")}
    assert {name: row["code"] for name, row in rows.items()} == {
        "000.mp4": None, "001.mp4": "media_damaged", "002.mp4": None, "003.mp4": "internal", "004.mp4": "media_unreadable",
        "005.mp4": "worker_died", "006.mp4": None, "gone.mp4": "no_such_file", "in": "no_such_file", "pipe.mp4": "no_such_file",
        "ftp": "address_refused",
    }  # fmt: skip
    for row in rows.values():
        assert (row["status"] == "judged") == (row["code"] is None) == (row["mesonet_score"] is not None)
        assert (row["reason"] is None) == (row["code"] is None)
    assert rows["001.mp4"]["sha256"], "of a damaged file, too"
    assert "journal" not in os.listdir(tmp_path / "out")


def test_a_content_is_judged_once_also_when_it_comes_while_it_is_in_work_or_was_judged_by_an_earlier_call(
    tmp_path: Path,
):
    in_work = threading.Event()
    contents = [b"same", b"same", b"other", b"same", b"bad", b"bad"]
    entries = files(tmp_path / "in", contents)

    def work(job: Any) -> None:
        begun.append(job.source.read_bytes())
        if begun[-1] == b"same":
            assert in_work.wait(30), "the second one waits for the first, its thread does not"
        if begun[-1] == b"other":
            in_work.set()

    begun: list[bytes] = []
    pipeline = StandIn(tmp_path / "var", work)
    with open_batch(tmp_path / "out", record(), entries) as batch:
        run(batch, pipeline, tmp_path / "scratch", at_once=2)
    assert sorted(begun) == [b"bad", b"other", b"same"]
    more = files(tmp_path / "in", [*contents, b"same", b"new"])
    with open_batch(tmp_path / "out", record(), more) as batch:
        assert [entry.file for entry in batch.left] == ["006.mp4", "007.mp4"]
        run(batch, pipeline, tmp_path / "scratch")
    assert begun[3:] == [b"new"]
    rows = {row["file"]: row for row in stored(tmp_path / "out")}
    assert len(stored(tmp_path / "out")) == len(rows) == 8
    same = [rows[f"{number:03d}.mp4"] for number in (0, 1, 3, 6)]
    [judged] = [row["file"] for row in same if not row["same_as"]]
    assert {row["same_as"] for row in same} == {judged, None}
    assert len({row["mesonet_score"] for row in same}) == 1
    assert [rows[f"{number:03d}.mp4"]["code"] for number in (4, 5)] == ["media_damaged"] * 2


def test_trouble_of_the_machine_makes_no_rows_and_ends_the_batch_which_goes_on_later(tmp_path: Path):
    entries = files(tmp_path / "in", [b"a", b"away", b"b"])
    with open_batch(tmp_path / "out", record(), entries) as batch, pytest.raises(RetryableError) as caught:
        run(batch, StandIn(tmp_path / "var"), tmp_path / "scratch", at_once=1)
    assert caught.value.code == "engine_unavailable"
    (tmp_path / "in/001.mp4").write_bytes(b"back")
    with open_batch(tmp_path / "out", record(), entries) as batch:
        assert [entry.file for entry in batch.left] == ["001.mp4", "002.mp4"]
        run(batch, StandIn(tmp_path / "var"), tmp_path / "scratch")
    assert {row["status"] for row in stored(tmp_path / "out")} == {"judged"}


def test_a_disk_that_is_full_ends_the_batch_with_what_to_do_and_leaves_no_half_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    entries = files(tmp_path / "in", [b"a", b"b", b"c"])
    synced, real = [], os.fsync

    def full(handle: int) -> None:
        synced.append(handle)
        if len(synced) == 2:
            raise OSError(28, "No space left on device")
        real(handle)

    with open_batch(tmp_path / "out", record(), entries) as batch:
        monkeypatch.setattr("backend.batch.shards.os.fsync", full)
        with pytest.raises(StoreTrouble, match="goes on"):
            run(batch, StandIn(tmp_path / "var"), tmp_path / "scratch", at_once=1)
    monkeypatch.undo()
    with open_batch(tmp_path / "out", record(), entries) as batch:
        run(batch, StandIn(tmp_path / "var"), tmp_path / "scratch")
    assert [row["file"] for row in sorted(stored(tmp_path / "out"), key=lambda row: row["file"])] == [
        "000.mp4",
        "001.mp4",
        "002.mp4",
    ]


def test_a_batch_that_is_killed_again_and_again_has_each_file_once_and_repeats_only_what_was_in_work(tmp_path: Path):
    files(tmp_path / "in", [b"%d" % number for number in range(120)])
    log, out = tmp_path / "log", tmp_path / "out"
    call = [sys.executable, "-m", "tests.batch.stand_in", str(tmp_path / "in"), str(out), str(log), "0.01"]

    def begun() -> int:
        # not those that ended: a row is kept before its line is written, and a kill between the two loses the line
        return log.read_text().count("begun") if log.exists() else 0

    for kill_at in (10, 45, 80):
        with subprocess.Popen(call, cwd=ROOT) as process:
            until = time.monotonic() + 60
            while begun() < kill_at:
                assert process.poll() is None or begun() >= kill_at
                assert time.monotonic() < until
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
    subprocess.run(call, cwd=ROOT, check=True)
    rows = stored(out)
    assert len(rows) == len({row["file"] for row in rows}) == 120
    faces = pq.read_table(out / "units").to_pylist()
    assert len(faces) == 2 * 120
    assert {face["sha256"] for face in faces} == {row["sha256"] for row in rows}
    lines = [line for line in log.read_text().splitlines() if line.startswith("begun")]
    assert len(lines) - len(set(lines)) <= 3 * 3, "three were in work at each kill"
    assert len(set(lines)) == 120


def test_a_folder_takes_one_process_and_one_way_of_judging(tmp_path: Path):
    entries = files(tmp_path / "in", [b"a"])
    with open_batch(tmp_path / "out", record(), entries):
        with pytest.raises(UserError) as caught, open_batch(tmp_path / "out", record(), entries):
            pass
        assert caught.value.code == "batch_running"
    judge = record().detectors["mesonet"]
    newer = {"mesonet": judge.model_copy(update={"version": "2.0"})}
    weighed = {"mesonet": judge.model_copy(update={"references": {"own/ours.json": "ab"}})}
    for change in (
        {"mode": "quick"},
        {"source": "/else"},
        {"detectors": newer},
        {"detectors": weighed},
        {"columns": ("label",)},
        {"units": True},
    ):
        with pytest.raises(UserError) as caught, open_batch(tmp_path / "out", record(**change), entries):
            pass
        assert caught.value.code == "batch_differs", change
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("mine")
    with pytest.raises(UserError, match="something else"), open_batch(tmp_path / "full", record(), entries):
        pass
    assert os.listdir(tmp_path / "full") == ["thesis.doc"]


def test_no_file_is_begun_while_a_visitor_waits(tmp_path: Path):
    entries = files(tmp_path / "in", [b"a", b"b", b"c", b"d"])
    jobs, asked = [0], threading.Event()

    def count() -> int:
        if jobs[0]:
            asked.set()
        return jobs[0]

    def visitor_comes(job: Any) -> None:
        if job.name == "001.mp4":
            jobs[0] = 2

    pipeline = StandIn(tmp_path / "var", visitor_comes)
    visitors = Visitors(count, pause_s=0.0)

    def visitor_leaves() -> None:
        assert asked.wait(30)
        begun.extend(pipeline.begun)
        jobs[0] = 0

    begun: list[str] = []
    leaving = threading.Thread(target=visitor_leaves)
    leaving.start()
    with open_batch(tmp_path / "out", record(), entries) as batch:
        rows = run(batch, pipeline, tmp_path / "scratch", at_once=1, visitors=visitors)
    leaving.join()
    assert begun == ["000.mp4", "001.mp4"]
    assert len(rows) == 4


def test_a_batch_sees_whether_a_dispatcher_serves_the_folder(tmp_path: Path):
    assert not is_claimed(tmp_path / "missing")
    assert not is_claimed(tmp_path)
    dispatcher = Heartbeat(tmp_path)
    dispatcher.claim()
    assert is_claimed(tmp_path)
    dispatcher.release()
    assert not is_claimed(tmp_path)


def test_a_report_is_kept_for_each_content_when_it_is_asked_for(tmp_path: Path):
    entries = files(tmp_path / "in", [b"a", b"a", b"bad"])
    with open_batch(tmp_path / "out", record(report=True), entries) as batch:
        run(batch, StandIn(tmp_path / "var"), tmp_path / "scratch")
    rows = stored(tmp_path / "out")
    [report] = {row["report"] for row in rows if row["status"] == "judged"}
    assert {bool(row["report"]) for row in rows if row["status"] != "judged"} == {False}
    assert (tmp_path / "out" / report / "summary.html").read_text() == "a report"


def test_rows_have_the_ends_of_the_band_only_where_it_was_asked_for(tmp_path: Path):
    entries, found = files(tmp_path / "in", [b"a"]), {}
    for stability in ("off", "all"):
        with open_batch(tmp_path / stability, record(stability=stability), entries) as batch:
            run(batch, StandIn(tmp_path / "var"), tmp_path / "scratch")
        (found[stability],) = stored(tmp_path / stability)
    assert set(found["all"]) - set(found["off"]) == {"mesonet_low", "mesonet_high"}
    assert (found["all"]["mesonet_low"], found["all"]["mesonet_high"]) == (0.25, 0.75)
    with (
        pytest.raises(UserError, match="--stability off"),
        open_batch(tmp_path / "off", record(stability="all"), entries),
    ):
        pass


def test_files_that_were_not_judged_are_tried_again_when_asked_for(tmp_path: Path):
    entries = files(tmp_path / "in", [b"a", b"bad", b"b", b"never", b"c", b"bad"])
    with open_batch(tmp_path / "out", record(), entries[:5], rows_a_shard=3) as batch:
        run(batch, StandIn(tmp_path / "var"), tmp_path / "scratch")
    for number in (1, 5):
        (tmp_path / f"in/{number:03d}.mp4").write_bytes(b"mended")
    pipeline = StandIn(tmp_path / "var")
    with open_batch(tmp_path / "out", record(), entries, retry=True, rows_a_shard=3) as batch:
        assert [entry.file for entry in batch.left] == ["001.mp4", "003.mp4", "005.mp4"]
        assert (batch.rows, batch.failed) == (3, 0)
        run(batch, pipeline, tmp_path / "scratch", at_once=1)
    assert pipeline.begun == ["001.mp4", "003.mp4"]
    rows = {row["file"]: row["code"] for row in stored(tmp_path / "out")}
    assert len(stored(tmp_path / "out")) == len(rows) == 6
    assert {name for name, code in rows.items() if code} == {"003.mp4"}
