"""Scores are rounded by one rule wherever they are shown."""

from __future__ import annotations

import pytest

from shared.rounding import for_drawing, score


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "–"), (0.0, "0.00"), (1e-6, "<0.01"), (0.004, "<0.01"), (0.126, "0.13"), (0.994, "0.99"), (0.9999, ">0.99"), (1.0, "1.00")],
)  # fmt: skip
def test_one_and_zero_mean_exactly_those(value: float | None, words: str) -> None:
    assert score(value) == words


@pytest.mark.parametrize(
    ("value", "threshold", "words"),
    [(0.4996, 0.5, "<0.50"), (0.5, 0.5, "0.50"), (0.899, 0.9, "<0.90"), (0.49, 0.5, "0.49"), (0.9999, 1.0, ">0.99")],
)
def test_a_score_below_its_threshold_is_not_shown_as_the_threshold(value: float, threshold: float, words: str) -> None:
    assert score(value, threshold=threshold) == words


@pytest.mark.parametrize("value", [1e-9, 0.00004, 0.99996, 1 - 1e-12])
def test_fewer_digits_make_no_score_zero_or_one(value: float) -> None:
    assert 0 < for_drawing(value) < 1
    assert score(for_drawing(value)) == score(value)


def test_certain_scores_stay_certain() -> None:
    assert [for_drawing(value) for value in (0.0, 0.12345, 1.0)] == [0.0, 0.1235, 1.0]
