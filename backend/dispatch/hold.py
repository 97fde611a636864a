"""The right to write for one job: our claim on the folder, and the number of the attempt we began.

A process that was stopped for a minute and wakes up continues where it was. By then another dispatcher may have taken the
folder over and begun the job again, or the job's owner may have deleted it. So every write for a job goes through its ``Hold``, which
checks first, and a woken process never touches another's job. On another machine of a cluster the attempt alone decides: its number, and
the moment it was counted. Imported by the dispatcher, its runs and ``node``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

import structlog

from backend.dispatch.heartbeat import Superseded
from backend.job import Cancelled
from shared.errors import StoreTrouble
from shared.reading import RecordInvalid
from shared.records import JobId, Stage, Status, Submission
from shared.store import Store

log = structlog.get_logger()

FINAL: Final = ("done", "failed", "expired")


class NotOurs(Cancelled):
    """The job belongs to another dispatcher now, or is gone: write nothing for it."""


class Claim(Protocol):
    """The claim on the folder."""

    def check(self) -> None:
        """Return when the folder is ours; Superseded, or OSError when that is unknown."""


class Unclaimed:
    """Of a machine that works for a dispatcher elsewhere: who has the folder is not its question."""

    def check(self) -> None:
        """The attempt decides."""


class Hold:
    """Writes for ``job`` as long as ``attempt`` is the current attempt and the folder is ours.

    ``begun``: the moment this attempt was counted; with it, an attempt that was taken back and counted again is another one.
    Every method raises NotOurs otherwise, and StoreTrouble when the write fails.
    """

    def __init__(self, job: JobId, *, attempt: int, store: Store, heartbeat: Claim, begun: float | None = None) -> None:
        self.job, self.attempt, self._begun = job, attempt, begun
        self._store, self._heartbeat = store, heartbeat
        self._unseen = False

    def check(self) -> None:
        """Return if the job is ours."""
        try:
            self._heartbeat.check()
            current = self._store.begun(self.job)
        except Superseded:
            raise NotOurs from None
        except RecordInvalid:  # damaged while we work: no other dispatcher began, or it would be whole
            return
        except StoreTrouble:
            raise
        except OSError as error:
            raise StoreTrouble(error) from error
        if current.attempts != self.attempt or self._begun not in (None, current.at):
            raise NotOurs

    def moment(self) -> float:
        """When this attempt was counted: ``begun`` for whoever makes it elsewhere."""
        return self._store.begun(self.job).at

    def write_status(self, status: Status) -> None:
        """Show ``status``. A progress that cannot be written does not stop the job; an ending that cannot be written does."""
        try:
            self.check()
            self._store.write_status(status)
        except StoreTrouble as error:
            if status.state in FINAL and status.video is None:
                raise
            if not self._unseen:
                log.warning("progress_not_shown", job=self.job, reason=error.sentence)
            self._unseen = True
        else:
            self._unseen = False

    def take_in(self, submission: Submission, media: Path) -> None:
        """Keep the fetched clip and the record that names it."""
        self.check()
        with self._fenced():
            self._store.take_in(submission, media, check=self.check)

    def publish(self, report: Path) -> None:
        """Show the finished report."""
        self.check()
        with self._fenced():
            self._store.publish(self.job, report, check=self.check)

    def complete(self, report: Path) -> None:
        """Show what was added to the published report; FileNotFoundError when that is gone."""
        self.check()
        with self._fenced():
            self._store.complete(self.job, report, check=self.check)

    @contextlib.contextmanager
    def _fenced(self) -> Iterator[None]:
        """NotOurs when what was prepared is gone because another attempt was counted meanwhile (``Store.count_attempt``)."""
        try:
            yield
        except FileNotFoundError:
            self.check()
            raise

    def move(self, target: Stage) -> None:
        """Move the job from ``active`` to ``target``; it may be gone, when its owner deleted it."""
        self.check()
        try:
            self._store.move(self.job, "active", target)
        except FileNotFoundError:
            raise NotOurs from None

    def uncount(self) -> None:
        """Uncount the attempt: we ended the work in good order."""
        self.check()
        self._store.uncount_attempt(self.job)
