"""Whether detectors err together: how alike two of them rank files, and whether they are wrong about the same ones.

Owns the figures of ``Together``. Real and manipulated files are counted apart: over both, the label alone would make the scores of two good
detectors alike. Promises: intervals draw whole groups; a figure that does not exist is NaN, and one that draws cannot bound has no
interval. Imported by ``tables``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from backend.benchmark.resampling import Groups, Interval
from base_detector import Array
from shared.intervals import CONFIDENCE

#: Share of draws in which a figure may be undefined (no error was drawn) while it still gets an interval.
_MOST_UNDEFINED: Final = 0.05

#: (m, n) weights -> (m,) figures
_Figure = Callable[[Array], Array]


def figures(
    first: Array, second: Array, wrong: tuple[Array, Array], names: Array, *, draws: int, seed: int
) -> dict[str, tuple[float, Interval | None]]:
    """``rank`` (Spearman's rho of the scores), ``phi`` and ``kappa`` (of the errors), each with its interval.

    ``first``, ``second`` (n,): scores of files of one kind; ``wrong``: for each detector, whether it is on the wrong side, (n,) bool;
    ``names`` (n,): their groups.
    """
    rules: dict[str, _Figure] = {
        "rank": lambda weights: rank_correlation(first, second, weights),
        "phi": lambda weights: phi(*wrong, weights),
        "kappa": lambda weights: kappa(*wrong, weights),
    }
    groups = Groups.of(np.zeros(len(first), bool), names)
    drawn = list(groups.draws(draws=draws, seed=seed)) if len(groups.kind) >= 2 else []
    once = np.ones((1, len(first)))
    return {
        name: (float(rule(once)[0]), _interval(np.concatenate([rule(some) for some in drawn])) if drawn else None)
        for name, rule in rules.items()
    }


def _interval(values: Array) -> Interval | None:
    known = values[~np.isnan(values)]
    if len(known) < (1 - _MOST_UNDEFINED) * len(values):
        return None
    low, high = (float(value) for value in np.percentile(known, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)]))
    return (low, high) if high - low > 1e-12 else None  # draws that are all the same do not show how sure it is


def rank_correlation(first: Array, second: Array, weights: Array) -> Array:
    """Spearman's rho of two scores (n,) for each weighting (m, n) of the files: (m,). Ties get the mean of their ranks."""
    return _pearson(_ranks(first, weights), _ranks(second, weights), weights)


def _ranks(scores: Array, weights: Array) -> Array:
    """Mid-ranks of the files, each there as often as its weight says, (m, n)."""
    levels, place = np.unique(scores, return_inverse=True)
    there = np.zeros((len(weights), len(levels)))
    for number in range(len(levels)):
        there[:, number] = weights[:, place == number].sum(1)
    return np.asarray((np.cumsum(there, 1) - there / 2)[:, place])


def _pearson(one: Array, other: Array, weights: Array) -> Array:
    total = weights.sum(1, keepdims=True)
    one, other = (values - (values * weights).sum(1, keepdims=True) / total for values in (one, other))
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt((weights * one**2).sum(1) * (weights * other**2).sum(1))
        return np.where(spread > 1e-12, (weights * one * other).sum(1) / spread, np.nan)


def phi(one: Array, other: Array, weights: Array) -> Array:
    """Correlation of two yes-or-no values (n,) bool for each weighting (m, n): (m,); NaN where one of them does not vary."""
    ones = np.ones((len(weights), 1))
    return _pearson(one * ones, other * ones, weights)


def kappa(one: Array, other: Array, weights: Array) -> Array:
    """Cohen's kappa (Educational and Psychological Measurement 20, 1960) of two yes-or-no values, as ``phi``."""
    total = weights.sum(1)
    agree = (weights * (one == other)).sum(1) / total
    shares = [(weights * values).sum(1) / total for values in (one, other)]
    chance = shares[0] * shares[1] + (1 - shares[0]) * (1 - shares[1])
    varies = np.all([(share > 1e-12) & (share < 1 - 1e-12) for share in shares], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(varies, (agree - chance) / (1 - chance), np.nan)
