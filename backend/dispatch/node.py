"""One machine of a cluster: its back-end, with the one pool of workers this machine has, and the attempts in work on it.

Only job ids come here, and codes go back: submission, media and results are on the shared folders, scratch is on this machine's disk.
The machine has no claim on the folder: it writes for a job as long as the attempt it was given is the current one (``hold``). Knows
nothing of Ray; ``ray_engine`` makes it an actor. Built from the settings in the environment of this machine.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import structlog

from backend.catalog.detectors import DetectorCatalog
from backend.dispatch.heartbeat import Heartbeat
from backend.dispatch.hold import Unclaimed
from backend.dispatch.periodic import Periodic, reason_of
from backend.dispatch.room import open_room
from backend.dispatch.run import Ending, Parts, Run, Why
from backend.workers.spec import detector_spec, media_spec
from shared.errors import StoreTrouble
from shared.reading import RecordInvalid
from shared.records import JobId, Mode, RunnerKind
from shared.settings import Settings
from shared.store import Store

if TYPE_CHECKING:
    from typing import Protocol

    from backend.pipeline import Pipeline

    class NodeBackend(Protocol):
        """The parts of a back-end that a machine needs."""

        @property
        def settings(self) -> Settings:
            """The settings of this process."""

        @property
        def catalog(self) -> DetectorCatalog:
            """The detectors, and whether they can run here."""

        @property
        def pipeline(self) -> Pipeline:
            """Runs one job."""


log = structlog.get_logger()

#: Seconds between two looks at images, weights and folders: as often as the dispatcher writes its catalog.
REFRESH_S: Final = 5.0
#: Withdrawals remembered for attempts that may still arrive.
REMEMBERED: Final = 256
#: The media worker among the offers.
MEDIA: Final = "media"


@dataclass(frozen=True)
class Task:
    """One attempt at a job: its number, and the moment it was counted."""

    job: JobId
    attempt: int
    begun: float
    draws: bool


@dataclass(frozen=True)
class Ended:
    """How the attempt ended; ``refused``: this machine did not begin it."""

    ending: Ending | Literal["refused"]
    code: str | None = None


@dataclass(frozen=True)
class Offer:
    """A worker on this machine: why it cannot run (a code), how it would run, and its memory in MB."""

    unavailable: str | None
    way: RunnerKind
    memory_mb: int


@dataclass(frozen=True)
class Progress:
    """How far the attempt of a job is."""

    progress: float
    numbers_out: bool
    finished: datetime | None


@dataclass(frozen=True)
class Report:
    """What the engine learns of a machine. ``trouble``: why it takes no jobs. ``measured``: times since the last report."""

    trouble: str | None
    version: str
    offers: dict[str, Offer]
    work: dict[JobId, Progress]
    measured: list[tuple[str, Mode, float]]
    evicted: int


@dataclass
class _Work:
    task: Task
    run: Run
    cancelled: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)


class _Notebook:
    """Measured times, until the next report takes them to the dispatcher."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._measured: list[tuple[str, Mode, float]] = []

    def add(self, step: str, *, mode: Mode, seconds: float) -> None:
        with self._lock:
            self._measured.append((step, mode, seconds))

    def taken(self) -> list[tuple[str, Mode, float]]:
        with self._lock:
            measured, self._measured = self._measured, []
        return measured


class Node:
    """``build`` makes the back-end; ``claim`` is the token of the dispatcher's claim, which the folders here must show, too."""

    def __init__(self, build: Callable[[], NodeBackend], *, claim: str) -> None:
        self._backend, self._claim = build(), claim
        settings = self._backend.settings
        self._store = Store(
            settings.submissions, settings.results
        )  # never prepared here: an empty mount point would be taken for it
        self._room = open_room(settings, self._store)
        self._notebook = _Notebook()
        self._backend.pipeline.durations = self._notebook
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._work: dict[JobId, _Work] = {}
        self._called_off: dict[tuple[JobId, float], Why | None] = {}
        self._offers: dict[str, Offer] = {}
        self._trouble: str | None = "not looked yet"
        self._refresh()
        self._refresher = Periodic("offers", self._refresh, every_s=REFRESH_S)
        threading.Thread(target=self._backend.pipeline.load_ahead, name="load-ahead", daemon=True).start()

    # -- what the engine asks

    def report(self) -> Report:
        """The state of this machine; takes no lock that work holds for long."""
        with self._lock:
            runs = {job: work.run for job, work in self._work.items()}
        work = {job: Progress(run.board.progress, run.numbers_out, run.board.finished) for job, run in runs.items()}
        evicted = self._backend.pipeline.pool.ended["budget"]
        own = version("deepfake-o-meter")
        return Report(self._trouble, own, self._offers, work, self._notebook.taken(), evicted)

    def trouble(self) -> str | None:
        """Why this machine takes no jobs now."""
        return "it is being stopped" if self._closing.is_set() else self._trouble

    def perform(self, task: Task) -> Ended:
        """Make the attempt, and return when it has ended."""
        if self.trouble() is not None:
            return Ended("refused")
        self._end_earlier(task)
        try:
            submission = self._store.read_submission("active", task.job)
        except FileNotFoundError:
            return Ended("not_ours")
        except StoreTrouble:
            return Ended("held_up")
        except RecordInvalid:
            return Ended("broke_off")
        run = Run.of(
            submission,
            Parts(self._store, self._backend.pipeline, self._backend.catalog.title),
            attempt=task.attempt,
            begun=task.begun,
            claim=Unclaimed(),
            folder=self._folder(task.job),
            draws=task.draws,
        )
        return self._performed(task, run)

    def cancel(self, job: JobId, begun: float, why: Why | None) -> None:
        """End an attempt at its next safe point, even one that arrives later."""
        with self._lock:
            work = self._work.get(job)
            if work is None or work.task.begun != begun:
                while len(self._called_off) >= REMEMBERED:
                    self._called_off.pop(next(iter(self._called_off)))
                self._called_off[job, begun] = why
                return
            work.run.why = why
        work.cancelled.set()

    def close(self, *, grace_s: float) -> bool:
        """Return all jobs to the folder and end the workers; whether all ended in time."""
        until = time.monotonic() + grace_s
        with self._lock:
            if self._closing.is_set():
                return not self._work
            self._closing.set()
            work = list(self._work.values())
        ended = [item.over.wait(max(0.0, until - time.monotonic())) for item in work]
        self._refresher.close(within_s=1)
        self._backend.pipeline.pool.close()
        self._room.close()
        return all(ended)

    # -- inside

    def _performed(self, task: Task, run: Run) -> Ended:
        work = _Work(task, run)
        with self._lock:
            if (task.job, task.begun) in self._called_off:
                run.why = self._called_off.pop((task.job, task.begun))
                work.cancelled.set()
            self._work[task.job] = work
        try:
            run(lambda: work.cancelled.is_set() or self._closing.is_set())
        finally:
            with self._lock:
                del self._work[task.job]
            if run.ending == "not_ours":
                shutil.rmtree(self._folder(task.job), ignore_errors=True)
            work.over.set()
        return Ended(run.ending, run.code)

    def _end_earlier(self, task: Task) -> None:
        """Two attempts at one job would use one scratch: an earlier one, which this machine slept through, ends first."""
        while True:
            with self._lock:
                earlier = self._work.get(task.job)
            if earlier is None:
                return
            earlier.cancelled.set()
            earlier.over.wait()

    def _refresh(self) -> None:
        """Look at the folders, the images and the weights."""
        pool, settings = self._backend.pipeline.pool, self._backend.settings
        media = media_spec(settings)
        offers = {MEDIA: Offer(pool.available(media), pool.runner_kind(media), media.memory_mb)}
        for card in self._backend.catalog:
            spec = detector_spec(card, settings)
            offers[card.id] = Offer(self._backend.catalog.unavailable(card), pool.runner_kind(spec), spec.memory_mb)
        self._offers, self._trouble = offers, self._of_folders()

    def _of_folders(self) -> str | None:
        try:
            self._store.check()
            if not Heartbeat(self._store.results).is_claim_of(self._claim):
                return f"{self._store.results} is not the folder the dispatcher works on"
        except OSError as error:
            return reason_of(error)
        return None

    def _folder(self, job: JobId) -> Path:
        return self._room.folder / job
