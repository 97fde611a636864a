"""Which pictures of a medium are looked at: the union of what the detectors ask for, limited by the visitor's mode.

Pure functions; may be imported by all of ``backend.media``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from base_detector import Array, WorkerFailure

#: Which pictures a detector wants to see, as on its card: all, so many a second, or so many in all; not none.
SAMPLING: Final = r"every_frame|(?!\w+:[0.]*$)(fps:[0-9]{1,3}(\.[0-9]{1,6})?|frames:[0-9]{1,6})"
#: Most sampled pictures of a mode; ``thorough`` takes every picture, as the published platform does.
MOST_PICTURES: Final[dict[str, int | None]] = {"quick": 32, "standard": 300, "thorough": None}


def choose_pictures(times: Array, *, samplings: Sequence[str], mode: str) -> Array:
    """Indices to sample, ascending and unique, (m,) int64, of pictures shown at ``times`` ((n,) seconds, ascending).

    ``quick`` and ``standard`` take the union of the samplings and thin it out evenly where it is too large;
    ``thorough`` takes every picture. Raises WorkerFailure(``bad_request``) for an unknown sampling or mode.
    """
    if mode not in MOST_PICTURES:
        raise WorkerFailure("bad_request")
    rules = [_rule_of(text) for text in samplings] or [("every_frame", 1.0)]
    most = MOST_PICTURES[mode]
    if most is None:
        return np.arange(len(times))
    chosen = np.unique(np.concatenate([_by_rule(times, rule, number) for rule, number in rules]))
    if len(chosen) <= most:
        return chosen
    return chosen[_evenly(len(chosen), most)]


def _rule_of(text: object) -> tuple[str, float]:
    """A card's sampling as (rule, number): ``every_frame`` | ``fps:1`` | ``frames:32``."""
    if not isinstance(text, str) or not re.fullmatch(SAMPLING, text):
        raise WorkerFailure("bad_request")
    rule, _, number = text.partition(":")
    return rule, float(number or 1)


def _by_rule(times: Array, rule: str, number: float) -> Array:
    if rule == "every_frame":
        return np.arange(len(times))
    if rule == "frames":
        return _evenly(len(times), int(number))
    ticks = np.arange(0.0, times[-1] + 1e-9, 1 / number)  # fps: the first picture at or after each tick
    return np.unique(np.minimum(np.searchsorted(times, ticks - 1e-6), len(times) - 1))


def _evenly(count: int, wanted: int) -> Array:
    """``wanted`` of ``count`` indices from the first to the last, evenly (the middle one when one is wanted)."""
    if wanted == 1:
        return np.array([count // 2])
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).astype(np.int64))
