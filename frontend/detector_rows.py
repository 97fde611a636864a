"""The table of detectors on the result page: what each judged, how much of it was above its threshold, and when its bar is grey.

For the front-end only.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.coverage import share_words
from shared.evidence import FAMILIES
from shared.languages import _
from shared.results import DetectorResult, Result
from shared.statement import uncounted
from shared.words import UNIT_NOUNS, joined, of_other_kinds, titles


@dataclass(frozen=True)
class Row:
    """One detector. ``grey``: its bar has no colour, because it judged too little or its finding is inconclusive.

    ``judged``: 'all 200 faces'; ``above``: '86 of 100 faces (86 %)' at or above its threshold; both empty without a score.
    """

    answer: DetectorResult
    grey: bool
    weak: bool
    judged: str
    above: str

    @property
    def looks_at(self) -> str:
        """The kind of evidence it is, in words; empty where its card does not say."""
        words = FAMILIES.get(self.answer.family)
        return _(words) if words else ""

    @property
    def weakness(self) -> str:
        """What it is known to get wrong: the first limit of its card."""
        return self.answer.limits[0] if self.answer.limits else ""


def detector_rows(result: Result) -> tuple[Row, ...]:
    """A row for each detector that was asked about this kind of file: those with a score first, else in the order of the result."""
    beside = of_other_kinds(result)
    asked = sorted((item for item in result.detectors if item not in beside), key=lambda item: item.status != "ok")
    return tuple(_row(result, item) for item in asked)


def _row(result: Result, item: DetectorResult) -> Row:
    if item.status != "ok" or not item.scores:
        return Row(item, grey=True, weak=False, judged="", above="")
    scores = [score for score in item.scores if score is not None]
    noun = UNIT_NOUNS[item.unit]
    high = sum(score >= item.threshold for score in scores)
    weak = item.id in uncounted(result)
    return Row(
        item,
        grey=weak or (item.finding is not None and item.finding.points == "inconclusive"),
        weak=weak,
        judged=share_words(len(scores), len(item.scores), noun),
        above=share_words(high, len(scores), noun),
    )


def same_evidence(result: Result) -> tuple[str, ...]:
    """A sentence for each kind of evidence that several of the detectors with scores look at."""
    names = titles(result)
    kinds: dict[str, list[str]] = {}
    for item in result.detectors:
        if item.status == "ok" and item.family in FAMILIES:
            kinds.setdefault(item.family, []).append(names[item.id])
    return tuple(
        _(
            "{names} look at the same thing ({what}): together they are one kind of evidence.",
            names=joined(own),
            what=_(FAMILIES[family]),
        )
        for family, own in kinds.items()
        if len(own) > 1
    )
