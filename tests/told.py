"""Made-up results whose words page, summary and mail share: strong, weak, conflict, nothing, unmeasured, tiny faces, splice, unstable."""

from __future__ import annotations

from typing import Final

from backend.scores.lanes import joint_of
from shared.results import DetectorResult, FalseStretches, Result, Stretch
from tests.report.conftest import make_result
from tests.scores.sets import LIKE, answer, card
from tests.scores.test_findings import worth
from tests.shared.test_statement import STRONG, WEAK, band, judged

#: frames of the clip, each with one face
FACES: Final = 100


def stretched(
    answer: DetectorResult, *spans: tuple[float, float], false: int | None = 36, person: int | None = 0
) -> DetectorResult:
    """``answer`` with stretches of ``fake``, ``false`` of which were found on real video (None: that was not measured)."""
    found = tuple(
        Stretch(person=person, side="fake", start_s=a, end_s=b, units=20, median=0.9) for a, b in spans
    )  # fmt: skip
    counted = None if false is None else false_stretches(answer.id, found=false)
    return answer.model_copy(update={"stretches": found, "false_stretches": counted})


def false_stretches(*detectors: str, found: int, minutes: float = 6.38) -> FalseStretches:
    return FalseStretches(reference="made-up", about="made up", detectors=detectors, found=found, minutes=minutes)


ANSWERS: Final[dict[str, tuple[DetectorResult, ...]]] = {
    "strong": (judged("mesonet", 0.9, worth=STRONG),),
    "weak": (judged("mesonet", 0.9, worth=WEAK),),
    "conflict": (judged("mesonet", 0.9, worth=STRONG), judged("selfblend", 0.05, worth=worth(0.05, 0.02, 0.3))),
    "nothing": (answer(card(), None, status="not_applicable", code="no_face", units=0, of=FACES),),
    "unmeasured": (judged("mesonet", 0.97),),
    "tiny faces": (
        judged("mesonet", 0.97, worth=STRONG, units=9, of=FACES),
        judged("classnseg", 0.93, worth=STRONG, face_px=200.0),
        judged("selfblend", 0.5, worth=WEAK),
    ),
    "splice": (
        stretched(judged("mesonet", 0.55, worth=WEAK), (1.9, 4.0)),
        stretched(judged("selfblend", 0.6, worth=WEAK), (2.0, 4.0), false=4),
    ),
    "unstable": (
        judged("mesonet", 0.6, worth=STRONG, stability=band(0.41, 0.66, jpeg_60=0.41, half_size=0.66, h264_28=None)),
    ),
}


def told(case: str, **changes: object) -> Result:
    """The result of one case of ``ANSWERS``."""
    made = make_result(frames=FACES).model_copy(update={"mode": "standard"})
    answers = ANSWERS[case]
    facts = {"detectors": answers, "conditions": LIKE, "joint_stretches": joint_of(answers, mode="standard")}
    return made.model_copy(update=facts | changes)
