"""Figures of a score: area under the ROC curve, bootstrap intervals, calibration.

Owns: how quality is counted. Scores are higher for *fake*; labels are 1 for fake.
Promises: plain functions of arrays; a fixed generator gives a fixed interval.
May be imported by detectors.training and its tests.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from base_detector import Array


def roc_auc(labels: Array, scores: Array) -> float:
    """Probability that a fake scores above a real one, ties counted half (Mann-Whitney U); NaN with one class only."""
    labels = np.asarray(labels) > 0.5
    fakes, reals = int(labels.sum()), int((~labels).sum())
    if not fakes or not reals:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[labels].sum() - fakes * (fakes + 1) / 2) / (fakes * reals))


def auc_interval(
    labels: Array, scores: Array, *, groups: Array, rng: np.random.Generator, draws: int = 1000
) -> tuple[float, float]:
    """95 % bootstrap interval of ``roc_auc``; whole ``groups`` (clips, identities) are drawn, stratified by the label of their first row.

    Frames of one clip are not independent draws, so resampling them would make the interval far too small.
    """
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    strata: list[Sequence[Array]] = [[m for m in members if labels[m[0]] == label] for label in (0, 1)]
    if not all(strata):
        return (float("nan"), float("nan"))
    values = []
    for _ in range(draws):
        drawn = np.concatenate([stratum[i] for stratum in strata for i in rng.integers(0, len(stratum), len(stratum))])
        values.append(roc_auc(labels[drawn], scores[drawn]))
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return (float(low), float(high))


def identity_interval(
    labels: Array, scores: Array, *, groups: Array, rng: np.random.Generator, draws: int = 1000
) -> tuple[float, float]:
    """95 % bootstrap interval of the ROC-AUC: identities are drawn with all their items, real and fake.

    Draws without one of the kinds count nowhere; NaN when there are only such.
    """
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    values = []
    for _ in range(draws):
        drawn = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        values.append(roc_auc(labels[drawn], scores[drawn]))
    known = np.array(values)[~np.isnan(values)]
    if not len(known):
        return (float("nan"), float("nan"))
    low, high = np.percentile(known, [2.5, 97.5])
    return (float(low), float(high))


def fit_platt(labels: Array, logits: Array) -> tuple[float, float]:
    """(slope, offset) for which sigmoid(slope * logit + offset) is the likeliest probability of fake (Platt, 1999)."""
    from scipy.optimize import minimize

    signs = np.where(np.asarray(labels) > 0.5, 1.0, -1.0)

    def cost(parameters: Array) -> float:
        return float(np.logaddexp(0, -signs * (parameters[0] * logits + parameters[1])).mean())

    slope, offset = minimize(cost, np.array([1.0, 0.0]), method="Nelder-Mead").x
    return float(slope), float(offset)


def calibration_error(labels: Array, probabilities: Array, *, bins: int = 10) -> float:
    """Expected calibration error: mean distance of stated and found share of fakes over equally filled bins."""
    order = np.argsort(probabilities)
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [len(part) * abs(float(np.mean(labels[part]) - np.mean(probabilities[part]))) for part in parts]
    return float(sum(gaps) / len(order))
