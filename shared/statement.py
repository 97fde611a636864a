"""What a result says, in words: the same for mail, summary, JSON, CSV, command line and page.

Owns the sentences about findings. Promises: at most what was looked for, what points where, how often that happens on real material, and
what was not looked for; never that a file is fake or real. May be imported by all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from shared.errors import sentence_for
from shared.evidence import FAMILIES, FEW_MEASURED, FEW_TRACES, KINDS, LEAST_SHARE, LEAST_UNITS, level_words
from shared.results import DetectorResult, Finding, PersonScore, Points, Result, SupportLevel, Tally, Worth
from shared.rounding import score as rounded
from shared.stability import BY_NAME as VARIANTS
from shared.stability import REASONS as VARIANT_REASONS
from shared.stretch_words import agreement, cannot_tell, cousins, joint_headline, joint_worth, single_sentences
from shared.words import UNIT_NOUNS, counted, joined, titles

#: Where the evidence of a family points, or that its detectors point to both sides.
Direction = Points | str

#: Codes of findings that need no numbers (docs/evidence.md lists all).
_REASONS: Final[dict[str, str]] = {
    "outside_limits": "The file is beyond what it can judge, as measured on its own test material; its score is shown and not counted.",
    "no_trace": "It found no trace. Saving a file again removes what it looks for, so this says nothing either way.",
    "measured_otherwise": "It was measured on files of another kind or in another mode, so nothing is known of scores like this one.",
    "near_threshold": "Its score is near its threshold, and how often that happens on real material was not measured here.",
}


#: How a sentence begins where only detectors of one kind of evidence are counted.
_ONLY: Final = "The only kind of evidence counted"

#: Findings of detectors that are in no count.
NOT_COUNTED: Final = ("few_units", "outside_limits")


def counts(answer: DetectorResult) -> bool:
    """Whether a detector gave a score and may be counted."""
    return answer.finding is not None and answer.finding.code not in NOT_COUNTED


def left_out(answer: DetectorResult) -> bool:
    """Whether a detector gave a score that is in no count, so that its label is shown in grey."""
    return answer.finding is not None and answer.finding.code in NOT_COUNTED


def enough(answer: DetectorResult, *, is_clip: bool) -> bool:
    """Whether it judged enough of the file to be counted: a fifth of what there was, and of a clip's faces at least 20."""
    units = len(answer.scores)
    least = LEAST_UNITS if is_clip and answer.unit == "face" else 1
    return answer.units_scored >= least and answer.units_scored >= LEAST_SHARE * units


@dataclass(frozen=True)
class PersonLabel:
    """How a person's score is shown: on which ``side`` of the threshold, or ``none`` for grey, and why it is grey (or empty)."""

    side: Literal["fake", "real", "none"]
    why: str


def person_label(answer: DetectorResult, one: PersonScore, *, faces: int, is_clip: bool) -> PersonLabel:
    """The label of a person of whom ``faces`` were found. It has a colour only where the detector's finding points to its side.

    The finding is about the file: where that is inconclusive, a person's score cannot be more. Without findings the label decides.
    """
    if left_out(answer):
        return PersonLabel("none", "not counted")
    if one.faces < LEAST_SHARE * faces or (is_clip and one.faces < LEAST_UNITS):
        return PersonLabel("none", "too few faces")
    side: Points = "points_to_fake" if one.hard_label == "fake" else "points_to_real"
    if answer.finding is not None and answer.finding.points != side:
        return PersonLabel("none", "inconclusive")
    return PersonLabel(one.hard_label, "")


# --------------------------------------------------------------------------- one detector


def finding_sentence(answer: DetectorResult, points: Points, code: str, level: SupportLevel | None) -> str:
    """Why an answer points where it does, in one or two sentences."""
    if code == "few_units":
        noun = UNIT_NOUNS[answer.unit]
        return f"It could judge only {answer.units_scored:,} of {counted(len(answer.scores), noun)}: too few to be counted."
    if code in _REASONS:
        return _REASONS[code]
    side = "at or above" if answer.hard_label == "fake" else "below"
    where = f"Its score of {rounded(answer.fake_score, threshold=answer.threshold)} is {side} its threshold of {answer.threshold:.2f}"
    if code == "changes_under_reencoding":
        return f"{where}, but {band_words(answer)}, which is on both sides of it."
    if answer.worth is None:
        return f"{where}. How often that happens on real material was not measured here."
    told = reached_words(answer.worth, low=answer.hard_label != "fake")
    if code == "ratio_holds_one":
        few = min(answer.worth.real.of, answer.worth.fake.of) < FEW_MEASURED
        verdict = "So few files do not tell" if few else "Such a score does not tell real files from manipulated ones"
        return f"{told} {verdict} ({ratio_words(answer.worth)})."
    if code == "ratio_near_one":
        return f"{told} The difference is too small to support either side ({ratio_words(answer.worth)})."
    if code == "threshold_disagrees":
        return f"{where}, but scores like it are more common on the other side: {told[0].lower()}{told[1:]}"
    kind = "manipulated" if points == "points_to_fake" else "real"
    assert level is not None, "what is measured and not inconclusive has a level"
    return f"{told} That is {level_words(level)} for {kind} material ({ratio_words(answer.worth)})."


def band_words(answer: DetectorResult) -> str:
    """'under mild re-encoding it is from 0.41 to 0.55': the band of an answer that was judged again."""
    assert answer.stability is not None, "only what was judged again has a band"
    low, high = (rounded(value, threshold=answer.threshold) for value in (answer.stability.low, answer.stability.high))
    return f"under mild re-encoding it is from {low} to {high}"


def stability_words(answer: DetectorResult) -> str:
    """What became of the score when a part of the file was judged again; empty where that was not done.

    'Under mild re-encoding it is from 0.41 to 0.55 (16 faces judged again after 5 changes; 2 more have no score).'
    """
    band = answer.stability
    if band is None:
        return ""
    judged = (
        f"{counted(band.units, UNIT_NOUNS[answer.unit])} judged again after {counted(len(band.scored), 'mild change')}"
    )
    missing = len(band.variants) - len(band.scored)
    if not band.scored:
        return f"Whether its score changes under mild re-encoding is not known: none of {counted(missing, 'change')} gave a score."
    more = f"; {missing} more {'has' if missing == 1 else 'have'} no score" if missing else ""
    words = band_words(answer)
    return f"{words[0].upper()}{words[1:]} ({judged}{more})."


def variant_reason(code: str) -> str:
    """Why a change has no score."""
    return VARIANT_REASONS.get(code) or sentence_for(code)


def variant_rows(answer: DetectorResult) -> tuple[tuple[str, str], ...]:
    """Each mild change in words, and the score after it or the reason why there is none."""
    rows = []
    for item in answer.stability.variants if answer.stability else ():
        known = VARIANTS.get(item.name)
        score = rounded(item.fake_score, threshold=answer.threshold) if item.fake_score is not None else None
        rows.append((known.words if known else item.name, score or variant_reason(item.code or "not_made")))
    return tuple(rows)


def finding_words(finding: Finding) -> str:
    """A finding as tables show it: 'points to manipulation, limited support', 'inconclusive'."""
    if finding.points == "inconclusive":
        return "inconclusive"
    target = "manipulation" if finding.points == "points_to_fake" else "real material"
    return f"points to {target}, {_level(finding)}"


def _level(finding: Finding) -> str:
    return level_words(finding.level) if finding.level else "reliability not measured here"


def reached_words(worth: Worth, *, low: bool) -> str:
    """How many items of a reference set of each kind have a score this high or higher; ``low``: this low or lower."""
    like = f"files like this one ({worth.like})" if worth.like else "files"
    whole = (
        " Too few of those files are like this one to count them alone, so all were counted."
        if worth.why_whole == "few_like_it"
        else ""
    )
    real, fake, as_this = (
        (worth.real_as_low, worth.fake_as_low, "low or lower") if low else (worth.real, worth.fake, "high or higher")
    )
    return f"Of the {like} that it was measured on, {_of(real)} real and {_of(fake)} manipulated ones scored this {as_this}.{whole}"


def _of(tally: Tally) -> str:
    return f"{tally.reached:,} of {tally.of:,}"


def alarm_words(worth: Worth) -> str:
    """How often real material is flagged at the threshold, with the interval."""
    tally = worth.real_flagged
    return (
        f"{tally.reached:,} of {tally.of:,} real files that it was measured on reached its threshold, too "
        f"({percent(tally.low)} to {percent(tally.high)} %, 95 % interval)"
    )


def ratio_words(worth: Worth) -> str:
    """'likelihood ratio 4.2, 95 % interval 1.5 to 12'; smaller than 1 speaks for real material."""
    ratio = worth.ratio
    at_end = ratio.value >= ratio.most > 1 or ratio.value <= ratio.least < 1
    bound = ", which is all that so many files can support" if at_end else ""
    return f"likelihood ratio {number(ratio.value)}{bound}, 95 % interval {number(ratio.low)} to {number(ratio.high)}"


def number(value: float) -> str:
    """Two digits that count: '0.052', '1.3', '14', '1,200'."""
    if value >= 10:
        digits = len(str(int(value))) - 2
        return f"{round(value, -digits):,.0f}"
    return f"{value:.2g}"


def percent(share: float) -> str:
    """A share as a percentage, with a digit more below one."""
    return f"{100 * share:.1f}" if 0 < share < 0.1 else f"{100 * share:.0f}"


# --------------------------------------------------------------------------- the whole result


@dataclass(frozen=True)
class Kind:
    """A kind of manipulation, in words, and the titles of the detectors that looked for it and could judge the file."""

    code: str
    words: str
    looked: tuple[str, ...]


@dataclass(frozen=True)
class Statement:
    """What stands above a result. ``lead`` is about joint stretches of two kinds of evidence, ``worth`` how often real video has them, both
    empty where there are none; ``whole`` is what points where by the scores of the file; ``details`` say how often that happens on real
    material; ``times``, their last ones, what is known of from when to when."""

    lead: str
    worth: str
    whole: str
    looked_for: str
    details: tuple[str, ...]
    not_looked_for: str
    kinds: tuple[Kind, ...]
    times: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """What points where: joint stretches first, never without their worth."""
        return " ".join(text for text in (self.lead, self.worth, self.whole) if text)

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of it, in the order in which it is read."""
        return tuple(text for text in (self.headline, *self.details, self.looked_for, self.not_looked_for) if text)


def statement_of(result: Result) -> Statement | None:
    """The statement of ``result``; None for a result of an earlier version, which has no findings."""
    scored = [item for item in result.detectors if item.status == "ok"]
    if any(item.finding is None for item in scored):
        return None
    kinds = kinds_of(scored)
    names, whole, times = titles(result), _of_the_whole(scored), tuple(_of_time(result, scored))
    lead = joint_headline(result, names, kinds=len(families_of(scored)))
    return Statement(
        lead=lead,
        worth=joint_worth(result, names),
        whole=f"Over the whole file, {whole[0].lower()}{whole[1:]}" if lead else whole,
        looked_for=_looked_for(kinds),
        details=(*cousins(result, names), *_details(result, scored), *times),
        not_looked_for=_not_looked_for(kinds),
        kinds=kinds,
        times=times,
    )


def kinds_of(scored: Iterable[DetectorResult]) -> tuple[Kind, ...]:
    """Every kind of manipulation with those of ``scored`` that looked for it and could judge enough of the file to be counted."""
    able = [item for item in scored if counts(item)]
    return tuple(
        Kind(code, words, tuple(item.title for item in able if code in item.looks_for)) for code, words in KINDS.items()
    )


def families_of(scored: Iterable[DetectorResult]) -> dict[str, Direction]:
    """Where each family of detectors points: one that points somewhere decides, two that contradict each other are ``both``.

    A detector without a family is one of its own. Detectors that judged too little are left out.
    """
    members: dict[str, set[str]] = {}
    for item in scored:
        if item.finding is not None and counts(item):
            members.setdefault(item.family or item.id, set()).add(item.finding.points)
    found: dict[str, Direction] = {}
    for family, points in members.items():
        sides = points - {"inconclusive"}
        found[family] = "both" if len(sides) > 1 else sides.pop() if sides else "inconclusive"
    return found


def _of_the_whole(scored: Sequence[DetectorResult]) -> str:
    """What points where by the score of the file."""
    if not scored:
        return "No detector could judge this file, so there is no finding. That does not show that the file is genuine."
    families = families_of(scored)
    if not families:
        return "No detector could judge enough of this file to be counted."
    to_fake, to_real = (_pointing(families, side) for side in ("points_to_fake", "points_to_real"))
    both = _pointing(families, "both")
    if not (to_fake or to_real or both):
        many = f"None of the {len(families)} kinds of evidence points either way"
        return f"{many if len(families) > 1 else f'{_ONLY} points neither way'}: inconclusive. That does not show that the file is genuine."
    parts = ["The evidence is contradictory."] if to_fake and to_real else []
    if to_fake:
        parts.append(_counted(to_fake, families, scored, "points_to_fake"))
    if to_real:
        parts.append(_counted(to_real, families, scored, "points_to_real"))
    if both:
        parts.append(f"Within {_few(len(both))} of evidence, detectors contradict each other.")
    if to_real and not to_fake and not both:
        parts.append("That does not show that the file is genuine.")
    return " ".join(parts)


def _pointing(families: dict[str, Direction], side: Direction) -> list[str]:
    return [family for family, points in families.items() if points == side]


def _few(number: int) -> str:
    return "one kind" if number == 1 else f"{number} kinds"


def _counted(
    pointing: list[str], families: dict[str, Direction], scored: Sequence[DetectorResult], side: Points
) -> str:
    """'1 of 2 kinds of evidence points to manipulation: traces of a face that was pasted in (Self-blend traces, limited support).'"""
    verb = "points" if len(pointing) == 1 else "point"
    of = f"{len(pointing)} of {len(families)} kinds of evidence" if len(families) > 1 else _ONLY
    if side == "points_to_real" and sorted(families.values()) == ["points_to_fake", "points_to_real"]:
        of = "The other one"
    told = []
    for family in pointing:
        own = [
            item
            for item in scored
            if (item.family or item.id) == family and item.finding and item.finding.points == side
        ]
        names = [f"{item.title}, {_level(item.finding)}" for item in own if item.finding]
        words = (FEW_TRACES if side == "points_to_real" else FAMILIES).get(family)
        told.append(f"{words} ({'; '.join(names)})" if words else "; ".join(names))
    target = "manipulation" if side == "points_to_fake" else "real material"
    return f"{of} {verb} to {target}: {joined(told)}."


def _details(result: Result, scored: Sequence[DetectorResult]) -> Iterable[str]:
    """Of each counted detector: the finding in a sentence, and of those that point to manipulation, how often real files are flagged."""
    names = titles(result)
    for item in scored:
        assert item.finding is not None
        yield f"{names[item.id]}: {item.finding.sentence}"
        if item.worth and item.finding.points == "points_to_fake":
            yield f"{names[item.id]}: {alarm_words(item.worth)}."


def _of_time(result: Result, scored: Sequence[DetectorResult]) -> Iterable[str]:
    """What is known of from when to when: that nobody can tell, that no two agree, and the stretches of each detector."""
    able = [item for item in scored if counts(item)]
    yield from filter(None, (cannot_tell(result, able), agreement(result, able)))
    yield from single_sentences(result, able, titles(result))


def _looked_for(kinds: Sequence[Kind]) -> str:
    found = [kind.words for kind in kinds if kind.looked]
    return f"Looked for: {joined(found)}." if found else ""


def _not_looked_for(kinds: Sequence[Kind]) -> str:
    missing = [kind.words for kind in kinds if not kind.looked]
    return f"Not looked for: {joined(missing)}." if missing else ""
