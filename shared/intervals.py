"""Intervals of shares, for both sides of the platform. May be imported by all.

SciPy, longer to import than most of what a page or a command needs, is imported when an interval is asked for.
"""

from __future__ import annotations

from typing import Final

#: Two-sided, as all intervals of the platform.
CONFIDENCE: Final = 0.95


def clopper_pearson(reached: float, of: float, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of a share by Clopper and Pearson, Biometrika 26 (1934). ``of`` may be a fraction: a number of items after dependence
    between them was taken out, as Korn and Graubard do for surveys (Survey Methodology 24, 1998)."""
    if of <= 0:
        return 0.0, 1.0
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = float(betaincinv(reached, of - reached + 1, tail)) if reached > 0 else 0.0
    high = float(betaincinv(reached + 1, of - reached, 1 - tail)) if reached < of else 1.0
    return low, high
