"""Persons in words: who comes first, which word, from when to when."""

from __future__ import annotations

from backend.scores.lanes import joint_of
from shared.person_words import WORDS, Standing, persons_sentence, standings
from shared.results import DetectorResult, PersonScore, Result, Stretch
from tests.report.conftest import make_result
from tests.scores.sets import LIKE
from tests.shared.test_statement import STRONG, WEAK, judged
from tests.told import stretched, told


def with_persons(answer: DetectorResult, *scores: float, faces: int = 100) -> DetectorResult:
    """``answer`` with a score of each person, taken from ``faces`` faces."""
    rows = tuple(
        PersonScore(person=n, faces=faces, fake_score=s, hard_label="fake" if s >= answer.threshold else "real")
        for n, s in enumerate(scores)
    )
    return answer.model_copy(update={"persons": rows})


def of(*answers: DetectorResult, persons: int = 1) -> tuple[Standing, ...]:
    made = make_result(frames=100, persons=persons).model_copy(update={"mode": "standard"})
    facts = {"detectors": answers, "conditions": LIKE, "joint_stretches": joint_of(answers, mode="standard")}
    found = standings(made.model_copy(update=facts))
    for one in found:
        assert one.word in WORDS
        for claim in (" is fake", " is real", "deepfake", "genuine", "certain", "proves"):
            assert claim not in one.sentence
    return found


def test_two_kinds_of_evidence_at_once_flag_a_person_with_the_times_and_names() -> None:
    result: Result = told("splice")
    answers = tuple(with_persons(item, 0.6) for item in result.detectors)
    (one,) = standings(result.model_copy(update={"detectors": answers}))
    assert (one.word, one.times, one.weighty) == ("flagged", "0:02.0 to 0:04.0", True)
    assert one.sentence == "Above their thresholds at once: MesoNet and Self-blend traces."


def test_one_detector_alone_is_unconfirmed_and_without_weight_where_its_finding_is_inconclusive() -> None:
    weak = with_persons(stretched(judged("mesonet", 0.9, worth=WEAK), (0, 4)), 0.9)
    (one,) = of(weak, with_persons(judged("selfblend", 0.1, worth=WEAK), 0.1))
    assert (one.word, one.weighty, one.times) == ("unconfirmed", False, "0:00.0 to 0:04.0")
    assert one.sentence == "On the whole 1 of 2 is above its threshold: MesoNet (inconclusive)."
    (strong,) = of(with_persons(judged("mesonet", 0.9, worth=STRONG), 0.9))
    assert (strong.word, strong.weighty, strong.times) == ("unconfirmed", True, "")
    assert strong.sentence == "On the whole 1 of 1 is above its threshold: MesoNet."


def test_nobody_above_is_unflagged_and_who_was_hardly_judged_is_unjudged() -> None:
    (low,) = of(with_persons(judged("mesonet", 0.1, worth=STRONG), 0.1))
    assert (low.word, low.sentence) == (
        "unflagged",
        "The one detector that judged enough is not above its threshold on the whole.",
    )
    (few,) = of(with_persons(judged("mesonet", 0.9, worth=STRONG), 0.9, faces=9))
    assert (few.word, few.sentence) == ("unjudged", "No detector judged enough to be counted.")


def test_a_detector_that_is_in_no_count_says_nothing_of_a_person() -> None:
    outside = with_persons(judged("classnseg", 0.93, worth=STRONG, face_px=200.0), 0.93)
    (one,) = of(outside)
    assert one.word == "unjudged"


def test_the_worst_person_comes_first_and_the_sentence_names_each() -> None:
    answer = with_persons(judged("mesonet", 0.7, worth=WEAK), 0.1, 0.9, 0.8)
    found = of(answer, persons=3)
    assert [one.name for one in found] == ["Person 2", "Person 3", "Person 1"]
    assert persons_sentence(found) == (
        "A detector is above its threshold, without a second kind of evidence at the same time, for person 2 and person 3. "
        "No detector is above its threshold for person 1."
    )
    voice = Standing(None, "unconfirmed", ((0.0, 9.2),), "", 1, 1, False)
    assert "for person 2, person 3 and the voice. No detector" in persons_sentence((voice, *found))
    assert persons_sentence(found[:1]) == "", "one person needs no sentence"


def test_without_times_two_kinds_of_evidence_over_the_whole_flag_a_person() -> None:
    both = [with_persons(judged(name, 0.95, worth=STRONG), 0.95) for name in ("mesonet", "selfblend")]
    (one,) = of(*both)
    assert one.word == "flagged"
    heard = judged("aasist", 0.95).model_copy(
        update={"stretches": (Stretch(person=None, side="fake", start_s=0, end_s=4, units=9, median=0.9),)}
    )
    assert {one.person: one.word for one in of(*both, heard)} == {0: "flagged", None: "unconfirmed"}, "as in quick mode"
    cousins = [with_persons(judged(name, 0.95, worth=STRONG), 0.95) for name in ("mesonet", "classnseg")]
    (alike,) = of(*cousins)
    assert alike.word == "unconfirmed", "two that look at the same thing are one kind of evidence"
