"""Where the rows of a batch are kept: a journal of the latest, and shards of Parquet, each of which appears whole by one rename.

Promises: a row that ``add`` returned for is there after ``kill -9`` and after a power cut; a torn end of the journal is cut off when it is
opened; no row is in two shards. Layout below the folder of the batch: ``rows/part-<machine>-<number>.parquet``, ``units/`` alike, and
``journal/``, empty when the batch is complete. One process at a time. May be imported by ``backend.batch``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backend.batch.rows import Columns, Row
from shared import durable

#: Rows of one shard: at ten files a second a new one every two minutes; 100,000 files make 100.
ROWS_A_SHARD: Final = 1000
#: Rows of faces held in memory while a shard of them is written.
_UNITS_AT_ONCE: Final = 10_000
#: What is read back of the shards to know what is done.
_KEYS: Final = ("file", "mention", "sha256", "status", "same_as")


@dataclass
class Shards:
    """The rows of machine ``part`` in ``folder``; ``opened`` makes it. Not for several threads."""

    folder: Path
    columns: Columns
    part: int = 1
    units: bool = False
    rows_a_shard: int = ROWS_A_SHARD
    facts: Mapping[str, str] = field(default_factory=dict)
    _number: int = 0
    _rows: list[Row] = field(default_factory=list)
    _journal: IO[bytes] | None = None
    _units: IO[bytes] | None = None

    def recover(self) -> None:
        """Find what an earlier process left: finished shards, and a journal whose torn end is cut off."""
        for name in ("rows", "journal", *(("units",) if self.units else ())):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        finished = self._finished()
        self._number = max((number for number, _ in finished), default=0) + 1
        for leftover in (self.folder / "journal").glob(f"{self._stem('*')}.*"):
            if leftover.name not in (self._journal_path.name, self._units_path.name):  # of a shard that is finished
                leftover.unlink()
        units_end = self._read_journal()
        self._journal = self._journal_path.open("ab")
        if self.units:
            self._units_path.touch()
            os.truncate(self._units_path, units_end)
            self._units = self._units_path.open("ab")

    def done(self) -> Iterator[Row]:
        """What is known of each row that is there: ``file``, ``mention``, ``sha256``, ``status``, ``same_as``."""
        for _, path in self._finished():
            yield from pq.read_table(path, columns=list(_KEYS)).to_pylist()
        yield from self._rows

    def forget(self, status: str) -> None:
        """Remove the rows of one status, shard by shard, each by one rename: their files count as not begun. Such rows have no faces."""
        for _, path in self._finished():
            table = pq.read_table(path)
            kept = table.filter(pc.field("status") != status)
            if len(kept) < len(table):
                with durable.staging(path) as staging:
                    pq.write_table(kept, staging)
        journalled = [row for row in self._rows if row["status"] != status]
        if len(journalled) < len(self._rows):
            self._seal()  # what is left of the journal goes with its shard
            self.forget(status)

    def row_with(self, sha256: str) -> Row | None:
        """The first row of a content; None when there is none. Looks into the journal, then into the shards."""
        for row in self._rows:
            if row.get("sha256") == sha256:
                return row
        for _, path in self._finished():
            found = pq.read_table(path, filters=[("sha256", "=", sha256)]).to_pylist()
            if found:
                return dict(found[0])
        return None

    def add(self, row: Row, units: Iterable[Row] = ()) -> None:
        """Keep a row and those of its faces, durably; a full journal becomes a shard. OSError when that fails: the row is not kept then."""
        assert self._journal is not None
        end = None
        if self._units is not None:
            self._units.writelines(_line(unit) for unit in units)
            self._units.flush()
            os.fsync(self._units.fileno())
            end = self._units.tell()
        self._journal.write(_line({"row": row, "units_end": end}))
        self._journal.flush()
        os.fsync(self._journal.fileno())
        self._rows.append(row)
        if len(self._rows) >= self.rows_a_shard:
            self._seal()

    def finish(self) -> None:
        """Make a shard of what is left: the batch is complete."""
        if self._rows:
            self._seal()
        self.close()
        for path in (self._journal_path, self._units_path):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # of another machine
            (self.folder / "journal").rmdir()

    def close(self) -> None:
        """Close the journal; its rows stay."""
        for stream in (self._journal, self._units):
            if stream is not None:
                stream.close()
        self._journal = self._units = None

    # -- inside

    def _stem(self, number: int | str) -> str:
        return f"part-{self.part:03d}-{number:05d}" if isinstance(number, int) else f"part-{self.part:03d}-{number}"

    @property
    def _journal_path(self) -> Path:
        return self.folder / "journal" / f"{self._stem(self._number)}.jsonl"

    @property
    def _units_path(self) -> Path:
        return self.folder / "journal" / f"{self._stem(self._number)}.units.jsonl"

    def _finished(self) -> list[tuple[int, Path]]:
        pattern = rf"part-{self.part:03d}-(\d+)\.parquet"
        found = [(re.fullmatch(pattern, path.name), path) for path in (self.folder / "rows").iterdir()]
        return sorted((int(match[1]), path) for match, path in found if match)

    def _read_journal(self) -> int:
        """Read the rows of the journal, cut its torn end off; where its last row ends in the journal of faces."""
        self._rows, good, units_end = [], 0, 0
        with contextlib.suppress(FileNotFoundError), self._journal_path.open("rb") as stream:
            for line in stream:
                try:
                    record: Any = json.loads(line) if line.endswith(b"\n") else None
                    self._rows.append(record["row"])
                    units_end = record["units_end"] or 0
                except (ValueError, TypeError, KeyError):
                    break
                good += len(line)
        if self._journal_path.exists():
            os.truncate(self._journal_path, good)
        return units_end

    def _seal(self) -> None:
        """Turn the journal into a shard; that of the faces first, since the shard of rows ends the journal."""
        name = f"{self._stem(self._number)}.parquet"
        old = [self._journal_path, self._units_path]
        if self._units is not None:
            with durable.staging(self.folder / "units" / name) as staging:
                self._write_units(staging)
        with durable.staging(self.folder / "rows" / name) as staging:
            pq.write_table(pa.Table.from_pylist(self._rows, schema=self._with_facts(self.columns.schema)), staging)
        self.close()
        self._rows, self._number = [], self._number + 1
        for path in old:
            path.unlink(missing_ok=True)
        self._journal = self._journal_path.open("ab")
        self._units = self._units_path.open("ab") if self.units else None

    def _write_units(self, target: Path) -> None:
        schema = self._with_facts(self.columns.unit_schema)
        with pq.ParquetWriter(target, schema) as writer, self._units_path.open("rb") as stream:
            some: list[Any] = []
            for line in stream:
                some.append(json.loads(line))
                if len(some) >= _UNITS_AT_ONCE:
                    writer.write_table(pa.Table.from_pylist(some, schema=schema))
                    some = []
            writer.write_table(pa.Table.from_pylist(some, schema=schema))

    def _with_facts(self, schema: pa.Schema) -> pa.Schema:
        return schema.with_metadata(dict(self.facts))


def _line(record: Row) -> bytes:
    return json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"
