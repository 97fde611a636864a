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
from shared.languages import ENGLISH, _, digits, inside, language, marked, ngettext, signs
from shared.results import DetectorResult, Finding, PersonScore, Points, Result, SupportLevel, Tally, Worth
from shared.rounding import score as rounded
from shared.stability import BY_NAME as VARIANTS
from shared.stability import REASONS as VARIANT_REASONS
from shared.stretch_words import agreement, cannot_tell, cousins, joint_details, joint_headline, single_sentences
from shared.words import UNIT_NOUNS, counted, joined, out_of, titles

#: Where the evidence of a family points, or that its detectors point to both sides.
Direction = Points | str

#: Codes of findings that need no numbers (docs/evidence.md lists all).
_REASONS: Final[dict[str, str]] = marked(
    {
        "outside_limits": "The file is beyond what it can judge, as measured on its own test material; its score is shown and not counted.",
        "no_trace": "It found no trace. Saving a file again removes what it looks for, so this says nothing either way.",
        "measured_otherwise": (
            "It was measured on other files only (of another kind, in another mode, or made for measuring), or on too few, "
            "so nothing is known of scores like this one."
        ),
        "near_threshold": "Its score is near its threshold, and how often that happens on real material was not measured here.",
    }
)


#: Findings of detectors that are in no count.
NOT_COUNTED: Final = ("few_units", "outside_limits")


def counts(answer: DetectorResult) -> bool:
    """Whether a detector gave a score and may be counted."""
    return answer.finding is not None and answer.finding.code not in NOT_COUNTED


def left_out(answer: DetectorResult) -> bool:
    """Whether a detector gave a score that is in no count, so that its label is shown in grey."""
    return answer.finding is not None and answer.finding.code in NOT_COUNTED


def uncounted(result: Result) -> frozenset[str]:
    """Ids of the detectors with a score that is in no count, and grey wherever it is shown; without findings, by how much they judged."""
    is_clip = result.media.kind == "video"
    scored = [item for item in result.detectors if item.status == "ok"]
    return frozenset(item.id for item in scored if left_out(item) or not enough(item, is_clip=is_clip))


def enough(answer: DetectorResult, *, is_clip: bool) -> bool:
    """Whether it judged enough of the file to be counted: a fifth of what there was, and of a clip's faces at least 20."""
    units = len(answer.scores)
    least = LEAST_UNITS if is_clip and answer.unit == "face" else 1
    return answer.units_scored >= least and answer.units_scored >= LEAST_SHARE * units


def enough_of_person(one: PersonScore, *, faces: int, is_clip: bool) -> bool:
    """Whether enough of a person was judged, of whom ``faces`` were found: by the rule of ``enough``."""
    return one.faces >= LEAST_SHARE * faces and (not is_clip or one.faces >= LEAST_UNITS)


#: Why a person's label is grey.
NOT_SHOWN: Final = marked(("not counted", "too few faces", "inconclusive"))


@dataclass(frozen=True)
class PersonLabel:
    """How a person's score is shown: on which ``side`` of the threshold, or ``none`` for grey, and (in English) why it is grey."""

    side: Literal["fake", "real", "none"]
    why: str


def person_label(answer: DetectorResult, one: PersonScore, *, faces: int, is_clip: bool) -> PersonLabel:
    """The label of a person of whom ``faces`` were found. It has a colour only where the detector's finding points to its side.

    The finding is about the file: where that is inconclusive, a person's score cannot be more. Without findings the label decides.
    """
    if left_out(answer):
        return PersonLabel("none", NOT_SHOWN[0])
    if not enough_of_person(one, faces=faces, is_clip=is_clip):
        return PersonLabel("none", NOT_SHOWN[1])
    side: Points = "points_to_fake" if one.hard_label == "fake" else "points_to_real"
    if answer.finding is not None and answer.finding.points != side:
        return PersonLabel("none", NOT_SHOWN[2])
    return PersonLabel(one.hard_label, "")


# --------------------------------------------------------------------------- one detector


def finding_sentence(answer: DetectorResult, points: Points, code: str, level: SupportLevel | None) -> str:
    """Why an answer points where it does, in one or two sentences."""
    if code == "few_units":
        part = out_of(answer.units_scored, len(answer.scores), UNIT_NOUNS[answer.unit])
        return _("It could judge only {part}: too few to be counted.", part=part)
    if code in _REASONS:
        return _(_REASONS[code])
    where = _where(answer)
    if code == "changes_under_reencoding":
        return _("{where}, but {band}, which is on both sides of it.", where=where, band=band_words(answer))
    if answer.worth is None:
        return _("{where}. How often that happens on real material was not measured here.", where=where)
    counts, ratio = reached_words(answer.worth, low=answer.hard_label != "fake"), ratio_words(answer.worth)
    if code == "ratio_holds_one":
        if min(answer.worth.real.of, answer.worth.fake.of) < FEW_MEASURED:
            return _("{counts} So few files do not tell.", counts=counts)
        scenes = answer.worth.rarer_groups
        if scenes is not None and scenes < FEW_MEASURED:
            return ngettext(
                "{counts} Those of one kind are of {n} scene or person, and that does not tell.",
                "{counts} Those of one kind are of {n} scenes or persons, and so few do not tell.",
                scenes,
                counts=counts,
            )
        return _(
            "{counts} Such a score does not tell real files from manipulated ones ({interval}).",
            counts=counts,
            interval=interval_words(answer.worth),
        )
    if code == "ratio_near_one":
        values = {"counts": counts, "interval": interval_words(answer.worth)}
        return _("{counts} The difference is too small to support either side ({interval}).", **values)
    if code == "threshold_disagrees":
        return _(
            "{where}, but scores like it are more common on the other side: {counts}",
            where=where,
            counts=inside(counts),
        )
    if code == "beyond_measured":
        return _(
            "{where}, and beyond the scores of all files that it was measured on: {counts}",
            where=where,
            counts=inside(counts),
        )
    assert level is not None, "what is measured and not inconclusive has a level"
    values = {"counts": counts, "level": level_words(level), "ratio": ratio}
    if points == "points_to_fake":
        return _("{counts} That is {level} for manipulated material ({ratio}).", **values)
    return _("{counts} That is {level} for real material ({ratio}).", **values)


def _where(answer: DetectorResult) -> str:
    """'Its score of 0.85 is at or above its threshold of 0.50'."""
    score, threshold = rounded(answer.fake_score, threshold=answer.threshold), digits(answer.threshold, ".2f")
    if answer.hard_label == "fake":
        return _("Its score of {score} is at or above its threshold of {threshold}", score=score, threshold=threshold)
    return _("Its score of {score} is below its threshold of {threshold}", score=score, threshold=threshold)


def why_it_points(answer: DetectorResult) -> str:
    """The sentence of an answer's finding: as it was stored, in another language made anew. Empty without a finding."""
    found = answer.finding
    if found is None:
        return ""
    if language().code == ENGLISH:
        return found.sentence
    return finding_sentence(answer, found.points, found.code, found.level)


def band_words(answer: DetectorResult) -> str:
    """'under mild re-encoding it is from 0.41 to 0.55': the band of an answer that was judged again."""
    assert answer.stability is not None, "only what was judged again has a band"
    low, high = (rounded(value, threshold=answer.threshold) for value in (answer.stability.low, answer.stability.high))
    return _("under mild re-encoding it is from {low} to {high}", low=low, high=high)


def stability_words(answer: DetectorResult) -> str:
    """What became of the score when a part of the file was judged again; empty where that was not done.

    'Under mild re-encoding it is from 0.41 to 0.55 (16 faces judged again after 5 changes; 2 more have no score).'
    """
    band = answer.stability
    if band is None:
        return ""
    missing = len(band.variants) - len(band.scored)
    if not band.scored:
        return ngettext(
            "Whether its score changes under mild re-encoding is not known: none of {n} change gave a score.",
            "Whether its score changes under mild re-encoding is not known: none of {n} changes gave a score.",
            missing,
        )
    judged = ngettext(
        "{units} judged again after {n} mild change",
        "{units} judged again after {n} mild changes",
        len(band.scored),
        units=counted(band.units, UNIT_NOUNS[answer.unit]),
    )
    if missing:
        judged = f"{judged}; {ngettext('{n} more has no score', '{n} more have no score', missing)}"
    low, high = (rounded(value, threshold=answer.threshold) for value in (band.low, band.high))
    return _("Under mild re-encoding it is from {low} to {high} ({judged}).", low=low, high=high, judged=judged)


def variant_reason(code: str) -> str:
    """Why a change has no score."""
    return _(VARIANT_REASONS[code]) if code in VARIANT_REASONS else sentence_for(code)


def variant_rows(answer: DetectorResult) -> tuple[tuple[str, str], ...]:
    """Each mild change in words, and the score after it or the reason why there is none."""
    rows = []
    for item in answer.stability.variants if answer.stability else ():
        known = VARIANTS.get(item.name)
        score = rounded(item.fake_score, threshold=answer.threshold) if item.fake_score is not None else None
        rows.append((_(known.words) if known else item.name, score or variant_reason(item.code or "not_made")))
    return tuple(rows)


def finding_words(finding: Finding) -> str:
    """A finding as tables show it: 'points to manipulation, limited support', 'inconclusive'."""
    if finding.points == "inconclusive":
        return _("inconclusive")
    if finding.points == "points_to_fake":
        return _("points to manipulation, {level}", level=_level(finding))
    return _("points to real material, {level}", level=_level(finding))


def _level(finding: Finding) -> str:
    return level_words(finding.level) if finding.level else _("reliability not measured here")


def reached_words(worth: Worth, *, low: bool) -> str:
    """How many items of a reference set of each kind have a score this high or higher; ``low``: this low or lower."""
    real, fake = (worth.real_as_low, worth.fake_as_low) if low else (worth.real, worth.fake)
    conditions = ", ".join(_(part) for part in (worth.like or "").split(", "))
    values = {"real": _of(real), "fake": _of(fake), "conditions": conditions}
    if worth.like and low:
        said = _(
            "Of the files like this one ({conditions}) that it was measured on, {real} real and {fake} manipulated ones scored this low "
            "or lower.",
            **values,
        )
    elif worth.like:
        said = _(
            "Of the files like this one ({conditions}) that it was measured on, {real} real and {fake} manipulated ones scored this high "
            "or higher.",
            **values,
        )
    elif low:
        said = _(
            "Of the files that it was measured on, {real} real and {fake} manipulated ones scored this low or lower.",
            **values,
        )
    else:
        said = _(
            "Of the files that it was measured on, {real} real and {fake} manipulated ones scored this high or higher.",
            **values,
        )
    if worth.why_whole != "few_like_it":
        return said
    return f"{said} {_('Too few of those files are like this one to count them alone, so all were counted.')}"


def _of(tally: Tally) -> str:
    return _("{part} of {whole}", part=digits(tally.reached, ","), whole=digits(tally.of, ","))


def alarm_words(worth: Worth) -> str:
    """How often real material is flagged at the threshold, with the interval."""
    tally = worth.real_flagged
    return _(
        "{part} of {whole} real files that it was measured on reached its threshold, too ({low} to {high} %, 95 % interval)",
        part=digits(tally.reached, ","),
        whole=digits(tally.of, ","),
        low=percent(tally.low),
        high=percent(tally.high),
    )


def ratio_words(worth: Worth) -> str:
    """'likelihood ratio 4.2, 95 % interval 1.5 to 12'; smaller than 1 speaks for real material."""
    ratio = worth.ratio
    at_end = ratio.value >= ratio.most > 1 or ratio.value <= ratio.least < 1
    values = {"ratio": number(ratio.value), "low": number(ratio.low), "high": number(ratio.high)}
    if at_end:
        return _(
            "likelihood ratio {ratio}, which is all that so many files can support, 95 % interval {low} to {high}",
            **values,
        )
    return _("likelihood ratio {ratio}, 95 % interval {low} to {high}", **values)


def interval_words(worth: Worth) -> str:
    """'95 % interval of its likelihood ratio: 0.53 to 1.2', of an inconclusive score, whose ratio itself would be quoted."""
    low, high = number(worth.ratio.low), number(worth.ratio.high)
    return _("95 % interval of its likelihood ratio: {low} to {high}", low=low, high=high)


def number(value: float) -> str:
    """Two digits that count: '0.052', '1.3', '14', '1,200'."""
    if value >= 10:
        beside = len(str(int(value))) - 2
        return signs(f"{round(value, -beside):,.0f}")
    return signs(f"{value:.2g}")


def percent(share: float) -> str:
    """A share as a percentage, with a digit more below one."""
    return signs(f"{100 * share:.1f}" if 0 < share < 0.1 else f"{100 * share:.0f}")


# --------------------------------------------------------------------------- the whole result


@dataclass(frozen=True)
class Kind:
    """A kind of manipulation, in words, and the titles of the detectors that looked for it and could judge the file."""

    code: str
    words: str
    looked: tuple[str, ...]


@dataclass(frozen=True)
class Statement:
    """What stands above a result.

    ``lead`` is about the joint stretch of most kinds of evidence and how often real video has one, ``about`` the rest of these stretches,
    both empty where there are none; ``whole`` is what points where by the scores of the file; ``details`` say how often that happens on
    real material; ``times``, their last ones, what is known of from when to when.
    """

    lead: str
    about: str
    whole: str
    looked_for: str
    details: tuple[str, ...]
    not_looked_for: str
    kinds: tuple[Kind, ...]
    times: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """What is read first, and large: joint stretches, never without how often real video has them; else what points where."""
        return self.lead or self.whole

    @property
    def below(self) -> str:
        """What belongs to the headline and is read after it; empty where that says it all."""
        return " ".join(text for text in (self.about, self.whole) if text) if self.lead else ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of it, in the order in which it is read."""
        told = (self.headline, self.below, *self.details, self.looked_for, self.not_looked_for)
        return tuple(text for text in told if text)


def statement_of(result: Result) -> Statement | None:
    """The statement of ``result``; None for a result of an earlier version, which has no findings."""
    scored = [item for item in result.detectors if item.status == "ok"]
    if any(item.finding is None for item in scored):
        return None
    kinds = kinds_of(scored)
    names, whole, times = titles(result), _of_the_whole(scored), tuple(_of_time(result, scored))
    lead = joint_headline(result, kinds=len(families_of(scored)))
    return Statement(
        lead=lead,
        about=joint_details(result, names),
        whole=_("Over the whole file, {statement}", statement=inside(whole)) if lead else whole,
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
        Kind(code, _(words), tuple(item.title for item in able if code in item.looks_for))
        for code, words in KINDS.items()
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
        return _(
            "No detector could judge this file, so there is no finding. That does not show that the file is genuine."
        )
    families = families_of(scored)
    if not families:
        return _("No detector could judge enough of this file to be counted.")
    to_fake, to_real = (_pointing(families, side) for side in ("points_to_fake", "points_to_real"))
    both = _pointing(families, "both")
    if not (to_fake or to_real or both):
        if len(families) == 1:
            return _(
                "The only kind of evidence counted points neither way: inconclusive. That does not show that the file is genuine."
            )
        return _(
            "None of the {n} kinds of evidence points either way: inconclusive. That does not show that the file is genuine.",
            n=len(families),
        )
    parts = [_("The evidence is contradictory.")] if to_fake and to_real else []
    if to_fake:
        parts.append(_counted(to_fake, families, scored, "points_to_fake"))
    if to_real:
        parts.append(_counted(to_real, families, scored, "points_to_real"))
    if both:
        parts.append(
            _("Within one kind of evidence, detectors contradict each other.")
            if len(both) == 1
            else _("Within {n} kinds of evidence, detectors contradict each other.", n=len(both))
        )
    if to_real and not to_fake and not both:
        parts.append(_("That does not show that the file is genuine."))
    return " ".join(parts)


def _pointing(families: dict[str, Direction], side: Direction) -> list[str]:
    return [family for family, points in families.items() if points == side]


def _counted(
    pointing: list[str], families: dict[str, Direction], scored: Sequence[DetectorResult], side: Points
) -> str:
    """'1 of 2 kinds of evidence points to manipulation: traces of a face that was pasted in (Self-blend traces, limited support).'"""
    told = []
    for family in pointing:
        own = [
            item
            for item in scored
            if (item.family or item.id) == family and item.finding and item.finding.points == side
        ]
        names = [f"{item.title}, {_level(item.finding)}" for item in own if item.finding]
        words = (FEW_TRACES if side == "points_to_real" else FAMILIES).get(family)
        told.append(f"{_(words)} ({'; '.join(names)})" if words else "; ".join(names))
    which = joined(told)
    if len(families) == 1:
        if side == "points_to_fake":
            return _("The only kind of evidence counted points to manipulation: {which}.", which=which)
        return _("The only kind of evidence counted points to real material: {which}.", which=which)
    if side == "points_to_real" and sorted(families.values()) == ["points_to_fake", "points_to_real"]:
        return _("The other one points to real material: {which}.", which=which)
    number, values = len(pointing), {"all": len(families), "which": which}
    if side == "points_to_fake":
        return ngettext(
            "{n} of {all} kinds of evidence points to manipulation: {which}.",
            "{n} of {all} kinds of evidence point to manipulation: {which}.",
            number,
            **values,
        )
    return ngettext(
        "{n} of {all} kinds of evidence points to real material: {which}.",
        "{n} of {all} kinds of evidence point to real material: {which}.",
        number,
        **values,
    )


def _details(result: Result, scored: Sequence[DetectorResult]) -> Iterable[str]:
    """Of each counted detector: the finding in a sentence, and of those that point to manipulation, how often real files are flagged."""
    names = titles(result)
    for item in scored:
        assert item.finding is not None
        yield f"{names[item.id]}: {why_it_points(item)}"
        if item.worth and item.finding.points == "points_to_fake":
            yield f"{names[item.id]}: {alarm_words(item.worth)}."


def _of_time(result: Result, scored: Sequence[DetectorResult]) -> Iterable[str]:
    """What is known of from when to when: that nobody can tell, that no two agree, and the stretches of each detector."""
    able = [item for item in scored if counts(item)]
    yield from filter(None, (cannot_tell(result, able), agreement(result, able)))
    yield from single_sentences(result, able, titles(result))


def _looked_for(kinds: Sequence[Kind]) -> str:
    found = [kind.words for kind in kinds if kind.looked]
    return _("Looked for: {kinds}.", kinds=joined(found)) if found else ""


def _not_looked_for(kinds: Sequence[Kind]) -> str:
    missing = [kind.words for kind in kinds if not kind.looked]
    return _("Not looked for: {kinds}.", kinds=joined(missing)) if missing else ""
