"""Keeps the dispatcher's process running beside the portal, and ends it with the portal, however that ends.

Promises: a dispatcher that dies is started again, with growing pauses while it dies at once. Only a refusal at the very first start
(another dispatcher works on the folder, a setting is wrong) is passed on. The dispatcher does not outlive this process, even after
``kill -9``: the kernel kills it, and worker processes with it (containers are adopted or removed by the next one). Imported by the
composition root.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

#: Exit statuses of the dispatcher's process. At its first start: it has said why, and starting it again would not help.
REFUSED: Final = 2
#: Another dispatcher took the folder over because this one seemed dead (EX_TEMPFAIL of sysexits.h): it may stand by.
SUPERSEDED: Final = 75

#: First and longest pause before a restart, seconds; a process that lived longer than ``LIVED_S`` gets the first pause again.
PAUSE_S: Final = 1.0
MOST_S: Final = 60.0
LIVED_S: Final = 60.0
#: Seconds a dispatcher gets to return its jobs: 30 s for the jobs, and some for the workers.
STOP_S: Final = 45.0


class Supervisor:
    """Runs ``command`` with ``--child-of PID``, and ``--stand-by`` from its second start on.

    ``on_refusal`` is called once, from a thread, when the first start ended with REFUSED; ``say`` gets a sentence about every other end
    and raises nothing.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        on_refusal: Callable[[], None],
        say: Callable[[str], None],
        pause_s: float = PAUSE_S,
    ) -> None:
        self._command, self._on_refusal, self._say, self._pause_s = list(command), on_refusal, say, pause_s
        self._closing = threading.Event()
        self._starting = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.refused = False
        # one thread starts all of them and waits: the kernel sends the parent-death signal when the thread that forked ends
        self._thread = threading.Thread(target=self._watch, daemon=True, name="supervisor")
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """The running process, None while there is none."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    def close(self) -> None:
        """Ask the dispatcher to stop, wait until it has returned its jobs, kill it when that takes too long."""
        self._closing.set()
        with self._starting:
            process = self._process
        if process is not None:
            process.terminate()
            process.send_signal(signal.SIGCONT)  # a stopped process could not answer
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        self._thread.join()

    def kill(self) -> None:
        """Kill the dispatcher now; the next one continues its jobs. ``close`` returns then."""
        process = self._process
        if process is not None:
            process.kill()

    def _watch(self) -> None:
        pause, first = self._pause_s, True
        while True:
            begun = time.monotonic()
            code = self._run_once(first=first)
            if self._closing.is_set():
                return
            if first and code == REFUSED:
                self.refused = True
                self._on_refusal()
                return
            first = False
            pause = self._pause_s if time.monotonic() - begun > LIVED_S else min(MOST_S, pause * 2)
            if code == SUPERSEDED:
                self._say("Another back-end took over; this one stands by.")
                pause = self._pause_s
            else:
                self._say(f"The back-end ended ({_words(code)}); it starts again in {pause:.0f} s.")
            if self._closing.wait(pause):
                return

    def _run_once(self, *, first: bool) -> int | None:
        """Start the process and wait for its end; its exit status, None when it could not be started."""
        command = [*self._command, "--child-of", str(os.getpid()), *([] if first else ["--stand-by"])]
        with self._starting:
            if self._closing.is_set():
                return None
            try:
                self._process = subprocess.Popen(command)  # noqa: S603  our own interpreter and module
            except OSError as error:  # no memory, no process left
                self._process = None
                self._say(f"The back-end could not be started: {error.strerror}.")
                return None
        return self._process.wait()


def _words(code: int | None) -> str:
    if code is None:
        return "not started"
    return f"killed by signal {-code}" if code < 0 else f"status {code}"
