"""The figures of the table: counted once, compared within one net, uncertain by scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from detectors.training.clips import Clip
from detectors.training.video_measure import Scored, by_fold, degraded, found_at, pairs_in_order, row_of, table_of


def scored(
    name: str, logit: float, *, fake: bool, fold: int = 0, home: bool = True, pair: str = "", **other: float
) -> Scored:
    clip = Clip(Path(name), fake, "m" if fake else "", "swap" if fake else "", name, pair, pair or name)
    return Scored(clip, fold, home, {"as_is": logit} | other)


def test_folds_whose_nets_sit_higher_do_not_spoil_the_pooled_order():
    rows = [scored(f"r{f}{n}", 10 * f + n, fake=False, fold=f) for f in range(2) for n in range(5)]
    rows += [scored(f"f{f}{n}", 10 * f + 5 + n, fake=True, fold=f) for f in range(2) for n in range(5)]
    assert by_fold(rows) == {0: 1.0, 1: 1.0}
    row = row_of("all", rows, chosen=lambda clip: True)
    assert (row.clips, row.auc, row.found) == (10, 1.0, 1.0)


def test_a_fake_is_compared_with_its_original_as_its_own_fold_scored_it():
    rows = [
        scored("ada", 5.0, fake=False, fold=1),  # another net: says nothing about the fake
        scored("ada", 1.0, fake=False, fold=0, home=False),
        scored("f", 2.0, fake=True, fold=0, pair="ada"),
        scored("g", 0.0, fake=True, fold=0, pair="ada"),
        scored("h", 9.0, fake=True, fold=0, pair="nobody"),
    ]
    assert pairs_in_order(rows) == (1, 2)


def test_found_counts_fakes_above_the_tail_of_the_real_clips():
    labels = np.array([0.0] * 20 + [1.0] * 4)
    scores = np.array([*range(20), 18.0, 18.5, 19.0, 30.0])
    assert found_at(labels, scores) == pytest.approx(0.25)
    assert found_at(labels, scores, alarms=0.1) == pytest.approx(0.75)


def test_clips_of_one_scene_make_the_interval_no_smaller():
    rng = np.random.default_rng(3)
    one = [scored(f"r{n}", rng.normal(), fake=False) for n in range(30)]
    one += [scored(f"f{n}", rng.normal(1), fake=True) for n in range(15)]
    same = row_of("all", one, chosen=lambda clip: True)
    copied = row_of("all", one * 8, chosen=lambda clip: True)
    assert copied.auc == pytest.approx(same.auc)
    assert copied.high - copied.low == pytest.approx(same.high - same.low, rel=0.2)


def test_degraded_copies_are_measured_against_the_clip_as_it_is():
    rows = [scored(f"r{n}", -2.0, fake=False, crf32=-2.0) for n in range(4)]
    rows += [scored(f"f{n}", 2.0, fake=True, crf32=-2.0) for n in range(4)]
    found = degraded(rows)
    assert found["as_is"] == (1.0, 0.0)
    auc, move = found["crf32"]
    assert auc == 0.5
    assert 0 < move < 0.8


def test_the_table_names_families_and_methods_and_says_when_nothing_is_done():
    rows = [scored(f"r{n}", -1.0, fake=False) for n in range(4)] + [scored(f"f{n}", 1.0, fake=True) for n in range(3)]
    text = table_of(rows)
    assert "| swap | 3 | 1.00" in text
    assert "| m | 3 |" in text or "| - m | 3 |" in text
    assert table_of(rows[:4]) == table_of([]) == "No fold with real and fake clips is done yet."
