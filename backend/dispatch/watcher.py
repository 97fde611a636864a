"""The watcher: wakes the dispatcher when something arrives. Its events are hints; the scan is the truth.

inotify does not see remote writes, and an emitter of watchdog ends for good when its folder vanishes for a moment, while
``observer.is_alive()`` stays true. So the watcher checks its emitters and starts a new observer when one is gone. No code
depends on its events: ``wait`` returns after its timeout anyway.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import structlog
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

log = structlog.get_logger()


class Watcher:
    """Watches one folder; ``wait`` returns early after an event in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._woken = threading.Event()
        self._observer = self._started()
        self.restarts = 0

    def wait(self, timeout_s: float) -> bool:
        """Wait for an event or ``timeout_s``; True when something happened. Replaces a dead observer."""
        if not self._alive():
            self.restarts += 1
            self._stop()
            self._observer = self._started()
        happened = self._woken.wait(timeout_s)
        self._woken.clear()
        return happened

    def wake(self) -> None:
        """Make ``wait`` return now."""
        self._woken.set()

    def close(self) -> None:
        """Stop watching."""
        self._stop()

    def _alive(self) -> bool:
        emitters: set[Any] = self._observer.emitters if self._observer else set()
        return bool(emitters) and all(emitter.is_alive() for emitter in emitters)

    def _started(self) -> Observer | None:  # type: ignore[valid-type]
        observer = Observer()
        try:
            observer.schedule(_Waker(self._woken), str(self._folder))
            observer.start()
        except OSError as error:  # no inotify watches left, or the folder is away: the scan goes on without hints
            log.warning("watcher_without_events", reason=str(error))
            return None
        return observer

    def _stop(self) -> None:
        if self._observer:
            self._observer.stop()
            self._observer.join(timeout=5)


class _Waker(FileSystemEventHandler):
    def __init__(self, woken: threading.Event) -> None:
        self._woken = woken

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._woken.set()
