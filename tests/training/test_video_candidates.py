"""Candidates side by side: the same clips, a paired difference, a fusion that is not fitted on what it is judged by."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from detectors.training import video_candidates
from detectors.training.clips import Clip
from detectors.training.folds import Fold
from detectors.training.measure import roc_auc
from detectors.training.video_candidates import difference, fused, roc_of, scored_by, slopes_of, table_of_candidates
from detectors.training.video_measure import Scored


def scored(fold: int, number: int, logit: float, *, fake: bool) -> Scored:
    name = f"{'fake' if fake else 'real'}{fold}{number}"
    clip = Clip(Path(name), fake, "m" if fake else "", "swap" if fake else "", name, "", name)
    return Scored(clip, fold, True, {"as_is": logit})


@pytest.fixture(scope="module")
def candidate() -> list[Scored]:
    """Two folds, of which the second one's net sits ten higher; fakes a little above the real clips of their fold."""
    rng = np.random.default_rng(2)
    return [
        scored(fold, number, rng.normal(1.5 * fake + 10 * fold), fake=fake)
        for fold in range(2)
        for fake in (False, True)
        for number in range(20)
    ]


def test_the_difference_is_of_the_same_clips_and_holds_nought_for_the_same_score(candidate: list[Scored]):
    assert difference(
        candidate,
        [Scored(one.clip, one.fold, True, {"as_is": one.logits["as_is"] - 10 * one.fold}) for one in candidate],
    )[1] == (pytest.approx(0, abs=0.03))
    blind = [Scored(one.clip, one.fold, True, {"as_is": 0.0}) for one in candidate]
    low, value, high = difference(candidate, blind)
    assert 0.2 < low < value < high <= 0.5
    half = blind[:30]
    assert difference(candidate[:30], half) == pytest.approx(difference(candidate, half), abs=0.1)


def test_a_fusion_finds_what_each_of_two_scores_sees_and_learns_nothing_from_the_fold_it_judges(
    candidate: list[Scored],
):
    rng = np.random.default_rng(5)
    other = [Scored(one.clip, one.fold, True, {"as_is": rng.normal(1.5 * one.clip.fake)}) for one in candidate]
    labels = np.array([float(one.clip.fake) for one in candidate])
    both = np.array([one.logits["as_is"] for one in fused(candidate, other)])
    alone = [
        np.array([one.logits["as_is"] - 10 * one.fold * (many is candidate) for one in many])
        for many in (candidate, other)
    ]
    assert roc_auc(labels, both) > max(roc_auc(labels, values) for values in alone)
    # turn the labels of one fold round: its own fused scores stay
    first = [one.fold == 0 for one in candidate]
    turned = [
        Scored(
            Clip(one.clip.path, not one.clip.fake, "m", "swap", one.clip.identity, "", one.clip.scene),
            0,
            True,
            one.logits,
        )
        if own
        else one
        for one, own in zip(candidate, first, strict=True)
    ]
    shifted = np.array([one.logits["as_is"] for one in fused(turned, other)])[first] - both[first]
    assert np.ptp(shifted) < 1e-3, "an offset may move (the median of real clips), no slope"


def test_slopes_follow_the_labels_and_stay_small_where_nothing_is_told():
    rng = np.random.default_rng(1)
    labels = np.repeat([0.0, 1.0], 200)
    slopes = slopes_of(np.stack([rng.normal(labels), rng.normal(size=400)], axis=1), labels)
    assert slopes[0] > 0.5
    assert abs(slopes[1]) < 0.2


def test_a_roc_curve_ends_at_all_and_takes_ties_together():
    alarms, hits = roc_of(np.array([0.0, 1.0, 1.0, 0.0]), np.array([1.0, 2.0, 1.0, 0.0]))
    assert alarms.tolist() == [0, 0, 0.5, 1]
    assert hits.tolist() == [0, 0.5, 1, 1]


def test_scores_from_elsewhere_count_where_their_clip_has_one(candidate: list[Scored]):
    clips = [one.clip for one in candidate[:3]]
    folds = [Fold(0, ("m",), (), tuple(clips[:2]), (clips[2],))]
    found = scored_by({clips[0].name: 0.2, clips[2].name: 0.4}, folds)
    assert [(one.clip, one.home, one.logits["as_is"]) for one in found] == [
        (clips[0], True, 0.2),
        (clips[2], False, 0.4),
    ]


def test_the_table_has_a_line_a_candidate_and_todays_on_the_same_folds(candidate: list[Scored]):
    other = [Scored(one.clip, one.fold, True, {"as_is": 0.5}) for one in candidate]
    table = table_of_candidates({"both folds": candidate, "one fold": candidate[:40]}, other).splitlines()
    assert table[2].startswith("| both folds | 0.8")
    assert ", 40 | " in table[2]
    assert table[3].startswith("| today's on folds [0, 1] | 0.50 (0.50-0.50), 40 |")
    assert table[7].startswith("| today's on folds [0] | 0.50 (0.50-0.50), 20 |")


def test_a_candidate_without_a_fold_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [f"r{n}.mp4,real,," for n in range(10)] + [f"f{n}.mp4,fake,m{n % 5},swap" for n in range(10)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label,method,family", *rows]) + "\n")
    (tmp_path / "today.json").write_text(json.dumps({"r0.mp4": 0.1}))
    asked = ["--clips", str(tmp_path), "--out", str(tmp_path / "out"), "--today", str(tmp_path / "today.json")]
    assert video_candidates.main([*asked, f"none={tmp_path}"]) == 2
    assert "no fold of none is done" in capsys.readouterr().err
