"""The wave form of a sound as a few hundred numbers, for the page that shows it in place of a picture.

Owns its number of columns. The samples are those of the face pack, which a detector of sound heard. May be imported by ``backend.report``.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from base_detector import SOUND_RATE, Array
from shared.curves import Wave

#: Columns of the wave form; a page is not much wider.
MOST_COLUMNS: Final = 600
#: Samples read at a time: an hour of sound is 230 MB.
_PART: Final = 1 << 22


def wave_of(samples: Array, start_s: float) -> Wave | None:
    """The form of ``samples`` (n,) float in [-1, 1] at SOUND_RATE, which begin ``start_s`` after the first picture; None without any."""
    if not len(samples):
        return None
    count = min(MOST_COLUMNS, len(samples))
    edges = np.linspace(0, len(samples), count + 1).astype(np.int64)
    low, high = np.empty(count), np.empty(count)
    step = max(1, _PART * count // len(samples))
    for first in range(0, count, step):
        starts = edges[first : min(first + step, count)]
        part = np.asarray(samples[starts[0] : edges[min(first + step, count)]])
        low[first : first + len(starts)] = np.minimum.reduceat(part, starts - starts[0])
        high[first : first + len(starts)] = np.maximum.reduceat(part, starts - starts[0])
    loudest = max(-float(low.min()), float(high.max()))
    if not np.isfinite(loudest):
        return None
    scale = 100 / loudest if loudest > 0 else 0.0
    return Wave(
        start_s=round(start_s, 3),
        end_s=round(start_s + len(samples) / SOUND_RATE, 3),
        low=np.clip(np.round(low * scale), -100, 100).astype(int).tolist(),
        high=np.clip(np.round(high * scale), -100, 100).astype(int).tolist(),
    )
