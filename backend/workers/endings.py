"""The kill protocol: how a worker ends, whichever way it was started.

Owns ``Running`` (what a started worker can be asked) and ``end``, which tries politeness, then SIGTERM, then SIGKILL, and then
looks whether anything is left. There are six endings: the worker was asked and ended; it lingered and SIGTERM ended it; it ignored
that and was killed; it cannot be killed; it had died by itself; it had died and left something running. Imported by the runners
and by ``backend.workers.worker``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal, Protocol

RunnerKind = Literal["process", "docker"]

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
        """True when it was found running, started by a back-end before this one."""

    def alive(self) -> bool:
        """Whether the worker itself still runs. Without an answer of the engine it counts as alive."""

    def gone(self) -> bool:
        """Whether nothing of it runs any more, children included."""

    def cause(self) -> str:
        """Why it ended by itself: ``out_of_memory`` or ``worker_died``. Ask before ``clear``."""

    def terminate(self) -> None:
        """Send SIGTERM to all of it."""

    def kill(self) -> None:
        """Send SIGKILL to all of it."""

    def clear(self) -> None:
        """Take away what is left of an ended worker: zombie, container, open log."""

    def last_words(self) -> list[str]:
        """The last lines of its log, escaped."""


def end(
    running: Running,
    *,
    asked: bool,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Ending:
    """End ``running``; ``asked`` says that it was told to stop and deserves a moment. A broken worker gets SIGKILL at once."""

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
