"""Who judges the files of a batch: the pipeline of this machine here, the machines of a cluster in ``backend.dispatch``.

``Here`` fetches, judges and draws; what becomes a row, and which content is judged at all, is decided by ``judging``. Promises: nothing
is kept by this module, a report lies beside its place until whoever asked for it takes it (``staged``). May be imported by
``backend.batch`` and ``backend.dispatch``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from backend.batch.arriving import AtHand, Source
from backend.batch.entries import Entry
from backend.batch.rows import Row, judged, unit_rows
from backend.board import SilentBoard
from backend.job import SCRATCH_FULL, Cancelled, Job, new_folder
from backend.pipeline import Pipeline
from backend.workers.spec import ENGINE_AWAY
from shared import durable
from shared.errors import DfomError, RetryableError, StoreTrouble
from shared.records import Mode, new_id
from shared.results import Result
from shared.stability import Again

#: Seconds before each further try after trouble of the machine.
PAUSES_S: Final = (2.0, 10.0)
#: No machine of a cluster judges anything of this batch.
CLUSTER_UNFIT: Final = "cluster_unfit"


@dataclass(frozen=True)
class Wish:
    """What is wanted of each file. ``report``: the full report with its video, too; ``units``: a row of each face, picture and window;
    ``stability``: who judges again after mild re-encoding."""

    detectors: tuple[str, ...]
    mode: Mode = "standard"
    report: bool = False
    units: bool = False
    stability: Again = "off"


@dataclass(frozen=True)
class Found:
    """What is known of a judged file: its row, the rows of its units, its report beside its place."""

    row: Row
    units: tuple[Row, ...] = ()
    staged: Path | None = None


class Hands(Protocol):
    """Judges files, from several threads at once."""

    @property
    def stopping(self) -> threading.Event:
        """Set when the batch ends early."""

    def judge(self, entry: Entry, wanted: Callable[[AtHand], bool]) -> Found | None:
        """Read the file, and judge it when ``wanted`` says so, which may be asked again with the same content; None when it does not.

        Raises what is wrong with the file, or with the machine (``is_of_the_machine``).
        """

    def cut_off(self) -> None:
        """End calls that wait; ``stopping`` is set."""


def is_of_the_machine(error: RetryableError) -> bool:
    """Whether every other file would fail alike."""
    if isinstance(error, StoreTrouble):
        return not error.may_be_of_one_file
    return error.code in (ENGINE_AWAY, CLUSTER_UNFIT)


@dataclass
class Here:
    """The pipeline of this machine. ``reports``: the folder of the batch for reports; ``source``: where files come from."""

    pipeline: Pipeline
    wish: Wish
    source: Source
    reports: Path
    stopping: threading.Event = field(default_factory=threading.Event)

    def judge(self, entry: Entry, wanted: Callable[[AtHand], bool]) -> Found | None:
        """See ``Hands``."""
        with self.source.opened(entry) as file:
            if not wanted(file):
                return None
            result, staged = self._result(entry, file)
            units = tuple(unit_rows(result, file=entry.file)) if self.wish.units else ()
            return Found(judged(result, seconds=0.0, bands=self.wish.stability != "off"), units, staged)

    def cut_off(self) -> None:
        """End the workers."""
        self.pipeline.pool.close()

    def _result(self, entry: Entry, file: AtHand) -> tuple[Result, Path | None]:
        """The result of a file, tried again where that may help, and its report beside its place."""
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

    def _attempt(self, entry: Entry, file: AtHand) -> tuple[Result, Path | None]:
        job = Job.of_file(
            file.path,
            sha256=file.sha256,
            size=file.bytes,
            name=Path(entry.file).name,
            detectors=self.wish.detectors,
            mode=self.wish.mode,
            stability=self.wish.stability,
            folder=new_folder(self.pipeline.settings.scratch_folder),
            cancelled=self.stopping.is_set,
        )
        try:
            if not self.wish.report:
                return self.pipeline.judge(job, SilentBoard()), None
            result = self.pipeline.run(job, SilentBoard())
            return result, self._staged(job)
        except DfomError:
            if self.stopping.is_set():  # it was cut off
                raise Cancelled from None
            raise
        finally:
            job.remove()

    def _staged(self, job: Job) -> Path:
        """The report beside the place it gets, under a name of its own."""
        target = report_of(self.reports, job.sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.with_name(f".{target.name}-{new_id()}{UNFINISHED}")
        durable.copy_tree(job.report, staged)
        return staged


#: How the name of a report ends that has not its place yet.
UNFINISHED: Final = ".part"


def report_of(reports: Path, sha256: str) -> Path:
    """The place of the report of a content."""
    return reports / sha256[:2] / sha256
