"""Stretches in words: who, from when to when, according to whom, and how often that happens on real video.

Owns these sentences for page, mail, summary, JSON and command line (``shared.statement`` puts them together). Promises: no score in them,
and never that a file is fake or real; a stretch of one detector alone is never said without how often it has one on real video, or that
this was not measured. May be imported by all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shared.evidence import RARE_A_MINUTE
from shared.languages import _, digits, ngettext
from shared.results import DetectorResult, FalseStretches, JointStretch, Result, Stretch
from shared.words import clock_time, duration, joined

#: Most stretches that a sentence names; result.json has all.
_MOST: Final = 3
#: A joint stretch this near to both ends of what was seen is all of it, seconds.
_ALL_BUT_S: Final = 0.5


@dataclass(frozen=True)
class Span:
    """From when to when detectors of ``families`` kinds of evidence (at the least moment) are at or above their thresholds at once.

    ``changing``: not the same detectors throughout; then at least two of ``detectors`` at each moment.
    """

    person: int | None
    start_s: float
    end_s: float
    detectors: tuple[str, ...]
    families: int
    changing: bool
    false_stretches: FalseStretches | None


def spans_of(result: Result) -> tuple[Span, ...]:
    """Joint stretches as they are told: those that touch are one. Most kinds of evidence first, then the longest."""
    spans: list[Span] = []
    for item in result.joint_stretches:
        last = spans[-1] if spans else None
        if (
            last
            and (last.person, last.end_s) == (item.person, item.start_s)
            and (last.families > 1) == (item.families > 1)
        ):
            spans[-1] = _merged(last, item)
        else:
            own = item.detectors, item.families, False, item.false_stretches
            spans.append(Span(item.person, item.start_s, item.end_s, *own))
    return tuple(sorted(spans, key=lambda span: (-span.families, span.start_s - span.end_s, span.start_s)))


def _merged(span: Span, item: JointStretch) -> Span:
    names = tuple(dict.fromkeys((*span.detectors, *item.detectors)))
    false = span.false_stretches, item.false_stretches
    known = [one for one in false if one is not None]
    return Span(
        span.person,
        span.start_s,
        item.end_s,
        names,
        min(span.families, item.families),
        span.changing or span.detectors != item.detectors,
        None if None in false else max(known, key=_rate),
    )


def _rate(false: FalseStretches) -> tuple[float, float]:
    return false.found / false.minutes, -false.minutes


def joint_headline(result: Result, *, kinds: int) -> str:
    """The joint stretch of most kinds of evidence, how many more there are, and how often real material has one; empty where there is none.

    Short: it is read first. ``joint_details`` says the rest. ``kinds``: how many kinds of evidence judged the file.
    """
    spans = _of_several_kinds(result)
    if not spans:
        return ""
    first, more = spans[0], len(spans) - 1
    values = {"where": _where(first), "n": first.families, "all": kinds}
    if kinds > first.families:
        said = _(
            "{where}: {n} of {all} kinds of evidence reach their thresholds for manipulation at the same time.",
            **values,
        )
    else:
        said = _("{where}: {n} kinds of evidence reach their thresholds for manipulation at the same time.", **values)
    told = [said, _often_in_short(first)]
    if more:
        told.append(ngettext("There is one more such stretch.", "There are {n} more such stretches.", more))
    return " ".join(told)


def joint_details(result: Result, names: Mapping[str, str]) -> str:
    """What belongs to ``joint_headline`` and is too long for it: by which detectors, the other stretches, and how often real material has
    those. ``names``: id of a detector -> its title."""
    spans = _of_several_kinds(result)
    if not spans:
        return ""
    look = _("It is a reason to look closely at that part of the file, not a finding.")
    if len(spans) == 1:
        told = [look, _("Detectors there: {which}.", which=_which(spans[0], names))]
    else:
        each = (
            _(
                "{where}: {n} kinds of evidence ({which}).",
                where=_where(span),
                n=span.families,
                which=_which(span, names),
            )
            for span in spans[:_MOST]
        )
        told = [look, *each]
    if len(spans) > _MOST:
        told.append(ngettext("One more is not named here.", "{n} more are not named here.", len(spans) - _MOST))
    if not _covers_all(result, spans):
        told.append(_("The file has no other such stretch of one and a half seconds or more."))
    told += [_how_often(span.false_stretches, names, span=span) for span in spans if not _said_in_short(span, spans[0])]
    return " ".join(dict.fromkeys(told))


def _of_several_kinds(result: Result) -> list[Span]:
    return [span for span in spans_of(result) if span.families > 1]


def _said_in_short(span: Span, first: Span) -> bool:
    """Whether the headline has said all that was counted: of the same detectors, in the same material, without naming them."""
    counted = span.false_stretches
    same = counted == first.false_stretches and (span.person is None) == (first.person is None)
    return same and (counted is None or set(counted.detectors) == set(span.detectors))


def cousins(result: Result, names: Mapping[str, str]) -> Iterator[str]:
    """Where detectors of one kind of evidence are above at once: the weaker joint stretches, told among the details."""
    alike = [span for span in spans_of(result) if span.families == 1]
    if alike:
        told = "; ".join(f"{_where(span)} ({_which(span, names)})" for span in alike[:_MOST])
        if len(alike) > _MOST:
            told = _("{stretches}; and {n} more", stretches=told, n=len(alike) - _MOST)
        yield _(
            "Detectors that look at the same thing reach their thresholds together: {stretches}. That is one kind of evidence.",
            stretches=told,
        )
        often = (_how_often(span.false_stretches, names, span=span) for span in alike)
        yield from dict.fromkeys(often)


def single_sentences(result: Result, counted_ones: Iterable[DetectorResult], names: Mapping[str, str]) -> Iterator[str]:
    """For each of the detectors that are counted and have one: its stretches of ``fake``, and how often it has them on real video."""
    for answer in counted_ones:
        found = sorted((one for one in answer.stretches if one.side == "fake"), key=lambda one: one.start_s - one.end_s)
        if not found:
            continue
        told = joined(list(_by_person(found[:_MOST])))
        rest = len(found) - _MOST
        if rest > 0:
            told = ngettext(
                "{stretches}, and in one shorter stretch",
                "{stretches}, and in {n} shorter stretches",
                rest,
                stretches=told,
            )
        often = _how_often(answer.false_stretches, names, sound=answer.unit == "sound")
        yield _(
            "{detector}, taken by itself, is at or above its threshold for {stretches}. {how_often}",
            detector=names[answer.id],
            stretches=told,
            how_often=often,
        )


def cannot_tell(result: Result, counted_ones: Sequence[DetectorResult]) -> str:
    """Why nothing is said about from when to when; empty where stretches were looked for."""
    units = {answer.unit for answer in counted_ones}
    if result.media.kind == "image" and units:
        return _("This is one picture, so there are no times to tell.")
    if "face" in units and result.mode == "quick":
        return _(
            "Quick mode looks at too few pictures to tell when something starts and ends; a short manipulation can be missed."
        )
    if units == {"picture"}:
        return _("The pictures that were judged are too far apart to tell when something starts and ends.")
    return ""


def agreement(result: Result, counted_ones: Sequence[DetectorResult]) -> str:
    """That no two detectors agree on a stretch; empty where they do, and where there are no two to compare."""
    units = [answer.unit for answer in counted_ones]
    faces = units.count("face") if result.media.kind == "video" and result.mode != "quick" else 0
    if max(faces, units.count("sound")) < 2 or result.joint_stretches:
        return ""
    return _(
        "There is no stretch of one and a half seconds or more in which two detectors reach their thresholds together for the same person "
        "or voice."
    )


# --------------------------------------------------------------------------- inside


def person_words(person: int | None) -> str:
    """'Person 1', as pages and pictures number them, or 'The voice'."""
    return _("The voice") if person is None else _("Person {number}", number=person + 1)


def person_inside(person: int | None) -> str:
    """The same inside a sentence: 'person 1', 'the voice'."""
    return _("the voice") if person is None else _("person {number}", number=person + 1)


def from_to(start_s: float, end_s: float) -> str:
    """'0:04.0 to 0:08.0'."""
    return _("{start} to {end}", start=clock_time(start_s), end=clock_time(end_s))


def _where(span: Span) -> str:
    return f"{person_words(span.person)}, {from_to(span.start_s, span.end_s)}"


def _which(span: Span, names: Mapping[str, str]) -> str:
    told = joined([names.get(name, name) for name in span.detectors])
    return _("at each moment at least two of {detectors}", detectors=told) if span.changing else told


def _by_person(found: Sequence[Stretch]) -> Iterator[str]:
    """'person 1 (0:01.0 to 0:04.0, 0:06.0 to 0:07.0)', in the order of persons."""
    for person in dict.fromkeys(sorted((one.person for one in found), key=lambda one: -1 if one is None else one)):
        own = sorted((one for one in found if one.person == person), key=lambda one: one.start_s)
        times = ", ".join(from_to(one.start_s, one.end_s) for one in own)
        yield f"{person_inside(person)} ({times})"


def _covers_all(result: Result, spans: Sequence[Span]) -> bool:
    """Whether these are all of the time that there is, so that there is no elsewhere."""
    whole = max([result.media.duration_s, *(end for item in result.detectors for _, end in item.windows)])
    lanes = {one.person for item in result.detectors for one in item.stretches}
    covered = {span.person for span in spans if span.start_s <= _ALL_BUT_S and span.end_s >= whole - _ALL_BUT_S}
    return lanes <= covered


def _how_often(
    false: FalseStretches | None, names: Mapping[str, str], *, span: Span | None = None, sound: bool = False
) -> str:
    """How often real material has such a stretch, as counted; where it had none, what so little material cannot rule out.

    ``span``: the joint stretch it is about, None for one of a single detector. The detectors are named where they are not all of it.
    """
    heard = sound or bool(span and span.person is None)
    if false is None:
        return _not_measured(heard, together=span is not None)
    some = span and set(false.detectors) != set(span.detectors)
    who = ""
    if some:
        who = " " + _("of {detectors} together", detectors=joined([names.get(name, name) for name in false.detectors]))
    minutes = digits(false.minutes, ".1f")
    where = (
        _("the {minutes} minutes that both were measured on", minutes=minutes)
        if span
        else _("the {minutes} minutes that it was measured on", minutes=minutes)
    )
    if not false.found:
        values = {"of_whom": who, "where": where, "time": duration(60 * false.minutes / 3)}
        return _of(
            heard,
            _(
                "Real sound had no such stretch{of_whom} in {where}; that is too little sound to rule out one every {time}.",
                **values,
            ),
            _(
                "Real video had no such stretch{of_whom} in {where}; that is too little video to rule out one every {time}.",
                **values,
            ),
        )
    values = {"of_whom": who, "where": where, "count": digits(false.found, ",")}
    if false.found < RARE_A_MINUTE * false.minutes:
        return _of(
            heard,
            _("Real sound has such stretches{of_whom}, too: {count} in {where}.", **values),
            _("Real video has such stretches{of_whom}, too: {count} in {where}.", **values),
        )
    return _of(
        heard,
        _("Real sound has such stretches{of_whom}, too: {count} in {where}, so by itself this says little.", **values),
        _("Real video has such stretches{of_whom}, too: {count} in {where}, so by itself this says little.", **values),
    )


def _often_in_short(span: Span) -> str:
    """How often real material has such a joint stretch, in a few words: 'Real video has such stretches, too: 4 in 3.8 minutes.'"""
    false, heard = span.false_stretches, span.person is None
    if false is None:
        return _of(
            heard,
            _("How often real sound has that was not measured."),
            _("How often real video has that was not measured."),
        )
    values = {"count": digits(false.found, ","), "minutes": digits(false.minutes, ".1f")}
    if not false.found:
        values["time"] = duration(60 * false.minutes / 3)
        return _of(
            heard,
            _("Real sound had none in {minutes} minutes, too little to rule out one every {time}.", **values),
            _("Real video had none in {minutes} minutes, too little to rule out one every {time}.", **values),
        )
    if false.found < RARE_A_MINUTE * false.minutes:
        return _of(
            heard,
            _("Real sound has such stretches, too: {count} in {minutes} minutes.", **values),
            _("Real video has such stretches, too: {count} in {minutes} minutes.", **values),
        )
    return _of(
        heard,
        _("Real sound has such stretches, too: {count} in {minutes} minutes, so by itself this says little.", **values),
        _("Real video has such stretches, too: {count} in {minutes} minutes, so by itself this says little.", **values),
    )


def _of(heard: bool, sound: str, video: str) -> str:
    return sound if heard else video


def _not_measured(heard: bool, *, together: bool) -> str:
    if together:
        return _of(
            heard,
            _("How often real sound has such stretches was not measured for these together."),
            _("How often real video has such stretches was not measured for these together."),
        )
    return _of(
        heard,
        _("How often real sound has such stretches was not measured for it."),
        _("How often real video has such stretches was not measured for it."),
    )
