"""What waiting visitors see: their place in the queue and the estimated wait.

All places are in one small file, ``results/queue.json``, written when they change: thousands may wait, and writing a status for each,
with its fsyncs, would delay the loop. Imported by the dispatcher.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from backend.catalog.durations import Durations, Limits
from backend.dispatch.order import added, waits
from backend.dispatch.run import Run
from shared.clock import utc_now
from shared.reading import RecordInvalid
from shared.records import DetectorProgress, JobId, Queue, Span, Status, Submission
from shared.store import Store

#: A change of the estimated wait below this is not worth a write, seconds.
NOTICED_S: Final = 5.0
#: Seconds after which the file is written again in any case: it may have been damaged.
REWRITE_S: Final = 60.0


class Places:
    """``limits`` end a step, ``jobs`` tells how many run in parallel, ``title`` gives the title of a detector."""

    def __init__(
        self,
        store: Store,
        *,
        durations: Durations,
        limits: Limits,
        title: Callable[[str], str],
        jobs: Callable[[], int],
    ) -> None:
        self._store, self._durations, self._title, self._jobs = store, durations, title, jobs
        self._limits = limits
        self._shown: dict[JobId, Span] | None = None
        self._written = 0.0
        self._greeted: set[JobId] = set()

    def show(self, waiting: Sequence[Submission], *, running: Iterable[Run]) -> None:
        """Write the places of ``waiting`` (in order) when they changed."""
        known: dict[tuple[tuple[str, ...], str], Span] = {}
        estimates: dict[JobId, Span] = {}
        for item in waiting:
            kind = (item.detectors, item.mode)
            if kind not in known:
                known[kind] = self._span(item)
            estimates[item.id] = known[kind]
        found = waits(waiting, working_left=self._working_left(running), estimates=estimates, places=self._jobs())
        old = time.monotonic() - self._written > REWRITE_S
        if old or self._shown is None or _differ(self._shown, found):
            rounded: dict[JobId, Span] = {
                job: (round(least, 1), None if most is None else round(most, 1)) for job, (least, most) in found.items()
            }
            self._store.write_queue(Queue(updated=utc_now(), waits=rounded))
            self._shown, self._written = found, time.monotonic()

    def new_among(self, waiting: Sequence[Submission]) -> list[Submission]:
        """Those without a first status."""
        self._greeted &= {item.id for item in waiting}
        return [item for item in waiting if item.id not in self._greeted]

    def greet(self, submission: Submission) -> None:
        """Write the first status of a job, unless it has one: an earlier dispatcher wrote it, or its work was begun."""
        job = submission.id
        try:
            known = self._store.read_status(job) is not None
        except RecordInvalid:
            known = False
        if not known:
            self.show_waiting(submission)
        self._greeted.add(job)

    def show_waiting(self, submission: Submission) -> None:
        """Write that a job waits."""
        self._store.write_status(
            Status(
                id=submission.id,
                state="queued",
                updated=utc_now(),
                received=submission.received,
                detectors=tuple(
                    DetectorProgress(detector=name, title=self._title(name)) for name in submission.detectors
                ),
            )
        )

    def _span(self, submission: Submission) -> Span:
        return self._durations.job_span(submission.detectors, mode=submission.mode, limits=self._limits)

    def _working_left(self, running: Iterable[Run]) -> Span:
        """Seconds the jobs in work still need. Where a step was never measured, progress says nothing of the time that is left."""
        left: Span = (0.0, 0.0)
        for run in running:
            least, most = self._span(run.submission)
            to_do = 1 - run.board.progress
            left = added(left, (least * to_do, least * to_do) if least == most else (0.0, most))
        return left


def _differ(shown: dict[JobId, Span], found: dict[JobId, Span]) -> bool:
    if list(shown) != list(found):
        return True
    return any(_moved(shown[job][end], wait[end]) for job, wait in found.items() for end in (0, 1))


def _moved(before: float | None, now: float | None) -> bool:
    return (before is None) != (now is None) or abs((before or 0.0) - (now or 0.0)) >= NOTICED_S
