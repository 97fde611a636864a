"""From a network's logits to a probability, in numpy.

Owns: the logistic function. May be imported by detectors, in workers only.
"""

from __future__ import annotations

import numpy as np

from base_detector import Array


def sigmoid(logits: Array) -> Array:
    """1 / (1 + exp(-x)) of any shape; exp of a large negative logit overflows, tanh gives the same curve without."""
    return np.asarray(0.5 * (1 + np.tanh(logits / 2)))
