"""Likelihood ratios from scores with their truth: isotonic regression, what a set's size supports, intervals, and what they cost.

Owns the arithmetic of evidence: plain functions of arrays. ``fake`` (n,) bool, True for a fake; ``scores`` (n,) float, higher = more fake.
Promises: no ratio is beyond what the number of items supports; NaN where a figure does not exist (one kind of item only).
May be imported by the back-end. SciPy, longer to import than all else that a command needs, is imported when a ratio is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from base_detector import Array
from shared.intervals import CONFIDENCE, clopper_pearson

#: Probabilities are kept this far from 0 and 1 before their odds are taken: a float32 cannot tell smaller ones from 0 beside 1.
CLOSEST: Final = 2.0**-24
#: Items of the smallest window that an interval of a ratio looks at; each further one has twice as many.
_SMALLEST_WINDOW: Final = 10


def both_kinds(fake: Array) -> bool:
    """Whether there is a fake and a real one: without, no figure that compares them exists."""
    return bool(fake.any() and not fake.all())


def known(figure: float) -> float | None:
    """A figure as records have it: null where it does not exist (NaN)."""
    return None if np.isnan(figure) else figure


def log_odds(probabilities: Array) -> Array:
    """log(p / (1 - p)), (n,) float64; p is kept ``CLOSEST`` away from 0 and 1."""
    kept = np.clip(np.asarray(probabilities, np.float64), CLOSEST, 1 - CLOSEST)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def cllr(fake: Array, evidence: Array) -> float:
    """Cost of log-likelihood ratios in bits: 0 = perfect, 1 = says nothing, more = misleads.

    ``evidence`` (n,): natural logarithms of likelihood ratios, positive = speaks for *fake*; infinite ones are allowed where they are
    right. Brümmer and du Preez, "Application-independent evaluation of speaker detection", Computer Speech & Language 20 (2006), eq. 22.
    """
    if not both_kinds(fake):
        return float("nan")
    missed, alarmed = np.logaddexp(0, -evidence[fake]).mean(), np.logaddexp(0, evidence[~fake]).mean()
    return float((missed + alarmed) / (2 * np.log(2)))


def calibrated(fake: Array, scores: Array) -> Array:
    """The best log-likelihood ratios that any rising function of the scores could give on these very items, (n,); may be infinite.

    Isotonic regression of the labels (pool adjacent violators), odds of the set taken out. Same paper, section 5. Ties get one value.
    """
    levels, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return log_ratios(np.bincount(place, weights=fake, minlength=len(levels)), counts.astype(float))[place]


def log_ratios(fakes: Array, items: Array) -> Array:
    """``calibrated`` of levels of a score in rising order, of which each has ``fakes`` among its ``items`` (n,): (n,)."""
    from scipy.optimize import isotonic_regression

    fitted = np.clip(isotonic_regression(fakes / items, weights=items).x, 0, 1)
    with np.errstate(divide="ignore"):
        odds = np.log(fitted) - np.log1p(-fitted)
    return np.asarray(odds - np.log(fakes.sum() / (items.sum() - fakes.sum())))


def min_cllr(fake: Array, scores: Array) -> float:
    """``cllr`` of ``calibrated``: what the order of the scores is worth, however they are scaled."""
    return cllr(fake, calibrated(fake, scores)) if both_kinds(fake) else float("nan")


# --------------------------------------------------------------------------- the ratio of one score


@dataclass(frozen=True)
class Measured:
    """Items of a reference set: their truth, scores, and what counts as one for intervals (n,), a scene or an identity."""

    fake: Array
    scores: Array
    groups: Array

    def of_kind(self, *, fake: bool) -> Array:
        """Places of the items of one kind."""
        return np.flatnonzero(self.fake == fake)

    def counted(self, places: Array) -> int:
        """Groups among the items at ``places``."""
        return len(np.unique(self.groups[places]))


@dataclass(frozen=True)
class RatioOf:
    """The likelihood ratio of a score with its interval, and the bounds that hold for all scores of the set."""

    value: float
    low: float
    high: float
    least: float
    most: float


def ratio_of(measured: Measured, score: float) -> RatioOf:
    """How many times likelier ``score`` is for a fake than for a real one, by a set with both kinds.

    The ratio is that of ``calibrated``; between two scores of the set, on the straight line between their probabilities at even odds, as
    scikit-learn's isotonic regression predicts. The interval holds for any rising relation between score and ratio: see ``_interval``.
    """
    from scipy.special import expit

    fake, scores = measured.fake, measured.scores
    evidence = calibrated(fake, scores)
    levels, first = np.unique(scores, return_index=True)
    least, most = bounds(measured, evidence)
    here = _odds(float(np.interp(score, levels, expit(evidence[first]))))
    prior = measured.counted(measured.of_kind(fake=True)) / measured.counted(measured.of_kind(fake=False))
    low, high = (_odds(share) / prior for share in _interval(measured, score))
    ratio, low, high = (min(max(value, least), most) for value in (here, min(low, here), max(high, here)))
    return RatioOf(ratio, low, high, least, most)


def _odds(share: float) -> float:
    return share / (1 - share) if share < 1 else float("inf")


def _interval(measured: Measured, score: float) -> tuple[float, float]:
    """95 % interval of the share of fakes among groups with this score, if that share rises with the score and with no other assumption.

    Of the m items next below the score, each is a fake with at most the probability sought, so the lower bound of Clopper and Pearson for
    their share is one for it; those next above bound it from above. Windows of 10, 20, 40 ... items share the 2.5 % of their side evenly
    (Bonferroni), and the best of them counts. The idea of one-sided windows: Dümbgen, "Optimal confidence bands for shape-restricted
    curves", Bernoulli 9 (2003). Groups count, not items: ``_weighted``.
    """
    order = np.argsort(measured.scores, kind="stable")
    sorted_scores = measured.scores[order]
    below = order[: np.searchsorted(sorted_scores, score, side="right")][::-1]
    above = order[np.searchsorted(sorted_scores, score, side="left") :]
    lows = [low for low, _ in _windows(measured, below)]
    highs = [high for _, high in _windows(measured, above)]
    return max(lows, default=0.0), min(highs, default=1.0)


def _windows(measured: Measured, places: Array) -> list[tuple[float, float]]:
    """The interval of the share of fakes in each window of the items at ``places``, nearest first; ties are not torn apart."""
    sizes, size = [], _SMALLEST_WINDOW
    while size < len(places):
        sizes.append(size)
        size *= 2
    if len(places):
        sizes.append(len(places))
    scores, found = measured.scores[places], []
    for size in sizes:
        own = places[: len(places) - int(np.argmax(scores[::-1] == scores[size - 1]))]
        fakes, of = _weighted(measured, own)
        found.append(clopper_pearson(fakes, of, confidence=1 - (1 - CONFIDENCE) / len(sizes)))
    return found


def _weighted(measured: Measured, own: Array) -> tuple[float, float]:
    """As how many independent fakes, of how many items, those at ``own`` count.

    An item counts as much as there are groups of its kind for each item of its kind: 300 fakes of three scenes are three, beside 100 reals
    of 100 scenes. Neither kind, nor both together, count more than there are groups of them among these items.
    """
    counts, caps = [], [measured.counted(own)]
    for kind in (True, False):
        whole = measured.of_kind(fake=kind)
        inside = own[measured.fake[own] == kind]
        counts.append(len(inside) * measured.counted(whole) / len(whole))
        caps.append(measured.counted(inside))
    shares = [cap / count for cap, count in zip(caps, (sum(counts), *counts), strict=True) if count]
    shrunk = min(1.0, *shares)
    return counts[0] * shrunk, sum(counts) * shrunk


def bounds(measured: Measured, evidence: Array) -> tuple[float, float]:
    """The empirical lower and upper bound of likelihood ratios (ELUB): beyond them, stating the ratio is worse than stating none.

    ``evidence`` (n,): natural logarithms of ratios of the items. One misleading ratio of each kind is added beyond the others, since a
    finite set cannot exclude it. A threshold t is acceptable as long as deciding by the ratios costs no more than deciding without them
    (normalised Bayes error rate up to 1): for t >= 1 while t times the share of reals above t is at most the share of fakes above t.
    Vergeer, van Es, de Jongh, Alberink, Stoel: "Numerical likelihood ratios outputted by LR systems are often based on extrapolation: when
    to stop extrapolating?", Science & Justice 56 (2016) 482-491, section 2. Items count as many as there are groups of their kind.
    """
    places = [measured.of_kind(fake=kind) for kind in (True, False)]
    sizes = [measured.counted(own) for own in places]
    fakes, reals = (np.sort(evidence[own]) for own in places)
    most = _bound(fakes, reals, supporting=sizes[0], misleading=sizes[1])
    most_for_real = _bound(np.sort(-reals), np.sort(-fakes), supporting=sizes[1], misleading=sizes[0])
    return 1 / most_for_real, most


def _bound(right: Array, wrong: Array, *, supporting: int, misleading: int) -> float:
    """The first t >= 1 that is not acceptable. ``right``, ``wrong`` (sorted): evidence where it should be high, and where it should not."""
    joined = np.concatenate([right, wrong])
    # the shares change at the ratios only; above an infinite one there is nothing
    steps = np.unique(np.append(0.0, joined[(joined > 0) & np.isfinite(joined)]))
    above_right = (1 - np.searchsorted(right, steps, side="right") / len(right)) * supporting / (supporting + 1)
    above_wrong = (1 - np.searchsorted(wrong, steps, side="right") / len(wrong)) * misleading
    most = above_right / ((above_wrong + 1) / (misleading + 1))
    starts, ends = np.exp(steps), np.append(np.exp(steps[1:]), np.inf)
    first = int(np.argmax(most < ends))  # the last end is infinite, so there is one
    return float(max(1.0, starts[first], most[first]))
