"""Where an answer points: every rule of docs/evidence.md on made-up numbers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from backend.scores.findings import finding_of
from shared.evidence import CODES, LEVELS, level_of
from shared.results import Finding, Ratio, Tally, Worth
from tests.scores.sets import LIKE, ROOT, answer, card, reference_set

OWN = card()


def worth(
    value: float, low: float, high: float, *, real: tuple[int, int] = (4, 139), fake: tuple[int, int] = (60, 115)
) -> Worth:
    made = reference_set(OWN, [], [])
    tallies = {
        name: Tally(reached=reached, of=of, low=0.0, high=1.0)
        for name, (reached, of) in {
            "real": real,
            "fake": fake,
            "real_as_low": real,
            "fake_as_low": fake,
            "real_flagged": real,
            "fake_flagged": fake,
        }.items()
    }
    return Worth(
        reference=made.name, about="made up", own=False, created=made.created, data_sha256=made.data.sha256, **tallies,
        groups=200, ratio=Ratio(value=value, low=low, high=high, least=1 / 100, most=120), cllr=0.9, min_cllr=0.8, like=None,
        why_whole="few_like_it",
    )  # fmt: skip


def found(
    score: float, *, clip: bool = True, name: str = "mesonet", limits: dict[str, float] | None = None, **changes: Any
) -> Finding:
    own = card(name, fails_below=limits or {})
    finding = finding_of(answer(own, score, **changes), own, like=LIKE, is_clip=clip)
    assert finding is not None
    assert finding.sentence.endswith(".")
    assert " is fake" not in finding.sentence
    assert " is real" not in finding.sentence
    return finding


def outcome(finding: Finding) -> tuple[str, str, str | None]:
    return finding.points, finding.code, finding.level


def test_without_a_score_there_is_no_finding():
    nothing = answer(OWN, None, status="not_applicable", code="no_face", units=0)
    assert finding_of(nothing, OWN, like=LIKE, is_clip=True) is None


@pytest.mark.parametrize(
    ("score", "ratio", "wanted"),
    [
        (0.9, (14.0, 5.0, 40.0), ("points_to_fake", "measured", "limited")),
        (0.9, (60.0, 11.0, 110.0), ("points_to_fake", "measured", "moderate")),
        (0.9, (3.0, 2.0, 9.0), ("points_to_fake", "measured", "limited")),
        (0.9, (3.0, 1.9, 9.0), ("inconclusive", "ratio_near_one", None)),
        (0.1, (0.37, 0.37, 0.95), ("inconclusive", "ratio_near_one", None)),
        (0.1, (0.1, 0.02, 0.4), ("points_to_real", "measured", "limited")),
        (0.1, (0.02, 0.01, 0.09), ("points_to_real", "measured", "moderate")),
        (0.9, (3.0, 0.9, 9.0), ("inconclusive", "ratio_holds_one", None)),
        (0.1, (0.5, 0.1, 1.3), ("inconclusive", "ratio_holds_one", None)),
        (0.9, (1.8, 1.2, 3.0), ("inconclusive", "ratio_near_one", None)),
        (0.9, (0.2, 0.1, 0.5), ("inconclusive", "threshold_disagrees", None)),
        (0.1, (9.0, 3.0, 20.0), ("inconclusive", "threshold_disagrees", None)),
    ],
)
def test_a_measured_answer_points_where_its_ratio_does(
    score: float, ratio: tuple[float, float, float], wanted: tuple[str, str, str | None]
):
    finding = found(score, worth=worth(*ratio))
    assert outcome(finding) == wanted
    assert (
        f"4 of 139 real and 60 of 115 manipulated ones scored this {'high' if score > 0.5 else 'low'} or"
        in finding.sentence
    )


@pytest.mark.parametrize(("score", "ratio"), [(0.99, (60.0, 15.0, 110.0)), (0.01, (0.02, 0.01, 0.09))])
def test_a_score_beyond_all_that_was_measured_points_nowhere(score: float, ratio: tuple[float, float, float]):
    """A ratio would be carried on from other scores to where nothing was seen."""
    finding = found(score, worth=worth(*ratio, real=(0, 139), fake=(0, 115)))
    assert outcome(finding) == ("inconclusive", "beyond_measured", None)
    assert "beyond the scores of all files that it was measured on: of the files" in finding.sentence
    assert "0 of 139 real and 0 of 115 manipulated ones" in finding.sentence
    assert found(score, worth=worth(*ratio, real=(0, 139), fake=(1, 115))).code == "measured"


def test_an_unmeasured_answer_points_only_far_from_its_threshold_and_says_so():
    assert outcome(found(0.95)) == ("points_to_fake", "unmeasured", None)
    assert outcome(found(0.05)) == ("points_to_real", "unmeasured", None)
    assert "was not measured here" in found(0.95).sentence
    for score in (0.45, 0.55):
        assert outcome(found(score)) == ("inconclusive", "near_threshold", None)


def test_what_is_measured_on_other_files_only_points_nowhere():
    for score in (0.05, 0.95):
        finding = finding_of(answer(OWN, score), OWN, like=LIKE, is_clip=True, elsewhere=True)
        assert finding is not None
        assert outcome(finding) == ("inconclusive", "measured_otherwise", None)


def test_too_few_faces_of_a_clip_are_not_counted():
    strong = worth(60.0, 20.0, 110.0)
    assert outcome(found(0.9, units=19, of=19, worth=strong)) == ("inconclusive", "few_units", None)
    assert outcome(found(0.9, units=20, of=101, worth=strong)) == ("inconclusive", "few_units", None)
    assert (
        found(0.9, units=9, of=200, worth=strong).sentence
        == "It could judge only 9 of 200 faces: too few to be counted."
    )
    assert found(0.9, units=20, of=100, worth=strong).points == "points_to_fake"


def test_a_still_has_one_face_and_is_judged_whole():
    assert found(0.9, clip=False, units=1, of=1, worth=worth(60.0, 20.0, 110.0)).points == "points_to_fake"
    assert found(0.9, clip=False, units=1, of=6, worth=worth(60.0, 20.0, 110.0)).code == "few_units"


def test_a_file_beyond_the_limits_of_the_card_is_inconclusive_and_keeps_its_score():
    strong = worth(60.0, 20.0, 110.0)
    assert outcome(found(0.9, worth=strong, limits={"face_px": 151.0})) == ("inconclusive", "outside_limits", None)
    assert found(0.9, worth=strong, limits={"face_px": 150.0, "bits_per_pixel": 0.1}).points == "points_to_fake"


def test_no_trace_never_points_to_real():
    own = card("ferretnet")
    low = found(0.01, name="ferretnet", clip=False, units=1, of=1, worth=worth(0.02, 0.01, 0.05))
    assert outcome(low) == ("inconclusive", "no_trace", None)
    assert own.lossless_only


def test_levels_are_those_of_the_scale_on_both_sides():
    edges = [least for least, _, _ in LEVELS]
    assert edges == [2, 10, 100, 1_000, 10_000, 1_000_000]
    for least, name, _ in LEVELS:
        assert level_of(least) == name
        assert level_of(1 / least) == name
    assert level_of(1.99) is None
    assert level_of(1 / 1.99) is None


def test_the_page_has_every_code_in_the_order_of_the_rules():
    page = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    table = page[page.index("<!-- codes:") :].split("\n\n")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == CODES
