"""The annex: everything that the first page rests on. Curves, detectors, evidence, the file, where the numbers come from, how sure, words.

Owns its order and its bounds; ``sources`` has the half about where the numbers come from. May be imported by ``backend.report.pdf``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

import numpy as np
from reportlab.lib.units import mm
from reportlab.platypus import CondPageBreak, Flowable, KeepTogether

from backend.report import words
from backend.report.faces import MOST_EVIDENCE as _MOST_KEPT
from backend.report.pdf.drawings import Curve
from backend.report.pdf.letters import HEADING, NOTE, SUBHEADING, bold, brief, safe, soft
from backend.report.pdf.parts import Beside, Picture, Text, grid, headed
from backend.report.pdf.sources import file, glossary, how_sure_words, limits, looked_for, origin, where_from
from backend.report.pdf.subject import MOST_CURVES, MOST_EVIDENCE, MOST_PERSONS, Subject
from backend.report.series import damaged_stretches, detector_series, person_name, person_series, time_end
from shared import how_sure
from shared.evidence import FAMILIES
from shared.results import DetectorResult, Evidence, Worth
from shared.rounding import percent
from shared.rounding import score as rounded
from shared.statement import finding_words, number, person_label, reached_words, stability_words
from shared.words import (
    UNIT_NOUNS,
    clock_time,
    detector_sentence,
    strategy,
)


def annex(subject: Subject, *, width: float) -> Iterator[Flowable]:
    """The stones of the annex, ``width`` points wide."""
    yield CondPageBreak(100 * mm)
    yield from _detectors(subject, width=width)
    yield from _curves(subject, width=width)
    yield from _persons(subject, width=width)
    yield from _evidence(subject, width=width)
    yield from file(subject, width=width)
    yield from where_from(subject)
    yield from looked_for(subject, width=width)
    yield from origin(subject, width=width)
    yield from limits(subject)
    yield from how_sure_words(subject, width=width)
    yield from glossary(width)
    yield Text(
        safe(
            "All numbers are in result.json and scores.csv, beside this document in the folder of the report; result.json lists every "
            "file of the report with its sha256."
        ),
        NOTE,
    )


# --------------------------------------------------------------------------- detectors


def _detectors(subject: Subject, *, width: float) -> Iterator[Flowable]:
    yield from headed("Annex: the detectors", HEADING)
    head = [
        "Detector",
        "Score",
        "Threshold",
        "Judged",
        "Finding, and why",
        "Likelihood ratio, and on what it was counted",
        "Known weakness",
    ]
    share = [23, 13, 17, 15, 37, 38, 35]
    rows = [[_title(item), _score(item), f"{item.threshold:.2f}", _judged(item), _finding(item), _ratio(item), _weakness(item)]
            for item in _in_order(subject)]  # fmt: skip
    yield grid([head, *rows], [width * part / sum(share) for part in share])
    yield Text(
        soft(
            "A dash: there is no score, and nothing is filled in. What is in brackets is in no count. Scores: 0 = like real examples, "
            "1 = like fake ones."
        ),
        NOTE,
    )


def _in_order(subject: Subject) -> list[DetectorResult]:
    """Those that are counted first, then those that are not, then those without a score."""
    scored = {item.id for item, _ in subject.scored}
    return sorted(
        subject.result.detectors,
        key=lambda item: (item.id not in scored, item.id in scored and not subject.is_counted(item)),
    )


def _title(item: DetectorResult) -> str:
    looks = FAMILIES.get(item.family, "")
    return "<br/>".join(filter(None, [bold(item.title), soft(looks)]))


def _score(item: DetectorResult) -> str:
    if item.fake_score is None:
        return "–"
    return f"{bold(rounded(item.fake_score, threshold=item.threshold))}<br/>{soft(words.label_words(item))}"


def _judged(item: DetectorResult) -> str:
    if not item.scores:
        return "–"
    noun = {"face": "faces", "picture": "pictures", "sound": "windows"}[item.unit]
    return f"{item.units_scored:,} of {len(item.scores):,} {noun}"


def _finding(item: DetectorResult) -> str:
    if item.status != "ok" or item.fake_score is None:
        return brief(detector_sentence(item))
    known = how_sure.reason(item.finding.code) if item.finding else None
    told = [bold(finding_words(item.finding)) + (f": {safe(known.short)}." if known else "")] if item.finding else []
    told += [safe(stability_words(item) or "Not judged again after mild changes.")]
    if not (item.strategy == "mean" and item.units_scored == 1):
        told.append(soft(strategy(item.strategy, item.unit)))
    return "<br/>".join(told)


def _ratio(item: DetectorResult) -> str:
    if item.fake_score is None:
        return "–"
    if item.worth is None:
        return "not measured here"
    ratio = item.worth.ratio
    return (
        f"{bold(number(ratio.value))}, 95 % interval {number(ratio.low)} to {number(ratio.high)}<br/>"
        f"{safe(reached_words(item.worth, low=item.hard_label != 'fake'))}<br/>{soft(_set(item.worth)[:400])}"
    )


def _set(worth: Worth) -> str:
    return f"Set {worth.reference}: {worth.about}. {worth.groups:,} scenes or identities."


def _weakness(item: DetectorResult) -> str:
    if item.fake_score is None:
        return "–"
    if not item.limits:
        return soft("none named in its card")
    more = f"<br/>{soft(f'{len(item.limits) - 1} more below')}" if len(item.limits) > 1 else ""
    return f"{brief(item.limits[0])}{more}"


# --------------------------------------------------------------------------- curves


def _curves(subject: Subject, *, width: float) -> Iterator[Flowable]:
    if not subject.is_clip or not subject.scored:
        return
    yield from headed("Fake scores over time", HEADING)
    yield Text(
        soft(
            "One line for each detector, from 0 (like real examples) to 1 (like fake ones), grey where it is in no count; dashed: its own "
            "threshold. A line breaks where the clip is cut, damaged (shaded) or where scores are missing."
        ),
        NOTE,
    )
    drawn, wanted = 0, 0
    for title, lines in _groups(subject):
        wanted += len(lines)
        room = lines[: max(0, MOST_CURVES - drawn)]
        drawn += len(room)
        stones = [
            _curve(subject, item, scores, person=person, width=width, last=n == len(room) - 1)
            for n, (item, scores, person) in enumerate(room)
        ]
        stones = [stone for stone in stones if stone is not None]
        if stones:
            yield KeepTogether([Text(safe(title), SUBHEADING), *stones[:2]])
            yield from stones[2:]
    if wanted > drawn:
        yield Text(
            soft(
                f"{drawn} of {wanted} lines are drawn here, those to look at first; curves.json and scores.csv have the rest."
            ),
            NOTE,
        )


_Line = tuple[DetectorResult, np.ndarray, int | None]


def _groups(subject: Subject) -> Iterator[tuple[str, Sequence[_Line]]]:
    """What belongs together: the voice, each person, the whole pictures. Detectors that are counted come first."""
    ordered = sorted(subject.scored, key=lambda pair: not subject.is_counted(pair[0]))
    by_unit = {unit: [(item, scores) for item, scores in ordered if item.unit == unit] for unit in UNIT_NOUNS}
    if by_unit["sound"]:
        yield "The voice", [(item, scores, None) for item, scores in by_unit["sound"]]
    for person in subject.persons if by_unit["face"] else ():
        when = f"{clock_time(person.first_s)} to {clock_time(person.last_s)}"
        own = [(item, scores, person.person) for item, scores in by_unit["face"] if _has(item, person.person)]
        if own:
            yield f"{person_name(person.person).capitalize()}, seen {when}", own
    if by_unit["picture"]:
        yield "Whole pictures", [(item, scores, None) for item, scores in by_unit["picture"]]


def _has(item: DetectorResult, person: int) -> bool:
    return any(one.person == person for one in item.persons)


def _curve(
    subject: Subject, item: DetectorResult, scores: np.ndarray, *, person: int | None, width: float, last: bool
) -> Curve | None:
    if person is None:
        series = detector_series(subject.result, subject.table, item, scores, label=item.title)
    else:
        series = person_series(subject.table, scores, person=person)
    if not len(series):
        return None
    above = float((series.scores >= item.threshold).mean())
    who = "" if person is None else f", {person_name(person)}"
    who += "" if subject.is_counted(item) else ", in no count"
    low, high = (
        rounded(float(value), threshold=item.threshold) for value in (series.scores.min(), series.scores.max())
    )
    return Curve(
        series,
        title=item.title,
        threshold=item.threshold,
        place=subject.colours[item.id],
        counted=subject.is_counted(item),
        end_s=time_end(subject.result),
        width=width,
        damaged=damaged_stretches(subject.result),
        cuts=[] if item.unit == "sound" else [shot.start_s for shot in subject.result.shots[1:]],
        axis=last,
        alt=f"Fake scores of {item.title}{who}: {len(series):,} points from {low} to {high}, {percent(above)} % of them at or above the "
        f"threshold of {item.threshold:.2f}.",
    )


# --------------------------------------------------------------------------- persons and evidence


def _persons(subject: Subject, *, width: float) -> Iterator[Flowable]:
    if len(subject.persons) < 2:
        return
    shown = subject.persons[:MOST_PERSONS]
    yield from headed("All persons", HEADING)
    rows = [["Person", "Seen", "Faces", "Score of each detector (in brackets: why it says nothing)"]]
    for person in shown:
        seen = (
            f"{clock_time(person.first_s)} to {clock_time(person.last_s)}"
            if subject.result.media.kind == "video"
            else ""
        )
        told = []
        for item, _ in subject.scored:
            for one in item.persons:
                if one.person == person.person:
                    why = person_label(item, one, faces=person.faces, is_clip=subject.result.media.kind == "video").why
                    side = "above" if one.hard_label == "fake" else "below"
                    told.append(
                        f"{safe(item.title)} {rounded(one.fake_score, threshold=item.threshold)} {side}"
                        + (f" ({why})" if why else "")
                    )
        rows.append(
            [bold(person_name(person.person).capitalize()), seen, f"{person.faces:,}", "; ".join(told) or "no score"]
        )
    yield grid(rows, [20 * mm, 30 * mm, 14 * mm, width - 64 * mm])
    if len(subject.persons) > len(shown):
        yield Text(
            soft(
                f"{len(shown)} of {len(subject.persons)} persons are listed, those to look at first; result.json has all."
            ),
            NOTE,
        )


def _evidence(subject: Subject, *, width: float) -> Iterator[Flowable]:
    marked = [item for item, _ in subject.scored if item.evidence]
    if not marked:
        return
    yield from headed("Where detectors reacted", HEADING, room=60 * mm)
    yield Text(
        soft(
            "Left the face, right the parts that the detector takes for manipulated: the brighter, the more strongly. Detectors react "
            "on faces that they take for real, too."
        ),
        NOTE,
    )
    share = max(3, MOST_EVIDENCE // len(marked) // 3 * 3)
    faces = subject.result.faces
    for item in marked[:MOST_EVIDENCE]:
        yield from headed(safe(item.title), SUBHEADING, room=50 * mm)
        chosen = _chosen(subject, item, most=share)
        cells = []
        for one in chosen:
            row, score = faces[one.face], item.scores[one.face]
            at = f", {clock_time(row.time_s)}" if subject.is_clip else ""
            value = f", score {rounded(score, threshold=item.threshold)}" if score is not None else ""
            caption = f"{person_name(row.person).capitalize()}{at}{value}"
            pair = [name for name in (one.plain, one.file) if name and (subject.folder / name).exists()]
            room = (width / 3 - 8) / len(pair) - 2
            words_of = [f"{caption}: the face", f"{caption}: what {item.title} marked on it"][-len(pair) :]
            pictures = [
                Picture(subject.folder / name, width=room, height=room * 1.5, alt=alt)
                for name, alt in zip(pair, words_of, strict=True)
            ]
            picture = Beside(pictures)
            cells.append([picture, Text(soft(caption), NOTE)])
        rows = [[*cells[n : n + 3], *([""] * (3 - len(cells[n : n + 3])))] for n in range(0, len(cells), 3)]
        if rows:
            yield grid(rows, [width / 3] * 3, head=False)
        if len(item.evidence) > len(chosen):
            yield Text(
                soft(
                    f"{len(item.evidence) - len(chosen)} more are in the folder evidence of the report, which has at most {_MOST_KEPT}."
                ),
                NOTE,
            )


def _chosen(subject: Subject, item: DetectorResult, *, most: int) -> list[Evidence]:
    """The pictures to show: of each person the one with the highest score first, then the second ones, and so on; in the order of time."""
    faces = subject.result.faces
    there = [
        one
        for one in item.evidence
        if one.face < min(len(faces), len(item.scores)) and (subject.folder / one.file).exists()
    ]
    by_person: dict[int, list[Evidence]] = {}
    for one in sorted(there, key=lambda one: -(item.scores[one.face] or 0.0)):
        by_person.setdefault(faces[one.face].person, []).append(one)
    turns = [one for turn in zip_longest(*by_person.values()) for one in turn if one is not None]
    return sorted(turns[:most], key=lambda one: one.face)
