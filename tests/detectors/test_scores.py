"""From logits to probabilities: the same curve everywhere, and no overflow at its ends."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.nets.scores import sigmoid, softmax_at


def test_the_sigmoid_is_the_logistic_function():
    logits = np.linspace(-30, 30, 601)
    np.testing.assert_allclose(sigmoid(logits), 1 / (1 + np.exp(-logits)), rtol=0, atol=3e-16)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_extreme_logits_give_0_and_1_without_a_warning(kind: type):
    # warnings are errors in this suite; exp(900) would give one
    assert sigmoid(np.array([-900.0, 0.0, 900.0], kind)).tolist() == [0, 0.5, 1]
    assert softmax_at(np.array([[-900.0, 900.0], [2.0, 2.0]], kind), index=0).tolist() == [0, 0.5]


def test_the_two_classes_share_one_and_the_larger_logit_has_the_larger_part():
    logits = np.random.default_rng(3).normal(0, 5, (4, 7, 2)).astype(np.float32)
    first, second = softmax_at(logits, index=0), softmax_at(logits, index=1)
    assert first.shape == (4, 7)
    assert first.dtype == np.float64
    np.testing.assert_allclose(first + second, 1, rtol=0, atol=3e-16)
    assert ((first > 0.5) == (logits[..., 0] > logits[..., 1])).all()
    wide = np.exp(logits.astype(np.float64))
    np.testing.assert_allclose(first, wide[..., 0] / wide.sum(axis=-1), rtol=0, atol=1e-15)
