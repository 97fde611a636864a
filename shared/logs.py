"""How a service logs: one line per event to stderr, as JSON, or with colours at a terminal.

Promises: ids of submissions are cut to their first eight characters and tokens of unlock links are left out, wherever they
are in a line, traces included; no values of local variables are in a trace, since a PIN may be among them; a log that cannot be written
ends nothing. For the composition root.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO, cast

import structlog

_TOKEN: Final = re.compile(r"(/unlock/[a-z2-7]{26}/)[\w-]+")
_ID: Final = re.compile(r"(?<![a-z2-7])([a-z2-7]{8})[a-z2-7]{18}(?![a-z2-7])")


def shortened(value: Any) -> Any:
    """``value`` with every id in its texts cut to a prefix: enough to tell jobs apart, too little to open anything."""
    if isinstance(value, str):
        return _ID.sub(r"\1…", _TOKEN.sub(r"\1…", value))
    if isinstance(value, dict):
        return {shortened(name): shortened(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [shortened(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return shortened(str(value))  # a path, an exception


def log_to_stderr(level: int) -> None:
    """Send structlog and what libraries log to stderr, from ``level`` on (libraries: warnings and errors)."""
    terminal = sys.stderr.isatty()
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _drop_expected,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if terminal else structlog.processors.ExceptionRenderer(tracebacks),
            _without_ids,
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, Forgiving(sys.stderr))),
    )
    root = logging.getLogger()
    if not any(isinstance(handler, _Forwarded) for handler in root.handlers):
        root.addHandler(_Forwarded(logging.WARNING))


class Forgiving:
    """A stream that ignores write errors: a log on a full disk, or one that is not read any more, must not stop the program."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write as much as the stream takes."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        """Flush as far as the stream can."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


class _Forwarded(logging.Handler):
    """Hands what libraries log to structlog, so that it is one line of the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        log.log(
            record.levelno, "library_log", logger=record.name, message=record.getMessage(), exc_info=record.exc_info
        )


def _without_ids(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    cut: MutableMapping[str, Any] = shortened(dict(event))
    return cut


def _drop_expected(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Leave out errors that a check provoked on purpose."""
    if event.get("expected"):
        raise structlog.DropEvent
    return event
