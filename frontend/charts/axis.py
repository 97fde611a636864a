"""The axis of time: where its ticks are and how they are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from frontend.charts.svg import element, percent

_STEPS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)


@dataclass(frozen=True)
class Span:
    """From when to when is shown, seconds."""

    begin: float
    end: float

    @property
    def length(self) -> float:
        """Seconds, never 0."""
        return max(self.end - self.begin, 1e-3)

    def share(self, time_s: float) -> float:
        """Where ``time_s`` is, 0 at the begin, 1 at the end; others are outside."""
        return (time_s - self.begin) / self.length

    def holds(self, time_s: float) -> bool:
        """Whether ``time_s`` is shown."""
        return self.begin <= time_s <= self.end


def ticks(span: Span, *, most: int = 9) -> list[tuple[float, str]]:
    """(seconds, words) of round moments, at most ``most``."""
    step = next((one for one in _STEPS if span.length < most * one), span.length)
    first = -(-round(span.begin / step * 1e6) // 1_000_000)
    last = int(span.end / step + 1e-6)
    return [(step * index, clock(step * index, step=step)) for index in range(int(first), last + 1)]


def clock(seconds: float, *, step: float = 1.0) -> str:
    """'0:07', '1:02:03', with tenths where the step has them."""
    tenths = round(10 * seconds)
    whole, rest = divmod(tenths, 10)
    minutes, left = divmod(whole, 60)
    tail = f".{rest}" if step < 1 else ""
    hours = f"{minutes // 60}:{minutes % 60:02d}" if minutes >= 60 else f"{minutes}"
    return f"{hours}:{left:02d}{tail}"


def moments(span: Span, *, y: int) -> Iterator[tuple[float, Markup]]:
    """Each tick's share of ``span`` and its words as SVG at height ``y``; every other one may be hidden on a phone."""
    for place, (seconds, words) in enumerate(ticks(span)):
        share = span.share(seconds)
        anchor = "start" if share < 0.02 else "end" if share > 0.98 else "middle"
        name = "label every-other" if place % 2 else "label"
        yield share, element("text", words, class_=name, x=percent(share), y=y, text_anchor=anchor)
