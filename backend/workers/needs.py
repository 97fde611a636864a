"""What the jobs in work still need, so that no worker is ended that a later step of a job would have to start again.

Owns the order in which idle workers go when memory is short. Imported by the pool, which holds its lock around every call.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(eq=False)
class JobNeeds:
    """The workers of one job by name: those of the steps to come, in order, and those of steps that are over."""

    coming: list[str]
    over: set[str] = field(default_factory=set)


class Needs:
    """The needs of all jobs in work."""

    def __init__(self) -> None:
        self._jobs: list[JobNeeds] = []

    def __bool__(self) -> bool:
        """Whether a job is in work."""
        return bool(self._jobs)

    def begin(self, names: Iterable[str]) -> JobNeeds:
        """A job begins whose steps need these workers, in this order; one that is needed again is named again."""
        job = JobNeeds(list(names))
        self._jobs.append(job)
        return job

    def step_over(self, job: JobNeeds, name: str) -> None:
        """The next step of ``job`` that needs ``name`` is over."""
        if name in job.coming:
            job.coming.remove(name)
            job.over.add(name)

    def end(self, job: JobNeeds) -> None:
        """``job`` needs nothing more."""
        self._jobs.remove(job)

    def coming(self, name: str) -> bool:
        """Whether a later step of a job in work needs ``name``."""
        return any(name in job.coming for job in self._jobs)

    def order(self, name: str, *, hot: bool, used_at: float) -> tuple[bool, bool, bool, int, float]:
        """Sort key of an idle worker; the smallest goes first. Those of steps to come go last, the one that is needed last before
        the others: with the least recently used first, a set of workers slightly above the budget would miss every time. Before
        them go those that no job needs, then those of steps that are over; of these the hot last, each by its last use.
        """
        steps = [job.coming.index(name) for job in self._jobs if name in job.coming]
        over = any(name in job.over for job in self._jobs)
        return bool(steps), hot, over, -min(steps, default=0), used_at
