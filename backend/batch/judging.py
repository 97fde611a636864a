"""Judges one file of a batch and keeps its row; the same content is judged once, whoever else waits for it.

Promises: whatever is wrong with a file is its row's reason, and ends nothing. Trouble of the machine (a full disk, no container engine)
is no file's fault: it is tried again, then ends the batch with ``RetryableError``, and no row is made of it. Threads share it. May be
imported by ``backend.batch``.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from backend.batch.arriving import AtHand, Source
from backend.batch.entries import Entry
from backend.batch.rows import Columns, Row, judged, not_judged, unit_rows
from backend.batch.shards import Shards
from backend.board import SilentBoard
from backend.job import SCRATCH_FULL, Cancelled, Job, new_folder
from backend.pipeline import Pipeline
from backend.workers.spec import ENGINE_AWAY
from shared import durable
from shared.errors import DfomError, PermanentError, RetryableError, StoreTrouble, UserError, sentence_for
from shared.names import shown
from shared.records import Mode
from shared.results import Result

log = structlog.get_logger()

#: Seconds before each further try after trouble of the machine.
PAUSES_S: Final = (2.0, 10.0)


@dataclass(frozen=True)
class Wish:
    """What is wanted of each file. ``report``: the full report with its video, too; ``units``: a row of each face, picture and window."""

    detectors: tuple[str, ...]
    mode: Mode = "standard"
    report: bool = False
    units: bool = False


@dataclass
class Judging:
    """The judge of one batch. ``stopping``: set when the batch ends early; nothing is kept any more then."""

    pipeline: Pipeline
    wish: Wish
    columns: Columns
    shards: Shards
    source: Source
    reports: Path
    stopping: threading.Event
    _lock: threading.Lock = field(default_factory=threading.Lock)
    #: contents that have a row, as 32 bytes each
    _known: set[bytes] = field(default_factory=set)
    #: contents in work -> entries that wait for their row, each with when it came
    _waiting: dict[str, list[tuple[Entry, float]]] = field(default_factory=dict)

    def know(self, digests: Iterable[str]) -> None:
        """Contents that have a row from an earlier process."""
        self._known.update(map(bytes.fromhex, digests))

    def judge(self, entry: Entry) -> list[Row]:
        """Judge ``entry`` and keep its row, and the rows of those that waited for its content; none when it waits for another's."""
        began = time.perf_counter()
        try:
            with self.source.opened(entry) as file:
                if entry.trouble:
                    return [self._keep(entry, _failed(entry.trouble, file, began))]
                return self._judge(entry, file, began)
        except UserError as error:
            found = not_judged(error.code, error.sentence, seconds=time.perf_counter() - began)
            return [self._keep(entry, found)]

    def rehearse(self, entry: Entry) -> bool:
        """Judge ``entry`` for an estimate: nothing is kept; whether it could be judged."""
        try:
            with self.source.opened(entry) as file:
                self._result(entry, file)
        except (UserError, PermanentError, RetryableError) as error:
            if isinstance(error, RetryableError) and _is_of_the_machine(error):
                raise
            return False
        return True

    # -- inside

    def _judge(self, entry: Entry, file: AtHand, began: float) -> list[Row]:
        with self._lock:
            if file.sha256 in self._waiting:
                self._waiting[file.sha256].append((entry, began))
                return []
            known = bytes.fromhex(file.sha256) in self._known
            first = self.shards.row_with(file.sha256) if known else None
            if first is None:
                self._waiting[file.sha256] = []
        if first is not None:
            return [self._keep(entry, self.columns.same_content(first, seconds=time.perf_counter() - began))]
        units: list[Row] = []
        try:
            result, report = self._result(entry, file)
            found = judged(result, seconds=time.perf_counter() - began) | report
            units = list(unit_rows(result, file=entry.file)) if self.wish.units else []
        except (UserError, PermanentError, RetryableError) as error:
            if isinstance(error, RetryableError) and _is_of_the_machine(error):
                raise
            found = _failed(error, file, began)
        except Exception as error:
            if self.stopping.is_set():
                raise Cancelled from None
            log.error("file_failed", file=shown(entry.file), exc_info=error)
            sentence = f"{sentence_for('internal')} ({type(error).__name__})"
            found = _failed(PermanentError("internal", sentence), file, began)
        rows = [self._keep(entry, found, units)]
        with self._lock:
            others = self._waiting.pop(file.sha256)
            self._known.add(bytes.fromhex(file.sha256))
        for other, came in others:
            same = self.columns.same_content(rows[0], seconds=time.perf_counter() - came)
            rows.append(self._keep(other, same))
        return rows

    def _result(self, entry: Entry, file: AtHand) -> tuple[Result, Row]:
        """The result of a file, tried again where that may help; what else its row says (``report``)."""
        for number in range(self.pipeline.settings.max_attempts):
            last = number + 1 == self.pipeline.settings.max_attempts
            try:
                return self._attempt(entry, file)
            except OSError as error:
                trouble = error if isinstance(error, StoreTrouble) else StoreTrouble(error)
                if error.errno not in SCRATCH_FULL and not isinstance(error, StoreTrouble):
                    raise
                if last:
                    raise trouble from None
            except RetryableError:
                if last:
                    raise
            if self.stopping.wait(PAUSES_S[min(number, len(PAUSES_S) - 1)]):
                raise Cancelled
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self, entry: Entry, file: AtHand) -> tuple[Result, Row]:
        job = Job.of_file(
            file.path,
            sha256=file.sha256,
            size=file.bytes,
            name=Path(entry.file).name,
            detectors=self.wish.detectors,
            mode=self.wish.mode,
            folder=new_folder(self.pipeline.settings.scratch_folder),
            cancelled=self.stopping.is_set,
        )
        try:
            if not self.wish.report:
                return self.pipeline.judge(job, SilentBoard()), {}
            result = self.pipeline.run(job, SilentBoard())
            return result, {"report": self._publish(job)}
        except DfomError:
            if self.stopping.is_set():  # it was cut off
                raise Cancelled from None
            raise
        finally:
            job.remove()

    def _publish(self, job: Job) -> str:
        """Keep a report under the name of its content; its path below the batch's folder."""
        target = self.reports / job.sha256[:2] / job.sha256
        target.parent.mkdir(parents=True, exist_ok=True)
        durable.remove(target)  # of a process that ended before the row was kept
        with durable.staging(target) as staging:
            durable.copy_tree(job.report, staging)
        return target.relative_to(self.reports.parent).as_posix()

    def _keep(self, entry: Entry, found: Row, units: Iterable[Row] = ()) -> Row:
        row = self.columns.row(entry, found)
        with self._lock:
            if self.stopping.is_set():
                raise Cancelled
            try:
                self.shards.add(row, units)
            except OSError as error:
                raise StoreTrouble(error, sentence=_cannot_write(self.shards.folder, error)) from error
        return row


def _failed(error: DfomError, file: AtHand, began: float) -> Row:
    seconds = time.perf_counter() - began
    return not_judged(error.code, error.sentence, seconds=seconds, sha256=file.sha256, size=file.bytes)


def _is_of_the_machine(error: RetryableError) -> bool:
    """Whether every other file would fail alike."""
    if isinstance(error, StoreTrouble):
        return not error.may_be_of_one_file
    return error.code == ENGINE_AWAY


def _cannot_write(folder: Path, error: OSError) -> str:
    return f"{shown(folder)} cannot be written ({error.strerror}). Make room, then give the same command again: it goes on."


class Visitors:
    """Whether visitors of a portal on the same data folder wait: a batch begins no file then. ``count``: their jobs waiting or in work."""

    def __init__(self, count: Callable[[], int] = lambda: 0, *, pause_s: float = 1.0) -> None:
        self._count, self._pause_s = count, pause_s
        self._lock = threading.Lock()
        self._asked_at, self._last = float("-inf"), 0

    def waiting(self) -> int:
        """How many jobs of visitors there are, as it was at most ``pause_s`` ago."""
        with self._lock:
            if time.monotonic() - self._asked_at >= self._pause_s:
                with contextlib.suppress(OSError):
                    self._last = self._count()
                self._asked_at = time.monotonic()
            return self._last

    def give_way(self, stopping: threading.Event) -> None:
        """Return when no visitor waits, or the batch stops."""
        while self.waiting() and not stopping.wait(self._pause_s):
            pass
