"""The wave form of a sound, in the colours of its scores: a strip under the picture, or all of the left side for a file of sound.

Owns what is drawn of a sound. It shows existing scores only: where no window has one the wave is grey, and the number is a dash.
Imported by ``render`` only.
"""

from __future__ import annotations

import contextlib
import math
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from backend.media.canvas import Canvas, Colour, even, fitted, text_width
from backend.media.clock import SoundClock
from backend.media.limits import Deadline, MediaLimits
from backend.media.panel import Rect
from backend.media.sound import first_sound, hear
from backend.media.video import open_container
from base_detector import SOUND_RATE, Array, WorkerFailure

#: behind the wave, its words, the cursor
_GROUND: Colour = (24, 26, 28)
_WORDS: Colour = (236, 239, 242)
_CURSOR: Colour = (255, 255, 255)
#: Samples of a step of which only the lowest and highest are kept: 10 ms.
_STEP: Final = SOUND_RATE // 100
#: Share of the half height that the loudest moment takes.
_FULL: Final = 0.94
#: Pixels of a column of the wave and of the gap to the next one.
_COLUMN: Final = 2


class Peaks:
    """The lowest and highest sample of each 10 ms of a sound; the first one ``start_s`` after the first picture."""

    def __init__(self) -> None:
        self.start_s = 0.0
        self._parts: list[Array] = []
        self._rest: Array = np.zeros(0, np.float32)

    def take(self, samples: Array) -> None:
        """The next samples, (n,) float32."""
        joined = np.concatenate([self._rest, samples])
        whole = len(joined) // _STEP * _STEP
        self._rest = joined[whole:]
        if whole:
            steps = joined[:whole].reshape(-1, _STEP)
            self._parts.append(np.stack([steps.min(axis=1), steps.max(axis=1)], axis=1))

    def columns(self, count: int, *, duration_s: float) -> Array:
        """Lowest and highest sample of each of ``count`` equal parts of the time from 0 to ``duration_s``: (count, 2), 0 where none is."""
        table = np.zeros((count, 2))
        steps = np.concatenate(self._parts) if self._parts else np.zeros((0, 2))
        times = self.start_s + np.arange(len(steps)) * _STEP / SOUND_RATE
        first = np.floor(times / duration_s * count + 1e-6).astype(np.int64)
        for further in range(
            max(1, math.ceil(count * _STEP / SOUND_RATE / duration_s))
        ):  # a step may be longer than a column
            places = first + further
            there = (places >= 0) & (places < count)
            np.minimum.at(table[:, 0], places[there], steps[there, 0])
            np.maximum.at(table[:, 1], places[there], steps[there, 1])
        return table


def peaks_of(media: Path, *, clock: SoundClock, limits: MediaLimits, deadline: Deadline) -> Peaks:
    """The peaks of the first sound stream of a video; none where nothing can be decoded."""
    peaks = Peaks()
    with contextlib.suppress(WorkerFailure), open_container(media) as container:
        if (stream := first_sound(container)) is not None:
            heard = hear(container, stream, peaks.take, clock=clock, limits=limits, deadline=deadline)
            peaks.start_s = heard.start_s
    return peaks


class WaveStrip:
    """Draw ``draw_base`` once, then ``draw_now`` on each frame's copy. ``colour``: of a level."""

    def __init__(
        self, plan: dict[str, Any], where: Rect, peaks: Peaks, *, unit: float, colour: Callable[[int], Colour]
    ) -> None:
        self._sound, self._where, self._unit, self._colour = plan["sound"], where, unit, colour
        self._duration = max(float(plan["duration_s"]), 1e-3)
        self._spans = [
            (float(start), float(end), str(words), int(level)) for start, end, words, level in self._sound["spans"]
        ]
        self._starts = [span[0] for span in self._spans]
        self._peaks = peaks
        self._wave = Rect(where.x1, even(where.y1 + 1.7 * unit), where.x2, where.y2)

    def draw_base(self, canvas: Canvas) -> None:
        """All but the cursor and the number."""
        where, unit, wave = self._where, self._unit, self._wave
        canvas.fill((where.x1, where.y1, where.x2, where.y2), _GROUND)
        size = max(9, round(0.85 * unit))
        room = where.width - 1.4 * unit - text_width(">0.99", size=size, bold=True) - unit
        label = fitted(self._sound["label"], size=size, width=room)
        canvas.text(label, (where.x1 + 0.7 * unit, where.y1 + 0.9 * unit), _WORDS, size=size)
        count = max(1, int(wave.width) // (2 * _COLUMN))
        table = self._peaks.columns(count, duration_s=self._duration)
        loudest = max(float(np.abs(table).max()), 1e-6)
        middle, half = (wave.y1 + wave.y2) / 2, (wave.y2 - wave.y1) / 2 * _FULL
        for number, (low, high) in enumerate(table):
            left = wave.x1 + number * 2 * _COLUMN
            top, bottom = middle - half * high / loudest, middle - half * low / loudest
            _, level = self._said_at((number + 0.5) / count * self._duration)
            canvas.fill((left, min(top, middle - 1), left + _COLUMN, max(bottom, middle + 1)), self._colour(level))

    def draw_now(self, canvas: Canvas, time_s: float) -> None:
        """The cursor, and what holds at ``time_s``."""
        where, unit, wave = self._where, self._unit, self._wave
        x = even(min(wave.x1 + wave.width * min(1.0, max(0.0, time_s / self._duration)), wave.x2 - 2))
        canvas.fill((x, wave.y1, x + 2, wave.y2), _CURSOR)
        words, level = self._said_at(time_s)
        at = (where.x2 - 0.7 * unit, where.y1 + 0.9 * unit)
        canvas.text(words, at, self._colour(level), size=max(9, round(0.95 * unit)), bold=True, anchor="r")

    def _said_at(self, time_s: float) -> tuple[str, int]:
        place = bisect_right(self._starts, time_s) - 1
        if place < 0 or time_s >= self._spans[place][1]:
            return "-", 0
        return self._spans[place][2:]
