"""The progress of a batch: a bar at the bottom of a terminal; where there is none, a line now and then. For ``batch`` only."""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from backend.batch.judging import Visitors
from backend.batch.meter import CoresBusy, Meter
from backend.commands.console import Shown, say
from shared.words import counted, duration

#: Seconds between two looks at the numbers at a terminal, and between two lines elsewhere.
_LOOK_S: Final = 2.0
_LINE_S: Final = 60.0


class Line(Shown):
    """A context manager that shows the numbers of ``meter`` until the block ends. ``here``: the cores of this machine do the work."""

    def __init__(self, console: Console, meter: Meter, visitors: Visitors, *, here: bool = True) -> None:
        self._meter, self._visitors, self._here = meter, visitors, here
        self._cores, self._over = CoresBusy(), threading.Event()
        columns = (
            TextColumn("batch", style="bold"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
        )
        super().__init__(console, self.progress(console, *columns, per_second=2))
        self._task = self._progress.add_task("", total=meter.total, completed=meter.done)
        self._thread = threading.Thread(target=self._keep_showing, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        super().__exit__(kind, value, trace)

    def words(self) -> str:
        """Files not judged, rate, time left, cores busy, visitors: what is known of them."""
        meter, waiting = self._meter, self._visitors.waiting()
        busy = self._cores() if self._here else None
        rate, left = meter.rate, meter.left_s
        parts = [f"{meter.failed:,} not judged"] if meter.failed else []
        if rate is not None:
            parts.append(f"{rate:.1f} files/s" if rate >= 1 else f"{60 * rate:.1f} files/min")
        if left is not None and meter.done < meter.total:
            parts.append(f"about {duration(left)} left")
        if busy is not None:
            parts.append(f"{busy:.1f} of {len(os.sched_getaffinity(0))} cores busy")
        if waiting:
            parts.append(f"giving way to {counted(waiting, 'job')} of visitors")
        return ", ".join(parts)

    def _keep_showing(self) -> None:
        terminal = self._console.is_terminal
        while not self._over.wait(_LOOK_S if terminal else _LINE_S):
            words = self.words()
            if terminal:
                self._progress.update(self._task, completed=self._meter.done, description=words)
            else:
                say(self._console, f"{self._meter.done:,} of {self._meter.total:,}: {words}")
