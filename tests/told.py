"""Made-up results whose words page, summary and mail must share: strong, weak, conflict, nothing, unmeasured alone, tiny faces."""

from __future__ import annotations

from typing import Final

from shared.results import DetectorResult, Result
from tests.report.conftest import make_result
from tests.scores.sets import LIKE, answer, card
from tests.scores.test_findings import worth
from tests.shared.test_statement import STRONG, WEAK, judged

#: frames of the clip, each with one face
FACES: Final = 100

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
}


def told(case: str, **changes: object) -> Result:
    """The result of one case of ``ANSWERS``."""
    made = make_result(frames=FACES)
    return made.model_copy(update={"detectors": ANSWERS[case], "conditions": LIKE} | changes)
