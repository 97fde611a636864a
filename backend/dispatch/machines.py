"""A machine of a cluster as the engine sees it: what it has, its last report, how many jobs it holds, what it lacks for one.

Arithmetic only; knows nothing of Ray. Imported by ``ray_engine``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from backend.dispatch.node import MEDIA, Report
from shared.machine import MEMORY_OF_A_JOB_MB
from shared.records import Submission

#: Bytes of the megabytes in which memory is counted.
MB: Final = 1_000_000


@dataclass
class Machine:
    """One machine: its actor, what it has, and its last report."""

    id: str
    actor: Any
    has: Mapping[str, float]
    seen_at: float
    report: Report | None = None
    asked: Any = None
    broken_at: float | None = None

    @property
    def trouble(self) -> str | None:
        """Why it gets no jobs; None when it does."""
        if self.broken_at is not None:
            return "its actor broke"
        if self.report is None:
            return "it has not reported yet"
        if self.report.version != version("deepfake-o-meter"):
            return f"it has version {self.report.version}"
        return self.report.trouble

    @property
    def cores(self) -> float:
        """Cores Ray may give away."""
        return self.has.get("CPU", 0.0)

    @property
    def memory_mb(self) -> int:
        """Memory Ray may give away."""
        return int(self.has.get("memory", 0.0) / MB)


def slots(machine: Machine, *, cores: float, gpus: float) -> int:
    """How many jobs a machine holds."""
    limits = [machine.cores // cores, max(1, machine.memory_mb // MEMORY_OF_A_JOB_MB)]
    if gpus:
        limits.append(machine.has.get("GPU", 0.0) // gpus)
    return int(min(limits))


def memory_of(submission: Submission, report: Report) -> int:
    """What a job needs at least, MB: the media worker, and beside it the largest of its detectors."""
    sizes = [offer.memory_mb for name in submission.detectors if (offer := report.offers.get(name))]
    return report.offers[MEDIA].memory_mb + max(sizes, default=MEMORY_OF_A_JOB_MB)


def lacking(report: Report | None, submission: Submission) -> int:
    """How many of the workers a job needs cannot run on a machine."""
    offers = report.offers if report else {}
    needed = [offers.get(name) for name in (MEDIA, *submission.detectors)]
    return sum(offer is None or offer.unavailable is not None for offer in needed)
