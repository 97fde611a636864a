"""Receivers of webhooks side by side: a thread for each one that has something to get, so that a slow one delays only itself.

Promises: at most MOST threads; messages of one receiver (host and port) go one after the other, in the order in which they are handed over,
and never twice at once; one that did not answer in time rests for a minute, so that it keeps no thread from the others. Keeps nothing on
disk: what is due is handed over again (``frontend.outbox``). For the front-end only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

import structlog

from frontend.outbox import PAUSES, Mail
from shared.clock import Clock

log = structlog.get_logger()

#: Most receivers that are sent something at the same moment.
MOST: Final = 8
#: How long one that did not answer in time is left alone; as long as its message waits for the second try.
REST: Final[timedelta] = PAUSES[0]


class Receivers:
    """Who is being sent something. ``deliver`` sends one message and says whether the receiver answered in time; it raises nothing."""

    def __init__(self, deliver: Callable[[Mail], bool], *, clock: Clock, most: int = MOST) -> None:
        self._deliver, self._clock, self._most = deliver, clock, most
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Thread] = {}
        self._resting: dict[str, datetime] = {}

    def hand_over(self, due: Iterable[Mail]) -> None:
        """Begin to send ``due``, in their order for each receiver. Those of a receiver that is busy or rests are left for another time, and
        so are those for which there is no thread."""
        lanes: dict[str, list[Mail]] = {}
        for mail in due:
            lanes.setdefault(urlsplit(mail.to).netloc, []).append(mail)
        now = self._clock()
        with self._lock:
            self._resting = {name: until for name, until in self._resting.items() if until > now}
            for name, mails in lanes.items():
                if name not in self._busy and name not in self._resting and len(self._busy) < self._most:
                    self._begin(name, mails)

    def wait(self) -> None:
        """Until all that was handed over has been tried."""
        with self._lock:
            threads = list(self._busy.values())
        for thread in threads:
            thread.join()

    def _begin(self, name: str, mails: list[Mail]) -> None:
        thread = threading.Thread(target=self._work, args=(name, mails), name="webhook", daemon=True)
        self._busy[name] = thread
        try:
            thread.start()
        except RuntimeError:  # no more threads on this machine: another round
            del self._busy[name]
            log.warning("webhook_without_thread")

    def _work(self, name: str, mails: list[Mail]) -> None:
        rests = False
        try:
            for mail in mails:
                rests = not self._deliver(mail)
                if rests:
                    break
        finally:
            with self._lock:
                del self._busy[name]
                if rests:
                    self._resting[name] = self._clock() + REST
