"""The faces that the result page shows: boxes of a still, and the gallery by shot and person, worst shots first.

What is written of a face is what the result video writes (``backend.report.plan``): how many detectors are at or above their thresholds
there, or the score of the one there is; a test compares the two. For the front-end only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from frontend.reading import Reading
from shared.languages import _, marked
from shared.results import DetectorResult, Evidence, Result
from shared.rounding import score as rounded
from shared.statement import left_out
from shared.words import clock_time

#: Of ``Said.level``: nobody to count, none, one, two, three or more.
MOST_LEVEL = 4
#: What is written of a face that no number is written of.
_NOTHING: Final = marked(("no score", "not counted"))


@dataclass(frozen=True)
class Said:
    """What is written of a face, and its level: 0 = nobody to count, 1 = no detector is above its threshold, 2 = one is, and so on."""

    words: str
    level: int


@dataclass(frozen=True)
class Mark:
    """A box over a still, pixels of the picture as shown."""

    box: tuple[float, float, float, float]
    person: int
    said: Said

    @property
    def words(self) -> str:
        """'1: 2 of 3', as over a clip."""
        return f"{self.person + 1}: {self.said.words}" if self.person >= 0 else self.said.words


@dataclass(frozen=True)
class Shown:
    """A picture of the gallery. ``marked``: the same with what a detector marked, None for a plain one; ``both``: one file has both."""

    file: str
    marked: str | None
    both: bool
    person: int
    shot: int
    caption: str


@dataclass(frozen=True)
class ShotShown:
    """The pictures of one shot, the worst first. ``name`` is empty where the file has one shot."""

    shot: int
    name: str
    pictures: tuple[Shown, ...]


def said_at(result: Result, face: int) -> Said:
    """What is written of the face in row ``face`` of ``result``."""
    given = [item for item in result.detectors if item.unit == "face" and item.status == "ok" and item.scores]
    counted = [item for item in given if not left_out(item) and item.scores[face] is not None]
    above = sum((item.scores[face] or 0.0) >= item.threshold for item in counted)
    level = min(above + 1, MOST_LEVEL) if counted else 0
    if len(given) == 1:
        alone = given[0].scores[face]
        return Said("no score" if alone is None else rounded(alone, threshold=given[0].threshold), level)
    if counted:
        return Said(f"{above} of {len(counted)}", level)
    return Said("not counted" if any(item.scores[face] is not None for item in given) else "no score", 0)


def marks_of(result: Result) -> tuple[Mark, ...]:
    """The boxes of a still; none where no detector judged faces."""
    if not any(item.unit == "face" and item.status == "ok" for item in result.detectors):
        return ()
    return tuple(Mark(face.box, face.person, said_at(result, row)) for row, face in enumerate(result.faces))


def gallery(reading: Reading) -> tuple[ShotShown, ...]:
    """Key frames and evidence by shot: shots in the order of their worst face, as the report has them."""
    result = reading.result
    pictures = [*_keyframes(reading), *_evidence(reading)]
    shots = dict.fromkeys(item.shot for item in pictures)
    several = len(result.shots) > 1
    return tuple(
        ShotShown(
            shot,
            _shot_name(result, shot) if several else "",
            tuple(item for item in pictures if item.shot == shot),
        )
        for shot in shots
    )


def _keyframes(reading: Reading) -> Iterator[Shown]:
    result = reading.result
    single = sum(item.unit == "face" and item.status == "ok" for item in result.detectors) == 1
    for item in result.gallery:
        if reading.holds(item.file) and item.face < len(result.faces):
            said = said_at(result, item.face).words
            if said in _NOTHING:
                words = _(said)
            elif single:
                words = _("score {score}", score=said)
            else:
                words = _("{share} above", share=said)
            yield _shown(result, item.face, words, file=item.file)


def _evidence(reading: Reading) -> Iterator[Shown]:
    result = reading.result
    for answer in result.detectors:
        for item in reading.evidence(answer.id):
            if item.face < len(result.faces) and (item.plain is None or reading.holds(item.plain)):
                yield _marked(result, answer, item)


def _marked(result: Result, answer: DetectorResult, item: Evidence) -> Shown:
    score = answer.scores[item.face] if item.face < len(answer.scores) else None
    number = "" if score is None else rounded(score, threshold=answer.threshold)
    words = f"{answer.title} {number}".strip()
    if item.plain is None:  # earlier versions: face and marks in one picture
        return _shown(result, item.face, words, file=item.file, both=True)
    return _shown(result, item.face, words, file=item.plain, marked=item.file)


def _shown(result: Result, row: int, words: str, *, file: str, marked: str | None = None, both: bool = False) -> Shown:
    face = result.faces[row]
    who = _("Person {number}", number=face.person + 1) if face.person >= 0 else _("A face")
    when = f", {clock_time(face.time_s)}" if result.media.kind == "video" else ""
    return Shown(file, marked, both, face.person, face.shot, f"{who}{when}: {words}")


def _shot_name(result: Result, shot: int) -> str:
    found = next((item for item in result.shots if item.shot == shot), None)
    if found is None:
        return _("Shot {number}", number=shot + 1)
    times = {"start": clock_time(found.start_s), "end": clock_time(found.end_s)}
    return _("Shot {number}, {start} to {end}", number=shot + 1, **times)
