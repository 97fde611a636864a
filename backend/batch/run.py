"""A batch from its entries to complete shards: who is left, what is in work, what was asked for and may not change between two calls.

``open_batch`` takes the folder over (one process for each part), checks that it is the same batch, and finds what is left; ``run`` judges
that. Promises: a batch that was killed anywhere goes on with the next call, and does nothing twice. Imported by the commands.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from pydantic import Field

from backend.batch.entries import Entry
from backend.batch.hands import Hands, Wish
from backend.batch.judging import Judging, Visitors
from backend.batch.rows import NOT_JUDGED, Columns, Row
from backend.batch.shards import ROWS_A_SHARD, Shards
from backend.batch.side_by_side import as_done
from backend.pipeline import Pipeline
from backend.scores.references import References
from backend.workers.provenance import provenance
from shared import durable
from shared.clock import utc_now
from shared.errors import StoreTrouble, UserError
from shared.names import shown
from shared.reading import RecordInvalid, read_record
from shared.records import Mode, Record
from shared.results import Unit
from shared.stability import Again

#: What makes a folder a batch of ours.
RECORD: Final = "batch.json"
_OURS: Final = frozenset({RECORD, "rows", "units", "journal", "reports", "summary.html"})


class JudgedBy(Record):
    """One detector of a batch, as it is for all of its rows."""

    title: str
    unit: Unit
    threshold: float
    version: str
    contract: str
    weights: dict[str, str]
    parameters: dict[str, Any]
    #: sets that the findings of the rows were weighed by: file -> sha256
    references: dict[str, str] = Field(default_factory=dict)


class BatchRecord(Record):
    """``batch.json``: what its rows have in common. ``source``: the folder or list as an absolute path, ``-`` for standard input."""

    max_bytes: ClassVar[int] = 10_000_000

    schema_version: Literal[1] = 1
    created: datetime
    platform_version: str
    source: str
    columns: tuple[str, ...] = ()
    mode: Mode
    units: bool
    report: bool
    #: who judges again after mild re-encoding
    stability: Again = "off"
    parts: int
    detectors: dict[str, JudgedBy]


@dataclass(frozen=True)
class Order:
    """What all machines of a cluster are told of a batch. ``memory_mb``: of one file in work; ``halved``: visitors' jobs run beside it, so
    it takes half of each memory budget."""

    wish: Wish
    out: Path
    record: BatchRecord
    memory_mb: int
    halved: bool = False


def record_of(pipeline: Pipeline, wish: Wish, *, source: str, columns: Sequence[str], parts: int) -> BatchRecord:
    """The record of a new batch."""
    return BatchRecord(
        created=utc_now(),
        platform_version=version("deepfake-o-meter"),
        source=source,
        columns=tuple(columns),
        mode=wish.mode,
        units=wish.units,
        report=wish.report,
        stability=wish.stability,
        parts=parts,
        detectors=judges_of(pipeline, wish),
    )


def judges_of(pipeline: Pipeline, wish: Wish) -> dict[str, JudgedBy]:
    """What would judge on this machine now."""
    detectors, references = {}, References(pipeline.settings.references)
    for card in map(pipeline.catalog.card, wish.detectors):
        made = provenance(card, settings=pipeline.settings, pool=pipeline.pool)
        detectors[card.id] = JudgedBy(
            title=card.title,
            unit=card.unit,
            threshold=card.threshold,
            version=made.version,
            contract=made.contract,
            weights=made.weights,
            parameters=made.parameters,
            references=references.digests(card),
        )
    return detectors


@dataclass
class Batch:
    """A batch whose folder is ours. ``left``: entries without a row; ``rows``: how many have one, ``failed`` of them not judged."""

    folder: Path
    record: BatchRecord
    shards: Shards
    left: list[Entry]
    rows: int
    failed: int
    contents: set[str]

    def run(self, hands: Hands, *, at_once: int, visitors: Visitors) -> Generator[list[Row], None, None]:
        """Judge what is left; rows as they are kept; in the end the shards are complete. ``hands`` are cut off when the caller stops
        early."""
        stopping = hands.stopping
        judging = Judging(hands, self.shards.columns, self.shards, reports=self.folder / "reports")
        judging.know(self.contents)
        self.contents = set()  # the judge has them now

        def work(number: int) -> list[Row]:
            visitors.give_way(stopping)
            return judging.judge(self.left[number])

        yield from as_done(work, pieces=len(self.left), at_once=at_once, stopping=stopping, cut_off=hands.cut_off)
        self.finish()

    def finish(self) -> None:
        """Complete the shards."""
        try:
            self.shards.finish()
        except OSError as error:
            raise StoreTrouble(error, sentence=f"{shown(self.folder)} cannot be written ({error.strerror}).") from error


@contextlib.contextmanager
def open_batch(
    folder: Path,
    record: BatchRecord,
    entries: Sequence[Entry],
    *,
    part: int = 1,
    retry: bool = False,
    rows_a_shard: int = ROWS_A_SHARD,
) -> Iterator[Batch]:
    """Take ``folder`` over for ``record``; with ``retry``, files that were not judged are left once more.

    UserError when it holds another batch, another process works on it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_strangers(folder)
        with _alone(folder, part):
            _same_batch(folder, record)
            shards = Shards(
                folder,
                Columns(tuple(record.detectors), record.columns, bands=record.stability != "off"),
                part=part,
                units=record.units,
                rows_a_shard=rows_a_shard,
                facts={"deepfake-o-meter": record.model_dump_json()},
            )
            shards.recover()
            if retry:
                shards.forget(NOT_JUDGED)
            try:
                yield _batch(folder, record, entries, shards)
            finally:
                shards.close()
    except StoreTrouble:
        raise
    except OSError as error:
        raise UserError(
            "out_not_writable",
            f"{shown(folder)} cannot be written ({error.strerror}). Choose another folder with --out.",
        ) from None


def _batch(folder: Path, record: BatchRecord, entries: Sequence[Entry], shards: Shards) -> Batch:
    mentions: set[tuple[str, int]] = set()
    contents: set[str] = set()
    states: Counter[str] = Counter()
    for row in shards.done():
        mentions.add((row["file"], row["mention"]))
        states[row["status"]] += 1
        if row.get("sha256"):
            contents.add(row["sha256"])
    left = [entry for entry in entries if (entry.file, entry.mention) not in mentions]
    return Batch(folder, record, shards, left, states.total(), states[NOT_JUDGED], contents)


@contextlib.contextmanager
def _alone(folder: Path, part: int) -> Iterator[None]:
    """A lock that ends with this process, however it ends."""
    handle = os.open(folder / f".lock-{part:03d}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "batch_running",
                f"Another process works on the batch in {shown(folder)}. Wait for it, or choose another --out.",
            ) from None
        yield
    finally:
        os.close(handle)


def _refuse_strangers(folder: Path) -> None:
    """UserError for a folder that is no batch and not empty; nothing is written to it then."""
    strangers = [path.name for path in folder.iterdir() if not path.name.startswith(".") and path.name not in _OURS]
    if strangers and not (folder / RECORD).exists():
        raise UserError(
            "out_not_writable",
            f"{shown(folder)} holds something else than a batch ({shown(sorted(strangers)[0])}). Choose another folder with --out.",
        )


def _same_batch(folder: Path, record: BatchRecord) -> None:
    """Keep ``record``, or check that the folder's own says the same."""
    try:
        earlier = read_record(folder / RECORD, BatchRecord)
    except FileNotFoundError:
        durable.replace_json(folder / RECORD, record.model_dump(mode="json"))
        return
    except RecordInvalid:
        raise UserError(
            "batch_differs", f"{shown(folder / RECORD)} is damaged. Choose another folder with --out."
        ) from None
    different = _differences(earlier.model_dump(mode="json"), record.model_dump(mode="json"))
    if different:
        raise UserError(
            "batch_differs",
            f"{shown(folder)} holds a batch with {' and '.join(different)}. Give the same command as before, or choose another --out.",
        )


def _differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of a batch may not change between two calls and did, in words; '' for none."""
    found = []
    if earlier["source"] != now["source"]:
        found.append(f"another input ({shown(earlier['source'])})")
    if earlier["columns"] != now["columns"]:
        found.append("other columns of the list")
    if earlier["mode"] != now["mode"]:
        found.append(f"the mode {earlier['mode']}")
    if list(earlier["detectors"]) != list(now["detectors"]):
        found.append(f"the detectors {', '.join(earlier['detectors'])}")
    elif earlier["detectors"] != now["detectors"]:
        changed = [name for name, facts in earlier["detectors"].items() if facts != now["detectors"][name]]
        found.append(f"other versions, weights or reference sets of {', '.join(changed)}")
    if earlier["units"] != now["units"]:
        found.append("rows of faces (--units)" if earlier["units"] else "no rows of faces (--units)")
    if earlier["report"] != now["report"]:
        found.append("reports (--report)" if earlier["report"] else "no reports (--report)")
    if earlier["stability"] != now["stability"]:
        found.append(f"--stability {earlier['stability']}")
    if earlier["parts"] != now["parts"]:
        found.append(f"{earlier['parts']} parts (--part)")
    return found
