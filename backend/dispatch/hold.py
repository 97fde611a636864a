"""The right to write for one job: our claim on the folder, and the number of the attempt we began.

A process that was stopped for a minute and wakes up continues where it was. By then another dispatcher may have taken the
folder over and begun the job again, or the job's owner may have deleted it. So every write for a job goes through its ``Hold``, which
checks first, and a woken process never touches another's job. Imported by the dispatcher and its runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import structlog

from backend.dispatch.heartbeat import Heartbeat, Superseded
from backend.job import Cancelled
from shared.errors import StoreTrouble
from shared.reading import RecordInvalid
from shared.records import JobId, Stage, Status
from shared.store import Store

log = structlog.get_logger()

FINAL: Final = ("done", "failed", "expired")


class NotOurs(Cancelled):
    """The job belongs to another dispatcher now, or is gone: write nothing for it."""


class Hold:
    """Writes for ``job`` as long as ``attempt`` is the current attempt and the folder is ours.

    Every method raises NotOurs otherwise, and StoreTrouble when the write fails.
    """

    def __init__(self, job: JobId, *, attempt: int, store: Store, heartbeat: Heartbeat) -> None:
        self.job, self.attempt = job, attempt
        self._store, self._heartbeat = store, heartbeat
        self._unseen = False

    def check(self) -> None:
        """Return if the job is ours."""
        try:
            self._heartbeat.check()
            attempts = self._store.attempts(self.job)
        except Superseded:
            raise NotOurs from None
        except RecordInvalid:  # damaged while we work: no other dispatcher began, or it would be whole
            return
        except StoreTrouble:
            raise
        except OSError as error:
            raise StoreTrouble(error) from error
        if attempts != self.attempt:
            raise NotOurs

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

    def publish(self, report: Path) -> None:
        """Show the finished report."""
        self.check()
        self._store.publish(self.job, report, check=self.check)

    def complete(self, report: Path) -> None:
        """Show what was added to the published report; FileNotFoundError when that is gone."""
        self.check()
        self._store.complete(self.job, report, check=self.check)

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
