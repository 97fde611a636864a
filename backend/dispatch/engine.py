"""The engine: where jobs run. Two verbs, ``submit`` and ``cancel``; the state of a job is in the folder, not here.

``LocalEngine`` runs jobs in threads of this process: workers in other processes do a job's work, so threads only wait. ``RayEngine``
(``ray_engine``) has them done by the machines of a cluster. The dispatcher does the same with both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from shared.records import JobId, RunnerKind

if TYPE_CHECKING:
    from backend.dispatch.run import Run


class Engine(Protocol):
    """Runs a limited number of jobs; ``running`` are the jobs in work now."""

    def begin(self, *, claim: str, load_ahead: Callable[[], object]) -> None:
        """The folder is ours (``claim``: the token of the claim, by which other machines know it), and jobs will come. ``load_ahead``
        starts workers on this machine."""

    def submit(self, job: JobId, work: Run) -> None:
        """Start ``work``, which has its ending when the job is no longer ``running``; the caller keeps within ``free``."""

    def cancel(self, job: JobId) -> None:
        """Ask a job to end; it ends at its next safe point."""

    def running(self) -> frozenset[JobId]:
        """Jobs in work."""

    def places(self) -> int:
        """How many jobs can be in work at once, at least one."""

    def free(self) -> int:
        """How many more jobs may be submitted."""

    def media_way(self) -> RunnerKind | None:
        """How media workers run, where that is not decided by this machine."""

    def evicted(self) -> int:
        """Workers of other machines that were ended because another one needed their memory."""

    def close(self, *, grace_s: float) -> bool:
        """Cancel everything and wait; True when all ended in time."""


class LocalEngine:
    """``jobs`` threads in this process."""

    def __init__(self, jobs: int, *, finished: Callable[[], None] = lambda: None) -> None:
        self._jobs = jobs
        self._finished = finished
        self._lock = threading.Lock()
        self._threads: dict[JobId, tuple[threading.Thread, threading.Event]] = {}

    def begin(self, *, claim: str, load_ahead: Callable[[], object]) -> None:
        """Start workers in the background."""
        threading.Thread(target=load_ahead, name="load-ahead", daemon=True).start()

    def submit(self, job: JobId, work: Callable[[Callable[[], bool]], None]) -> None:
        """Call ``work`` in a thread of its own; it calls its argument now and then to see whether it was cancelled."""
        cancelled = threading.Event()

        def run() -> None:
            try:
                work(cancelled.is_set)
            finally:
                with self._lock:
                    self._threads.pop(job, None)
                self._finished()

        thread = threading.Thread(target=run, name=f"job-{job[:6]}", daemon=True)
        with self._lock:
            self._threads[job] = (thread, cancelled)
        try:
            thread.start()
        except BaseException:  # no more threads: the place is free again
            with self._lock:
                self._threads.pop(job, None)
            raise

    def cancel(self, job: JobId) -> None:
        """Set the job's flag."""
        with self._lock:
            entry = self._threads.get(job)
        if entry:
            entry[1].set()

    def running(self) -> frozenset[JobId]:
        """Jobs in work."""
        with self._lock:
            return frozenset(self._threads)

    def places(self) -> int:
        """As many as there may be threads."""
        return self._jobs

    def free(self) -> int:
        """Free places."""
        with self._lock:
            return self._jobs - len(self._threads)

    def media_way(self) -> RunnerKind | None:
        """This machine decides."""
        return None

    def evicted(self) -> int:
        """There are no others."""
        return 0

    def close(self, *, grace_s: float) -> bool:
        """Cancel all jobs and wait up to ``grace_s`` for each."""
        with self._lock:
            entries = list(self._threads.values())
        for _, cancelled in entries:
            cancelled.set()
        for thread, _ in entries:
            thread.join(grace_s)
        return not any(thread.is_alive() for thread, _ in entries)
