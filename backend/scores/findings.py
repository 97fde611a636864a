"""Where one detector's answer points: the rules, in the order in which they are asked.

Owns ``finding_of``. Promises: inconclusive wherever one of the rules of docs/evidence.md says so; the label of the published threshold is
never changed. All thresholds are in ``shared.evidence``, all words in ``shared.statement``. May be imported by the back-end.
"""

from __future__ import annotations

from base_detector import Card
from shared.evidence import NEAR, level_of
from shared.results import Conditions, DetectorResult, Finding, Points, SupportLevel, Worth
from shared.statement import enough, finding_sentence


def finding_of(
    answer: DetectorResult, card: Card, *, like: Conditions, is_clip: bool, elsewhere: bool = False
) -> Finding | None:
    """The finding of ``answer`` (with its ``worth``); None where there is no score.

    ``elsewhere``: there is a reference set of this detector, but not of such files or of this mode.
    """
    if answer.status != "ok" or answer.fake_score is None:
        return None
    points, code, level = _rule(answer, card, like=like, is_clip=is_clip, elsewhere=elsewhere)
    return Finding(points=points, code=code, level=level, sentence=finding_sentence(answer, points, code, level))


def _rule(
    answer: DetectorResult, card: Card, *, like: Conditions, is_clip: bool, elsewhere: bool
) -> tuple[Points, str, SupportLevel | None]:
    flagged = answer.hard_label == "fake"
    side: Points = "points_to_fake" if flagged else "points_to_real"
    if not enough(answer, is_clip=is_clip):
        return "inconclusive", "few_units", None
    if beyond(card, like):
        return "inconclusive", "outside_limits", None
    if card.lossless_only and not flagged:  # whoever wrote the file may have removed what it looks for
        return "inconclusive", "no_trace", None
    if answer.stability is not None and answer.stability.crosses(card.threshold):
        return "inconclusive", "changes_under_reencoding", None
    if answer.worth is None:
        if elsewhere:  # what it is worth on other files is no reason to trust it blindly on these
            return "inconclusive", "measured_otherwise", None
        near = abs((answer.fake_score or 0.0) - card.threshold) < NEAR
        return ("inconclusive", "near_threshold", None) if near else (side, "unmeasured", None)
    ratio = answer.worth.ratio
    if ratio.low <= 1 <= ratio.high:
        return "inconclusive", "ratio_holds_one", None
    level = level_of(ratio.low if ratio.value > 1 else ratio.high)
    if level is None:  # the end of the interval that is nearer to 1 is below the lowest level of the scale
        return "inconclusive", "ratio_near_one", None
    if flagged != (ratio.value > 1):
        return "inconclusive", "threshold_disagrees", None
    if beyond_all(answer.worth):
        return "inconclusive", "beyond_measured", None
    return side, "measured", level


def beyond_all(worth: Worth) -> bool:
    """Whether the score is higher than that of every counted item, or lower: its ratio would be carried on to where none was seen."""
    pairs = (worth.real, worth.fake), (worth.real_as_low, worth.fake_as_low)
    return any(real.reached + fake.reached == 0 for real, fake in pairs)


def beyond(card: Card, like: Conditions) -> list[str]:
    """The conditions in which the file is outside the limits that the card states: below them the detector is known to fail."""
    found = []
    for name, least in card.fails_below.items():
        value = getattr(like, name)
        if value is not None and value < least:
            found.append(name)
    return found
