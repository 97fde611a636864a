"""Server-sent events of one submission's progress, and how many such streams there are at once.

A stream holds a thread of the web server, so it is short (the browser asks again by itself) and few are open at once: whoever gets none
asks now and then instead. Promises: the first event is there at once, the next ones within a second of a change; a reader who left is
noticed with the next heartbeat; the last event ends the stream. For the front-end only.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from flask import Response, stream_with_context
from werkzeug.exceptions import HTTPException

from shared.errors import DfomError

#: Seconds of one stream; then the browser asks again.
LONGEST_S: Final = 25.0
#: Seconds between two looks at the submission.
LOOK_S: Final = 1.0
#: Seconds without an event after which a heartbeat is sent: a reader who left is noticed when two of them cannot be sent.
HEARTBEAT_S: Final = 5.0
#: Milliseconds after which a browser asks again.
RETRY_MS: Final = 1000
#: One stream for so many threads of the portal.
THREADS_EACH: Final = 4


class Streams:
    """How many streams are open: at most one for every four ``threads`` of the portal, none below four. And their pace, in seconds."""

    def __init__(
        self, threads: int, *, longest_s: float = LONGEST_S, look_s: float = LOOK_S, heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        self.longest_s, self.look_s, self.heartbeat_s = longest_s, look_s, heartbeat_s
        self._free = threading.Semaphore(threads // THREADS_EACH)

    def take(self) -> Callable[[], None] | None:
        """A place, given back by calling what this returns (once or more often); None when all are taken."""
        if not self._free.acquire(blocking=False):
            return None
        once = threading.Lock()

        def give_back() -> None:
            if once.acquire(blocking=False):
                self._free.release()

        return give_back


def stream_of(look: Callable[[], tuple[Any, bool]], streams: Streams) -> Response | None:
    """A response of events ``progress``, each the JSON that ``look`` gives, or None when too many are open.

    ``look`` gives also whether that was the last one; it is called in the context of the request.
    """
    give_back = streams.take()
    if give_back is None:
        return None
    try:
        response = Response(stream_with_context(_events(look, streams)), mimetype="text/event-stream")
    except BaseException:
        give_back()
        raise
    response.call_on_close(give_back)  # also when nothing of the body was read
    response.headers["Cache-Control"] = "no-store, no-transform"
    response.headers["X-Accel-Buffering"] = "no"  # nginx passes each event on at once
    return response


def _events(look: Callable[[], tuple[Any, bool]], pace: Streams) -> Iterator[bytes]:
    began = said_at = time.monotonic()
    said: str | None = None
    yield f"retry: {RETRY_MS}\n\n".encode()
    while True:
        try:
            content, last = look()
        except (
            DfomError,
            HTTPException,
            OSError,
        ):  # deleted, or the storage is away: the browser asks again and is told
            return
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
        now = time.monotonic()
        if text != said:
            said, said_at = text, now
            yield f"event: progress\ndata: {text}\n\n".encode()
        elif now - said_at >= pace.heartbeat_s:
            said_at = now
            yield b":\n\n"
        if last or now - began + pace.look_s > pace.longest_s:
            return
        time.sleep(pace.look_s)
