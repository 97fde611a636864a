"""From a network's logits to a probability, in numpy.

Owns: the logistic function, and the softmax of two classes. May be imported by detectors, in workers only.
"""

from __future__ import annotations

import numpy as np

from base_detector import Array


def sigmoid(logits: Array) -> Array:
    """1 / (1 + exp(-x)) of any shape; exp of a large negative logit overflows, tanh gives the same curve without."""
    return np.asarray(0.5 * (1 + np.tanh(logits / 2)))


def softmax_at(logits: Array, *, index: int) -> Array:
    """Probability of class ``index`` of two: (..., 2) -> (...) float64, the sigmoid of how far its logit is above the other."""
    wide = np.asarray(logits, np.float64)
    return sigmoid(wide[..., index] - wide[..., 1 - index])
