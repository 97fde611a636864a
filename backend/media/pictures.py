"""Which whole pictures of a clip are kept for detectors that judge pictures: some of each shot.

Shots are known only when the clip has been decoded, so more pictures are taken on the way (``candidates``) than are kept in the end
(``spread``). Pure functions; may be imported by ``extract``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from backend.media.sampling import choose_pictures
from base_detector import Array, Shot

#: Pictures taken on the way for each that is kept: a shot that is longer than a quarter of its share is met.
_ON_THE_WAY: Final = 4


def how_many(times: Array, *, samplings: Sequence[str]) -> int:
    """How many of the pictures shown at ``times`` are kept: as in quick mode, whatever the visitor's. A minute of 1080p has 11 GB."""
    return len(choose_pictures(times, samplings=samplings, mode="quick"))


def candidates(among: Array, *, kept: int, most: int) -> Array:
    """Numbers of the pictures to take on the way, evenly spread over ``among`` (n,): at most ``most``, but at least ``kept``."""
    wanted = min(len(among), max(kept, min(_ON_THE_WAY * kept, most)))
    chosen: Array = among[((np.arange(wanted) + 0.5) * len(among) / max(wanted, 1)).astype(np.int64)]
    return chosen


def spread(frames: Sequence[int], shots: Sequence[Shot], *, kept: int) -> list[int]:
    """The ``kept`` of ``frames`` (ascending) to keep: each shot its share by its length, the longest ones first; ascending.

    Shares by Webster's method (Sainte-Lague), which gives each shot the whole number nearest to its share. Within a shot they are
    evenly spread, away from its ends.
    """
    of_shot = [[frame for frame in frames if shot.start <= frame <= shot.end] for shot in shots]
    lengths = [shot.end - shot.start + 1 for shot in shots]
    given = [0] * len(shots)
    for _ in range(min(kept, sum(map(len, of_shot)))):
        open_shots = [number for number, own in enumerate(of_shot) if given[number] < len(own)]
        given[max(open_shots, key=lambda number: (lengths[number] / (2 * given[number] + 1), -number))] += 1
    return sorted(
        own[(2 * number + 1) * len(own) // (2 * count)]
        for own, count in zip(of_shot, given, strict=True)
        for number in range(count)
    )
