"""Rules for the whole pictures and the windows of sound in a pack: after them no reader can read outside its files.

Pure functions over the tables. Imported by ``backend.harvest.media_pack``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from base_detector import SOUND_RATE, Array
from shared.findings import Sound

#: Longest side of a picture, pixels, as of a crop.
MAX_SIDE: Final = 1 << 16
#: Longest window and hop that a card may ask for, seconds.
MAX_WINDOW_S: Final = 60.0


def end_of_pixels(offset: Array, *, height: Array, width: Array) -> int:
    """Bytes that a file must have to hold RGB pictures of ``height`` x ``width`` from ``offset`` on, (n,) each; 0 for none."""
    return int((offset + height.astype(np.int64) * width.astype(np.int64) * 3).max(initial=0))


def picture_rules(pictures: Array, *, sampled: Mapping[int, float], shots: Sequence[int]) -> Iterator[tuple[str, Any]]:
    """(rule, whether each row keeps it). ``sampled``: frame -> its time in seconds; ``shots``: their numbers."""
    yield "pictures ascend", np.diff(pictures["frame"].astype(np.int64)) > 0
    yield "pictures are of sampled frames", np.isin(pictures["frame"], [*sampled])
    yield (
        "pictures have the time of their frame",
        pictures["time_s"] == [sampled[at] for at in pictures["frame"].tolist()],
    )
    yield "pictures are of known shots", np.isin(pictures["shot"], shots)
    for name in ("height", "width"):
        yield f"pictures have a {name}", (pictures[name] >= 1) & (pictures[name] <= MAX_SIDE)
    yield "pictures begin in the file", (pictures["offset"] >= 0) & (pictures["offset"] < 2**62)


def window_rules(windows: Array, sound: Sound | None) -> Iterator[tuple[str, Any]]:
    """(rule, whether each row keeps it)."""
    samples = sound.samples if sound else 0
    start, stop = windows["start"], windows["stop"]
    yield "windows are in the sound", (start >= 0) & (start < stop) & (stop <= samples)
    for name in ("window_s", "hop_s"):
        yield f"{name} is a length", (windows[name] > 0) & (windows[name] <= MAX_WINDOW_S)
    yield "windows are as long as they say", stop - start <= np.round(windows["window_s"] * SOUND_RATE)
    if sound and sound.speech:
        ends = np.array(sound.speech, np.float64)
        yield "stretches of speech ascend", np.diff(ends.ravel()) >= 0
