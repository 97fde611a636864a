"""The conversation with one worker.

Promises: every call ends by its deadline, when the worker dies, when it is cancelled, or when the worker writes too much.
Every answer is checked, and only the codes that ``shared.errors`` allows a worker leave this module. A worker that broke the protocol is
``broken`` and not used again. Imported by the pipeline, the pool and the runners.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

import structlog

from backend.workers.compiled import HANDED, take
from backend.workers.endings import Ending, Running, end
from backend.workers.exchange import Exchange, Room, remove_tree
from backend.workers.spec import WorkerError, WorkerSpec
from base_detector import CONTRACT_VERSION, PROTOCOL_VERSION, NotApplicable
from shared.errors import LINK_CODES, MEDIA_CODES, REASONS, WORKER_CODES
from shared.records import RunnerKind

log = structlog.get_logger()

#: Imports, weights and the compiler of the networks (seven large ones at most), on a machine that is busy with other things.
START_S: Final = 300.0
#: A worker adopted from an earlier back-end either answers at once, or is busy with abandoned work.
ADOPT_S: Final = 3.0
#: Longest line of an answer.
MAX_LINE: Final = 1_000_000
_SLICE_S: Final = 0.1
_WATCH_S: Final = 0.5
_PROGRESS_S: Final = 0.05
_DEATH_S: Final = 3.0
_LOG_S: Final = 0.3

Told = Callable[[int, int], None]


class Worker:
    """A started worker. One caller at a time; the pool ensures that."""

    def __init__(
        self, spec: WorkerSpec, running: Running, exchange: Exchange, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.spec = spec
        #: True after anything but a complete, well-formed answer: this worker must not be used again
        self.broken = False
        self.ending: Ending | None = None
        self._running, self._exchange, self._clock = running, exchange, clock
        self._connection: socket.socket | None = None
        self._buffer = b""
        self._most_mb = spec.loading_mb

    @property
    def started_by(self) -> RunnerKind:
        """``process`` or ``docker``."""
        return self._running.started_by

    @property
    def image_digest(self) -> str | None:
        """The image it runs from, None for a process."""
        return self._running.image_digest

    def used_mb(self) -> int | None:
        """Memory it has now, MB; None where that is not known."""
        return self._running.used_mb() if self.ending is None else None

    # -- life

    def open(self, *, timeout_s: float = START_S) -> None:
        """Wait until it listens, check its card, let it load. When that fails, the worker is ended: WorkerError."""
        deadline = self._clock() + (min(timeout_s, ADOPT_S) if self._running.adopted else timeout_s)
        try:
            self._connect(deadline)
            verbs = self.call("health", timeout_s=deadline - self._clock())
            if verbs.get("protocol") != PROTOCOL_VERSION:
                raise WorkerError("image_outdated")
            if self.spec.version is not None:
                self._check_card(self.call("describe", timeout_s=deadline - self._clock()).get("card"))
            # the media worker loads now as well: it hands out its networks before it sees a visitor's file
            self.call("load", timeout_s=max(deadline - self._clock(), timeout_s if self._running.adopted else 0.0))
            self._keep_compiled()
            self._most_mb = self.spec.output_mb
        except BaseException as error:
            self.broken = True
            self.close()
            if isinstance(error, WorkerError) and error.code.endswith("_timed_out"):
                raise WorkerError("worker_not_started", retryable=True) from None
            raise

    def _keep_compiled(self) -> None:
        """Keep the networks that a fresh container of the platform made; one that was adopted has worked and is not trusted with it."""
        handed = self._exchange.folder / HANDED
        if self.spec.compiled is not None and self.spec.bundled and self.started_by == "docker" and handed.is_dir():
            if not self._running.adopted:
                take(handed, self.spec.compiled, max_bytes=self.spec.loading_mb * 1_000_000)
            remove_tree(handed)

    def close(self) -> Ending:
        """End it and remove its exchange folder; safe to call twice."""
        if self.ending in (None, "stuck"):
            asked = not self.broken and self._ask_to_stop()
            self._end(asked=asked)
        if self.ending != "stuck":  # a process that still runs may still write
            self._exchange.close()
        assert self.ending is not None
        return self.ending

    def alive(self) -> bool:
        """Whether it can be called. An idle worker is silent: a closed connection means that it died, any output that it is broken."""
        if self.broken or self.ending is not None or self._connection is None or self._buffer:
            return False
        try:
            self._connection.setblocking(False)
            self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def room(self, job: str) -> AbstractContextManager[Room]:
        """A room for ``job`` in the exchange folder, removed afterwards."""
        return self._exchange.room(job)

    # -- calls

    def call(
        self,
        verb: str,
        *,
        timeout_s: float,
        on_progress: Told | None = None,
        cancelled: Callable[[], bool] | None = None,
        **request: Any,
    ) -> dict[str, Any]:
        """Ask the worker and wait; the members of its answer. NotApplicable(reason) or WorkerError(code) otherwise."""
        deadline = self._clock() + timeout_s
        if self.broken:
            raise WorkerError("worker_died", retryable=True)
        self.broken = True  # until a complete answer has arrived
        self._send(json.dumps({"verb": verb, **request}, allow_nan=False).encode() + b"\n")
        untrusted_answer = self._answer(
            deadline, on_progress or (lambda done, total: None), cancelled or (lambda: False)
        )
        self.broken = False
        return self._judge(verb, untrusted_answer)

    def _answer(self, deadline: float, on_progress: Told, cancelled: Callable[[], bool]) -> dict[str, Any]:
        watch_at = self._clock() + _WATCH_S
        told_at = float("-inf")
        while True:
            untrusted = self._message(deadline)
            if untrusted is not None and untrusted.get("event") != "progress":
                return untrusted
            now = self._clock()
            if untrusted is not None:
                done, total = self._progress(untrusted)
                if now - told_at >= _PROGRESS_S or done == total:  # so that a flood of events costs little
                    told_at = now
                    on_progress(done, total)
            if cancelled():
                raise self._lost("cancelled")
            if now >= deadline:
                raise self._lost("detector_timed_out" if self.spec.is_detector else "media_timed_out")
            if now >= watch_at:
                watch_at = now + _WATCH_S
                self._watch()

    def _watch(self) -> None:
        if self._exchange.too_much(max_bytes=self._most_mb * 1_000_000):
            raise self._lost("output_too_large")
        if not self._running.alive():
            raise self._lost_by_itself()

    def _judge(self, verb: str, untrusted: dict[str, Any]) -> dict[str, Any]:
        status = untrusted.get("status")
        if status == "ok":
            return untrusted
        if status == "not_applicable":
            reason = untrusted.get("reason")
            raise NotApplicable(reason if isinstance(reason, str) and reason in REASONS else "not_judgeable")
        if status != "error":
            raise self._lost(self._bad_output)
        code = untrusted.get("code")
        codes = WORKER_CODES if self.spec.is_detector else WORKER_CODES | MEDIA_CODES | LINK_CODES
        known = code if isinstance(code, str) and code in codes else "detector_failed"
        words = self._last_words(f"{verb}: {code}")
        log.warning("worker_error", worker=self.spec.name, verb=verb, code=known, log=words)
        self.broken = known == "out_of_memory"  # it cannot be used any further
        raise WorkerError(known, retryable=untrusted.get("retryable") is True, log=words)

    def _last_words(self, last: str) -> list[str]:
        """The end of its log. The answer may overtake it, so the line that our loop ends a failure with is waited for a little."""
        deadline = self._clock() + _LOG_S
        while True:
            words = self._running.last_words()
            if any(line.startswith(last) for line in words) or self._clock() >= deadline:
                return words
            time.sleep(_PROGRESS_S)

    def _progress(self, untrusted: dict[str, Any]) -> tuple[int, int]:
        done, total = untrusted.get("done"), untrusted.get("total")
        if type(done) is int and type(total) is int and 0 <= done <= total < 10**9:
            return done, total
        raise self._lost(self._bad_output)

    def _check_card(self, untrusted_card: Any) -> None:
        """An image built from an older card would give scores under a version that did not make them."""
        card = untrusted_card if isinstance(untrusted_card, dict) else {}
        wanted = (self.spec.name, self.spec.version, CONTRACT_VERSION)
        if (card.get("id"), card.get("version"), card.get("contract")) != wanted:
            raise WorkerError("image_outdated")

    # -- lines

    def _connect(self, deadline: float) -> None:
        for pause in _pauses():
            try:
                self._connection = self._exchange.dial(timeout_s=_SLICE_S)
            except OSError:
                raise self._lost(self._bad_output) from None
            if self._connection is not None:
                return
            if not self._running.alive():
                cause = self._running.cause()
                raise self._lost(cause if cause == "out_of_memory" else "worker_not_started", retryable=True)
            if self._clock() >= deadline:
                raise self._lost("worker_not_started", retryable=True)
            time.sleep(pause)

    def _send(self, line: bytes) -> None:
        try:
            if self._connection is None:
                raise ConnectionError
            self._connection.settimeout(_DEATH_S)
            self._connection.sendall(line)
        except OSError:
            raise self._lost_by_itself() from None

    def _message(self, deadline: float) -> dict[str, Any] | None:
        """The next message, None when none came within a slice of time."""
        line, found, rest = self._buffer.partition(b"\n")
        if not found:
            connection = self._connection
            if connection is None:  # the pool was closed meanwhile
                raise self._lost_by_itself()
            try:
                connection.settimeout(max(0.001, min(_SLICE_S, deadline - self._clock())))
                received = connection.recv(65536)
            except TimeoutError:
                return None
            except OSError:
                received = b""
            if not received:
                raise self._lost_by_itself()
            self._buffer += received
            line, found, rest = self._buffer.partition(b"\n")
            if not found:
                if len(self._buffer) > MAX_LINE:
                    raise self._lost(self._bad_output)
                return None
        self._buffer = rest
        try:
            untrusted = json.loads(line)
        except (ValueError, RecursionError):
            raise self._lost(self._bad_output) from None
        if not isinstance(untrusted, dict):
            raise self._lost(self._bad_output)
        return untrusted

    # -- endings

    @property
    def _bad_output(self) -> str:
        return "detector_bad_output" if self.spec.is_detector else "media_bad_output"

    def _lost_by_itself(self) -> WorkerError:
        """It closed the connection: find out whether it died, and why."""
        deadline = self._clock() + _DEATH_S
        while self._running.alive() and self._clock() < deadline:
            time.sleep(0.01)
        return self._lost(self._running.cause(), retryable=True)

    def _lost(self, code: str, *, retryable: bool = False) -> WorkerError:
        """End the worker at once; the error to raise."""
        self.broken = True
        self._end(asked=False)
        words = self._running.last_words()
        log.warning("worker_lost", worker=self.spec.name, code=code, ending=self.ending, log=words)
        return WorkerError(code, retryable=retryable, log=words)

    def _ask_to_stop(self) -> bool:
        with contextlib.suppress(OSError):
            if self._connection is not None:
                self._connection.settimeout(1.0)
                self._connection.sendall(b'{"verb": "stop"}\n')
                return True
        return False

    def _end(self, *, asked: bool) -> None:
        if self.ending in (None, "stuck"):
            self.ending = end(self._running, asked=asked)
            if self.ending == "stuck":
                log.error("worker_cannot_be_killed", worker=self.spec.name)
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _pauses() -> Iterator[float]:
    """1 ms growing to 50 ms."""
    pause = 0.001
    while True:
        yield pause
        pause = min(0.05, pause * 1.5)
