"""Measured durations: what each step of past jobs took, the only source of the times shown to visitors.

Steps are ``media``, ``report`` and the ids of detectors. Kept in one small file, newest measurements only. An estimate
exists only where something was measured; nobody is shown a guess.
"""

from __future__ import annotations

import json
import statistics
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared import durable
from shared.records import Mode

#: Measurements kept for each step and mode: enough for a median, few enough to follow a change of machine.
KEPT = 25


@dataclass(frozen=True)
class Typical:
    """Median seconds over ``jobs`` measured jobs."""

    seconds: float
    jobs: int


class Durations:
    """The measurements in ``path`` (a JSON file); thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._seconds: dict[str, list[float]] = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            self._seconds = {}

    def add(self, step: str, *, mode: Mode, seconds: float) -> None:
        """Record that ``step`` of a job in ``mode`` took ``seconds``."""
        with self._lock:
            key = f"{step}/{mode}"
            self._seconds[key] = [*self._seconds.get(key, []), round(seconds, 3)][-KEPT:]
            self._path.parent.mkdir(parents=True, exist_ok=True)
            durable.replace_json(self._path, self._seconds)

    def typical(self, step: str, *, mode: Mode) -> Typical | None:
        """Median duration of ``step`` in ``mode``; None while it was never measured."""
        with self._lock:
            measured = self._seconds.get(f"{step}/{mode}", [])
        return Typical(statistics.median(measured), len(measured)) if measured else None

    def job_estimate(self, detectors: Sequence[str], *, mode: Mode) -> float | None:
        """Expected seconds of a whole job; None when one of its steps was never measured."""
        typical = [self.typical(step, mode=mode) for step in ("media", *detectors, "report")]
        return sum(item.seconds for item in typical if item) if all(typical) else None
