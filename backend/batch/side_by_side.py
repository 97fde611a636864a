"""Several pieces of work at once, in threads: the answers come in the order of the pieces, whichever is done first, or as they are done.

Promises: pieces are begun in their order; when the caller stops early (an error, a signal), no piece is begun any more and those in work
are cut off before the caller goes on. Knows nothing of files or detectors. For ``analyze`` and batches.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Generic, TypeVar

Answer = TypeVar("Answer")

#: How long pieces that were cut off may take to end. The process ends then, and its workers with it.
_ENDING_S: Final = 10.0


def in_order(
    work: Callable[[int], Answer], *, pieces: int, at_once: int, stopping: threading.Event, cut_off: Callable[[], None]
) -> Iterator[Answer]:
    """Answers of ``work(0)``, ``work(1)`` ... in that order, at most ``at_once`` of them in work.

    One at once is done in the caller's own thread. What ``work`` raises is raised here, and ends the others. ``stopping`` is set when
    they are to end early, then ``cut_off`` is called, which must make calls that wait return.
    """
    if at_once == 1:
        yield from map(work, range(pieces))
        return
    bench = _Bench(work, pieces, stopping)
    with _working(bench, at_once=at_once, cut_off=cut_off):
        for number in range(pieces):
            yield bench.answer(number)


def as_done(
    work: Callable[[int], Answer], *, pieces: int, at_once: int, stopping: threading.Event, cut_off: Callable[[], None]
) -> Iterator[Answer]:
    """As ``in_order``, but the answers come as they are done, and the caller's thread only waits: it may be stopped at any time."""
    bench = _Bench(work, pieces, stopping)
    with _working(bench, at_once=at_once, cut_off=cut_off):
        for _ in range(pieces):
            yield bench.any_answer()


@contextlib.contextmanager
def _working(bench: _Bench[Answer], *, at_once: int, cut_off: Callable[[], None]) -> Iterator[None]:
    """Threads at the bench; when the block ends with an error, they are cut off."""
    threads = [
        threading.Thread(target=bench.run, name=f"piece-{number}", daemon=True)
        for number in range(min(at_once, bench.pieces))
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    except BaseException:
        bench.stopping.set()
        cut_off()
        deadline = time.monotonic() + _ENDING_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        raise


@dataclass
class _Bench(Generic[Answer]):
    """The pieces that are left, and the answers."""

    work: Callable[[int], Answer]
    pieces: int
    stopping: threading.Event
    answers: dict[int, Answer] = field(default_factory=dict)
    trouble: BaseException | None = None
    _next: Iterator[int] = field(default_factory=count)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def run(self) -> None:
        """One thread: the next piece until none is left."""
        while not self.stopping.is_set():
            with self._changed:
                number = next(self._next)
            if number >= self.pieces:
                return
            try:
                answer = self.work(number)
            except BaseException as error:  # the caller's thread raises it
                with self._changed:
                    self.trouble = self.trouble or error
                    self._changed.notify_all()
                return
            with self._changed:
                self.answers[number] = answer
                self._changed.notify_all()

    def answer(self, number: int) -> Answer:
        """Wait for the answer of one piece."""
        with self._changed:
            self._changed.wait_for(lambda: number in self.answers or self.trouble is not None)
            if number in self.answers:
                return self.answers.pop(number)
            assert self.trouble is not None
            raise self.trouble

    def any_answer(self) -> Answer:
        """Wait for the answer of any piece."""
        with self._changed:
            self._changed.wait_for(lambda: self.answers or self.trouble is not None)
            if self.answers:
                return self.answers.pop(next(iter(self.answers)))
            assert self.trouble is not None
            raise self.trouble


class Turns:
    """Who must come after whom: pieces with the same key finish in their order, others whenever they are ready."""

    def __init__(self, keys: list[str], stopping: threading.Event) -> None:
        self._stopping = stopping
        self._over = [threading.Event() for _ in keys]
        last: dict[str, int] = {}
        self._before: list[int | None] = []
        for number, key in enumerate(keys):
            self._before.append(last.get(key))
            last[key] = number

    def wait(self, number: int) -> None:
        """Wait until the piece before ``number`` with its key is over, or all are to stop."""
        before = self._before[number]
        while before is not None and not self._over[before].wait(0.1) and not self._stopping.is_set():
            pass

    def over(self, number: int) -> None:
        """The piece ``number`` is over, well or not."""
        self._over[number].set()
