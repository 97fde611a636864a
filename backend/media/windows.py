"""Which windows of a sound are judged.

Owns the rule; ``windows.npy`` of the pack holds its outcome, so that no worker has to know it. May be imported by ``backend.media``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from base_detector import SOUND_RATE, WINDOW_DTYPE, Array

#: A detector's score changes little after that many windows, and its time does.
MOST_WINDOWS: Final = 60
#: Samples (half a second) after the last whole window that get a window of their own, which ends with the sound.
LEAST_REST: Final = 8_000


def sound_windows(samples: int, lengths: Iterable[tuple[float, float]]) -> Array:
    """Windows of ``samples`` samples for each (window, hop) of ``lengths``, seconds: rows of WINDOW_DTYPE, by their lengths, ascending.

    One window begins each hop; one ends with the sound when LEAST_REST samples or more are left. A sound shorter than a window is one
    window. Of more than MOST_WINDOWS that many are taken, evenly spread.
    """
    tables = [_table(samples, window_s, hop_s) for window_s, hop_s in sorted(set(lengths))]
    return np.concatenate([np.zeros(0, WINDOW_DTYPE), *tables])


def _table(samples: int, window_s: float, hop_s: float) -> Array:
    window, hop = round(window_s * SOUND_RATE), max(1, round(hop_s * SOUND_RATE))
    starts = np.arange(0, max(samples - window, 0) + 1, hop, dtype=np.int64) if samples else np.zeros(0, np.int64)
    if samples - window - starts[-1:].sum() >= LEAST_REST:
        starts = np.append(starts, samples - window)
    if len(starts) > MOST_WINDOWS:
        starts = starts[np.linspace(0, len(starts) - 1, MOST_WINDOWS).round().astype(int)]
    rows = np.zeros(len(starts), WINDOW_DTYPE)
    rows["start"], rows["stop"] = starts, np.minimum(starts + window, samples)
    rows["window_s"], rows["hop_s"] = window_s, hop_s
    return rows
