"""The dispatcher: the only claimer of submissions. Scan, claim, count the attempt, hand to the engine, show the queue.

One loop in one thread owns all decisions; jobs run in the engine. The folders are the truth: whatever dies, the next scan finds
``active/<id>`` and takes the job up behind its last finished step, at most ``settings.max_attempts`` times.

What goes wrong with one job stays with that job, what goes wrong with a shared folder is waited for, and nothing ends the loop but
``stop`` and another dispatcher that took the folder over. Never sees SMTP or a PIN.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from backend.board import StatusBoard
from backend.catalog.detectors import DetectorCatalog, model_card
from backend.catalog.durations import Durations
from backend.dispatch.engine import Engine, LocalEngine
from backend.dispatch.heartbeat import Heartbeat, Superseded
from backend.dispatch.hold import Hold
from backend.dispatch.order import in_order
from backend.dispatch.periodic import Periodic, Trouble, reason_of
from backend.dispatch.places import Places
from backend.dispatch.retention import expire
from backend.dispatch.run import Run, Why
from backend.dispatch.watcher import Watcher
from backend.scores.cache import ScoreCache
from backend.workers.scratch import Claim, claim, remove_abandoned
from shared.clock import utc_now
from shared.errors import DfomError, PermanentError, StoreTrouble
from shared.reading import RecordInvalid
from shared.records import ID_PATTERN, JobId, Stage, Status, Submission
from shared.settings import Settings
from shared.store import Store

if TYPE_CHECKING:
    from backend.pipeline import Pipeline

log = structlog.get_logger()

#: Seconds between two beats, and between two catalogs; a claim is dead after heartbeat.STALE_S.
BEAT_S: Final = 5.0
#: Seconds between two sweeps of retention.
EXPIRE_S: Final = 3600.0
#: A loop that did not come round for so long hangs, and its process ends with this status (EX_SOFTWARE of sysexits.h).
HUNG_S: Final = 600.0
HUNG: Final = 70
#: Seconds a start waits for a claim to become free: the dispatcher before it may be about to end.
PATIENCE_S: Final = 3.0
#: Seconds before the second and the third attempt: a container engine is restarted in less.
RETRY_S: Final = (5.0, 30.0)
#: Seconds before a job goes on that was held up by what all jobs need.
HELD_UP_S: Final = 5.0
#: Seconds of a scan for first statuses: a thousand uploads at once get theirs over several scans.
GREET_S: Final = 0.5
#: Where jobs without a run are found; ``active`` is read last, so that one that moves on meanwhile is not missed.
STAGES_WAITING: Final[tuple[Stage, ...]] = ("new", "active")
#: Jobs begun lately that count for fairness.
RECENT: Final = 20


class Backend(Protocol):
    """The wired parts of the back-end, as the composition root makes them."""

    @property
    def settings(self) -> Settings:
        """The settings of this process."""

    @property
    def catalog(self) -> DetectorCatalog:
        """The detectors."""

    @property
    def durations(self) -> Durations:
        """What past jobs took."""

    @property
    def cache(self) -> ScoreCache:
        """Scores of past jobs."""

    @property
    def pipeline(self) -> Pipeline:
        """Runs one job."""


class Dispatcher:
    """Works on one pair of shared folders until ``stop`` is called."""

    def __init__(
        self,
        backend: Backend,
        *,
        store: Store,
        engine: Callable[[int, Callable[[], None]], Engine] | None = None,
        clock: Callable[[], float] = time.monotonic,
        retry_s: Sequence[float] = RETRY_S,
    ) -> None:
        settings = backend.settings
        self._backend, self._settings, self._store, self._clock = backend, settings, store, clock
        self._retry_s = retry_s
        self._heartbeat = Heartbeat(store.results)
        self._places = Places(store, durations=backend.durations, title=self._title, jobs=settings.jobs)
        self._stopping, self._superseded = threading.Event(), threading.Event()
        self._runs: dict[JobId, Run] = {}
        self._submissions: dict[JobId, Submission] = {}
        self._begun: deque[str] = deque(maxlen=RECENT)
        #: of jobs in ``active`` that wait: when they go on, which need no new count, and which code is yet to be written
        self._not_before: dict[JobId, float] = {}
        self._uncounted: set[JobId] = set()
        self._verdicts: dict[JobId, str] = {}
        self._job_troubles: dict[JobId, Trouble] = {}
        self._scan_trouble = Trouble("scan")
        self._ticked_at = clock()
        self._watcher: Watcher | None = None
        self._scratch: Claim | None = None
        self._engine: Engine = (
            engine(settings.jobs, self._wake) if engine else LocalEngine(settings.jobs, finished=self._wake)
        )

    # -- life

    def run(self, *, stand_by: bool = False) -> None:
        """Claim the folder and work until ``stop``. Superseded when another dispatcher took the folder over meanwhile.

        While another one works there: PermanentError(second_dispatcher), or wait for its end when ``stand_by``.
        """
        kind = self._backend.pipeline.pool.runner_kind()  # says at once when there is no way to start workers
        if not self._claimed(stand_by=stand_by):
            return
        self._watcher = Watcher(self._store.submissions / "new")
        self._open_scratch()
        chores = [
            Periodic("beat", self._beat, every_s=BEAT_S),
            Periodic("catalog", self._write_catalog, every_s=BEAT_S),
            Periodic("retention", self._expire, every_s=EXPIRE_S),
        ]
        log.info("dispatcher_started", runner=kind, jobs=self._settings.jobs)
        try:
            while not self._stopping.is_set():
                self.tick()
                self._watcher.wait(self._settings.scan_s)
        finally:
            ended = self._engine.close(grace_s=30)
            for chore in chores:
                chore.close()
            self._watcher.close()
            self._heartbeat.release()
            self._close_scratch()
            log.info("dispatcher_stopped", all_jobs_ended=ended, superseded=self._superseded.is_set())
        if self._superseded.is_set():
            raise Superseded

    def stop(self) -> None:
        """Begin nothing new, let running jobs go back to the folder at their next safe point, return from ``run``."""
        self._stopping.set()
        self._wake()

    def tick(self) -> None:
        """One scan: end what its owner deleted, begin what can begin, show the waiting ones their place. Raises nothing."""
        self._ticked_at = self._clock()
        with self._scan_trouble.contained():
            try:
                self._heartbeat.check()
                self._collect()
                self._end_withdrawn()
                waiting = self._waiting()
                self._begin(waiting)
                self._show([item for item in waiting if JobId(item.id) not in self._runs])
            except Superseded:
                self._stand_down()

    def _wake(self) -> None:
        if self._watcher:
            self._watcher.wake()

    def _stand_down(self) -> None:
        """Another dispatcher works here: end without touching what is its own now."""
        if not self._superseded.is_set():
            self._superseded.set()
            log.error("superseded")
        self.stop()

    # -- the claim, and what is done beside the loop

    def _claimed(self, *, stand_by: bool) -> bool:
        """Take the folder, waiting while it is away or does not answer; False when ``stop`` came first."""
        trouble = Trouble("claim")
        until = self._clock() + PATIENCE_S
        while not self._stopping.is_set():
            try:
                self._store.prepare(self._settings.backend_state)
                self._heartbeat.claim()
                trouble.over()
                return True
            except PermanentError as error:
                if not stand_by and self._clock() >= until:
                    raise
                if stand_by:
                    trouble.note(error)
            except OSError as error:
                trouble.note(error)
            self._stopping.wait(BEAT_S if stand_by else 0.5)
        return False

    def _beat(self) -> None:
        if self._clock() - self._ticked_at > max(HUNG_S, 10 * self._settings.scan_s):
            log.critical("loop_hangs")
            os._exit(HUNG)  # the supervisor starts a new one; jobs are taken up where they were
        try:
            self._store.check()
            self._heartbeat.beat()
        except Superseded:
            self._stand_down()

    def _write_catalog(self) -> None:
        self._heartbeat.check()
        record = self._backend.catalog.record(
            durations=self._backend.durations,
            runner=self._backend.pipeline.pool.runner_kind(),
            queued=len(self._store.ids("new")),
            working=len(self._engine.running()),
        )
        self._store.write_catalog(record)
        for card in self._backend.catalog:  # written when they changed
            if text := model_card(card):
                self._store.write_model_card(card.id, text)

    def _expire(self) -> None:
        self._heartbeat.check()
        expire(self._store, self._settings, cache=self._backend.cache, now=utc_now())

    # -- scratch

    def _open_scratch(self) -> None:
        """A folder for the jobs' finished parts that no other dispatcher of this machine uses, not even a stopped one."""
        jobs = self._settings.scratch_folder / "jobs"
        self._scratch = claim(jobs)
        remove_abandoned(jobs)
        with contextlib.suppress(OSError):
            active = set(self._store.ids("active"))
            for folder in self._scratch.folder.iterdir():
                if re.fullmatch(ID_PATTERN, folder.name) and folder.name not in active:
                    shutil.rmtree(folder, ignore_errors=True)

    def _close_scratch(self) -> None:
        if self._scratch is not None:
            self._scratch.close()

    def _folder(self, job: JobId) -> Path:
        assert self._scratch is not None
        return self._scratch.folder / job

    # -- the waiting ones

    def _show(self, waiting: Sequence[Submission]) -> None:
        self._make_way(waiting)
        self._places.show(waiting, running=list(self._runs.values()))
        until = self._clock() + GREET_S
        for submission in self._places.new_among(waiting):
            with self._one_job(JobId(submission.id)):
                self._places.greet(submission)
            if self._clock() > until:
                return

    # -- ended and to be ended

    def _collect(self) -> None:
        """Take notice of the runs that ended."""
        running = self._engine.running()
        for job, run in list(self._runs.items()):
            if job in running:
                continue
            del self._runs[job]
            if run.ending == "broke_off":
                pause = self._retry_s[min(run.hold.attempt, len(self._retry_s)) - 1]
                self._not_before[job] = self._clock() + pause
            elif run.ending == "held_up":
                self._not_before[job] = self._clock() + HELD_UP_S
                self._uncounted.add(job)
                if run.code:
                    self._verdicts[job] = run.code
            elif run.ending == "released" and run.why == "yield":
                with self._one_job(job):
                    self._places.show_waiting(run.submission)
            elif run.ending == "not_ours" and self._store.stage_of(job) == "active":
                # the claim is ours and the job is here: a woken dispatcher counted an attempt before it stood down
                self._not_before[job] = self._clock() + HELD_UP_S
                self._uncounted.add(job)
            elif run.ending == "not_ours":
                shutil.rmtree(self._folder(job), ignore_errors=True)

    def _end_withdrawn(self) -> None:
        """Cancel the runs whose owner asked for deletion."""
        for job, run in self._runs.items():
            with self._one_job(job):
                if self._store.is_withdrawn(job):
                    self._cancel(run, "withdrawn")

    def _make_way(self, waiting: Sequence[Submission]) -> None:
        """Let a job of lower priority go back to the queue for each waiting one that finds no place: a batch yields to visitors."""
        if self._engine.free() > 0:
            return
        running = [run for run in self._runs.values() if run.why is None]
        running.sort(key=lambda run: run.submission.priority)
        urgent = (item for item in waiting if self._is_due(JobId(item.id)))
        for run, item in zip(running, urgent, strict=False):
            if item.priority <= run.submission.priority:
                return
            self._cancel(run, "yield")

    def _cancel(self, run: Run, why: Why) -> None:
        if run.why == why:
            return
        run.why = why
        log.info("job_cancelled", job=run.job, why=why)
        self._engine.cancel(run.job)

    # -- claiming

    def _waiting(self) -> list[Submission]:
        """All jobs without a run, in the order in which they will begin."""
        staged: dict[JobId, Stage] = {}
        for stage in STAGES_WAITING:
            staged |= {job: stage for job in self._store.ids(stage) if job not in self._runs}
            for job in self._store.misfits(stage):
                with self._one_job(job):
                    self._show_failed(job, code="record_invalid")
                    self._store.set_aside(stage, job)
        for known in (self._submissions, self._not_before, self._verdicts, self._job_troubles):
            for job in known.keys() - staged.keys():
                del known[job]
        self._uncounted &= staged.keys()
        for job, stage in staged.items():
            if job not in self._submissions:
                with self._one_job(job):
                    self._read(job, stage)
        resumed = frozenset(job for job, stage in staged.items() if stage == "active")
        return in_order(list(self._submissions.values()), begun=self._begun, resumed=resumed)

    def _read(self, job: JobId, stage: Stage) -> None:
        try:
            self._submissions[job] = self._store.read_submission(stage, job)
        except (RecordInvalid, FileNotFoundError) as error:
            if self._store.job(stage, job).is_dir():  # else its owner deleted it meanwhile
                log.warning("submission_invalid", job=job, reason=reason_of(error))
                self._give_up(job, stage, code="record_invalid")

    def _begin(self, waiting: Sequence[Submission]) -> None:
        for submission in waiting:
            if self._engine.free() <= 0 or self._stopping.is_set():
                return
            job = JobId(submission.id)
            if self._is_due(job):
                with self._one_job(job):
                    self._start(submission)

    def _is_due(self, job: JobId) -> bool:
        return self._clock() >= self._not_before.get(job, 0.0)

    def _start(self, submission: Submission) -> None:
        job = JobId(submission.id)
        self._heartbeat.check()
        if not self._store.job("active", job).is_dir():
            self._store.move(job, "new", "active")
            self._begun.append(submission.visitor)
        try:
            code = "deleted" if self._store.is_withdrawn(job) else self._verdicts.get(job)
            if code is None and self._store.attempts(job) >= self._settings.max_attempts and job not in self._uncounted:
                code = "too_many_attempts"
            if code is not None:
                self._give_up(job, "active", code=code)
                return
            again = job in self._uncounted and self._store.attempts(job) > 0
            attempt = self._store.attempts(job) if again else self._store.count_attempt(job)
        except RecordInvalid:
            self._give_up(job, "active", code="record_invalid")
            return
        self._uncounted.discard(job)
        self._submit(submission, attempt)

    def _submit(self, submission: Submission, attempt: int) -> None:
        job = JobId(submission.id)
        hold = Hold(job, attempt=attempt, store=self._store, heartbeat=self._heartbeat)
        detectors = [(name, self._title(name)) for name in submission.detectors]
        board = StatusBoard(hold, job, detectors=detectors, received=submission.received, attempt=attempt)
        run = Run(
            submission,
            hold=hold,
            board=board,
            store=self._store,
            pipeline=self._backend.pipeline,
            folder=self._folder(job),
        )
        self._runs[job] = run
        self._engine.submit(job, run)

    def _give_up(self, job: JobId, stage: Stage, *, code: str) -> None:
        """End a job that has no run."""
        self._show_failed(job, code=code)
        shutil.rmtree(
            self._folder(job), ignore_errors=True
        )  # before the move: a job that has moved is nobody's any more
        self._store.move(job, stage, "failed")
        log.warning("job_given_up", job=job, code=code)

    def _show_failed(self, job: JobId, *, code: str) -> None:
        now = utc_now()
        self._store.write_status(
            Status(id=job, state="failed", step="failed", updated=now, finished=now, progress=1.0, code=code)
        )

    # -- inside

    @contextlib.contextmanager
    def _one_job(self, job: JobId) -> Iterator[None]:
        """Contain what goes wrong with one job; what goes wrong with its folder ends the scan."""
        trouble = self._job_troubles.get(job)
        try:
            yield
        except FileNotFoundError:  # its owner deleted it meanwhile
            pass
        except (Superseded, StoreTrouble):
            raise
        except Exception as error:
            self._job_troubles.setdefault(job, Trouble(f"job {job}")).note(error)
        else:
            if trouble:
                trouble.over()

    def _title(self, detector: str) -> str:
        with contextlib.suppress(DfomError):
            return self._backend.catalog.card(detector).title
        return detector
