"""Decoding ahead: a thread decodes and converts the next pictures while the caller works on the current one.

Promises: pictures and errors come in the order of the source; at most ``depth`` prepared pictures wait; the source is not
used any more once the context has ended. Decoding and conversion release the GIL, so both cores work. May be imported
by ``extract`` and ``render``.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType

from backend.media.medium import Picture

#: Most pictures that wait, and most bytes of RGB in them.
_MOST_PICTURES, _MOST_BYTES = 8, 64_000_000
#: Seconds between two checks whether the caller has left.
_PATIENCE_S = 0.1


def depth_for(width: int, height: int) -> int:
    """How many pictures of this size may wait."""
    return max(1, min(_MOST_PICTURES, _MOST_BYTES // max(1, width * height * 3)))


class Ahead:
    """Iterates over ``pictures``, each passed to ``prepare`` in the thread first. A context manager, to be used once.

    ``busy_s`` counts the seconds the source itself took.
    """

    def __init__(
        self, pictures: Iterator[Picture], *, prepare: Callable[[Picture], object] = lambda picture: None, depth: int
    ) -> None:
        self._pictures, self._prepare = pictures, prepare
        self._ready: queue.Queue[Picture | BaseException] = queue.Queue(depth)
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decode-ahead", daemon=True)
        self.busy_s = 0.0

    def __enter__(self) -> Ahead:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._thread.join()
        while not self._ready.empty():  # pictures, and an error that knows this object
            self._ready.get_nowait()

    def __iter__(self) -> Ahead:
        return self

    def __next__(self) -> Picture:
        item = self._ready.get()
        if isinstance(item, BaseException):
            self._put(item)  # the next call raises it again
            try:
                raise item
            finally:
                del item  # it knows this frame: neither would be freed before Python's collector runs
        return item

    # -- inside

    def _run(self) -> None:
        try:
            while not self._left.is_set():
                started = time.perf_counter()
                picture = next(self._pictures)
                self.busy_s += time.perf_counter() - started
                self._prepare(picture)
                self._put(picture)
        except StopIteration:
            self._put(StopIteration())
        except BaseException as error:  # raised again where the pictures are used
            self._put(error)

    def _put(self, item: Picture | BaseException) -> None:
        while not self._left.is_set():
            try:
                self._ready.put(item, timeout=_PATIENCE_S)
            except queue.Full:
                continue
            return
