"""The dispatcher: the only claimer of submissions. Scan, claim, count the attempt, hand to the engine, publish, expire.

One loop in one thread owns all decisions; jobs run in the engine and report through their boards. The folders are the truth:
whatever dies, the next scan finds ``active/<id>`` and takes the job up behind its last finished step, at most
``settings.max_attempts`` times. Never sees SMTP or a PIN.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from backend.board import StatusBoard
from backend.catalog.detectors import DetectorCatalog, model_card
from backend.catalog.durations import Durations
from backend.dispatch.engine import Engine, LocalEngine
from backend.dispatch.heartbeat import Heartbeat
from backend.dispatch.order import in_order, waits
from backend.dispatch.retention import expire
from backend.dispatch.watcher import Watcher
from backend.job import Cancelled, Job
from backend.scores.cache import ScoreCache
from base_detector import ContractError
from shared.clock import utc_now
from shared.errors import DfomError, PermanentError, RetryableError
from shared.records import DetectorProgress, JobId, Status, Submission
from shared.settings import Settings
from shared.store import Store

if TYPE_CHECKING:
    from backend.pipeline import Pipeline

log = structlog.get_logger()

#: Seconds between two beats; a claim is dead after heartbeat.STALE_S.
BEAT_S = 5.0
#: Seconds between two sweeps of retention.
EXPIRE_S = 3600.0
#: Jobs begun lately that count for fairness.
RECENT = 20


class Superseded(Exception):
    """Another dispatcher took the folder over while this one seemed dead."""


class Dispatcher:
    """Works on one pair of shared folders until ``stop`` is called."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        catalog: DetectorCatalog,
        pipeline: Pipeline,
        durations: Durations,
        cache: ScoreCache,
        engine: Callable[[int, Callable[[], None]], Engine] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._store, self._catalog = settings, store, catalog
        self._pipeline, self._durations, self._cache, self._clock = pipeline, durations, cache, clock
        self._heartbeat = Heartbeat(store.results)
        self._stopping = threading.Event()
        self._submissions: dict[JobId, Submission] = {}
        self._boards: dict[JobId, StatusBoard] = {}
        self._begun: deque[str] = deque(maxlen=RECENT)
        self._queue_shown: dict[JobId, tuple[int, float | None]] = {}
        self._beat_at = self._expire_at = float("-inf")
        self._watcher: Watcher | None = None
        self._engine: Engine = (
            engine(settings.jobs, self._wake) if engine else LocalEngine(settings.jobs, finished=self._wake)
        )

    # -- life

    def run(self) -> None:
        """Claim the folder and work until ``stop``; PermanentError(second_dispatcher) when another one works here."""
        self._heartbeat.claim()
        self._watcher = Watcher(self._store.submissions / "new")
        for card in self._catalog:
            if text := model_card(card):
                self._store.write_model_card(card.id, text)
        log.info("dispatcher_started", runner=self._pipeline.pool.runner_kind(), jobs=self._settings.jobs)
        try:
            while not self._stopping.is_set():
                self.tick()
                self._watcher.wait(self._settings.scan_s)
        finally:
            ended = self._engine.close(grace_s=30)
            self._watcher.close()
            self._heartbeat.release()
            log.info("dispatcher_stopped", all_jobs_ended=ended)

    def stop(self) -> None:
        """Begin nothing new, let running jobs go back to the folder at their next safe point, return from ``run``."""
        self._stopping.set()
        self._wake()

    def tick(self) -> None:
        """One scan: beat, begin what can begin, tell the waiting ones their place."""
        self._beat()
        try:
            self._resume()
            self._begin()
            self._show_queue()
            if self._clock() - self._expire_at >= EXPIRE_S:
                self._expire_at = self._clock()
                expire(self._store, self._settings, cache=self._cache, now=utc_now())
        except OSError as error:  # the shared folder is away for a moment: the next scan tries again
            log.warning("scan_failed", reason=str(error))

    def _wake(self) -> None:
        if self._watcher:
            self._watcher.wake()

    def _beat(self) -> None:
        if self._clock() - self._beat_at < BEAT_S:
            return
        self._beat_at = self._clock()
        self._heartbeat.beat()
        self._store.write_catalog(
            self._catalog.record(
                durations=self._durations,
                runner=self._pipeline.pool.runner_kind(),
                queued=len(self._store.ids("new")),
                working=len(self._engine.running()),
            )
        )

    # -- claiming

    def _resume(self) -> None:
        """Take up jobs that a dispatcher before us left in ``active``."""
        for job in self._store.ids("active"):
            if self._engine.free() <= 0:
                return
            if job not in self._engine.running():
                self._start(job)

    def _begin(self) -> None:
        for submission in self._waiting():
            if self._engine.free() <= 0:
                return
            job = JobId(submission.id)
            self._store.move(job, "new", "active")
            self._begun.append(submission.visitor)
            self._queue_shown.pop(job, None)
            self._start(job)

    def _start(self, job: JobId) -> None:
        try:
            submission = self._store.read_submission("active", job)
            if self._store.attempts(job) >= self._settings.max_attempts:
                raise PermanentError("too_many_attempts")
            attempt = self._store.count_attempt(job)
        except (PermanentError, FileNotFoundError) as error:
            code = error.code if isinstance(error, PermanentError) else "record_invalid"
            self._give_up(job, code=code)
            return
        board = StatusBoard(
            self._store,
            job,
            detectors=[(name, self._title(name)) for name in submission.detectors],
            received=submission.received,
            attempt=attempt,
        )
        self._boards[job] = board
        self._engine.submit(job, lambda cancelled: self._work(submission, attempt, board, cancelled))

    def _scratch(self, job: JobId) -> Path:
        return (self._settings.scratch_folder / "jobs" / job).absolute()

    def _title(self, detector: str) -> str:
        with contextlib.suppress(DfomError):
            return self._catalog.card(detector).title
        return detector

    def _waiting(self) -> list[Submission]:
        ids = self._store.ids("new")
        self._submissions = {job: item for job, item in self._submissions.items() if job in set(ids)}
        for job in ids:
            if job in self._submissions:
                continue
            try:
                self._submissions[job] = self._store.read_submission("new", job)
            except (PermanentError, FileNotFoundError):
                self._store.move(job, "new", "active")
                self._give_up(job, code="record_invalid")
        return in_order(list(self._submissions.values()), begun=self._begun)

    # -- one job (in an engine thread)

    def _work(self, submission: Submission, attempt: int, board: StatusBoard, cancelled: Callable[[], bool]) -> None:
        job_id = JobId(submission.id)
        bound = log.bind(job=job_id, attempt=attempt)
        try:
            job = Job.of(
                submission,
                source=self._store.job("active", job_id) / "media",
                folder=self._scratch(job_id),
                cancelled=cancelled,
            )
            board.step("starting")
            self._pipeline.run(job, board)
            self._publish(job, attempt, board)
            bound.info("job_done")
        except Cancelled:
            self._store.uncount_attempt(job_id)
            bound.info("job_released")
        except RetryableError as error:
            bound.warning("job_broke_off", code=error.code)
        except Superseded:
            bound.error("publish_refused")  # the folder and the job belong to another dispatcher: touch nothing
            self.stop()
        except (DfomError, ContractError, FileNotFoundError) as error:
            code = error.code if isinstance(error, DfomError) else "internal"
            bound.warning("job_failed", code=code, exc_info=code == "internal")
            self._give_up(job_id, code=code, board=board)
        except Exception:  # the loop must go on; the attempt is counted, so this ends after three
            bound.exception("job_broke_off", code="internal")
        finally:
            self._boards.pop(job_id, None)

    def _publish(self, job: Job, attempt: int, board: StatusBoard) -> None:
        job_id = JobId(job.id)
        try:
            self._heartbeat.beat()  # a zombie that was taken for dead publishes nothing
        except PermanentError:
            raise Superseded from None
        if self._store.attempts(job_id) != attempt:
            raise Superseded
        self._store.publish(job_id, job.report)
        board.finish("done")
        self._store.move(job_id, "active", "done")
        self._shadow(job)
        job.remove()

    def _shadow(self, job: Job) -> None:
        """The visitor has the result: whatever happens to detectors on trial touches it no more."""
        try:
            self._pipeline.run_shadow(job)
        except Cancelled:
            log.info("shadow_left_out", job=job.id)
        except Exception:
            log.exception("shadow_failed", job=job.id)

    def _give_up(self, job: JobId, *, code: str, board: StatusBoard | None = None) -> None:
        now = utc_now()
        if board:
            board.finish("failed", code=code)
        else:
            status = Status(id=job, state="failed", step="failed", updated=now, finished=now, progress=1.0, code=code)
            self._store.write_status(status)
        # before the move: a job that has moved is nobody's any more
        shutil.rmtree(self._scratch(job), ignore_errors=True)
        if self._store.job("active", job).is_dir():
            self._store.move(job, "active", "failed")
        log.warning("job_given_up", job=job, code=code)

    # -- the waiting ones

    def _show_queue(self) -> None:
        """Write position and estimated wait of every waiting job, when they changed."""
        ordered = self._waiting()
        estimates = {JobId(item.id): self._durations.job_estimate(item.detectors, mode=item.mode) for item in ordered}
        waiting_s = waits(ordered, working_left_s=self._working_left(), estimates=estimates, places=self._settings.jobs)
        for place, item in enumerate(ordered, start=1):
            job = JobId(item.id)
            wait = waiting_s[job]
            shown = self._queue_shown.get(job)
            if (
                shown
                and shown[0] == place
                and (shown[1] is None) == (wait is None)
                and abs((shown[1] or 0) - (wait or 0)) < 5
            ):
                continue
            self._queue_shown[job] = (place, wait)
            self._store.write_status(
                Status(
                    id=job,
                    state="queued",
                    updated=utc_now(),
                    received=item.received,
                    queue_position=place,
                    estimated_wait_s=None if wait is None else round(wait, 1),
                    detectors=tuple(
                        DetectorProgress(detector=name, title=self._title(name)) for name in item.detectors
                    ),
                )
            )

    def _working_left(self) -> float | None:
        """Seconds the jobs in work still need, as far as all their steps were measured before."""
        left = 0.0
        for job in self._engine.running():
            board = self._boards.get(job)
            try:
                submission = self._store.read_submission("active", job)
            except (PermanentError, FileNotFoundError):
                continue
            estimate = self._durations.job_estimate(submission.detectors, mode=submission.mode)
            if estimate is None:
                return None
            left += estimate * (1 - (board.progress if board else 0.0))
        return left
