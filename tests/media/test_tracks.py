"""Linking the faces of two pictures."""

from __future__ import annotations

import numpy as np

from backend.media import tracks


def test_with_one_face_the_assignment_is_the_one_of_many_ties_included():
    from scipy.optimize import linear_sum_assignment

    rng = np.random.default_rng(4)
    for _ in range(500):
        gains = rng.integers(0, 4, (1, int(rng.integers(1, 7)))) / 4
        for own in (gains, gains.T):
            expected = linear_sum_assignment(own, maximize=True)
            assert [item.tolist() for item in tracks._assigned(own)] == [item.tolist() for item in expected]
