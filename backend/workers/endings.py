"""The kill protocol: how a worker is ended, however it was started.

Owns ``Running`` (what a started worker can be asked) and ``end``, which waits, then sends SIGTERM, then SIGKILL, and then
looks whether anything is left. There are six endings: the worker was asked and ended; it lingered and SIGTERM ended it; it ignored
that and was killed; it cannot be killed; it had died before; it had died and left something running. Imported by the runners
and by ``backend.workers.worker``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal, Protocol

from shared.records import RunnerKind

#: How a worker ended. ``stuck``: something of it still runs; its memory and its folder are not free.
Ending = Literal["ended", "terminated", "killed", "stuck"]

#: Seconds given to a worker that was asked to stop, then to one that got SIGTERM, then to the kernel after SIGKILL.
ASK_S: Final = 2.0
TERMINATE_S: Final = 2.0
KILL_S: Final = 5.0
_SLICE_S: Final = 0.01


class Running(Protocol):
    """A started worker: one process group, or one container."""

    @property
    def started_by(self) -> RunnerKind:
        """Which runner started it."""

    @property
    def image_digest(self) -> str | None:
        """The image it runs from, None for a process."""

    @property
    def adopted(self) -> bool:
        """True when it was found running, started by an earlier back-end."""

    def alive(self) -> bool:
        """Whether the worker itself still runs. It counts as alive when the engine does not answer."""

    def gone(self) -> bool:
        """Whether it and its children have ended."""

    def cause(self) -> str:
        """Why it ended unasked: ``out_of_memory`` or ``worker_died``. Ask before ``clear``."""

    def used_mb(self) -> int | None:
        """Memory it has now, MB; None where only the engine knows."""

    def terminate(self) -> None:
        """Send SIGTERM to it and its children."""

    def kill(self) -> None:
        """Send SIGKILL to it and its children."""

    def clear(self) -> None:
        """Clean up after an ended worker: zombie, container, open log."""

    def last_words(self) -> list[str]:
        """The last lines of its log, escaped."""


def end(
    running: Running,
    *,
    asked: bool,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Ending:
    """End ``running``. ``asked``: it was asked to stop and gets a moment. A broken worker gets SIGKILL at once."""

    def goes_within(seconds: float) -> bool:
        deadline = clock() + seconds
        while not running.gone():
            if clock() >= deadline:
                return False
            pause(_SLICE_S)
        return True

    ending: Ending = "ended"
    if not goes_within(ASK_S if asked else 0.0):
        ending = "terminated"
        if asked:
            running.terminate()
        if not asked or not goes_within(TERMINATE_S):
            ending = "killed"
            running.kill()
            if not goes_within(KILL_S):
                return "stuck"
    running.clear()
    return ending
