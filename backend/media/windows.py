"""Which windows of a sound are judged.

Owns the rule; ``windows.npy`` of the pack holds its outcome, so that no worker has to know it. May be imported by ``backend.media``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from base_detector import SOUND_RATE, WINDOW_DTYPE, Array
from shared.findings import Sound

#: A detector's score changes little after that many windows, and its time does.
MOST_WINDOWS: Final = 60
#: Samples (half a second) after the last whole window that get a window of their own, which ends with the sound.
LEAST_REST: Final = 8_000
#: Seconds of speech without which a window is not judged: the shortest stretch that counts as speech.
LEAST_SPEECH_S: Final = 0.25


def windows_of(sound: Sound | None, lengths: Iterable[tuple[float, float]]) -> Array:
    """The windows of a sound in which somebody speaks, as ``sound_windows``; all of them where speech was not looked for."""
    if sound is None:
        return sound_windows(0, lengths)
    speech = (
        None if sound.speech is None else [(begin - sound.start_s, end - sound.start_s) for begin, end in sound.speech]
    )
    return sound_windows(sound.samples, lengths, speech=speech)


def sound_windows(
    samples: int, lengths: Iterable[tuple[float, float]], *, speech: Sequence[tuple[float, float]] | None = None
) -> Array:
    """Windows of ``samples`` samples for each (window, hop) of ``lengths``, seconds: rows of WINDOW_DTYPE, by their lengths, ascending.

    One window begins each hop; one ends with the sound when LEAST_REST samples or more are left. A sound shorter than a window is one
    window. ``speech``: (start, end) seconds from the first sample; windows with less than LEAST_SPEECH_S of it are left out. Of more than
    MOST_WINDOWS that many are taken, evenly spread.
    """
    tables = [_table(samples, window_s, hop_s, speech) for window_s, hop_s in sorted(set(lengths))]
    return np.concatenate([np.zeros(0, WINDOW_DTYPE), *tables])


def _table(samples: int, window_s: float, hop_s: float, speech: Sequence[tuple[float, float]] | None) -> Array:
    window, hop = round(window_s * SOUND_RATE), max(1, round(hop_s * SOUND_RATE))
    starts = np.arange(0, max(samples - window, 0) + 1, hop, dtype=np.int64) if samples else np.zeros(0, np.int64)
    if samples - window - starts[-1:].sum() >= LEAST_REST:
        starts = np.append(starts, samples - window)
    if speech is not None and len(starts):
        starts = starts[_spoken(starts, np.minimum(starts + window, samples), speech) >= LEAST_SPEECH_S]
    if len(starts) > MOST_WINDOWS:
        starts = starts[np.linspace(0, len(starts) - 1, MOST_WINDOWS).round().astype(int)]
    rows = np.zeros(len(starts), WINDOW_DTYPE)
    rows["start"], rows["stop"] = starts, np.minimum(starts + window, samples)
    rows["window_s"], rows["hop_s"] = window_s, hop_s
    return rows


def _spoken(starts: Array, stops: Array, speech: Sequence[tuple[float, float]]) -> Array:
    """Seconds of speech in each window, (n,) float64."""
    edges = np.array(speech, np.float64).reshape(-1, 2) * SOUND_RATE
    marks = np.concatenate([[0.0], edges.ravel()])
    #: speech up to each mark; between two marks it grows or stays
    total = np.concatenate([[0.0], np.cumsum(np.diff(marks) * (np.arange(len(marks) - 1) % 2))])
    spoken: Array = (np.interp(stops, marks, total) - np.interp(starts, marks, total)) / SOUND_RATE
    return spoken
