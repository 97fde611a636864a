"""Strategies against the outputs of the published codes, and what must hold for any scores."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.scores.aggregate import (
    STRATEGIES,
    consensus,
    deepware_person,
    deepware_video,
    integrity_curve,
    report_auc,
    video_score,
)
from base_detector import FACE_DTYPE
from shared.errors import PermanentError


def faces(*rows: tuple[int, int]) -> np.ndarray:
    """Faces of (shot, person)."""
    table = np.zeros(len(rows), FACE_DTYPE)
    table["frame"] = np.arange(len(rows))
    for name, column in zip(("shot", "person"), np.array(rows, int).reshape(-1, 2).T, strict=True):
        table[name] = column
    return table


def score(
    strategy: str, scores: list[float], table: np.ndarray | None = None, persons: dict[int, float] | None = None
) -> float:
    table = faces(*[(0, 0)] * len(scores)) if table is None else table
    return video_score(strategy, scores=np.array(scores, float), faces=table, persons_scores=persons or {})


def golden(research: Path, name: str) -> dict:
    return json.loads((research / "detectors" / "golden" / "a" / f"{name}.json").read_text())


def test_deepware_persons_equal_the_published_code(research: Path) -> None:
    cases = [case for case in golden(research, "deepware")["aggregate"]["id_strategy"] if case["id_score"] != "NaN"]
    assert len(cases) > 8
    for case in cases:
        assert deepware_person(np.array(case["faces"])) == pytest.approx(case["id_score"], abs=1e-6), case


def test_deepware_videos_equal_the_published_code(research: Path) -> None:
    cases = golden(research, "deepware")["aggregate"]["strategy"]
    assert len(cases) > 10
    for case in cases:
        assert deepware_video(np.array(case["ids"])) == pytest.approx(case["clipped"], abs=1e-6), case


def test_deepware_from_faces_to_video_equals_the_published_code(research: Path) -> None:
    compared = 0
    for case in golden(research, "deepware")["aggregate"]["process"]:
        if all(label < 0 for label in case["dbscan_labels"]):
            continue  # nobody: the published code says 0.5, we say nothing
        table = faces(*[(0, label) for label in case["dbscan_labels"]])
        assert score("deepware", case["face_scores"], table) == pytest.approx(case["process_score"], abs=1e-6), case
        compared += 1
    assert compared >= 2


def test_one_clear_real_face_is_its_own_score_where_the_published_code_divides_by_zero() -> None:
    assert score("deepware", [0.1]) == pytest.approx(0.1)


def test_mever_rule_on_the_research_cases(research: Path) -> None:
    compared = 0
    for case in golden(research, "mever")["cases"]:
        rows, scores = [], []
        for shot, persons in enumerate(case["shots_clusters_faces_models"]):
            for person, own in enumerate(persons):
                for models in own:
                    rows.append((shot, person))
                    scores.append(float(np.mean(models)))
        if not rows:
            continue
        assert score("max_of_persons_of_shots", scores, faces(*rows)) == pytest.approx(case["video"], abs=1e-6)
        compared += 1
    assert compared >= 5


def test_a_person_in_two_shots_is_averaged_shot_by_shot() -> None:
    table = faces((0, 0), (0, 0), (1, 0), (1, 1))
    assert score("max_of_persons_of_shots", [0.2, 0.4, 0.9, 0.1], table) == pytest.approx(0.9)


def test_faces_without_opinion_and_without_person_are_left_out() -> None:
    table = faces((0, 0), (0, -1), (0, 1))
    assert score("mean", [0.2, 0.4, math.nan], table) == pytest.approx(0.3)
    assert score("max_of_persons_of_shots", [0.2, 0.9, math.nan], table) == pytest.approx(0.2)
    assert score("deepware", [0.3, 0.9, math.nan], table) == pytest.approx(0.3)
    assert score("max_of_persons", [0.2, 0.9, math.nan], table, {0: 0.25, 1: 0.6}) == pytest.approx(0.6)


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_no_scored_face_is_an_error_and_never_a_half(strategy: str) -> None:
    with pytest.raises(PermanentError, match="not_judgeable"):
        score(strategy, [math.nan, math.nan])
    with pytest.raises(PermanentError, match="not_judgeable"):
        score(strategy, [])


@pytest.mark.parametrize("strategy", ["deepware", "max_of_persons", "max_of_persons_of_shots"])
def test_nobody_is_an_error_for_strategies_over_persons(strategy: str) -> None:
    with pytest.raises(PermanentError, match="not_judgeable"):
        score(strategy, [0.4], faces((0, -1)))


def test_an_unknown_strategy_is_named() -> None:
    with pytest.raises(PermanentError, match="unknown_strategy"):
        score("median", [0.4])


def test_scores_that_do_not_belong_to_the_faces_are_refused() -> None:
    with pytest.raises(ValueError, match="parallel"):
        video_score("mean", scores=np.array([0.1, 0.2]), faces=faces((0, 0)), persons_scores={})


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.sampled_from(sorted(STRATEGIES)))
def test_every_strategy_stays_between_the_lowest_and_highest_score(scores: list[float], strategy: str) -> None:
    value = score(strategy, scores, persons={0: float(np.mean(scores))})
    low, high = min(scores), max(scores)
    if strategy == "deepware":  # adds up to -log10(0.8) and clips
        low, high = min(low, 0.99), max(high + 0.0970, 0.01)
    assert low - 1e-9 <= value <= high + 1e-9
    assert 0 <= value <= 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_the_area_under_sorted_integrity_scores_is_their_mean(scores: list[float]) -> None:
    assert report_auc(np.array(scores)) == pytest.approx(1 - float(np.mean(scores)), abs=1e-9)
    assert np.all(np.diff(integrity_curve(np.array(scores))) <= 0)


def test_the_area_leaves_out_faces_without_scores_and_needs_one() -> None:
    assert report_auc(np.array([0.25, math.nan])) == pytest.approx(0.75)
    with pytest.raises(PermanentError, match="not_judgeable"):
        report_auc(np.array([math.nan]))


def test_consensus_takes_only_detectors_with_scores(made_detector, made_silent, made_result) -> None:
    rows = list(made_result(frames=4).faces)
    two = [
        made_detector("aa", faces=rows, level=0.9, fake_score=0.9),
        made_detector("bb", faces=rows, level=0.1, fake_score=0.1),
    ]
    [found] = consensus([*two, made_silent("cc", status="failed", code="detector_failed")])
    assert found is not None
    assert (found.detectors, found.mean, found.minimum, found.maximum) == (2, pytest.approx(0.5), 0.1, 0.9)
    assert found.standard_deviation == pytest.approx(0.4)


def test_one_opinion_is_no_consensus(made_detector, made_silent, made_result) -> None:
    rows = list(made_result(frames=4).faces)
    one = [made_detector("aa", faces=rows, level=0.9)]
    assert consensus([*one, made_silent("cc", status="timed_out", code="detector_timed_out")]) == ()
    assert consensus([]) == ()
