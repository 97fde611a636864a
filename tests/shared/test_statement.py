"""The words above a result, on made-up results: one strong, one weak, a conflict, nothing, an unmeasured detector alone, tiny faces."""

from __future__ import annotations

from typing import Any

import pytest

from backend.scores.findings import finding_of
from shared.evidence import KINDS
from shared.results import DetectorResult, PersonScore, Result, Stability, VariantScore, Worth
from shared.statement import (
    PersonLabel,
    Statement,
    alarm_words,
    finding_words,
    number,
    percent,
    person_label,
    ratio_words,
    stability_words,
    statement_of,
    variant_rows,
)
from tests.report.conftest import make_result
from tests.scores.sets import LIKE, answer, card
from tests.scores.test_findings import worth

STRONG, WEAK = worth(60.0, 15.0, 110.0), worth(1.4, 0.8, 3.0, real=(60, 139), fake=(70, 115))


def band(low: float | None, high: float | None, **variants: float | None) -> Stability:
    """A band of 16 faces; a variant without a score could not be made."""
    made = [
        VariantScore(name=name, fake_score=score, units=16)
        if score is not None
        else VariantScore(name=name, code="not_made")
        for name, score in variants.items()
    ]
    return Stability(variants=tuple(made), low=low, high=high, units=16, seconds=0.5)


def judged(
    name: str,
    score: float,
    *,
    worth: Worth | None = None,
    stability: Stability | None = None,
    units: int = 100,
    of: int = 100,
    **limits: float,
) -> DetectorResult:
    """An answer with its finding."""
    own = card(name, fails_below=limits)
    said = answer(own, score, units=units, of=of, worth=worth, stability=stability)
    return said.model_copy(update={"finding": finding_of(said, own, like=LIKE, is_clip=True)})


def stated(*answers: DetectorResult) -> Statement:
    result = make_result().model_copy(update={"detectors": answers, "conditions": LIKE})
    said = statement_of(result)
    assert said is not None
    for sentence in said.sentences:
        assert sentence.endswith("."), sentence
        for claim in (" is fake", " is real", " are fake", " are real", "deepfake", "certain", "prove"):
            assert claim not in sentence, sentence
    return said


def test_one_strong_detector_points_with_its_strength_and_how_often_real_files_do():
    said = stated(judged("mesonet", 0.9, worth=STRONG))
    assert said.headline == (
        "The only kind of evidence counted points to manipulation: traces of a face that a network made or altered "
        "(MesoNet, moderate support)."
    )
    assert said.details == (
        "MesoNet: Of the files that it was measured on, 4 of 139 real and 60 of 115 manipulated ones scored this high or higher. Too few "
        "of those files are like this one to count them alone, so all were counted. That is moderate support for manipulated material "
        "(likelihood ratio 60, 95 % interval 15 to 110).",
        "MesoNet: 4 of 139 real files that it was measured on reached its threshold, too (0 to 100 %, 95 % interval).",
    )
    assert said.looked_for == "Looked for: face swap."
    assert said.not_looked_for == (
        "Not looked for: re-enacted face, lip-sync, wholly generated picture, generated or cloned voice and edited region."
    )


def test_a_weak_detector_points_nowhere_and_that_is_no_sign_of_a_genuine_file():
    said = stated(judged("mesonet", 0.9, worth=WEAK))
    assert said.headline == (
        "The only kind of evidence counted points neither way: inconclusive. That does not show that the file is genuine."
    )
    assert (
        "Such a score does not tell real files from manipulated ones (95 % interval of its likelihood ratio: 0.8 to 3)."
        in said.details[0]
    )


def test_a_small_set_says_that_it_is_small():
    said = stated(judged("mesonet", 0.9, worth=worth(3.8, 0.4, 3.8, real=(0, 5), fake=(3, 7))))
    assert "0 of 5 real and 3 of 7 manipulated ones scored this high or higher." in said.details[0]
    assert "So few files do not tell." in said.details[0]


def test_many_files_of_few_scenes_are_not_said_to_show_that_the_detector_cannot_tell():
    few = worth(2.1, 0.4, 2.3, real=(30, 100), fake=(280, 300)).model_copy(update={"rarer_groups": 3})
    [said, *_] = stated(judged("mesonet", 0.9, worth=few)).details
    assert said.endswith("Those of one kind are of 3 scenes or persons, and so few do not tell.")


def test_a_conflict_is_said_first_between_kinds_of_evidence_and_within_one():
    real = worth(0.05, 0.02, 0.3)
    between = stated(judged("mesonet", 0.9, worth=STRONG), judged("selfblend", 0.05, worth=real))
    assert between.headline == (
        "The evidence is contradictory. "
        "1 of 2 kinds of evidence points to manipulation: traces of a face that a network made or altered (MesoNet, moderate support). "
        "The other one points to real material: few traces of a face that was pasted in (Self-blend traces, limited support)."
    )
    within = stated(judged("mesonet", 0.9, worth=STRONG), judged("classnseg", 0.05, worth=real))
    assert within.headline == "Within one kind of evidence, detectors contradict each other."


def test_cousins_are_one_kind_of_evidence():
    said = stated(
        judged("mesonet", 0.9, worth=STRONG), judged("classnseg", 0.9, worth=STRONG), judged("selfblend", 0.5, worth=WEAK)
    )  # fmt: skip
    assert said.headline == (
        "1 of 2 kinds of evidence points to manipulation: traces of a face that a network made or altered (MesoNet, moderate support; "
        "ClassNSeg, moderate support)."
    )


def test_points_to_real_never_without_its_caution():
    said = stated(judged("mesonet", 0.1, worth=worth(0.05, 0.02, 0.3)))
    assert said.headline == (
        "The only kind of evidence counted points to real material: few traces of a face that a network made or altered "
        "(MesoNet, limited support). "
        "That does not show that the file is genuine."
    )


def test_nothing_judged_points_nowhere():
    silent = answer(card(), None, status="not_applicable", code="no_face", units=0, of=0)
    said = stated(silent)
    assert (
        said.headline
        == "No detector could judge this file, so there is no finding. That does not show that the file is genuine."
    )
    assert (said.details, said.looked_for) == ((), "")
    assert all(kind.looked == () for kind in said.kinds)
    assert [kind.code for kind in said.kinds] == list(KINDS)


def test_an_unmeasured_detector_alone_says_that_it_was_not_measured():
    said = stated(judged("mesonet", 0.97))
    assert said.headline.endswith("(MesoNet, reliability not measured here).")
    assert said.details == (
        "MesoNet: Its score of 0.97 is at or above its threshold of 0.50. How often that happens on real material was not measured here.",
    )


def test_a_score_that_crosses_its_threshold_under_reencoding_points_nowhere_and_the_sentence_says_how_far_it_moves():
    said = stated(judged("mesonet", 0.6, worth=STRONG, stability=band(0.41, 0.66, jpeg_60=0.41, half_size=0.66)))
    assert said.headline.startswith("The only kind of evidence counted points neither way: inconclusive.")
    assert said.details == (
        "MesoNet: Its score of 0.60 is at or above its threshold of 0.50, but under mild re-encoding it is from 0.41 to 0.66, which is on "
        "both sides of it.",
    )


def test_what_was_judged_again_is_said_with_what_could_not_be():
    item = judged("mesonet", 0.9, stability=band(0.85, 0.93, jpeg_60=0.85, half_size=0.93, h264_28=None))
    assert stability_words(item) == (
        "Under mild re-encoding it is from 0.85 to 0.93 (16 faces judged again after 2 mild changes; 1 more has no score)."
    )
    assert variant_rows(item) == (
        ("JPEG at quality 60", "0.85"), ("half the size and back", "0.93"), ("H.264 at CRF 28", "this change could not be made"),
    )  # fmt: skip
    nothing = judged("mesonet", 0.9, stability=band(None, None, jpeg_60=None))
    assert stability_words(nothing) == (
        "Whether its score changes under mild re-encoding is not known: none of 1 change gave a score."
    )
    assert stability_words(judged("mesonet", 0.9)) == ""


def test_tiny_faces_are_in_no_count_and_nobody_looked():
    said = stated(judged("mesonet", 0.97, worth=STRONG, face_px=200.0))
    assert said.headline == "No detector could judge enough of this file to be counted."
    assert said.looked_for == ""
    few = stated(judged("mesonet", 0.97, worth=STRONG, units=9, of=200), judged("selfblend", 0.5, worth=WEAK))
    assert few.headline.startswith("The only kind of evidence counted points neither way")
    assert few.details[0] == "MesoNet: It could judge only 9 of 200 faces: too few to be counted."
    assert next(kind for kind in few.kinds if kind.code == "swap").looked == ("Self-blend traces",)


def test_a_result_of_an_earlier_version_has_no_statement():
    assert statement_of(make_result()) is None
    assert Result.model_validate_json(make_result().model_dump_json()).conditions is None


def test_tables_show_a_finding_in_a_few_words():
    answers = [
        judged("mesonet", 0.9, worth=STRONG), judged("mesonet", 0.1, worth=worth(0.05, 0.02, 0.3)), judged("mesonet", 0.97),
        judged("mesonet", 0.9, worth=WEAK),
    ]  # fmt: skip
    assert [finding_words(item.finding) for item in answers if item.finding] == [
        "points to manipulation, moderate support",
        "points to real material, limited support",
        "points to manipulation, reliability not measured here",
        "inconclusive",
    ]


def test_numbers_are_rounded_to_what_counts():
    told = [number(value) for value in (0.0521, 0.5, 1.34, 9.99, 14.2, 146.0, 1234.0)]
    assert told == ["0.052", "0.5", "1.3", "10", "14", "150", "1,200"]
    assert [percent(share) for share in (0.0, 0.004, 0.056, 0.25, 1.0)] == ["0", "0.4", "5.6", "25", "100"]


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (
            (120.0, 15.0, 120.0),
            "likelihood ratio 120, which is all that so many files can support, 95 % interval 15 to 120",
        ),
        (
            (0.01, 0.01, 0.2),
            "likelihood ratio 0.01, which is all that so many files can support, 95 % interval 0.01 to 0.2",
        ),
        ((3.0, 1.5, 6.0), "likelihood ratio 3, 95 % interval 1.5 to 6"),
    ],
)
def test_a_ratio_at_the_bound_of_its_set_says_that_it_may_be_beyond(ratio: Any, words: str):
    assert ratio_words(worth(*ratio)) == words
    assert "4 of 139 real files" in alarm_words(worth(*ratio))


def test_a_person_has_a_colour_only_where_the_finding_points_to_its_side_and_enough_of_it_was_judged():
    def label(
        answer: DetectorResult, score: float, *, faces: int = 50, of: int = 50, is_clip: bool = True
    ) -> PersonLabel:
        one = PersonScore(person=0, faces=faces, fake_score=score, hard_label="fake" if score >= 0.5 else "real")
        return person_label(answer, one, faces=of, is_clip=is_clip)

    points, weak, few = (
        judged("mesonet", 0.9, worth=STRONG),
        judged("mesonet", 0.9, worth=WEAK),
        judged("mesonet", 0.9, units=9),
    )
    assert label(points, 0.9) == PersonLabel("fake", "")
    assert label(points, 0.2) == PersonLabel("none", "inconclusive"), "another person, on the other side"
    assert label(weak, 0.9) == PersonLabel("none", "inconclusive")
    assert label(few, 0.9) == PersonLabel("none", "not counted")
    assert label(points, 0.9, faces=19) == PersonLabel("none", "too few faces")
    assert label(points, 0.9, faces=30, of=200) == PersonLabel("none", "too few faces")
    assert label(points, 0.9, faces=1, of=1, is_clip=False) == PersonLabel("fake", ""), (
        "a picture has one face of each person"
    )
    without = points.model_copy(update={"finding": None})
    assert label(without, 0.2) == PersonLabel("real", ""), "a result of an earlier version keeps its labels"
