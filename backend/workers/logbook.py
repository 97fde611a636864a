"""The log of one worker: its last lines, escaped, in a file that never grows beyond a cap.

What a worker prints is untrusted: control characters and terminal sequences are written out as escapes, long lines are cut, and a
flood costs no more than ``MAX_BYTES`` on disk. Imported by the runners.
"""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import IO, Final

KEPT_LINES: Final = 500
MAX_LINE: Final = 1000
MAX_BYTES: Final = 1_000_000


class Logbook:
    """Writes lines to ``path``; when the file is full it is rewritten with the last ``KEPT_LINES``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: deque[str] = deque(maxlen=KEPT_LINES)
        self._size = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        path.write_text("", encoding="utf-8")

    def follow(self, untrusted_stream: IO[bytes]) -> None:
        """Take lines from a pipe, in a thread, until its last writer is gone."""

        def copy() -> None:
            with untrusted_stream:
                while line := untrusted_stream.readline(MAX_LINE):
                    self.add(line)

        self._thread = threading.Thread(target=copy, daemon=True, name=f"log-{self.path.stem}")
        self._thread.start()

    def add(self, untrusted_lines: bytes) -> None:
        """Append lines, escaped."""
        with self._lock:
            for untrusted in untrusted_lines.splitlines():
                line = escaped(untrusted)
                self._kept.append(line)
                self._size += len(line.encode()) + 1
                mode, lines = ("a", [line]) if self._size <= MAX_BYTES else ("w", self._fitting())
                with self.path.open(mode, encoding="utf-8") as file:
                    file.writelines(f"{item}\n" for item in lines)

    def replace(self, untrusted_lines: bytes) -> None:
        """Replace the file with these lines: the end of a log that the engine keeps."""
        with self._lock:
            self._kept = deque(map(escaped, untrusted_lines.splitlines()), maxlen=KEPT_LINES)
            with self.path.open("w", encoding="utf-8") as file:
                file.writelines(f"{item}\n" for item in self._fitting())

    def tail(self, count: int = 20) -> list[str]:
        """The last lines."""
        with self._lock:
            return list(self._kept)[-count:]

    def finish(self, *, timeout_s: float = 1.0) -> None:
        """Wait for the lines still in the pipe."""
        if self._thread:
            self._thread.join(timeout_s)

    def _fitting(self) -> list[str]:
        """The latest kept lines that fill at most half of the file."""
        fitting: deque[str] = deque()
        size = 0
        for line in reversed(self._kept):
            size += len(line.encode()) + 1
            if size > MAX_BYTES // 2:
                break
            fitting.appendleft(line)
        self._size = sum(len(line.encode()) + 1 for line in fitting)
        return list(fitting)


def escaped(untrusted_line: bytes) -> str:
    """One line of text without control sequences."""
    text = untrusted_line[:MAX_LINE].decode("utf-8", "backslashreplace").replace("\t", "    ")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
