"""Stretches in words: who, from when to when, according to whom, and how often that happens on real video."""

from __future__ import annotations

from typing import Any

import pytest

from backend.scores.lanes import joint_of
from shared.results import DetectorResult, Result
from shared.statement import Statement, statement_of
from tests.report.conftest import make_result
from tests.scores.sets import LIKE
from tests.shared.test_statement import WEAK, judged
from tests.told import false_stretches, stretched
from tests.units import scored, windows

NEVER = false_stretches("mesonet", "selfblend", found=0)


def made(*answers: DetectorResult, seconds: float = 8.0, joint: Any = None, **facts: Any) -> Result:
    """A clip that these detectors judged; ``joint``: what was counted of joint stretches on real video."""
    found = [item.model_copy(update={"false_stretches": joint}) for item in joint_of(answers, mode="standard")]
    result = make_result(frames=round(25 * seconds), kind=facts.pop("kind", "video"))
    given = {"detectors": answers, "conditions": LIKE, "joint_stretches": tuple(found), "mode": "standard"}
    return result.model_copy(update=given | facts)


def told(*answers: DetectorResult, **facts: Any) -> Statement:
    said = statement_of(made(*answers, **facts))
    assert said is not None
    for sentence in said.sentences:
        assert sentence.endswith("."), sentence
        for claim in (" is fake", " is real", " are fake", " are real", "deepfake", "certain", "prove"):
            assert claim not in sentence, sentence
    return said


def meso(*spans: tuple[float, float], **more: Any) -> DetectorResult:
    return stretched(judged("mesonet", 0.55, worth=WEAK), *spans, **more)


def blend(*spans: tuple[float, float], **more: Any) -> DetectorResult:
    return stretched(judged("selfblend", 0.6, worth=WEAK), *spans, **{"false": 4, **more})


def cousin(*spans: tuple[float, float], **more: Any) -> DetectorResult:
    return stretched(judged("classnseg", 0.6, worth=WEAK), *spans, **{"false": 5, **more})


#: Begins the details of every joint stretch of several kinds of evidence.
LOOK = "It is a reason to look closely at that part of the file, not a finding. "


# --------------------------------------------------------------------------- joint stretches


def test_two_kinds_of_evidence_at_once_lead_with_their_worth_and_the_rest_follows():
    said = told(meso((3.8, 8)), blend((4, 8)), joint=NEVER)
    assert said.headline == (
        "Person 1, 0:04.0 to 0:08.0: 2 kinds of evidence reach their thresholds for manipulation at the same time. Real video had none in "
        "6.4 minutes, too little to rule out one every 2 min."
    )
    assert said.about == (
        "It is a reason to look closely at that part of the file, not a finding. Detectors there: MesoNet and Self-blend traces. "
        "The file has no other such stretch of one and a half seconds or more."
    )
    assert said.whole == (
        "Over the whole file, none of the 2 kinds of evidence points either way: inconclusive. That does not show that the file is genuine."
    )
    assert said.below == f"{said.about} {said.whole}"


def test_a_joint_stretch_that_real_video_often_has_says_so_in_the_headline():
    often = false_stretches("mesonet", "selfblend", found=4, minutes=3.8)
    said = told(meso((3.8, 8)), blend((4, 8)), joint=often)
    assert said.headline.endswith(
        " Real video has such stretches, too: 4 in 3.8 minutes, so by itself this says little."
    )
    rare = false_stretches("mesonet", "selfblend", found=1, minutes=60)
    assert told(meso((3.8, 8)), blend((4, 8)), joint=rare).headline.endswith(
        "time. Real video has such stretches, too: 1 in 60.0 minutes."
    )


def test_a_joint_stretch_that_was_not_measured_says_so():
    said = told(meso((3.8, 8)), blend((4, 8)))
    assert said.headline.endswith(" How often real video has that was not measured.")
    assert "measured" not in said.about


def test_a_joint_stretch_of_all_there_is_has_no_elsewhere():
    said = told(meso((0, 8)), blend((0.2, 8)), joint=NEVER)
    assert "no other such stretch" not in said.about
    assert said.headline.startswith("Person 1, 0:00.2 to 0:08.0: ")


def test_where_detectors_change_the_stretch_goes_on_and_says_that_two_are_there_at_each_moment():
    first, second = meso((1, 4)), cousin((3, 6))
    said = told(first, second, blend((1, 6)), joint=NEVER)
    assert said.headline.startswith(
        "Person 1, 0:01.0 to 0:06.0: 2 kinds of evidence reach their thresholds for manipulation at the same time."
    )
    assert said.about.removeprefix(LOOK).startswith(
        "Detectors there: at each moment at least two of MesoNet, Self-blend traces and ClassNSeg."
    )
    assert said.about.endswith(
        "Real video had no such stretch of MesoNet and Self-blend traces together in the 6.4 minutes that both were measured on; that is "
        "too little video to rule out one every 2 min."
    ), "what was counted is of two of the three"


def test_the_headline_stays_short_however_many_stretches_persons_and_detectors_there_are():
    spans = [(float(start), start + 1.0 + start / 100) for start in range(0, 80, 4)]
    often = false_stretches("mesonet", "selfblend", found=4, minutes=3.8)
    said = told(meso(*spans, person=11), blend(*spans, person=11), seconds=120, joint=often)
    assert len(said.headline) <= 240


def test_cousins_at_once_are_one_kind_of_evidence_and_lead_nothing():
    often = false_stretches("classnseg", "mesonet", found=6)
    said = told(meso((1, 4)), cousin((1, 4)), joint=often)
    assert said.headline == (
        "The only kind of evidence counted points neither way: inconclusive. That does not show that the file is genuine."
    )
    assert (said.lead, said.about, said.below) == ("", "", "")
    assert said.details[:2] == (
        "Detectors that look at the same thing reach their thresholds together: Person 1, 0:01.0 to 0:04.0 (MesoNet and ClassNSeg). That "
        "is one kind of evidence.",
        "Real video has such stretches, too: 6 in the 6.4 minutes that both were measured on, so by itself this says little.",
    )


def test_of_many_joint_stretches_the_longest_are_named():
    spans = [(float(start), start + 1.5 + start / 100) for start in range(0, 20, 4)]
    said = told(meso(*spans), blend(*spans), seconds=24, joint=NEVER)
    assert said.headline.startswith("Person 1, 0:16.0 to 0:17.7: ")
    assert said.headline.endswith("There are 4 more such stretches.")
    assert said.about.removeprefix(LOOK).startswith(
        "Person 1, 0:16.0 to 0:17.7: 2 kinds of evidence (MesoNet and Self-blend traces). Person 1, 0:12.0 to 0:13.6"
    )
    assert said.about.count("Person 1, ") == 3
    assert "2 more are not named here." in said.about
    assert said.about.count("Real video") == 0, "the headline said it"


def test_the_person_of_several_is_named_and_the_voice_is_a_lane_of_its_own():
    said = told(meso((1, 4), person=2), blend((1, 4), person=2), joint=NEVER)
    assert said.headline.startswith("Person 3, 0:01.0 to 0:04.0: ")
    spans = windows(4)
    voice = [
        stretched(
            scored(name, name.upper(), "sound", (0.9,) * 4, windows=spans, finding=judged("mesonet", 0.9).finding, family=name),
            (0.0, 6.0), person=None,
        )
        for name in ("aa", "bb")
    ]  # fmt: skip
    heard = told(*voice, joint=None)
    assert heard.headline.startswith("The voice, 0:00.0 to 0:06.0: 2 kinds of evidence reach their thresholds")


def test_a_detector_that_judged_too_little_joins_nothing():
    few = stretched(judged("selfblend", 0.97, worth=WEAK, units=9, of=200), (1, 4))
    said = told(meso((1, 4)), few)
    assert "at the same time" not in said.headline
    assert all("Self-blend traces, taken by itself" not in sentence for sentence in said.details)


# --------------------------------------------------------------------------- single ones


def test_a_stretch_of_one_detector_comes_last_with_how_often_it_has_one_on_real_video():
    said = told(meso((4, 8)), blend())
    assert said.details[-2:] == (
        "There is no stretch of one and a half seconds or more in which two detectors reach their thresholds together for the same "
        "person or voice.",
        "MesoNet, taken by itself, is at or above its threshold for person 1 (0:04.0 to 0:08.0). Real video has such stretches, too: 36 "
        "in the 6.4 minutes that it was measured on, so by itself this says little.",
    )
    assert "0:04.0" not in said.headline


def test_how_often_is_counted_or_said_not_to_be_known():
    ends = [told(meso((4, 8), false=false)).details[-1].split(". ")[-1] for false in (None, 0, 1)]
    assert ends == [
        "How often real video has such stretches was not measured for it.",
        "Real video had no such stretch in the 6.4 minutes that it was measured on; that is too little video to rule out one every 2 min.",
        "Real video has such stretches, too: 1 in the 6.4 minutes that it was measured on, so by itself this says little.",
    ]
    rare = meso((4, 8)).model_copy(update={"false_stretches": false_stretches("mesonet", found=1, minutes=60)})
    assert told(rare).details[-1].endswith("too: 1 in the 60.0 minutes that it was measured on.")


def test_of_many_stretches_of_one_detector_the_longest_are_named():
    spans = [(float(start), start + 1.0 + start / 100) for start in range(0, 20, 4)]
    last = told(meso(*spans), seconds=24).details[-1]
    assert "person 1 (0:08.0 to 0:09.1, 0:12.0 to 0:13.1, 0:16.0 to 0:17.2), and in 2 shorter stretches." in last


# --------------------------------------------------------------------------- what cannot be told


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (
            {"mode": "quick"},
            "Quick mode looks at too few pictures to tell when something starts and ends; a short manipulation can be missed.",
        ),
        ({"kind": "image"}, "This is one picture, so there are no times to tell."),
    ],
    ids=["quick", "still"],
)
def test_quick_mode_and_stills_say_that_they_cannot_tell_from_when_to_when(facts: dict[str, Any], sentence: str):
    said = told(judged("mesonet", 0.9, worth=WEAK), judged("selfblend", 0.9, worth=WEAK), **facts)
    assert said.details[-1] == sentence
    assert all("no stretch of time" not in one for one in said.details)


def test_where_no_detector_could_judge_nothing_is_said_about_time():
    assert told(judged("mesonet", 0.97, worth=WEAK, units=2, of=200)).details == (
        "MesoNet: It could judge only 2 of 200 faces: too few to be counted.",
    )
