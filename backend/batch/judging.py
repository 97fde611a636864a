"""Decides what is judged of a batch, and keeps the rows: the same content is judged once, whoever else waits for it.

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

import structlog

from backend.batch.arriving import AtHand
from backend.batch.entries import Entry
from backend.batch.hands import UNFINISHED, Found, Hands, is_of_the_machine, report_of
from backend.batch.rows import Columns, Row, not_judged
from backend.batch.shards import Shards
from backend.job import Cancelled
from shared import durable
from shared.errors import DfomError, PermanentError, RetryableError, StoreTrouble, UserError, sentence_for
from shared.names import shown

log = structlog.get_logger()


@dataclass
class _Look:
    """One entry being judged. ``file``: once it was read; ``holds``: others with its content wait for its row."""

    entry: Entry
    began: float
    file: AtHand | None = None
    holds: str | None = None
    #: the row of the same content
    first: Row | None = None


@dataclass
class Judging:
    """The judge of one batch. Nothing is kept any more once ``hands.stopping`` is set."""

    hands: Hands
    columns: Columns
    shards: Shards
    reports: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)
    #: contents that have a row, as 32 bytes each
    _known: set[bytes] = field(default_factory=set)
    #: contents in work -> entries that wait for their row, each with when it came
    _waiting: dict[str, list[tuple[Entry, float]]] = field(default_factory=dict)

    def know(self, digests: Iterable[str]) -> None:
        """Contents that have a row from an earlier process; reports that it left beside their places are removed."""
        self._known.update(map(bytes.fromhex, digests))
        for leftover in self.reports.glob(f"*/.*{UNFINISHED}"):
            durable.remove(leftover)

    def judge(self, entry: Entry) -> list[Row]:
        """Judge ``entry`` and keep its row, and the rows of those that waited for its content; none when it waits for another's."""
        look = _Look(entry, time.perf_counter())
        try:
            found = self.hands.judge(entry, lambda file: self._wanted(look, file))
        except (UserError, PermanentError, RetryableError) as error:
            if isinstance(error, RetryableError) and is_of_the_machine(error):
                raise
            found = _failed(error, look)
        except Exception as error:
            if self.hands.stopping.is_set():
                raise Cancelled from None
            log.error("file_failed", file=shown(entry.file), exc_info=error)
            sentence = f"{sentence_for('internal')} ({type(error).__name__})"
            found = _failed(PermanentError("internal", sentence), look)
        if found is None:
            return self._without(look)
        rows = [self._keep(entry, self._report(found) | {"seconds": _seconds(look.began)}, found.units)]
        return rows + self._others(look, rows[0])

    # -- inside

    def _wanted(self, look: _Look, file: AtHand) -> bool:
        """Whether this content is to be judged now, and by whom it is not."""
        look.file = file
        if look.entry.trouble:
            return False
        with self._lock:
            if look.holds is not None:
                if look.holds != file.sha256:
                    raise UserError("no_such_file", f"{shown(look.entry.file)} was changed while it was judged.")
                return True  # begun again on another machine
            if file.sha256 in self._waiting:
                self._waiting[file.sha256].append((look.entry, look.began))
                return False
            known = bytes.fromhex(file.sha256) in self._known
            look.first = self.shards.row_with(file.sha256) if known else None
            if look.first is None:
                self._waiting[file.sha256], look.holds = [], file.sha256
            return look.first is None

    def _without(self, look: _Look) -> list[Row]:
        """The row of a file that was read only; none when it waits for another's."""
        if look.entry.trouble:
            return [self._keep(look.entry, _failed(look.entry.trouble, look).row)]
        if look.first is None:
            return []
        return [self._keep(look.entry, self.columns.same_content(look.first, seconds=_seconds(look.began)))]

    def _others(self, look: _Look, row: Row) -> list[Row]:
        """The rows of those that waited for this one."""
        if look.holds is None:
            return []
        with self._lock:
            others = self._waiting.pop(look.holds)
            self._known.add(bytes.fromhex(look.holds))
        return [self._keep(other, self.columns.same_content(row, seconds=_seconds(came))) for other, came in others]

    def _report(self, found: Found) -> Row:
        """Give a report its place, under the name of its content; the row with its path below the batch's folder."""
        if found.staged is None:
            return found.row
        target = report_of(self.reports, found.row["sha256"])
        try:
            durable.remove(target)  # of a process that ended before the row was kept
            durable.move_directory(found.staged, target)
        except OSError as error:
            raise StoreTrouble(error, sentence=_cannot_write(self.reports, error)) from error
        return found.row | {"report": target.relative_to(self.reports.parent).as_posix()}

    def _keep(self, entry: Entry, found: Row, units: Iterable[Row] = ()) -> Row:
        row = self.columns.row(entry, found)
        with self._lock:
            if self.hands.stopping.is_set():
                raise Cancelled
            try:
                self.shards.add(row, units)
            except OSError as error:
                raise StoreTrouble(error, sentence=_cannot_write(self.shards.folder, error)) from error
        return row


def rehearse(hands: Hands, entry: Entry) -> bool:
    """Judge ``entry`` for an estimate: nothing is kept; whether it could be judged."""
    try:
        hands.judge(entry, lambda _: True)
    except (UserError, PermanentError, RetryableError) as error:
        if isinstance(error, RetryableError) and is_of_the_machine(error):
            raise
        return False
    return True


def _failed(error: DfomError, look: _Look) -> Found:
    sha256, size = (look.file.sha256, look.file.bytes) if look.file else (None, None)
    return Found(not_judged(error.code, error.sentence, seconds=_seconds(look.began), sha256=sha256, size=size))


def _seconds(began: float) -> float:
    return round(time.perf_counter() - began, 4)


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
