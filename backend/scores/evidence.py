"""What one score is worth, by a reference set: how many items of each kind reached it, and the likelihood ratio, among files like this one.

Owns the choice of the items (the quality cell or the whole set). Promises: pure functions; without both kinds of items in sufficient
number there is no ratio and no worth. May be imported by the back-end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import inf

import numpy as np

from backend.scores.ratios import Measured, cllr, known, log_odds, min_cllr, ratio_of
from backend.scores.references import Usable
from base_detector import Array
from shared.evidence import (
    BITS_EDGES,
    FACE_PX_EDGES,
    LEAST_IN_CELL,
    LEAST_OF_A_KIND_IN_CELL,
)
from shared.intervals import clopper_pearson
from shared.results import Conditions, Ratio, Tally, Worth

#: from (included) and up to (not included)
_Range = tuple[float, float]


def worth_of(score: float, usable: Usable, *, threshold: float, like: Conditions) -> Worth | None:
    """What ``score`` of a file that is ``like`` this is worth; None where the set is too small to say."""
    if not usable.speaks:
        return None
    chosen, words, why_whole = _chosen(usable, like)
    ratio, found = ratio_of(chosen, score), usable.set
    costs = cllr(chosen.fake, log_odds(chosen.scores)), min_cllr(chosen.fake, chosen.scores)
    return Worth(
        reference=found.name,
        about=found.about or found.data.name,
        own=usable.own,
        created=found.created,
        data_sha256=found.data.sha256,
        **_tallies(chosen, score, threshold=threshold),
        groups=chosen.counted(np.arange(len(chosen.fake))),
        rarer_groups=min(chosen.counted(chosen.of_kind(fake=kind)) for kind in (True, False)),
        ratio=Ratio(value=ratio.value, low=ratio.low, high=ratio.high, least=ratio.least, most=ratio.most),
        cllr=known(costs[0]),
        min_cllr=known(costs[1]),
        like=words,
        why_whole=why_whole,
    )


def _tallies(chosen: Measured, score: float, *, threshold: float) -> dict[str, Tally]:
    rules = {"": chosen.scores >= score, "_as_low": chosen.scores <= score, "_flagged": chosen.scores >= threshold}
    return {
        f"{kind}{ending}": _tally(chosen, reached, fake=kind == "fake")
        for ending, reached in rules.items()
        for kind in ("real", "fake")
    }


def _tally(measured: Measured, reached: Array, *, fake: bool) -> Tally:
    """How many items of a kind have ``reached`` (n,) bool; the interval counts groups, not items."""
    places = measured.of_kind(fake=fake)
    count, groups = int(reached[places].sum()), measured.counted(places)
    low, high = clopper_pearson(count / len(places) * groups, groups)
    return Tally(reached=count, of=len(places), low=low, high=high)


# --------------------------------------------------------------------------- files like this one


@dataclass(frozen=True)
class _Cell:
    """Ranges of the conditions of files like one; None where that condition does not matter or is not known."""

    face_px: _Range | None
    bits: _Range | None

    def holds(self, other: Conditions | None) -> bool:
        """Whether a file is like it."""
        return other is not None and _inside(other.face_px, self.face_px) and _inside(other.bits_per_pixel, self.bits)

    def words(self) -> str:
        """'faces of 64 to 128 pixels, 0.05 to 0.2 bits a pixel'."""
        parts = [f"faces of {_range_words(self.face_px)} pixels"] if self.face_px else []
        parts += [f"{_range_words(self.bits)} bits a pixel"] if self.bits else []
        return ", ".join(parts)


def _chosen(usable: Usable, like: Conditions) -> tuple[Measured, str | None, str | None]:
    """The items to count, what they have in common in words, and why they are the whole set."""
    cell = _Cell(_range_of(like.face_px, FACE_PX_EDGES), _range_of(like.bits_per_pixel, BITS_EDGES))
    if cell.face_px is None and cell.bits is None:
        return usable.measured, None, "conditions_unknown"
    inside = np.array([cell.holds(item) for item in usable.like], bool)
    own = _part(usable.measured, inside)
    kinds = int(own.fake.sum()), int((~own.fake).sum())
    if sum(kinds) < LEAST_IN_CELL or min(kinds) < LEAST_OF_A_KIND_IN_CELL:
        return usable.measured, None, "few_like_it"
    return own, cell.words(), None


def _part(measured: Measured, inside: Array) -> Measured:
    return Measured(measured.fake[inside], measured.scores[inside], measured.groups[inside])


def _range_of(value: float | None, edges: Iterable[float]) -> _Range | None:
    """The range between two ``edges`` that holds ``value``."""
    if value is None:
        return None
    return next((low, high) for low, high in pairwise((-inf, *edges, inf)) if low <= value < high)


def _inside(value: float | None, within: _Range | None) -> bool:
    return within is None or (value is not None and within[0] <= value < within[1])


def _range_words(within: _Range) -> str:
    low, high = within
    if low == -inf:
        return f"less than {high:g}"
    return f"{low:g} or more" if high == inf else f"{low:g} to {high:g}"
