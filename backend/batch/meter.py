"""How fast a batch goes: rows done and failed, rate, time left, and how many cores of this machine are busy. For the commands."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

#: The rate is that of the last so many seconds: a batch of long files after short ones slows down.
WINDOW_S: Final = 300.0


@dataclass
class Meter:
    """Counts rows of ``total``; ``done`` of them were there before. ``clock``: seconds."""

    total: int
    done: int = 0
    failed: int = 0
    clock: Callable[[], float] = time.monotonic
    _marks: deque[tuple[float, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._marks.append((self.clock(), self.done))

    def add(self, *, failed: bool) -> None:
        """One more row."""
        self.done += 1
        self.failed += failed
        now = self.clock()
        if now - self._marks[-1][0] >= 1.0:
            self._marks.append((now, self.done))
        while len(self._marks) > 2 and now - self._marks[1][0] > WINDOW_S:
            self._marks.popleft()

    @property
    def rate(self) -> float | None:
        """Rows a second lately; None before the first."""
        began, before = self._marks[0]
        passed = self.clock() - began
        return (self.done - before) / passed if self.done > before and passed > 0 else None

    @property
    def left_s(self) -> float | None:
        """Seconds until the last row at this rate; None while it is not known."""
        return (self.total - self.done) / self.rate if self.rate else None


class CoresBusy:
    """How many of the cores that this process may use were busy since it was asked last, whoever keeps them so."""

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self._last = self._read()

    def __call__(self) -> float | None:
        """None where the system does not say, or no time has passed."""
        before, self._last = self._last, self._read()
        busy, total = (now - then for now, then in zip(self._last, before, strict=True))
        return len(os.sched_getaffinity(0)) * busy / total if total > 0 else None

    def _read(self) -> tuple[int, int]:
        """Busy and all ticks of our cores (proc(5): user nice system idle iowait ..., of which idle and iowait are not busy)."""
        ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        busy = total = 0
        try:
            lines = self._stat.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            return 0, 0
        for name, *ticks in map(str.split, lines):
            if name in ours:
                counts = [int(tick) for tick in ticks[:8] if tick.isdecimal()]
                total += sum(counts)
                busy += sum(counts) - sum(counts[3:5])
        return busy, total
