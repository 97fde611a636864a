"""Whether detectors err together: known correlations come back, the label does not make two detectors alike, cousins are told."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from scipy.stats import norm, spearmanr
from sklearn.metrics import cohen_kappa_score, matthews_corrcoef

from backend.benchmark import exports, output, together
from backend.benchmark.page import page
from backend.benchmark.records import Row
from tests.benchmark.rows import measured, row

ONCE = np.ones((1, 400))


def correlated(rng: np.random.Generator, count: int, rho: float) -> tuple[np.ndarray, np.ndarray]:
    """Two scores (count,) whose normal scores have correlation ``rho``."""
    made = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=count)
    return norm.cdf(made[:, 0]), norm.cdf(made[:, 1])


@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.8])
def test_a_known_correlation_is_found_and_its_interval_holds_it(rho: float):
    rng = np.random.default_rng(18)
    one, other = correlated(rng, 400, rho)
    wrong = one >= 0.7, other >= 0.7
    names = np.arange(400).astype(str)
    found = together.figures(one, other, wrong, names, draws=300, seed=1)
    spearman = 6 / np.pi * np.arcsin(rho / 2)  # of the normal distribution (Pearson, 1907)
    value, span = found["rank"]
    assert value == pytest.approx(float(spearmanr(one, other).statistic))
    assert span is not None
    assert span[0] < spearman < span[1]
    assert found["phi"][0] == pytest.approx(matthews_corrcoef(*wrong))
    assert found["kappa"][0] == pytest.approx(cohen_kappa_score(*wrong))


def test_a_weighted_figure_is_that_of_the_drawn_files():
    rng = np.random.default_rng(2)
    one, other = (np.round(scores, 1) for scores in correlated(rng, 60, 0.5))  # with ties
    wrong = one >= 0.6, other >= 0.7
    weights = rng.multinomial(60, np.full(60, 1 / 60), size=5).astype(float)
    places = [np.repeat(np.arange(60), row.astype(int)) for row in weights]
    ranks = together.rank_correlation(one, other, weights)
    assert ranks == pytest.approx([float(spearmanr(one[p], other[p]).statistic) for p in places])
    assert together.phi(*wrong, weights) == pytest.approx([matthews_corrcoef(wrong[0][p], wrong[1][p]) for p in places])
    assert together.kappa(*wrong, weights) == pytest.approx(
        [cohen_kappa_score(wrong[0][p], wrong[1][p]) for p in places]
    )


def test_files_of_one_scene_make_the_interval_no_narrower():
    rng = np.random.default_rng(3)
    one, other = correlated(rng, 30, 0.4)
    scenes = np.arange(30).astype(str)

    def width(copies: int) -> float:
        scores = [np.repeat(values, copies) for values in (one, other)]
        found = together.figures(
            *scores, (scores[0] > 0.5, scores[1] > 0.5), np.repeat(scenes, copies), draws=300, seed=1
        )
        span = found["rank"][1]
        assert span is not None
        return span[1] - span[0]

    assert width(20) == pytest.approx(width(1), rel=0.05)


def test_without_errors_there_is_no_correlation_of_them_and_no_interval_of_one_scene():
    one, other = correlated(np.random.default_rng(4), 40, 0.0)
    none = np.zeros(40, bool)
    found = together.figures(one, other, (none, one > 0.5), np.arange(40).astype(str), draws=100, seed=1)
    assert np.isnan(found["phi"][0])
    assert np.isnan(found["kappa"][0])
    assert found["phi"][1] is None
    assert together.figures(one, other, (none, none), np.full(40, "a"), draws=100, seed=1)["rank"][1] is None
    seldom = np.arange(40) == 0  # in a third of the draws there is no such file
    assert (
        together.figures(one, other, (seldom, one > 0.5), np.arange(40).astype(str), draws=100, seed=1)["phi"][1]
        is None
    )


def rows_of(scores: dict[str, dict[str, float]]) -> list[Row]:
    """detector -> file -> score."""
    return [row(name, score, detector=detector) for detector, own in scores.items() for name, score in own.items()]


def test_good_detectors_with_independent_errors_are_not_called_alike_and_cousins_are():
    """Over both kinds the label makes all three alike (each puts every fake far above every real file)."""
    rng = np.random.default_rng(5)
    names = [*(f"r{n}" for n in range(80)), *(f"f{n}" for n in range(80))]
    shift = np.array([0.0 if name.startswith("r") else 0.5 for name in names])
    base, free = rng.uniform(0, 0.5, 160), rng.uniform(0, 0.5, 160)
    cousin = np.clip(base + rng.normal(0, 0.02, 160), 0, 0.5)
    scores = {
        detector: dict(zip(names, (values + shift).tolist(), strict=True))
        for detector, values in (("mesonet", base), ("meso_cnn", cousin), ("selfblend", free))
    }
    benchmark = output.assemble(measured(rows_of(scores), detectors=tuple(scores)))
    assert len(benchmark.together) == 6  # three pairs, two kinds
    for one in benchmark.together:
        assert (one.items, one.groups) == (80, 80)
        rank = one.rank
        assert rank.value is not None
        assert rank.low is not None
        if {one.first, one.second} == {"mesonet", "meso_cnn"}:
            assert rank.low > 0.9
        else:
            assert abs(rank.value) < 0.3
    text = page(benchmark)
    assert text.count("do not take them for two witnesses") == 2
    assert text.count('<table class="matrix">') == 2
    lines = list(csv.DictReader(io.StringIO(exports.together_csv(benchmark))))
    assert [(line["first"], line["second"], line["truth"]) for line in lines[:2]] == [
        ("mesonet", "meso_cnn", "real"),
        ("mesonet", "meso_cnn", "fake"),
    ]
    assert float(lines[0]["rank"]) == pytest.approx(benchmark.together[0].rank.value, rel=1e-5)


def test_errors_at_the_thresholds_are_counted_beside_what_chance_would_give():
    reals = {f"r{n}": 0.9 if n < 5 else 0.1 for n in range(20)}
    other = {f"r{n}": 0.95 if 2 <= n < 6 else 0.1 for n in range(20)}
    fakes = {f"f{n}": 0.9 for n in range(4)}
    benchmark = output.assemble(
        measured(rows_of({"mesonet": reals | fakes, "selfblend": other | fakes}), detectors=("mesonet", "selfblend"))
    )
    real, fake = benchmark.together
    assert (real.truth, real.first_wrong, real.second_wrong, real.both_wrong) == ("real", 5, 4, 3)
    assert real.by_chance == pytest.approx(5 * 4 / 20)
    assert real.phi.value == pytest.approx(
        matthews_corrcoef([n < 5 for n in range(20)], [2 <= n < 6 for n in range(20)])
    )
    assert (fake.first_wrong, fake.second_wrong, fake.phi.value) == (0, 0, None)
