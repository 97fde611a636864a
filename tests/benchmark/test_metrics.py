"""Figures of scores: known answers of scores that authors published, scikit-learn as the reference, and intervals that are not too sure."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from backend.benchmark import metrics, resampling


def published(research: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(fake, score for real) of scores that authors published."""
    with gzip.open(research / "scores" / f"{name}.csv.gz", "rt") as stream:
        rows = list(csv.DictReader(stream))
    return np.array([row["label"] == "fake" for row in rows]), np.array([float(row["score"]) for row in rows])


def test_logits_of_rawgat_st_have_the_known_figures(research: Path):
    fake, real_score = published(research, "rawgat_st_mul_asvspoof2019la")
    assert metrics.equal_error_rate(fake, -real_score) == pytest.approx(0.0106, abs=5e-5)
    assert metrics.roc_auc(fake, -real_score) == pytest.approx(0.9990, abs=5e-5)
    assert metrics.cllr(fake, -real_score) == pytest.approx(0.066, abs=5e-4)  # logits taken as log-likelihood ratios
    assert metrics.min_cllr(fake, -real_score) == pytest.approx(0.047, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "eer", "auc", "cllr", "least", "reals_flagged"),
    [
        ("w2v2aasist_cotrained_inthewild", 0.0468, 0.9907, 0.191, 0.167, None),
        ("w2v2aasist_vocoder_inthewild", 0.2371, 0.8565, 6.25, 0.663, 0.999),
    ],
)
def test_probabilities_of_wav2vec_and_aasist_have_the_known_figures(
    research: Path, name: str, eer: float, auc: float, cllr: float, least: float, reals_flagged: float | None
):
    fake, real_score = published(research, name)
    score = 1 - real_score
    assert metrics.equal_error_rate(fake, score) == pytest.approx(eer, abs=1.5e-4)
    assert metrics.roc_auc(fake, score) == pytest.approx(auc, abs=5e-5)
    assert metrics.cllr(fake, metrics.log_odds(score)) == pytest.approx(cllr, abs=5e-3)
    assert metrics.min_cllr(fake, score) == pytest.approx(least, abs=5e-4)
    if reals_flagged:
        counts = metrics.confusion(fake, score, threshold=0.5)
        assert counts.reals_flagged / (~fake).sum() == pytest.approx(reals_flagged, abs=5e-4)


def sample(items: int, *, digits: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    fake = rng.random(items) < 0.4
    return fake, np.round(1 / (1 + np.exp(-(rng.normal(size=items) + fake))), digits)


@pytest.mark.parametrize("digits", [1, 2, 8], ids=["many ties", "ties", "no ties"])
def test_the_fast_figures_of_draws_are_those_of_the_drawn_items(digits: int):
    fake, scores = sample(300, digits=digits)
    weights = np.random.default_rng(1).integers(0, 4, size=(5, 300)).astype(float)
    many = resampling.Weighted(fake, scores, threshold=0.4)
    found = many.figures(weights) | {"min_cllr": many.min_cllr(weights)}
    for draw, row in enumerate(weights.astype(int)):
        f, s = np.repeat(fake, row), np.repeat(scores, row)
        wanted = {
            "roc_auc": metrics.roc_auc(f, s),
            "eer": metrics.equal_error_rate(f, s),
            "average_precision": metrics.average_precision(f, s),
            "balanced_accuracy": metrics.balanced_accuracy(f, s, threshold=0.4),
            "found_at_1": metrics.found_at(f, s, false_alarms=0.01),
            "found_at_5": metrics.found_at(f, s, false_alarms=0.05),
            "brier": metrics.brier(f, s),
            "ece": metrics.calibration_error(f, s),
            "cllr": metrics.cllr(f, metrics.log_odds(s)),
            "min_cllr": metrics.min_cllr(f, s),
        }
        assert {name: found[name][draw] for name in wanted} == pytest.approx(wanted, abs=1e-9)


def test_figures_that_compare_do_not_exist_for_one_kind_alone():
    fake, scores = np.ones(5, bool), np.linspace(0, 1, 5)
    assert np.isnan(metrics.roc_auc(fake, scores))
    assert np.isnan(metrics.equal_error_rate(fake, scores))
    assert np.isnan(metrics.cllr(fake, metrics.log_odds(scores)))
    assert np.isnan(metrics.min_cllr(fake, scores))


def test_no_error_in_few_files_is_not_taken_for_certainty():
    fake = np.array([False] * 6 + [True] * 6)
    spans = resampling.intervals(
        fake, np.linspace(0, 1, 12), np.arange(12).astype(str), threshold=0.5, draws=200, seed=0
    )
    assert spans["roc_auc"] == pytest.approx((0.025 ** (1 / 6), 1.0))  # Clopper and Pearson, 6 of 6: 0.541
    assert spans["eer"] == pytest.approx((0.0, 1 - 0.025 ** (1 / 6)))
    assert spans["min_cllr"] is None


def test_frames_of_one_video_do_not_make_the_interval_narrower():
    fake, scores = sample(60, digits=6)
    once = resampling.intervals(fake, scores, np.arange(60).astype(str), threshold=0.5, draws=400, seed=0)
    often = resampling.intervals(
        np.repeat(fake, 50), np.repeat(scores, 50), np.repeat(np.arange(60), 50).astype(str),
        threshold=0.5, draws=400, seed=0,
    )  # fmt: skip
    assert often["roc_auc"] == pytest.approx(once["roc_auc"])


def test_one_identity_of_a_kind_gives_no_interval():
    fake = np.array([True] * 20 + [False] * 20)
    names = np.array(["a"] * 20 + [str(number) for number in range(20)])
    assert resampling.intervals(fake, np.linspace(0, 1, 40), names, threshold=0.5, draws=100, seed=0) == {}


def test_delong_agrees_with_the_bootstrap_and_is_left_out_where_items_share_an_identity():
    rng = np.random.default_rng(5)
    fake = rng.random(400) < 0.5
    good, poor = rng.normal(size=400) + 1.5 * fake, rng.normal(size=400) + 1.0 * fake
    found = resampling.compare(fake, good, poor, np.arange(400), draws=2000, seed=1)
    assert found.low is not None
    assert found.high is not None
    assert found.p is not None
    spread = (found.high - found.low) / (2 * 1.96)
    z = (found.first - found.second) / spread
    assert found.p == pytest.approx(2 * resampling.norm.sf(z), rel=0.5)
    assert resampling.compare(fake, good, poor, np.arange(400) // 2, draws=100, seed=1).p is None
    same = resampling.compare(fake, good, good, np.arange(400), draws=100, seed=1)
    assert (same.first - same.second, same.p, same.low) == (0.0, None, None)


def test_the_best_calibration_of_scores_without_information_costs_one_bit():
    fake = np.array([True, False] * 50)
    assert metrics.min_cllr(fake, np.full(100, 0.3)) == pytest.approx(1.0)
    assert metrics.cllr(fake, np.zeros(100)) == pytest.approx(1.0)
