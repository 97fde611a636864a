"""Likelihood ratios: known densities, scores that authors published, and the Netherlands Forensic Institute's ``lir`` as the reference."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lir.algorithms.bayeserror import elub
from lir.algorithms.isotonic_regression import IsotonicCalibrator
from scipy.stats import binomtest, norm

from backend.scores.ratios import Measured, bounds, calibrated, ratio_of
from shared.intervals import clopper_pearson

#: scores of reals and fakes are normal, this far apart: the ratio of a score x is exp(APART * (x - APART / 2))
APART = 1.5


def drawn(rng: np.random.Generator, reals: int, fakes: int, *, apart: float = APART) -> Measured:
    """A set from known densities."""
    fake = np.arange(reals + fakes) >= reals
    return Measured(fake, rng.normal(size=reals + fakes) + apart * fake, np.arange(reals + fakes))


def published(research: Path, name: str, *, most: int = 6000) -> Measured:
    """Scores for *fake* that authors published, every so many of them."""
    with gzip.open(research / "scores" / f"{name}.csv.gz", "rt") as stream:
        rows = list(csv.DictReader(stream))
    rows = rows[:: max(1, len(rows) // most)]
    fake = np.array([row["label"] == "fake" for row in rows])
    return Measured(fake, -np.array([float(row["score"]) for row in rows]), np.arange(len(rows)))


def test_the_interval_of_a_share_is_that_of_scipy():
    for reached, of in [(0, 20), (3, 139), (115, 115), (50, 100)]:
        wanted = binomtest(reached, of).proportion_ci(method="exact")
        assert clopper_pearson(reached, of) == pytest.approx((wanted.low, wanted.high))
    assert clopper_pearson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("name", ["rawgat_st_mul_asvspoof2019la", "w2v2aasist_vocoder_inthewild"])
def test_ratios_and_bounds_of_published_scores_are_those_of_lir(research: Path, name: str):
    measured = published(research, name)
    evidence = calibrated(measured.fake, measured.scores)
    with np.errstate(divide="ignore"):
        theirs = IsotonicCalibrator().fit(measured.scores, measured.fake.astype(int)).transform(measured.scores)
    assert np.allclose(10**theirs, np.exp(evidence), rtol=1e-6)
    lower, upper = elub(evidence / np.log(10), measured.fake.astype(int))
    assert np.log10(bounds(measured, evidence)) == pytest.approx(
        (lower, upper), abs=0.011
    )  # theirs goes in steps of .01


def cost(evidence: np.ndarray, fake: np.ndarray, threshold: float) -> float:
    """Normalised Bayes error rate of deciding for *fake* above ``threshold``, with one misleading ratio of each kind added."""
    fakes, reals = evidence[fake] > np.log(threshold), evidence[~fake] > np.log(threshold)
    missed = 1 - fakes.sum() / (len(fakes) + 1)
    alarmed = (reals.sum() + 1) / (len(reals) + 1)
    return float((missed + threshold * alarmed) / min(1.0, threshold))


@given(st.integers(5, 60), st.integers(5, 60), st.floats(-2, 4), st.integers(0, 2**32 - 1))
def test_bounds_of_any_set_are_the_first_thresholds_that_cost_more_than_no_evidence(
    reals: int, fakes: int, apart: float, seed: int
):
    measured = drawn(np.random.default_rng(seed), reals, fakes, apart=apart)
    evidence = calibrated(measured.fake, measured.scores)
    least, most = bounds(measured, evidence)
    for end in (least, most):
        for threshold in np.geomspace(1, end, 30)[1:-1] if abs(np.log(end)) > 1e-6 else ():
            assert cost(evidence, measured.fake, float(threshold)) <= 1 + 1e-9
    assert cost(evidence, measured.fake, most * (1 + 1e-6)) > 1 - 1e-5
    assert cost(evidence, measured.fake, least * (1 - 1e-6)) > 1 - 1e-5
    # theirs looks at every .01 of the logarithm, and may step over what costs more for less than that
    with np.errstate(divide="ignore"):
        lower, upper = elub(evidence / np.log(10), measured.fake.astype(int))
    assert np.log10(most) <= upper + 0.0201
    assert np.log10(least) >= lower - 0.0201


@given(st.integers(5, 60), st.integers(5, 60), st.floats(-2, 4), st.floats(-5, 8), st.integers(0, 2**32 - 1))
def test_no_ratio_is_beyond_what_the_sizes_support(reals: int, fakes: int, apart: float, score: float, seed: int):
    found = ratio_of(drawn(np.random.default_rng(seed), reals, fakes, apart=apart), score)
    assert 1 / (fakes + 1) <= found.least <= 1 <= found.most <= reals + 1
    assert found.least <= found.low <= found.value <= found.high <= found.most


def test_a_higher_score_never_has_a_lower_ratio():
    measured = drawn(np.random.default_rng(1), 80, 120)
    found = [ratio_of(measured, score).value for score in np.linspace(-4, 6, 200)]
    assert found == sorted(found)
    assert found[0] < 0.2
    assert found[-1] > 5


def test_scores_that_know_nothing_have_a_ratio_of_one_in_their_interval():
    measured = drawn(np.random.default_rng(2), 139, 115, apart=0.0)
    for score in np.linspace(-2, 2, 9):
        found = ratio_of(measured, score)
        assert found.low <= 1 <= found.high


def test_items_of_one_scene_count_once():
    """Ten copies of a set do not make it ten times as sure."""
    once = drawn(np.random.default_rng(3), 30, 30, apart=3.0)
    copied = Measured(*(np.tile(part, 10) for part in (once.fake, once.scores, once.groups)))
    apart = Measured(copied.fake, copied.scores, np.arange(600))
    few, many = ratio_of(copied, 3.0), ratio_of(apart, 3.0)
    assert few.most == pytest.approx(ratio_of(once, 3.0).most)
    assert few.most < many.most / 3
    assert few.low < many.low


def misses(draws: int, *, scenes: tuple[int, int], files: tuple[int, int]) -> float:
    """How often the interval misses the truth; scores of a scene are nearly one score. ``scenes``, ``files`` of each: (real, fake)."""
    rng, missed = np.random.default_rng(18), []
    fake = np.repeat([False, True], [scenes[0] * files[0], scenes[1] * files[1]])
    groups = np.r_[np.repeat(np.arange(scenes[0]), files[0]), scenes[0] + np.repeat(np.arange(scenes[1]), files[1])]
    for _ in range(draws):
        scores = rng.normal(size=sum(scenes))[groups] + fake + rng.normal(0, 0.1, size=len(fake))
        score = float(rng.normal(rng.integers(2), 1))
        found, truth = ratio_of(Measured(fake, scores, groups), score), float(np.exp(score - 0.5))
        missed.append(not found.low <= min(max(truth, found.least), found.most) <= found.high)
    return float(np.mean(missed))


@pytest.mark.parametrize(
    ("scenes", "files"), [((100, 3), (1, 100)), ((3, 100), (100, 1)), ((5, 20), (40, 5)), ((3, 3), (100, 100))]
)
def test_few_scenes_of_many_files_stay_few_beside_many_scenes_of_the_other_kind(
    scenes: tuple[int, int], files: tuple[int, int]
):
    """Counted as scenes of both kinds together, 300 fakes of three scenes were nearly 300 witnesses: one interval in five missed."""
    assert misses(150, scenes=scenes, files=files) <= 0.05


def test_one_scene_of_a_kind_supports_nothing():
    """Whatever its score: one scene is one witness."""
    rng = np.random.default_rng(5)
    fake = np.repeat([False, True], [100, 100])
    groups = np.where(fake, 100, np.arange(200))
    for score in (0.0, 5.0, 9.0):
        found = ratio_of(Measured(fake, rng.normal(size=200) + 9.0 * fake, groups), score)
        assert found.low <= 1 <= found.high


@pytest.mark.parametrize(("reals", "fakes"), [([0.5] * 40, [0.5] * 40), ([0.0] * 5, [1.0] * 5), ([1.0] * 5, [0.0] * 5)])
def test_equal_scores_and_tiny_sets_support_nothing(reals: list[float], fakes: list[float]):
    fake = np.repeat([False, True], [len(reals), len(fakes)])
    for score in (0.0, 0.5, 1.0):
        found = ratio_of(Measured(fake, np.array([*reals, *fakes]), np.arange(len(fake))), score)
        assert found.least <= found.low <= 1 <= found.high <= found.most


def test_reals_alone_above_a_score_are_no_support_for_fake():
    fake = np.array([False] * 40 + [True] * 40)
    scores = np.where(fake, 0.2, 0.8)  # the wrong way round
    found = ratio_of(Measured(fake, scores, np.arange(80)), 0.9)
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)


def coverage(draws: int, *, reals: int, fakes: int) -> tuple[float, float, float]:
    """Of many sets from known densities: how often the interval of a share holds it, that of a ratio holds it, the ratio is in bounds."""
    rng, shares, ratios, inside = np.random.default_rng(18), [], [], []
    for _ in range(draws):
        measured = drawn(rng, reals, fakes)
        score = rng.uniform(-0.5, 2.0)
        reached = int((measured.scores[:reals] >= score).sum())
        low, high = clopper_pearson(reached, reals)
        shares.append(low <= norm.sf(score) <= high)
        found, truth = ratio_of(measured, score), float(np.exp(APART * (score - APART / 2)))
        ratios.append(found.low <= truth <= found.high or truth > found.most or truth < found.least)
        inside.append(found.least <= found.value <= found.most)
    return float(np.mean(shares)), float(np.mean(ratios)), float(np.mean(inside))


def test_intervals_hold_the_truth_of_known_densities():
    shares, ratios, inside = coverage(60, reals=400, fakes=300)
    assert shares >= 0.85  # 60 draws: 95 % within three standard deviations
    assert ratios >= 0.9
    assert inside == 1


@pytest.mark.slow
def test_intervals_of_a_thousand_sets_hold_the_truth_as_often_as_they_say():
    """Clopper and Pearson promise at least 95 %; so does the interval of the ratio, which assumes no more than that it rises."""
    shares, ratios, inside = coverage(1000, reals=1000, fakes=800)
    assert shares == pytest.approx(0.95, abs=0.015)
    assert ratios >= 0.95
    assert inside == 1
