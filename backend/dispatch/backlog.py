"""The jobs without a run: in ``new``, or left in ``active`` by an attempt that ended early or by a dispatcher before us.

Owns what has to be remembered of them from scan to scan, and how those end that cannot be begun. What goes wrong with one of them is
contained here. Imported by the dispatcher.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from backend.dispatch.heartbeat import Superseded
from backend.dispatch.order import VIDEO_WAITS_S, in_order
from backend.dispatch.periodic import Trouble, reason_of
from shared.clock import utc_now
from shared.errors import StoreTrouble
from shared.reading import RecordInvalid
from shared.records import JobId, Stage, Status, Submission
from shared.store import Store

log = structlog.get_logger()

#: ``active`` is read last, so that a job that moves on meanwhile is not missed.
STAGES: Final[tuple[Stage, ...]] = ("new", "active")
#: Jobs begun lately that count for fairness.
RECENT: Final = 20


@dataclass
class _Note:
    """What is remembered of one job: when it goes on, whether that needs a new count, and the ending that is yet to be written."""

    not_before: float = 0.0
    counted: bool = False
    code: str | None = None


class Backlog:
    """``folder`` gives the scratch of a job."""

    def __init__(self, store: Store, *, folder: Callable[[JobId], Path], clock: Callable[[], float]) -> None:
        self._store, self._folder, self._clock = store, folder, clock
        self._submissions: dict[JobId, Submission] = {}
        self._notes: dict[JobId, _Note] = {}
        self._troubles: dict[JobId, Trouble] = {}
        self._begun: deque[str] = deque(maxlen=RECENT)
        self._later: frozenset[JobId] = frozenset()
        #: jobs that ended without a run, by code
        self.given_up: Counter[str] = Counter()

    def scan(self, *, running: Collection[JobId]) -> list[Submission]:
        """All jobs but the ``running`` ones, in the order in which they will begin."""
        staged: dict[JobId, Stage] = {}
        for stage in STAGES:
            staged |= {job: stage for job in self._store.ids(stage) if job not in running}
            for job in self._store.misfits(stage):
                with self.contained(job):
                    self._show_failed(job, code="record_invalid")
                    self._store.set_aside(stage, job)
        for known in (self._submissions, self._notes, self._troubles):
            for job in known.keys() - staged.keys():
                del known[job]
        for job, stage in staged.items():
            if job not in self._submissions:
                with self.contained(job):
                    self._read(job, stage)
        resumed = frozenset(job for job, stage in staged.items() if stage == "active")
        self._later = frozenset(job for job in resumed if self._has_numbers(job))
        waiting = list(self._submissions.values())
        return in_order(waiting, begun=self._begun, resumed=resumed, later=self._later)

    def rank(self, item: Submission) -> tuple[int, bool]:
        """Of two jobs of the last scan, the one with the higher rank may take the place of the other."""
        return item.priority, item.id not in self._later

    def _has_numbers(self, job: JobId) -> bool:
        """Whether only the video of a job is missing, and has not been for too long."""
        with self.contained(job):
            status = self._store.read_status(job)
            if status is not None and status.video == "pending":
                return (utc_now() - (status.finished or status.updated)).total_seconds() < VIDEO_WAITS_S
        return False

    def _read(self, job: JobId, stage: Stage) -> None:
        try:
            self._submissions[job] = self._store.read_submission(stage, job)
        except (RecordInvalid, FileNotFoundError) as error:
            if self._store.job(stage, job).is_dir():  # else its owner deleted it meanwhile
                log.warning("submission_invalid", job=job, reason=reason_of(error))
                self.give_up(job, stage, code="record_invalid")

    # -- notes

    def hold_back(self, job: JobId, seconds: float, *, counted: bool, code: str | None = None) -> None:
        """Let a job wait; ``counted``: its next attempt is counted already. ``code``: it is to end with this instead."""
        self._notes[job] = _Note(self._clock() + seconds, counted, code)

    def is_due(self, job: JobId) -> bool:
        """Whether a job may begin now."""
        return job not in self._notes or self._clock() >= self._notes[job].not_before

    # -- beginning

    def take(self, submission: Submission, *, max_attempts: int) -> int | None:
        """Move a job to ``active`` and count the attempt, on disk, before the work; its number, or None when the job has ended."""
        job = submission.id
        if not self._store.job("active", job).is_dir():
            self._store.move(job, "new", "active")
            self._begun.append(submission.visitor)
        try:
            if self._has_ended(job):
                return None
            note = self._notes.get(job, _Note())
            attempts = self._store.attempts(job)
            again = note.counted and attempts > 0
            code = "deleted" if self._store.is_withdrawn(job) else note.code
            # published numbers are not taken back: its run ends without the video
            if code is None and attempts >= max_attempts and not again and not self._store.is_published(job):
                code = "too_many_attempts"
            if code is None:
                attempt = attempts if again else self._store.count_attempt(job)
                self._notes.pop(job, None)
                return attempt
        except RecordInvalid:
            code = "record_invalid"
        self.give_up(job, "active", code=code)
        return None

    def _has_ended(self, job: JobId) -> bool:
        """Finish what a crash cut off between the last status of a job and its move; True when there was something to finish."""
        try:
            status = self._store.read_status(job)
        except RecordInvalid:
            return False
        if status is None or status.state in ("queued", "working"):
            return False
        if status.state == "done" and (status.video == "pending" or not self._store.report(job).is_dir()):
            return False
        shutil.rmtree(self._folder(job), ignore_errors=True)
        # expired: before its video was drawn
        self._store.move(job, "active", "failed" if status.state == "failed" else "done")
        return True

    # -- ending

    def give_up(self, job: JobId, stage: Stage, *, code: str) -> None:
        """End a job that has no run."""
        self._show_failed(job, code=code)
        # before the move: after it, the job is no longer ours
        shutil.rmtree(self._folder(job), ignore_errors=True)
        self._store.move(job, stage, "failed")
        log.warning("job_given_up", job=job, code=code)

    def _show_failed(self, job: JobId, *, code: str) -> None:
        now = utc_now()
        self.given_up[code] += 1
        self._store.write_status(
            Status(id=job, state="failed", step="failed", updated=now, finished=now, progress=1.0, code=code)
        )

    @contextlib.contextmanager
    def contained(self, job: JobId) -> Iterator[None]:
        """Contain what goes wrong with one job; what goes wrong with its folder is raised."""
        trouble = self._troubles.get(job)
        try:
            yield
        except FileNotFoundError:  # its owner deleted it meanwhile
            pass
        except Superseded:
            raise
        except StoreTrouble as error:
            if not error.may_be_of_one_file:
                raise
            self._store.check()  # the folders answer: it is this job's own trouble (another owner, a bad sector)
            self._troubles.setdefault(job, Trouble(f"job {job}")).note(error)
        except Exception as error:
            self._troubles.setdefault(job, Trouble(f"job {job}")).note(error)
        else:
            if trouble:
                trouble.over()
