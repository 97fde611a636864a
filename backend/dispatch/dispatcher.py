"""The dispatcher: the only claimer of submissions. Scan, claim, count the attempt, hand to the engine, show the queue.

One loop in one thread makes all decisions; jobs run in the engine. The folders are the truth: after any crash, the next scan finds
``active/<id>`` and continues the job after its last finished step, at most ``settings.max_attempts`` times.

An error of one job does not affect other jobs. Trouble with a shared folder is waited out. Only ``stop``, and another dispatcher
that took the folder over, end the loop. It never sees SMTP or a PIN.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from backend.catalog.detectors import DetectorCatalog, model_card
from backend.catalog.durations import Durations, Limits
from backend.catalog.states import DetectorStates
from backend.dispatch.backlog import Backlog
from backend.dispatch.engine import Engine, LocalEngine
from backend.dispatch.heartbeat import Heartbeat, Superseded
from backend.dispatch.ledger import Ledger
from backend.dispatch.periodic import Periodic, Trouble
from backend.dispatch.places import Places
from backend.dispatch.retention import expire
from backend.dispatch.room import open_room
from backend.dispatch.run import Parts, Run, Why
from backend.dispatch.watcher import Watcher
from backend.scores.cache import ScoreCache
from backend.workers.scratch import Claim
from backend.workers.spec import media_spec
from shared.clock import utc_now
from shared.desk import Desk
from shared.errors import PermanentError
from shared.records import Catalog, JobId, RunnerKind, Submission
from shared.settings import Settings
from shared.store import Store

if TYPE_CHECKING:
    from backend.pipeline import Pipeline

log = structlog.get_logger()

#: Seconds between two beats, and between two catalogs; a claim is dead after heartbeat.STALE_S.
BEAT_S: Final = 5.0
#: Seconds between two sweeps of retention.
EXPIRE_S: Final = 3600.0
#: After so many seconds without a round the loop counts as hung, and its process ends with this status (EX_SOFTWARE of sysexits.h).
HUNG_S: Final = 600.0
HUNG: Final = 70
#: Seconds a start waits for a claim to become free: the previous dispatcher may be about to end.
PATIENCE_S: Final = 3.0
#: Seconds before the second and the third attempt: restarting a container engine takes less.
RETRY_S: Final = (5.0, 30.0)
#: Seconds before a job continues that waited for something all jobs need.
HELD_UP_S: Final = 5.0
#: Most seconds of a scan spent on first statuses: a thousand uploads at once get theirs over several scans.
GREET_S: Final = 0.5


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

    @property
    def states(self) -> DetectorStates:
        """The operator's decisions about detectors."""


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
        limits = Limits(media_s=settings.media_timeout_s, detector_s=settings.detector_timeout_s)
        self._places = Places(
            store, durations=backend.durations, limits=limits, title=backend.catalog.title, jobs=self._room
        )
        self._stopping, self._superseded = threading.Event(), threading.Event()
        self._runs: dict[JobId, Run] = {}
        self._backlog = Backlog(store, folder=self._folder, clock=clock)
        self._desk = Desk(store)
        self._ledger = Ledger(
            settings, self._desk, catalog=backend.catalog, states=backend.states, durations=backend.durations
        )
        self._scan_trouble = Trouble("scan")
        self._ticked_at = clock()
        self._cards_written = False
        self._ways: dict[str, RunnerKind | None] = {}
        self._watcher: Watcher | None = None
        self._scratch: Claim | None = None
        self._engine: Engine = (
            engine(settings.jobs, self._wake) if engine else LocalEngine(settings.jobs, finished=self._wake)
        )

    # -- life

    def run(self, *, stand_by: bool = False) -> None:
        """Claim the folder and work until ``stop``. Superseded when another dispatcher took the folder over.

        While another one works there: PermanentError(second_dispatcher), or wait until it ends when ``stand_by``.
        """
        self._media_way()  # raises now when workers cannot be started
        if not self._claimed(stand_by=stand_by):
            return
        self._ticked_at = self._clock()  # a stand-by may have waited for hours
        self._watcher = Watcher(self._store.submissions / "new")
        chores = [
            Periodic("beat", self._beat, every_s=BEAT_S),
            Periodic("catalog", self._write_catalog, every_s=BEAT_S),
            Periodic("vitals", self._write_vitals, every_s=BEAT_S),
            Periodic("retention", self._expire, every_s=EXPIRE_S),
        ]
        log.info("dispatcher_started", jobs=self._settings.jobs, worker_memory_mb=self._settings.worker_memory_mb)
        self._engine.begin(claim=self._heartbeat.token, load_ahead=self._backend.pipeline.load_ahead)
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
        """Begin nothing new, return running jobs to the folder at their next safe point, and return from ``run``."""
        self._stopping.set()
        self._wake()

    def tick(self) -> None:
        """One scan: end jobs that their owner deleted, begin jobs that can begin, show waiting jobs their place. Raises nothing."""
        self._ticked_at = self._clock()
        with self._scan_trouble.contained():
            try:
                self._heartbeat.check()
                self._collect()
                self._end_withdrawn()
                waiting = self._backlog.scan(running=self._runs.keys())
                self._begin(waiting)
                self._show([item for item in waiting if item.id not in self._runs])
            except Superseded:
                self._stand_down()

    def _room(self) -> int:
        return self._engine.places()

    def _wake(self) -> None:
        if self._watcher:
            self._watcher.wake()

    def _stand_down(self) -> None:
        """Another dispatcher works here: end without touching its jobs."""
        if not self._superseded.is_set():
            self._superseded.set()
            log.error("superseded")
        self.stop()

    # -- the claim, and what is done beside the loop

    def _claimed(self, *, stand_by: bool) -> bool:
        """Claim the folder, waiting while it is away, full or does not answer; False when ``stop`` came first."""
        trouble = Trouble("claim")
        until = self._clock() + PATIENCE_S
        held = False
        while not self._stopping.is_set():
            try:
                self._store.prepare(self._settings.backend_state)
                if not held:
                    self._heartbeat.claim()
                    held = True
                # afterwards: a dispatcher that stands by must not take the scratch of the one that works
                self._scratch = open_room(self._settings, self._store)
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
            os._exit(HUNG)  # the supervisor starts a new one, which continues the jobs
        try:
            self._store.check()
            self._heartbeat.beat()
        except Superseded:
            self._stand_down()

    def _write_catalog(self) -> None:
        self._heartbeat.check()
        record = self._backend.catalog.record(
            durations=self._backend.durations,
            runner=self._media_way(),
            queued=len(self._store.ids("new")),
            working=len(self._engine.running()),
            evicted=self._backend.pipeline.pool.ended["budget"] + self._engine.evicted(),
            links=self._backend.pipeline.links(),
        )
        self._store.write_catalog(record)
        self._say_ways(record)
        if not self._cards_written:
            for card in self._backend.catalog:
                if text := model_card(card):
                    self._store.write_model_card(card.id, text)
            self._cards_written = True

    def _write_vitals(self) -> None:
        self._heartbeat.check()
        self._ledger.take_up()
        pool = self._backend.pipeline.pool
        self._desk.write_vitals(
            self._ledger.record(
                pool,
                ended={str(reason): count for reason, count in pool.ended.items()},
                working=len(self._engine.running()),
                places=self._engine.places(),
                scan_age_s=self._clock() - self._ticked_at,
                given_up=self._backlog.given_up,
            )
        )

    def _media_way(self) -> RunnerKind:
        return self._engine.media_way() or self._backend.pipeline.pool.runner_kind(media_spec(self._settings))

    def _say_ways(self, record: Catalog) -> None:
        """One line about what runs how, at the start and when it changes: images may be built meanwhile."""
        ways = {"media": record.runner} | {entry.id: entry.runner for entry in record.detectors}
        if ways != self._ways:
            self._ways = ways
            inside, outside = (
                ", ".join(name for name, way in ways.items() if way == kind) for kind in ("docker", "process")
            )
            log.info("workers", in_containers=inside or "none", as_processes=outside or "none")

    def _expire(self) -> None:
        self._heartbeat.check()
        expire(self._store, self._settings, cache=self._backend.cache, now=utc_now())

    # -- scratch

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
            with self._backlog.contained(submission.id):
                self._places.greet(submission)
            if self._clock() > until:
                return

    # -- ended and to be ended

    def _collect(self) -> None:
        """Handle the runs that ended."""
        running = self._engine.running()
        for job, run in list(self._runs.items()):
            if job in running:
                continue
            del self._runs[job]
            if run.ending in ("done", "failed"):
                self._count(run)
            if run.ending == "broke_off":
                pause = self._retry_s[min(run.hold.attempt, len(self._retry_s)) - 1]
                self._backlog.hold_back(job, pause, counted=False)
            elif (
                run.ending == "lost"
            ):  # it need not wait until something works again: the next attempt is on another machine
                self._backlog.hold_back(job, 0.0, counted=False)
            elif run.ending == "held_up":
                self._backlog.hold_back(job, HELD_UP_S, counted=True, code=run.code)
            elif run.ending == "released" and run.why == "yield":
                if not run.numbers_out:
                    with self._backlog.contained(job):
                        self._places.show_waiting(run.submission)
            elif run.ending == "not_ours" and self._store.stage_of(job) == "active":
                # the claim is ours and the job is here: a woken dispatcher counted an attempt before it gave up
                self._backlog.hold_back(job, HELD_UP_S, counted=True)
            elif run.ending == "not_ours":
                shutil.rmtree(self._folder(job), ignore_errors=True)

    def _count(self, run: Run) -> None:
        status = None
        with self._backlog.contained(run.job):  # deleted meanwhile, or damaged: then its detectors are in no count
            status = self._store.read_status(run.job)
        self._ledger.job_ended(None if run.ending == "done" else run.code or "internal", status)

    def _end_withdrawn(self) -> None:
        """Cancel the runs whose owner asked for deletion."""
        for job, run in self._runs.items():
            with self._backlog.contained(job):
                # one whose numbers are out is deleted at once, with its folder
                if self._store.is_withdrawn(job) or self._store.stage_of(job) is None:
                    self._cancel(run, "withdrawn")

    def _make_way(self, waiting: Sequence[Submission]) -> None:
        """For each waiting job without a place, return a job of lower rank to the queue: a batch yields to visitors, and a video to the
        numbers of others."""
        if self._engine.free() > 0:
            return
        running = [run for run in self._runs.values() if run.why is None]
        running.sort(key=lambda run: run.rank)
        urgent = (item for item in waiting if self._backlog.is_due(item.id))
        for run, item in zip(running, urgent, strict=False):
            if self._backlog.rank(item) <= run.rank:
                return
            self._cancel(run, "yield")

    def _cancel(self, run: Run, why: Why) -> None:
        if run.why == why:
            return
        run.why = why
        log.info("job_cancelled", job=run.job, why=why)
        self._engine.cancel(run.job)

    # -- claiming

    def _begin(self, waiting: Sequence[Submission]) -> None:
        for submission in waiting:
            if self._engine.free() <= 0 or self._stopping.is_set():
                return
            job = submission.id
            if not self._backlog.is_due(job):
                continue
            with self._backlog.contained(job):
                self._heartbeat.check()
                attempt = self._backlog.take(submission, max_attempts=self._settings.max_attempts)
                if attempt is not None:
                    self._submit(submission, attempt)

    def _submit(self, submission: Submission, attempt: int) -> None:
        job = submission.id
        run = Run.of(
            submission,
            Parts(self._store, self._backend.pipeline, self._backend.catalog.title),
            attempt=attempt,
            claim=self._heartbeat,
            folder=self._folder(job),
            draws=attempt <= self._settings.max_attempts,
        )
        self._runs[job] = run
        self._engine.submit(job, run)
