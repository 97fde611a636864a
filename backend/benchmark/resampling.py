"""Intervals and comparisons: whole groups (identities, videos) are drawn, never frames.

Owns: the bootstrap, and DeLong's test. Promises: the same seed gives the same interval; where a draw cannot tell how unsure a figure is
(no error in the whole set), the interval is an exact bound or none, never a point. Imported by ``tables``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import norm, rankdata

from backend.benchmark import metrics
from base_detector import Array
from shared.intervals import CONFIDENCE

Interval = tuple[float, float]

#: Numbers drawn at a time: a matrix of this many weights is about 32 MB.
_AT_ONCE: Final = 4_000_000


@dataclass(frozen=True)
class Groups:
    """What is drawn as one. ``place`` (n,): the group of each item; ``kind`` (groups,): 0 real, 1 fake, 2 both."""

    place: Array
    kind: Array

    @classmethod
    def of(cls, fake: Array, names: Array) -> Groups:
        """The groups of items whose group is called ``names`` (n,)."""
        _, place = np.unique(names, return_inverse=True)
        count = int(place.max()) + 1 if len(place) else 0
        fakes = np.bincount(place, weights=fake, minlength=count)
        items = np.bincount(place, minlength=count)
        return cls(place, np.where(fakes == 0, 0, np.where(fakes == items, 1, 2)))

    def least(self) -> int:
        """Groups that hold the rarer kind of item."""
        both = int((self.kind == 2).sum())
        return min(int((self.kind == 0).sum()), int((self.kind == 1).sum())) + both

    def draws(self, *, draws: int, seed: int) -> Iterator[Array]:
        """Weights (m, n) of the items, in portions: how often each group was drawn. Each kind of group keeps its number."""
        rng = np.random.default_rng(seed)
        portion = max(1, _AT_ONCE // max(1, len(self.place)))
        for start in range(0, draws, portion):
            rows = min(portion, draws - start)
            weights = np.zeros((rows, len(self.kind)))
            for kind in np.unique(self.kind):
                own = np.flatnonzero(self.kind == kind)
                weights[:, own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=rows)
            yield weights[:, self.place]


class Weighted:
    """The figures of ``metrics`` for many weightings of the same items at once: (m, n) weights -> (m,) figures."""

    def __init__(self, fake: Array, scores: Array, *, threshold: float) -> None:
        self._order = np.argsort(-scores, kind="stable")
        self._fake, self._scores = fake[self._order], scores[self._order]
        self._ends = np.append(np.flatnonzero(np.diff(self._scores)), len(scores) - 1)
        self._threshold = threshold
        evidence = metrics.log_odds(self._scores)
        self._bits = np.logaddexp(0, np.where(self._fake, -evidence, evidence)) / np.log(2)

    def figures(self, weights: Array) -> dict[str, Array]:
        """Each figure, (m,); NaN where a draw has one kind only."""
        own = weights[:, self._order]
        fakes, reals = own * self._fake, own * ~self._fake
        with np.errstate(divide="ignore", invalid="ignore"):
            found, alarms = self._curve(fakes), self._curve(reals)
            totals = fakes.sum(1), reals.sum(1)
            flagged = self._scores >= self._threshold
            passed = (reals * ~flagged).sum(1) / totals[1]
            answer = {
                "roc_auc": np.trapezoid(found, alarms, axis=1),
                "eer": _crossing(alarms, 1 - found),
                "average_precision": self._average_precision(fakes, own),
                "balanced_accuracy": ((fakes * flagged).sum(1) / totals[0] + passed) / 2,
                "found_at_1": self._found_at(fakes, reals, 0.01),
                "found_at_5": self._found_at(fakes, reals, 0.05),
                "brier": (own * (self._scores - self._fake) ** 2).sum(1) / own.sum(1),
                "ece": self._calibration_error(fakes, own),
                "cllr": ((fakes * self._bits).sum(1) / totals[0] + (reals * self._bits).sum(1) / totals[1]) / 2,
            }
        alone = (totals[0] == 0) | (totals[1] == 0)
        return {name: np.where(alone, np.nan, values) for name, values in answer.items()}

    def min_cllr(self, weights: Array) -> Array:
        """``metrics.min_cllr`` of each draw, (m,)."""
        own = weights[:, self._order]
        starts = np.append(0, self._ends[:-1] + 1)
        fakes = np.add.reduceat(own * self._fake, starts, axis=1)[:, ::-1]
        items = np.add.reduceat(own, starts, axis=1)[:, ::-1]
        return np.array([_least_cost(*row) for row in zip(fakes, items, strict=True)])

    def _curve(self, part: Array) -> Array:
        """Share of ``part`` (m, n) at or above each level of the scores, beginning with 0: (m, levels + 1)."""
        sums = np.cumsum(part, 1)[:, self._ends]
        return np.concatenate([np.zeros((len(part), 1)), sums / part.sum(1, keepdims=True)], 1)

    def _average_precision(self, fakes: Array, own: Array) -> Array:
        hits, taken = np.cumsum(fakes, 1)[:, self._ends], np.cumsum(own, 1)[:, self._ends]
        precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
        steps = np.diff(hits, axis=1, prepend=0)
        return np.asarray((precision * steps).sum(1) / fakes.sum(1))

    def _found_at(self, fakes: Array, reals: Array, false_alarms: float) -> Array:
        """As ``metrics.found_at``: fakes above the real one that is one too many."""
        above = np.cumsum(reals, 1)[:, self._ends]
        allowed = np.floor(false_alarms * reals.sum(1) + 1e-9)
        kept = above <= allowed[:, None]
        hits = np.cumsum(fakes, 1)[:, self._ends]
        best = np.where(kept, hits, 0).max(1)
        return np.asarray(best / fakes.sum(1))

    def _calibration_error(self, fakes: Array, own: Array) -> Array:
        place = np.minimum((self._scores * metrics.BINS).astype(int), metrics.BINS - 1)
        gaps = np.zeros(len(own))
        for number in np.unique(place):
            inside = place == number
            gaps += np.abs((own[:, inside] * self._scores[inside]).sum(1) - fakes[:, inside].sum(1))
        return np.asarray(gaps / own.sum(1))


def _least_cost(fakes: Array, items: Array) -> float:
    """Cllr of the best calibration of levels in rising order, which may be empty."""
    there = items > 0
    fakes, reals = fakes[there], (items - fakes)[there]
    if not fakes.sum() or not reals.sum():
        return float("nan")
    ratios = metrics.log_ratios(fakes, fakes + reals)
    missed, alarmed = (np.logaddexp(0, sign * ratios) / np.log(2) for sign in (-1, 1))
    costs = [np.where(part > 0, bits, 0) @ part / part.sum() for bits, part in ((missed, fakes), (alarmed, reals))]
    return float(sum(costs) / 2)


def _crossing(alarms: Array, missed: Array) -> Array:
    """Where two curves (m, levels) meet, one rising and one falling: (m,)."""
    gap = alarms - missed
    after = np.argmax(gap >= 0, axis=1)
    rows, before = np.arange(len(gap)), np.maximum(after - 1, 0)
    step = gap[rows, after] - gap[rows, before]
    share = np.divide(-gap[rows, before], step, out=np.zeros(len(gap)), where=step > 0)
    return np.asarray(alarms[rows, before] + share * (alarms[rows, after] - alarms[rows, before]))


#: Shares whose best value is reached without a single error: figure -> that value.
_BEST: Final = {"roc_auc": 1.0, "balanced_accuracy": 1.0, "found_at_1": 1.0, "found_at_5": 1.0, "eer": 0.0}


def intervals(
    fake: Array, scores: Array, names: Array, *, threshold: float, draws: int, seed: int
) -> dict[str, Interval | None]:
    """The 95 % interval of each figure, by drawing whole groups; None where there are too few groups to say anything.

    Where no draw changes a figure, because no item is on the wrong side, the bootstrap would call it certain. Such a share is
    bounded as n right ones of n are (Clopper and Pearson, 1934), n the groups of the rarer kind; other figures get None.
    """
    groups = Groups.of(fake, names)
    if groups.least() < 2:
        return {}
    many = Weighted(fake, scores, threshold=threshold)
    parts = [many.figures(w) | {"min_cllr": many.min_cllr(w)} for w in groups.draws(draws=draws, seed=seed)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {name: _interval(name, values, n=groups.least()) for name, values in joined.items()}


def _interval(name: str, values: Array, *, n: int) -> Interval | None:
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = (float(value) for value in np.percentile(known, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)]))
    if high - low > 1e-12:
        return low, high
    best = _BEST.get(name)
    if best is None or abs(low - best) > 1e-12:
        return None
    bound = float((0.5 * (1 - CONFIDENCE)) ** (1 / n))
    return (bound, 1.0) if best else (0.0, 1 - bound)


# --------------------------------------------------------------------------- two detectors on the same items


@dataclass(frozen=True)
class Difference:
    """ROC-AUCs on the items both judged, and the interval of the first minus the second. ``p``: of DeLong's test, None where not usable."""

    first: float
    second: float
    low: float | None
    high: float | None
    p: float | None


def compare(fake: Array, first: Array, second: Array, names: Array, *, draws: int, seed: int) -> Difference:
    """Paired: both detectors get the same draws. DeLong's test only where each item is a group of its own, which it takes for granted."""
    groups = Groups.of(fake, names)
    both = [Weighted(fake, scores, threshold=0.5) for scores in (first, second)]
    low = high = None
    if groups.least() >= 2:
        gaps = [_auc(both[0], w) - _auc(both[1], w) for w in groups.draws(draws=draws, seed=seed)]
        found = np.percentile(np.concatenate(gaps), [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
        low, high = (float(value) for value in found) if found[1] > found[0] else (None, None)
    alone = len(groups.kind) == len(fake)
    p = delong(fake, first, second) if alone and groups.least() >= 2 else None
    return Difference(metrics.roc_auc(fake, first), metrics.roc_auc(fake, second), low, high, p)


def _auc(one: Weighted, weights: Array) -> Array:
    return one.figures(weights)["roc_auc"]


def delong(fake: Array, first: Array, second: Array) -> float | None:
    """Two-sided p of equal ROC-AUCs on the same independent items; None where the two do not vary.

    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988); by mid-ranks as Sun and Xu, IEEE Signal Processing Letters 21 (2014).
    """
    fakes, reals = int(fake.sum()), int((~fake).sum())
    found = [_structural(fake, scores) for scores in (first, second)]
    spread = (
        np.cov(np.stack([item[1] for item in found])) / fakes + np.cov(np.stack([item[2] for item in found])) / reals
    )
    variance = float(spread[0, 0] + spread[1, 1] - 2 * spread[0, 1])
    if not variance > 1e-18:
        return None
    return float(2 * norm.sf(abs(found[0][0] - found[1][0]) / np.sqrt(variance)))


def _structural(fake: Array, scores: Array) -> tuple[float, Array, Array]:
    """(AUC, share of reals below each fake, share of fakes above each real); ties count half."""
    ranks, inside, outside = rankdata(scores), rankdata(scores[fake]), rankdata(scores[~fake])
    fakes, reals = len(inside), len(outside)
    below = (ranks[fake] - inside) / reals
    return float(below.mean()), below, 1 - (ranks[~fake] - outside) / fakes
