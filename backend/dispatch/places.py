"""What waiting visitors see: their place in the queue and the estimated wait.

All places are in one small file, ``results/queue.json``, written when they change: thousands may wait, and writing a status for each,
with its fsyncs, would delay the loop. Imported by the dispatcher.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from backend.catalog.durations import Durations
from backend.dispatch.order import waits
from backend.dispatch.run import Run
from shared.clock import utc_now
from shared.reading import RecordInvalid
from shared.records import DetectorProgress, JobId, Queue, Status, Submission
from shared.store import Store

#: A change of the estimated wait below this is not worth a write, seconds.
NOTICED_S: Final = 5.0
#: Seconds after which the file is written again in any case: it may have been damaged.
REWRITE_S: Final = 60.0


class Places:
    """``jobs`` tells how many run in parallel, ``title`` gives the title of a detector."""

    def __init__(
        self, store: Store, *, durations: Durations, title: Callable[[str], str], jobs: Callable[[], int]
    ) -> None:
        self._store, self._durations, self._title, self._jobs = store, durations, title, jobs
        self._shown: dict[JobId, float | None] | None = None
        self._written = 0.0
        self._greeted: set[JobId] = set()

    def show(self, waiting: Sequence[Submission], *, running: Iterable[Run]) -> None:
        """Write the places of ``waiting`` (in order) when they changed."""
        known: dict[tuple[tuple[str, ...], str], float | None] = {}
        estimates: dict[JobId, float | None] = {}
        for item in waiting:
            kind = (item.detectors, item.mode)
            if kind not in known:
                known[kind] = self._durations.job_estimate(item.detectors, mode=item.mode)
            estimates[item.id] = known[kind]
        found = waits(waiting, working_left_s=self._working_left(running), estimates=estimates, places=self._jobs())
        old = time.monotonic() - self._written > REWRITE_S
        if old or self._shown is None or _differ(self._shown, found):
            rounded = {job: None if wait is None else round(wait, 1) for job, wait in found.items()}
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

    def _working_left(self, running: Iterable[Run]) -> float | None:
        """Seconds the jobs in work still need, as far as all their steps were measured before."""
        left = 0.0
        for run in running:
            estimate = self._durations.job_estimate(run.submission.detectors, mode=run.submission.mode)
            if estimate is None:
                return None
            left += estimate * (1 - run.board.progress)
        return left


def _differ(shown: dict[JobId, float | None], found: dict[JobId, float | None]) -> bool:
    if list(shown) != list(found):
        return True
    return any(
        (shown[job] is None) != (wait is None) or abs((shown[job] or 0.0) - (wait or 0.0)) >= NOTICED_S
        for job, wait in found.items()
    )
