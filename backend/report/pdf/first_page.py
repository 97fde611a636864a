"""The first page: what was found, who and when, how often that happens on real material, what was judged, and what nobody looked for.

Owns its order; the sentences are those of ``shared.statement``, as on the result page, in the mail and on the command line. May be imported
by ``backend.report.pdf``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reportlab.lib.units import mm
from reportlab.platypus import Flowable, Spacer

from backend.report import words
from backend.report.pdf.drawings import Timeline
from backend.report.pdf.letters import ACCENT, BODY, BOX, LEAD, NOTE, SECTION, SMALL, TITLE, bold, readable, safe, soft
from backend.report.pdf.parts import Boxed, Picture, Text, grid, headed
from backend.report.pdf.subject import FIRST_PERSONS, Stretches, Subject
from backend.report.series import damaged_stretches, person_name, time_end
from shared.notes import note_sentences
from shared.results import Person
from shared.rounding import score as rounded
from shared.statement import finding_words, person_label, statement_of
from shared.stretch_words import agreement, cannot_tell, cousins, person_words, single_sentences
from shared.words import clock_time, counted, duration, format_name, joined, looked_at, size

#: Most stretches of one detector, and most detectors with stretches, that are named of a person; result.json has all.
_MOST_STRETCHES: Final = 4
_MOST_WITH_STRETCHES: Final = 5
#: Most sentences under the timeline; the others are among those of the detectors.
_MOST_SENTENCES: Final = 6


def first_page(subject: Subject, *, width: float) -> Iterator[Flowable]:
    """The stones of the first page, ``width`` points wide."""
    result, said = subject.result, statement_of(subject.result)
    yield Text(safe(subject.name), TITLE)
    yield Text(soft(_kind(subject)), SMALL)
    if BOX in readable(result.media.name):
        yield Text(
            soft(f"{BOX} is a letter that this document has no picture of; result.json has the whole name."), NOTE
        )
    yield Spacer(0, 1.5 * mm)
    yield Boxed(list(_finding(subject)), ACCENT)
    yield Spacer(0, 2 * mm)
    yield from _when(subject, width=width)
    yield from headed("What was judged", SECTION)
    looked = looked_at(result)
    yield Text(safe(f"{looked[0].upper()}{looked[1:]}. {_judged_by(subject)}"), BODY)
    for sentence in note_sentences(result.notes):
        yield Text(f"<b>Note:</b> {safe(sentence)}", BODY)
    yield from _persons(subject, width=width)
    above = _of_time(subject)
    told = [sentence for sentence in words.details(result) if sentence not in above]
    if told:
        yield from headed("What each detector says, and how often real material gets that", SECTION)
        for sentence in told:
            yield Text(safe(sentence), SMALL)
    yield from headed("How to read this", SECTION)
    for sentence in words.cautions(result):
        yield Text(safe(sentence), SMALL)
    if said is None:
        yield Text("This result was made by an earlier version, which did not say how sure a finding is.", SMALL)


def _kind(subject: Subject) -> str:
    """'Video, 10 s, 640 × 360 pixels, MP4 (H.264), 1.2 MB; mode standard'."""
    media = subject.result.media
    parts = [media.kind.capitalize()]
    if media.kind != "image":
        parts.append(duration(media.duration_s))
    if media.kind != "sound":
        parts.append(f"{media.width} × {media.height} pixels")
    parts += [format_name(media.container, media.codec), size(media.bytes)]
    return f"{', '.join(parts)}; judged in {subject.result.mode} mode"


def _finding(subject: Subject) -> Iterator[Text]:
    said = statement_of(subject.result)
    if said is None:
        yield Text(safe(words.headline(subject.result)), LEAD)
        return
    yield Text(safe(said.headline), LEAD)
    if said.below:
        yield Text(safe(said.below), BODY)
    if said.looked_for:
        yield Text(safe(said.looked_for), BODY)
    if said.not_looked_for:
        yield Text(bold(said.not_looked_for), BODY)


def _judged_by(subject: Subject) -> str:
    """Which detectors gave a score, and which of them are in no count."""
    given = [subject.titles[item.id] for item, _ in subject.scored]
    few = [subject.titles[item.id] for item, _ in subject.scored if not subject.is_counted(item)]
    told = [f"Scores by {joined(given)}." if given else "No detector gave a score."]
    if few:
        it, its = ("it", "its") if len(few) == 1 else ("they", "their")
        told.append(f"Not counted, because {it} judged too little or outside {its} limits: {joined(few)}.")
    return " ".join(told)


# --------------------------------------------------------------------------- when


def _lanes(subject: Subject) -> list[tuple[str, Stretches]]:
    lanes = [(person_words(None).removeprefix("The ").capitalize(), subject.lane(None))] if subject.hears else []
    if subject.tells_time:
        lanes += [(person_words(one.person), subject.lane(one.person)) for one in subject.persons[:FIRST_PERSONS]]
    return lanes


def _of_time(subject: Subject) -> tuple[str, ...]:
    """What the statement says of time: which stretches, how often real material has them, or why nobody can tell."""
    if statement_of(subject.result) is None:
        return ()
    result, counted_ones = subject.result, [item for item, _ in subject.counted]
    told = (
        *cousins(result, subject.titles),
        cannot_tell(result, counted_ones),
        agreement(result, counted_ones),
        *single_sentences(result, counted_ones, subject.titles),
    )
    return tuple(filter(None, told))[:_MOST_SENTENCES]


def _when(subject: Subject, *, width: float) -> Iterator[Flowable]:
    lanes = _lanes(subject)
    still = subject.folder / "video/side_by_side.png"
    if not subject.is_clip and still.exists():
        yield Picture(
            still,
            width=width,
            height=72 * mm,
            alt="The submitted picture with its faces marked, a bar for each score beside it",
        )
        yield Spacer(0, 2 * mm)
    if not lanes or not subject.is_clip:
        yield from (Text(safe(sentence), BODY) for sentence in _of_time(subject))
        return
    result = subject.result
    yield from headed("When", SECTION)
    told = "; ".join(f"{name}: {_stretches(lane, subject, plain=True) or 'none'}" for name, lane in lanes)
    yield Timeline(
        lanes,
        end_s=time_end(result),
        width=width,
        cuts=[shot.start_s for shot in result.shots[1:]],
        damaged=damaged_stretches(result),
        alt=f"Timeline: how many detectors that are counted are at or above their thresholds. {told}",
    )
    yield Spacer(0, 1.5 * mm)
    more = len(subject.persons) - FIRST_PERSONS
    if subject.tells_time and more > 0:
        yield Text(
            soft(
                f"Shown are the {FIRST_PERSONS} persons to look at first; the annex has {counted(more, 'more person')}."
            ),
            NOTE,
        )
    yield from (Text(safe(sentence), BODY) for sentence in _of_time(subject))


def _stretches(lane: Stretches, subject: Subject, *, plain: bool = False) -> str:
    """Joint stretches, then those of single detectors, as markup; empty where there is none."""
    told = []
    for span in lane.joint[:_MOST_STRETCHES]:
        which = joined([subject.titles.get(name, name) for name in span.detectors[:_MOST_WITH_STRETCHES]])
        told.append((f"{clock_time(span.start_s)} to {clock_time(span.end_s)}", f"{which} at once"))
    names = list(dict.fromkeys(item.id for item, _, _ in lane.alone))
    for name in names[:_MOST_WITH_STRETCHES]:
        times = [f"{clock_time(start)} to {clock_time(end)}" for item, start, end in lane.alone if item.id == name]
        more = f" and {len(times) - _MOST_STRETCHES} more" if len(times) > _MOST_STRETCHES else ""
        told.append((", ".join(times[:_MOST_STRETCHES]) + more, subject.titles[name]))
    if (rest := len(lane.joint[_MOST_STRETCHES:]) + len(names[_MOST_WITH_STRETCHES:])) > 0:
        told.append(("", f"and {rest} more in result.json"))
    if plain:
        return ", ".join(f"{times} ({who})" for times, who in told)
    return "<br/>".join(f"{bold(times)} {safe(who)}" for times, who in told)


# --------------------------------------------------------------------------- who


def _persons(subject: Subject, *, width: float) -> Iterator[Flowable]:
    persons = subject.persons[:FIRST_PERSONS]
    rows = [[_face(subject, one), _seen(subject, one), _above(subject, one), _scores(subject, one)] for one in persons]
    if subject.hears:
        rows.insert(0, ["", bold(person_words(None)), _above_of(subject.lane(None), subject), _voice_scores(subject)])
    if not rows:
        return
    head = ["", "Who, and when seen", "At or above a threshold", "Score of each detector"]
    widths = [17 * mm, 40 * mm, 58 * mm, width - 115 * mm]
    if not any(one.keyframe for one in persons):
        rows, head, widths = [row[1:] for row in rows], head[1:], [45 * mm, 65 * mm, width - 110 * mm]
    yield from headed("Who" if persons else "The voice", SECTION)
    yield grid([head, *rows], widths)
    if persons:
        more = len(subject.persons) - len(persons)
        left = f"{counted(more, 'more person')} are in the annex. " if more > 0 else ""
        yield Text(
            soft(f"{left}Faces are grouped by likeness. Nobody is identified, and the grouping can be wrong."), NOTE
        )


def _face(subject: Subject, person: Person) -> Flowable | str:
    path = subject.folder / person.keyframe if person.keyframe else None
    if path is None or not path.exists():
        return ""
    return Picture(path, width=15 * mm, alt=f"{person_name(person.person).capitalize()}, a typical face")


def _seen(subject: Subject, person: Person) -> str:
    span = (
        f"{clock_time(person.first_s)} to {clock_time(person.last_s)}" if subject.result.media.kind == "video" else ""
    )
    return "<br/>".join(filter(None, [bold(person_words(person.person)), span, soft(counted(person.faces, "face"))]))


def _above(subject: Subject, person: Person) -> str:
    if not subject.is_clip:
        ids = {
            item.id
            for item, _ in subject.counted
            for one in item.persons
            if one.person == person.person and one.hard_label == "fake"
        }
        return safe(joined([subject.titles[name] for name in subject.titles if name in ids])) or soft(
            "no detector that is counted"
        )
    if not subject.tells_time:
        return soft("quick mode looks at too few pictures to tell when")
    return _above_of(subject.lane(person.person), subject)


def _above_of(lane: Stretches, subject: Subject) -> str:
    return _stretches(lane, subject) or soft("no stretch of time" if lane.judged else "not judged")


def _scores(subject: Subject, person: Person) -> str:
    """'MesoNet 0.62, above (inconclusive)', a line for each detector, those that count first."""
    told = []
    for item, _ in sorted(subject.scored, key=lambda pair: not subject.is_counted(pair[0])):
        one = next((one for one in item.persons if one.person == person.person), None)
        if one is None:
            continue
        side = "at or above" if one.hard_label == "fake" else "below"
        why = person_label(item, one, faces=person.faces, is_clip=subject.result.media.kind == "video").why
        value = rounded(one.fake_score, threshold=item.threshold)
        told.append(
            f"{safe(item.title)} {bold(value)}, {side} {item.threshold:.2f}" + (f" {soft(f'({why})')}" if why else "")
        )
    return _at_most(told)


def _voice_scores(subject: Subject) -> str:
    told = [
        f"{safe(item.title)} {bold(rounded(item.fake_score, threshold=item.threshold))}, "
        f"{'at or above' if item.hard_label == 'fake' else 'below'} {item.threshold:.2f}"
        + (f" {soft(f'({finding_words(item.finding)})')}" if item.finding else "")
        for item, _ in subject.scored
        if item.unit == "sound" and item.fake_score is not None
    ]
    return _at_most(told)


def _at_most(told: list[str], most: int = 6) -> str:
    more = [soft(f"and {len(told) - most} more: annex")] if len(told) > most else []
    return "<br/>".join([*told[:most], *more])
