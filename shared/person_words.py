"""Persons of a result, worst first: one word for each, from when to when, and how many detectors are above their thresholds.

Promises: a word says what detectors did, never that somebody is fake or real; detectors that judged too little are in no count. For
page and report. May be imported by all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from shared.languages import _, marked, ngettext
from shared.results import DetectorResult, Result
from shared.statement import person_label, uncounted
from shared.stretch_words import Span, from_to, person_inside, person_words, spans_of
from shared.words import counted, joined, titles

#: What is said of a person, the worst first, and what it means.
WORDS: Final[dict[str, str]] = marked(
    {
        "flagged": "two kinds of evidence or more are above their thresholds at the same time",
        "unconfirmed": "a detector is above its threshold, but no second kind of evidence at the same time",
        "unflagged": "no detector that could judge enough is above its threshold, which does not show that it is genuine",
        "unjudged": "no detector could judge enough to be counted",
    }
)
#: The words as pages show them, alone or at the begin of a list.
NAMES: Final = marked(
    {"flagged": "flagged", "unconfirmed": "unconfirmed", "unflagged": "unflagged", "unjudged": "unjudged"}
)
Word = Literal["flagged", "unconfirmed", "unflagged", "unjudged"]

#: Most persons that a sentence names.
_MOST_NAMED: Final = 6
#: Most stretches that are named of one person; the timeline has all.
_MOST: Final = 3


@dataclass(frozen=True)
class Standing:
    """What is said of one person, of the voice where ``person`` is None.

    ``spans``: (start, end) seconds, at most three, ascending: where two kinds of evidence agree, else where single detectors are above.
    ``above`` of ``judged`` detectors are at or above their thresholds for this person, taken over the whole file.
    """

    person: int | None
    word: Word
    spans: tuple[tuple[float, float], ...]
    sentence: str
    above: int
    judged: int
    #: whether two kinds of evidence agree, or the finding of one that is above points to manipulation: else the word has no colour
    weighty: bool

    @property
    def name(self) -> str:
        """'Person 1', 'The voice'."""
        return person_words(self.person)

    @property
    def times(self) -> str:
        """'0:04.0 to 0:08.0, 0:09.1 to 0:12.0'; empty where no stretch is known."""
        return ", ".join(from_to(start, end) for start, end in self.spans)


def standings(result: Result) -> tuple[Standing, ...]:
    """Each person of ``result`` and, where sound was judged, the voice: the worst first."""
    persons: list[int | None] = [person.person for person in result.persons]
    if any(item.unit == "sound" and item.status == "ok" for item in result.detectors):
        persons.append(None)
    names = titles(result)
    found = [_standing(result, person, names) for person in persons]
    order = list(WORDS)
    return tuple(
        sorted(
            found,
            key=lambda one: (
                order.index(one.word),
                -sum(end - start for start, end in one.spans),
                -(one.above / one.judged if one.judged else 0),
                one.person is None,
                one.person or 0,
            ),
        )
    )


def _standing(result: Result, person: int | None, names: Mapping[str, str]) -> Standing:
    able = _able(result, person)
    above = [item for item, is_above in able if is_above]
    agreed = [span for span in spans_of(result) if span.person == person and span.families > 1]
    single = sorted(
        (
            (one.start_s, one.end_s)
            for item, _above in able
            for one in item.stretches
            if one.side == "fake" and one.person == person
        ),
        key=lambda pair: pair[0] - pair[1],
    )
    word: Word = "unjudged"
    if agreed or (not _has_times(result, person) and len({item.family or item.id for item in above}) > 1):
        word = "flagged"
    elif above or single:
        word = "unconfirmed"
    elif able:
        word = "unflagged"
    spans = [(span.start_s, span.end_s) for span in agreed] or single
    return Standing(
        person=person,
        word=word,
        spans=tuple(sorted(spans[:_MOST])),
        sentence=_sentence(agreed, above, able, names),
        above=len(above),
        judged=len(able),
        weighty=word == "flagged" or any(_points(item) for item in above),
    )


def _points(item: DetectorResult) -> bool:
    return item.finding is None or item.finding.points == "points_to_fake"


def _has_times(result: Result, person: int | None) -> bool:
    """Whether stretches of time were looked for: not in a still, and in quick mode of sound only, which says nothing of faces."""
    return any(item.stretches for item in result.detectors if (item.unit == "sound") == (person is None))


def _able(result: Result, person: int | None) -> list[tuple[DetectorResult, bool]]:
    """Detectors that could judge enough of a person (of the sound), and whether they are at or above their threshold for it."""
    found = []
    grey = uncounted(result)
    for item in result.detectors:
        if item.status != "ok" or item.id in grey:
            continue
        if person is None:
            if item.unit == "sound":
                found.append((item, item.hard_label == "fake"))
            continue
        own = next((one for one in item.persons if one.person == person), None)
        faces = next(one.faces for one in result.persons if one.person == person)
        if own and person_label(item, own, faces=faces, is_clip=result.media.kind == "video").why != "too few faces":
            found.append((item, own.hard_label == "fake"))
    return found


def _sentence(
    agreed: list[Span],
    above: list[DetectorResult],
    able: list[tuple[DetectorResult, bool]],
    names: Mapping[str, str],
) -> str:
    """Who is above, in a short sentence; where kinds of evidence agree, who agrees."""
    if agreed:
        first = agreed[0]
        who = joined([names[one] for one in first.detectors])
        if first.changing:
            return _("Above their thresholds at once: two or more of {detectors}.", detectors=who)
        return _("Above their thresholds at once: {detectors}.", detectors=who)
    if not able:
        return _("No detector judged enough to be counted.")
    if not above:
        return ngettext(
            "The one detector that judged enough is not above its threshold on the whole.",
            "None of the {n} detectors that judged enough is above its threshold on the whole.",
            len(able),
        )
    who = joined(
        [names[item.id] if _points(item) else _("{detector} (inconclusive)", detector=names[item.id]) for item in above]
    )
    return ngettext(
        "On the whole {n} of {all} is above its threshold: {detectors}.",
        "On the whole {n} of {all} are above their thresholds: {detectors}.",
        len(above),
        all=len(able),
        detectors=who,
    )


#: How the persons of a word are told, together.
_TOLD: Final[dict[str, str]] = marked(
    {
        "flagged": "Two kinds of evidence are above their thresholds at the same time for {persons}.",
        "unconfirmed": "A detector is above its threshold, without a second kind of evidence at the same time, for {persons}.",
        "unflagged": "No detector is above its threshold for {persons}.",
        "unjudged": "No detector judged enough of {persons} to be counted.",
    }
)
assert _TOLD.keys() == WORDS.keys()


def persons_sentence(found: tuple[Standing, ...]) -> str:
    """For whom, the voice included, detectors are above their thresholds and for whom not; empty without several persons."""
    persons = sorted((one for one in found if one.person is not None), key=lambda one: one.person or 0)
    if len(persons) < 2:
        return ""
    told = []
    for word, sentence in _TOLD.items():
        names = [person_inside(one.person) for one in persons if one.word == word]
        shown = names if len(names) <= _MOST_NAMED else [counted(len(names), "person")]
        if word != "unjudged" and any(one.person is None and one.word == word for one in found):
            shown = [*shown, person_inside(None)]
        if shown:
            told.append(_(sentence, persons=joined(shown)))
    return " ".join(told)
