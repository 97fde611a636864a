"""Figures are the textbook's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from detectors.training.measure import auc_interval, calibration_error, fit_platt, roc_auc


def test_roc_auc_is_scikit_learns_with_ties():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 500)
    scores = np.round(labels * 0.4 + rng.random(500), 1)
    assert roc_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_roc_auc_of_one_class_is_no_number():
    assert np.isnan(roc_auc(np.ones(5), np.arange(5)))


def test_the_interval_holds_the_figure_and_widens_when_frames_belong_together():
    rng = np.random.default_rng(2)
    clips = np.repeat(np.arange(12), 40)
    labels = (clips % 2).astype(float)
    scores = labels * 0.8 + rng.normal(0, 1, 12)[clips] + rng.normal(0, 0.2, 480)
    by_clip = auc_interval(labels, scores, groups=clips, rng=np.random.default_rng(3), draws=300)
    by_frame = auc_interval(labels, scores, groups=np.arange(480), rng=np.random.default_rng(3), draws=300)
    assert by_clip[0] <= roc_auc(labels, scores) <= by_clip[1]
    assert by_clip[1] - by_clip[0] > 2 * (by_frame[1] - by_frame[0])


def test_platt_finds_slope_and_offset_again():
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 2, 20000)
    labels = (rng.random(20000) < 1 / (1 + np.exp(-(0.6 * logits - 0.4)))).astype(float)
    slope, offset = fit_platt(labels, logits)
    assert (slope, offset) == (pytest.approx(0.6, abs=0.05), pytest.approx(-0.4, abs=0.05))
    stated = 1 / (1 + np.exp(-(slope * logits + offset)))
    assert calibration_error(labels, stated) < 0.02
    assert calibration_error(labels, 1 / (1 + np.exp(-3 * logits))) > 0.05
