"""One machine of a cluster in a batch: its own pool of workers, and the files in work on it.

A file's name and its row travel; the file itself lies where every machine sees it, or is fetched here. Which content is judged is decided
by the one process that keeps the rows, so a machine that was lost and wakes up adds nothing. Knows nothing of Ray; ``ray_engine`` makes it
an actor.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import structlog

from backend.batch.arriving import AtHand, Source
from backend.batch.at_once import NICE, clips_at_once, shared_out
from backend.batch.entries import Entry
from backend.batch.hands import Found, Here, is_of_the_machine
from backend.batch.run import RECORD, BatchRecord, Order, judges_of
from backend.job import Cancelled
from backend.workers.scratch import claim, remove_abandoned
from shared.errors import DfomError, PermanentError, RetryableError, StoreTrouble, UserError
from shared.names import shown
from shared.reading import RecordInvalid, read_record
from shared.settings import Settings, read_settings

if TYPE_CHECKING:
    from backend.dispatch.node import NodeBackend

log = structlog.get_logger()

#: As many files as a batch may have, for the question how many a machine judges at once.
_MANY: Final = 1_000_000
#: Seconds between two looks at the folder of the batch and at the weights.
LOOK_S: Final = 10.0


@dataclass(frozen=True)
class Trouble:
    """Why a file was not judged: of the file, or of the machine, on which no other one would be judged either."""

    code: str
    sentence: str
    kind: type[DfomError]
    of_machine: bool = False

    def error(self) -> DfomError:
        """To be raised elsewhere."""
        return self.kind(self.code, self.sentence)


#: What became of a file; None: it was not wanted.
Answer = Found | Trouble | None


@dataclass
class _InWork:
    read: threading.Event = field(default_factory=threading.Event)
    file: AtHand | None = None
    decided: threading.Event = field(default_factory=threading.Event)
    wanted: bool = False
    #: calls that still need it: ``perform`` and ``seen``, which may come in any order
    calls: int = 2


class BatchNode:
    """``build`` makes the back-end from the settings of this machine, with a scratch of its own."""

    def __init__(self, build: Callable[[Settings], NodeBackend], order: Order) -> None:
        settings = read_settings()
        rooms = settings.scratch_folder / "batches"
        self._room = claim(rooms)
        remove_abandoned(rooms)
        changes: dict[str, object] = {"scratch": self._room.folder}
        if order.halved:
            os.nice(NICE)
        if order.halved and "worker_memory_mb" not in settings.model_fields_set:
            changes["worker_memory_mb"] = settings.worker_memory_mb // 2
        settings = settings.model_copy(update=changes)
        first = build(settings)
        cards = [first.catalog.card(name) for name in order.wish.detectors]
        at_once = clips_at_once(settings, cards, asked=None, files=_MANY)
        first.pipeline.pool.close()
        self._pipeline = build(shared_out(settings, at_once)).pipeline
        self._places = threading.Semaphore(at_once)
        source = Source(self._room.folder / "fetched", settings, at_once=at_once)
        self._here = Here(self._pipeline, order.wish, source, order.out / "reports")
        self._order, self._lock = order, threading.Lock()
        self._work: dict[str, _InWork] = {}
        self._looked_at = float("-inf")
        self._trouble: str | None = None

    def trouble(self) -> str | None:
        """Why this machine judges nothing of this batch, as it was at most LOOK_S ago."""
        with self._lock:
            if time.monotonic() - self._looked_at > LOOK_S:
                self._trouble, self._looked_at = self._looked(), time.monotonic()
            return self._trouble

    def _looked(self) -> str | None:
        order = self._order
        if version("deepfake-o-meter") != order.record.platform_version:
            return f"it has version {version('deepfake-o-meter')}"
        try:
            same = read_record(order.out / RECORD, BatchRecord).created == order.record.created
        except (OSError, RecordInvalid):
            same = False
        if not same:
            return f"{shown(order.out)} is not the folder of this batch there"
        ours = judges_of(self._pipeline, order.wish)
        unlike = [name for name, judge in order.record.detectors.items() if ours[name] != judge]
        return f"its versions, weights or reference sets of {', '.join(unlike)} differ" if unlike else None

    def perform(self, key: str, entry: Entry) -> Answer:
        """Judge one file; ``key`` names this attempt."""
        work = self._of(key)
        try:
            with self._places:
                return self._here.judge(entry, lambda file: self._ask(work, file))
        except (UserError, PermanentError, RetryableError) as error:
            kind = next(
                each for each in (UserError, StoreTrouble, RetryableError, PermanentError) if isinstance(error, each)
            )
            unseen = work.file is None and entry.url is None  # whoever sent it could read it
            of_machine = unseen or (isinstance(error, RetryableError) and is_of_the_machine(error))
            return Trouble(error.code, error.sentence, RetryableError if kind is StoreTrouble else kind, of_machine)
        except Cancelled:
            return Trouble("internal", "It was stopped.", RetryableError, of_machine=True)
        finally:
            work.read.set()
            self._done(key)

    def seen(self, key: str) -> AtHand | None:
        """The file of an attempt, when it was read; None when it cannot be."""
        work = self._of(key)
        work.read.wait()
        self._done(key)
        return work.file

    def decide(self, key: str, wanted: bool) -> None:
        """Whether the content that was read is judged."""
        work = self._of(key)
        work.wanted = wanted
        work.decided.set()

    def close(self) -> None:
        """End the workers."""
        self._here.stopping.set()
        self._here.cut_off()
        self._room.close()

    # -- inside

    def _done(self, key: str) -> None:
        with self._lock:
            work = self._work[key]
            work.calls -= 1
            if not work.calls:
                del self._work[key]

    def _of(self, key: str) -> _InWork:
        with self._lock:
            return self._work.setdefault(key, _InWork())

    def _ask(self, work: _InWork, file: AtHand) -> bool:
        work.file = file
        work.read.set()
        while not work.decided.wait(1.0):
            if self._here.stopping.is_set():
                raise Cancelled
        return work.wanted
