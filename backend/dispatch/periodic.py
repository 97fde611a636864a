"""Repeated work, and trouble that must neither end it nor flood the log.

Owns ``Trouble`` (logs a line when something begins to fail, when it fails differently, and when it is over) and ``Periodic`` (a thread
that calls a function every few seconds, whatever it raises). Imported by the dispatcher.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from shared.errors import DfomError, StoreTrouble
from shared.reading import RecordInvalid

log = structlog.get_logger()


#: Seconds until a call that failed is tried again, when the next one would be later.
RETRY_S: Final = 60.0


class Trouble:
    """The state of one kind of work, ``name``: fine, or failing with a reason. Thread-safe."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._times = 0

    @property
    def now(self) -> bool:
        """Whether the last try failed."""
        return self._reason is not None

    @contextlib.contextmanager
    def contained(self) -> Iterator[None]:
        """Let the block fail without consequences: its error is noted, and its success ends the trouble."""
        try:
            yield
        except Exception as error:
            self.note(error)
        else:
            self.over()

    def note(self, error: Exception) -> None:
        """Log the error when it differs from the last one, then at every doubling of its count. Our own bugs get a traceback."""
        reason = reason_of(error)
        with self._lock:
            self._times = self._times + 1 if reason == self._reason else 1
            self._reason = reason
            times = self._times
        if times & (times - 1):
            return
        ours = not isinstance(error, (OSError, DfomError))
        if times == 1 or ours:
            log.warning("trouble", work=self._name, reason=reason, times=times, exc_info=error if ours else None)

    def over(self) -> None:
        """Log the end of the trouble, when there was one."""
        with self._lock:
            reason, times = self._reason, self._times
            self._reason, self._times = None, 0
        if reason is not None:
            log.info("trouble_over", work=self._name, reason=reason, times=times)


def reason_of(error: Exception) -> str:
    """The error for the log, without what differs from try to try (names of temporary files)."""
    if isinstance(error, RecordInvalid):
        return f"{error.path.name}: {error.reason}"
    if isinstance(error, StoreTrouble):
        cause = f" ({os.strerror(error.errno)})" if error.errno else ""
        return f"{error.sentence}{cause}"
    if isinstance(error, DfomError):
        return error.code
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"


class Periodic:
    """Calls ``action`` every ``every_s`` seconds in its own thread, the first time at once, until ``close``."""

    def __init__(self, name: str, action: Callable[[], None], *, every_s: float) -> None:
        self._action, self._every_s = action, every_s
        self._trouble = Trouble(name)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self, *, within_s: float = 5.0) -> None:
        """Begin no further call and wait for the current one; a call that hangs ends with the process."""
        self._closing.set()
        self._thread.join(within_s)

    def _run(self) -> None:
        while not self._closing.is_set():
            with self._trouble.contained():
                self._action()
            self._closing.wait(min(self._every_s, RETRY_S) if self._trouble.now else self._every_s)
