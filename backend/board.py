"""The board of one job: where the pipeline reports its progress, and how that reaches the visitor.

``Board`` is what the pipeline talks to; ``StatusBoard`` writes ``status.json`` (at most a few times a second);
readers never see a half-written one. The command line has its own board, with progress bars.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

from shared.clock import utc_now
from shared.records import DetectorProgress, JobId, JobState, Status

#: Seconds between two progress writes: a fsync on a network folder costs time, and no reader needs more.
PAUSE_S = 0.5


class Board(Protocol):
    """What the pipeline reports to."""

    def step(self, name: str, *, done: int = 0, total: int = 0) -> None:
        """The job is at ``name``: fetch, media, detectors, report, publish or video; ``done`` of ``total`` parts of it."""

    def detector(self, progress: DetectorProgress) -> None:
        """How far one detector is, or how it ended."""


class SilentBoard:
    """For work whose progress is not shown."""

    def step(self, name: str, *, done: int = 0, total: int = 0) -> None:
        """Nothing."""

    def detector(self, progress: DetectorProgress) -> None:
        """Nothing."""


class StatusWriter(Protocol):
    """Where a status goes: the store, or a wrapper around it."""

    def write_status(self, status: Status) -> None:
        """Replace the status of a job."""


class StatusBoard:
    """Writes ``status.json`` of one job through ``writer``."""

    def __init__(
        self,
        writer: StatusWriter,
        job: JobId,
        *,
        detectors: Sequence[tuple[str, str]],
        received: datetime,
        attempt: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._lock = threading.Lock()
        self._written = float("-inf")
        self._share = 0.0
        progress = tuple(DetectorProgress(detector=name, title=title) for name, title in detectors)
        self._status = Status(
            id=job,
            state="working",
            step="starting",
            updated=utc_now(),
            received=received,
            attempt=attempt,
            detectors=progress,
        )

    def step(self, name: str, *, done: int = 0, total: int = 0) -> None:
        """Write the step at once when it changes, its progress now and then."""
        with self._lock:
            changed = name != self._status.step
            self._share = done / total if total else 0.0
            self._change(step=name)
            self._write(at_once=changed)

    def detector(self, progress: DetectorProgress) -> None:
        """Write a detector's state at once when it changes, its progress now and then."""
        with self._lock:
            before = next(item for item in self._status.detectors if item.detector == progress.detector)
            detectors = tuple(progress if item is before else item for item in self._status.detectors)
            self._change(step="detectors", detectors=detectors)
            self._write(at_once=before.state != progress.state)

    def numbers(self, known: Status | None = None) -> None:
        """The numbers are published: the job is done for its visitor, and its video follows. ``known``: the status before a restart;
        what it says of the detectors and of the time stays."""
        with self._lock:
            if known is not None:
                self._status = known.model_copy(update={"attempt": self._status.attempt})
            self._change(state="done", step="video", finished=self._status.finished or utc_now(), video="pending")
            self._write(at_once=True)

    def finish(self, state: JobState, *, code: str | None = None) -> None:
        """Write the last status of the job. It was finished when its numbers were published."""
        with self._lock:
            finished = self._status.finished if state == "done" else None
            self._change(state=state, step=state, code=code, finished=finished or utc_now(), video=None)
            self._write(at_once=True)

    def follow(self, *, progress: float, finished: datetime | None) -> None:
        """Take over what the board of the machine that has the work says; nothing is written."""
        with self._lock:
            self._status = self._status.model_copy(update={"progress": progress, "finished": finished})

    @property
    def finished(self) -> datetime | None:
        """When the numbers were published, None before."""
        return self._status.finished

    @property
    def progress(self) -> float:
        """How much of the job is done, 0 to 1."""
        return self._status.progress

    def _change(self, **members: Any) -> None:
        changed = self._status.model_copy(update=members | {"updated": utc_now()})
        self._status = changed.model_copy(
            update={"progress": max(self._status.progress, min(1.0, self._done(changed)))}
        )

    def _done(self, status: Status) -> float:
        """Part of the job that is done: media 0.3, detectors 0.5 in equal parts, report 0.2 (about what they cost)."""
        if status.state in ("done", "failed"):
            return 1.0
        if status.step == "media":
            return 0.3 * self._share
        if status.step == "detectors":
            parts = [
                (item.done / item.total if item.total else 0.0) if item.state == "working" else item.state != "waiting"
                for item in status.detectors
            ]
            return 0.3 + 0.5 * sum(parts) / max(1, len(parts))
        return {"starting": 0.0, "report": 0.8, "video": 0.8 + 0.2 * self._share}.get(status.step, 0.0)

    def _write(self, *, at_once: bool) -> None:
        now = self._clock()
        if at_once or now - self._written >= PAUSE_S:
            self._written = now
            self._writer.write_status(self._status)
