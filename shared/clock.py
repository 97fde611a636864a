"""The present moment. Aware and in UTC everywhere; tests pass a clock of their own. May be imported by all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

#: Returns the present moment, aware, UTC.
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The present moment, aware, UTC."""
    return datetime.now(UTC)
