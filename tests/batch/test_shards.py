"""Rows survive whatever ends the process between two system calls; no row is lost, none is twice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from backend.batch.entries import Entry
from backend.batch.rows import Columns, judged, unit_rows
from backend.batch.shards import Shards
from shared import durable
from tests.report.conftest import make_result

Opened = Callable[..., Shards]
COLUMNS = Columns(("mesonet",), ("label", "file", "sha256"))


def add(shards: Shards, *numbers: int) -> None:
    """A row and two faces for each number."""
    result = make_result(frames=2)
    for number in numbers:
        entry = Entry(f"{number}.mp4", Path(f"{number}.mp4"), cells=("fake", f"{number}.mp4", "theirs"))
        row = COLUMNS.row(entry, judged(result, seconds=0.5) | {"sha256": f"{number:064x}"})
        shards.add(row, unit_rows(result, file=entry.file))


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Opens the shards of a folder, three rows each; closed at the end."""
    with contextlib.ExitStack() as stack:

        def opened(folder: Path, **how: Any) -> Shards:
            shards = Shards(folder, COLUMNS, units=True, rows_a_shard=3, **how)
            stack.callback(shards.close)
            shards.recover()
            return shards

        yield opened


def names(folder: Path, table: str = "rows") -> list[str]:
    return sorted(row["file"] for row in pq.read_table(folder / table).to_pylist())


def test_a_full_journal_becomes_a_shard_and_the_rest_one_at_the_end(tmp_path: Path, opened: Opened):
    shards = opened(tmp_path)
    add(shards, 1, 2, 3, 4)
    assert names(tmp_path) == ["1.mp4", "2.mp4", "3.mp4"]
    assert [row["file"] for row in shards.done()] == ["1.mp4", "2.mp4", "3.mp4", "4.mp4"]
    shards.finish()
    assert names(tmp_path) == ["1.mp4", "2.mp4", "3.mp4", "4.mp4"]
    assert names(tmp_path, "units") == sorted(2 * names(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows", "units"]
    row = pq.read_table(tmp_path / "rows").to_pylist()[0]
    assert (row["label"], row["list_file"], row["list_sha256"]) == ("fake", "1.mp4", "theirs"), (
        "columns of the list are kept"
    )
    assert row["mesonet_score"] == make_result(frames=2).detectors[0].fake_score


@pytest.mark.parametrize("cut", range(0, 400, 23))
def test_a_torn_end_of_the_journals_costs_the_last_row_only(tmp_path: Path, opened: Opened, cut: int):
    shards = opened(tmp_path)
    add(shards, 1)
    journal, units = (tmp_path / "journal" / f"part-001-00001{end}" for end in (".jsonl", ".units.jsonl"))
    whole = journal.stat().st_size
    add(shards, 2)
    shards.close()
    content = journal.read_bytes()
    journal.write_bytes(content[: min(len(content) - 1, whole + cut)])
    with units.open("ab") as stream:
        stream.write(b'{"file": "3.mp4"')  # faces are written before their row
    again = opened(tmp_path)
    assert [row["file"] for row in again.done()] == ["1.mp4"]
    add(again, 2)
    again.finish()
    assert names(tmp_path) == ["1.mp4", "2.mp4"]
    assert names(tmp_path, "units") == ["1.mp4", "1.mp4", "2.mp4", "2.mp4"]


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_process_that_ends_while_a_shard_is_made_leaves_each_row_once(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch, renames: int
):
    """It ends before the shard of faces has its name, before that of rows has, and before the journal is removed."""
    left, real, unlink = [renames], durable.move_file, Path.unlink

    class Killed(BaseException):
        pass

    def move(source: Path, target: Path) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1
        real(source, target)

    def remove(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".jsonl":
            raise Killed
        unlink(path, missing_ok=missing_ok)

    shards = opened(tmp_path)
    add(shards, 1, 2)
    monkeypatch.setattr(durable, "move_file", move)
    monkeypatch.setattr(Path, "unlink", remove)
    with pytest.raises(Killed):
        add(shards, 3)
    monkeypatch.undo()
    shards.close()
    again = opened(tmp_path)
    assert [row["file"] for row in again.done()] == ["1.mp4", "2.mp4", "3.mp4"]
    add(again, 4)
    again.finish()
    assert names(tmp_path) == ["1.mp4", "2.mp4", "3.mp4", "4.mp4"]
    assert names(tmp_path, "units") == sorted(2 * names(tmp_path))


def test_machines_that_share_a_folder_have_shards_of_their_own(tmp_path: Path, opened: Opened):
    first, second = opened(tmp_path, part=1), opened(tmp_path, part=2)
    add(first, 1, 2, 3, 5)
    add(second, 4)
    first.finish()
    assert [row["file"] for row in opened(tmp_path, part=2).done()] == ["4.mp4"]
    second.finish()
    assert names(tmp_path) == ["1.mp4", "2.mp4", "3.mp4", "4.mp4", "5.mp4"]
    assert opened(tmp_path, part=1).row_with(f"{4:064x}") is None
    assert opened(tmp_path, part=1).row_with(f"{5:064x}")["file"] == "5.mp4"
