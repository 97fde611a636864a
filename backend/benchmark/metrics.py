"""Figures of one detector's scores on labelled items: plain functions of arrays.

Owns: how quality is counted. ``fake`` (n,) bool, True for a fake; ``scores`` (n,) float, higher = more fake, without gaps: items that
a detector did not judge are counted apart, never as 0.5. Promises: NaN where a figure does not exist (one class only).
Imported by the other modules of this room.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from backend.scores.ratios import both_kinds, cllr, log_odds, log_ratios, min_cllr
from base_detector import Array

#: figures that results need as well are in ``backend.scores``
__all__ = ["both_kinds", "cllr", "log_odds", "log_ratios", "min_cllr"]

#: Bins of the expected calibration error and of the reliability plot, equally wide: Guo et al., "On Calibration of Modern Neural
#: Networks", ICML 2017, section 2 (they use 15).
BINS: Final = 15


def roc_auc(fake: Array, scores: Array) -> float:
    """Probability that a fake scores above a real one, ties counted half."""
    return float(roc_auc_score(fake, scores)) if both_kinds(fake) else float("nan")


def average_precision(fake: Array, scores: Array) -> float:
    """Mean precision over the recall's steps, fakes being what is looked for; depends on the share of fakes in the set."""
    return float(average_precision_score(fake, scores)) if both_kinds(fake) else float("nan")


def equal_error_rate(fake: Array, scores: Array) -> float:
    """The error rate where as many reals are flagged as fakes are missed.

    On the straight lines between the points of the ROC curve; scikit-learn leaves out points on such a line, which changes nothing.
    """
    if not both_kinds(fake):
        return float("nan")
    alarms, found, _ = roc_curve(fake, scores)
    gap = alarms - (1 - found)  # from -1 to 1, never falling
    after = int(np.argmax(gap >= 0))
    if gap[after] == 0 or after == 0:
        return float(alarms[after])
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(alarms[after - 1] + share * (alarms[after] - alarms[after - 1]))


def found_at(fake: Array, scores: Array, *, false_alarms: float) -> float:
    """Share of fakes found by the lowest threshold that flags at most ``false_alarms`` (0..1) of the reals.

    With fewer than 1 / ``false_alarms`` reals it is the share above all of them.
    """
    if not both_kinds(fake):
        return float("nan")
    reals = np.sort(scores[~fake])[::-1]
    allowed = int(np.floor(false_alarms * len(reals) + 1e-9))
    return float(np.mean(scores[fake] > reals[allowed])) if allowed < len(reals) else 1.0


@dataclass(frozen=True)
class Confusion:
    """Counts at a threshold: score >= threshold is called fake."""

    fakes_found: int
    fakes_missed: int
    reals_passed: int
    reals_flagged: int


def confusion(fake: Array, scores: Array, *, threshold: float) -> Confusion:
    """The four counts at ``threshold``, the rule of ``BaseDetector.get_hardlabel``."""
    flagged = scores >= threshold
    counts = (flagged & fake, ~flagged & fake, ~flagged & ~fake, flagged & ~fake)
    return Confusion(*(int(kind.sum()) for kind in counts))


def balanced_accuracy(fake: Array, scores: Array, *, threshold: float) -> float:
    """Mean of the shares of fakes found and of reals passed."""
    if not both_kinds(fake):
        return float("nan")
    flagged = scores >= threshold
    return float((flagged[fake].mean() + (~flagged[~fake]).mean()) / 2)


def brier(fake: Array, probabilities: Array) -> float:
    """Mean squared distance of the stated probability of *fake* from the truth (Brier, 1950)."""
    return float(np.mean((probabilities - fake) ** 2)) if len(fake) else float("nan")


def reliability(fake: Array, probabilities: Array, *, bins: int = BINS) -> list[tuple[float, float, int]]:
    """(mean stated probability, share of fakes, items) of each equally wide bin that is not empty."""
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    own = [place == number for number in range(bins)]
    return [(float(probabilities[one].mean()), float(fake[one].mean()), int(one.sum())) for one in own if one.any()]


def calibration_error(fake: Array, probabilities: Array, *, bins: int = BINS) -> float:
    """Expected calibration error: distance of stated probability and share of fakes, mean over the items."""
    if not len(fake):
        return float("nan")
    gaps = (abs(stated - found) * items for stated, found, items in reliability(fake, probabilities, bins=bins))
    return float(sum(gaps) / len(fake))


def roc_points(fake: Array, scores: Array) -> tuple[Array, Array]:
    """False alarms and fakes found, (m,) each, at all thresholds; empty with one kind only."""
    if not both_kinds(fake):
        return np.zeros(0), np.zeros(0)
    alarms, found, _ = roc_curve(fake, scores)
    return alarms, found
