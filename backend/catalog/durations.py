"""Measured durations of each step of past jobs, the only source of the times shown to visitors.

Steps are ``media``, ``report`` and the ids of detectors. Kept in one small file, newest measurements only. Where a step was never
measured, its time limit takes its place in the longest estimate; a guess is never shown.
"""

from __future__ import annotations

import bisect
import math
import re
import statistics
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import structlog

from shared import durable
from shared.reading import RecordInvalid, read_json
from shared.records import DETECTOR_PATTERN, Mode, Span
from shared.vitals import EDGES_S, StepVitals

log = structlog.get_logger()

#: Measurements kept for each step and mode: enough for a median, few enough to follow a change of machine.
KEPT = 25
#: A larger measurement (a month) means damage.
MOST_S = 30 * 86400.0


@dataclass(frozen=True)
class Typical:
    """Median seconds over ``jobs`` measured jobs."""

    seconds: float
    jobs: int


@dataclass(frozen=True)
class Limits:
    """Seconds after which a media pass, or one detector on one job, is ended."""

    media_s: float
    detector_s: float


class Durations:
    """The measurements in ``path`` (a JSON file); thread-safe. The readable part of a damaged file is kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seconds: dict[str, list[float]] = {}
        self._counted: dict[str, _Counted] = {}
        try:
            untrusted = read_json(path)
        except FileNotFoundError:
            return
        except RecordInvalid as error:
            log.warning("durations_damaged", file=durable.set_aside(path).name, reason=error.reason)
            return
        self._seconds = _readable(untrusted)
        if self._seconds != untrusted:
            log.warning("durations_damaged", reason="some measurements were left out", steps_kept=len(self._seconds))

    def add(self, step: str, *, mode: Mode, seconds: float) -> None:
        """Record that ``step`` of a job in ``mode`` took ``seconds``. Trouble with the file is logged and does not fail the job."""
        with self._lock:
            key = f"{step}/{mode}"
            self._counted.setdefault(key, _Counted()).add(seconds)
            self._seconds[key] = [*self._seconds.get(key, []), round(seconds, 3)][-KEPT:]
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                durable.replace_json(self._path, self._seconds)
            except OSError as error:
                log.warning("durations_not_stored", reason=str(error))

    def vitals(self) -> tuple[StepVitals, ...]:
        """Every step that was ever measured, for the operator."""
        with self._lock:
            kept = {key: list(measured) for key, measured in self._seconds.items()}
            counted = {key: (tuple(item.classes), item.seconds) for key, item in self._counted.items()}
        found = []
        for key, measured in sorted(kept.items()):
            step, _, mode = key.partition("/")
            if not re.fullmatch(DETECTOR_PATTERN, step) or mode not in get_args(Mode) or not measured:
                continue
            classes, seconds = counted.get(key, ((0,) * (len(EDGES_S) + 1), 0.0))
            found.append(
                StepVitals(
                    step=step,
                    mode=mode,
                    classes=classes,
                    seconds=seconds,
                    measured=len(measured),
                    median_s=statistics.median(measured),
                    # the smallest one that at least nine of ten do not exceed
                    most_s=sorted(measured)[math.ceil(0.9 * len(measured)) - 1],
                )
            )
        return tuple(found)

    def typical(self, step: str, *, mode: Mode) -> Typical | None:
        """Median duration of ``step`` in ``mode``; None while it was never measured."""
        with self._lock:
            measured = self._seconds.get(f"{step}/{mode}", [])
        return Typical(statistics.median(measured), len(measured)) if measured else None

    def job_span(self, detectors: Sequence[str], *, mode: Mode, limits: Limits) -> Span:
        """Seconds of a whole job, least and most: one number, the sum of the medians, where each of its steps was measured.

        A step that was never measured takes from 0 to its time limit. Drawing the report has none: unmeasured, there is no most.
        """
        least, most = 0.0, 0.0 if self.typical("report", mode=mode) else None
        for step in ("media", *detectors, "report"):
            typical = self.typical(step, mode=mode)
            least += typical.seconds if typical else 0.0
            if most is not None:
                most += typical.seconds if typical else limits.media_s if step == "media" else limits.detector_s
        return least, most


@dataclass
class _Counted:
    """Measurements since the start of the process."""

    classes: list[int] = field(default_factory=lambda: [0] * (len(EDGES_S) + 1))
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.classes[bisect.bisect_left(EDGES_S, seconds)] += 1
        self.seconds += seconds


def _readable(untrusted: Any) -> dict[str, list[float]]:
    """The steps with valid measurements only."""
    return {
        step: measured[-KEPT:]
        for step, measured in (untrusted.items() if isinstance(untrusted, dict) else ())
        if re.fullmatch(r"[a-z0-9_.]{1,60}/[a-z]{1,20}", step)
        and isinstance(measured, list)
        and all(isinstance(item, int | float) and not isinstance(item, bool) for item in measured)
        and all(0 <= item < MOST_S for item in measured)
    }
