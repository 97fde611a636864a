"""What the document is about: the result with what is asked of it more than once, and how much of it is shown.

Owns the order of persons (the first one first to look at) and the numbers of what is left out. May be imported by ``backend.report.pdf``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from backend.report.series import FaceTable, own_times, person_series, usual_step
from base_detector import Array
from shared.names import shortened
from shared.results import DetectorResult, Person, Result
from shared.statement import counts
from shared.stretch_words import Span, spans_of
from shared.words import titles

#: persons on the first page, in the annex, and with curves
FIRST_PERSONS: Final = 4
MOST_PERSONS: Final = 24
MOST_CURVES: Final = 48
#: pictures of evidence in all
MOST_EVIDENCE: Final = 9
#: characters of a name
_MOST_NAME: Final = 120


@dataclass(frozen=True)
class Stretches:
    """What is known of one person, or of the voice (None), over time. ``alone``: (detector, start, end) in seconds, of counted detectors.

    ``joint``: those of two detectors at once. ``judged``: (start, end) of what at least one counted detector judged.
    """

    person: int | None
    joint: tuple[Span, ...]
    alone: tuple[tuple[DetectorResult, float, float], ...]
    judged: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Subject:
    """``result`` with ``scored``, its detectors with scores (units,) with NaN; pictures are in ``folder``."""

    result: Result
    scored: Sequence[tuple[DetectorResult, Array]]
    folder: Path

    @classmethod
    def of(cls, result: Result, scored: Sequence[tuple[DetectorResult, Array]], folder: Path) -> Subject:
        """See the class."""
        return cls(result, scored, folder)

    @property
    def name(self) -> str:
        """The name of the file, not too long for a heading; its end stays."""
        return shortened(self.result.media.name, length=_MOST_NAME)

    @property
    def is_clip(self) -> bool:
        """Whether there is time in it."""
        return self.result.media.kind != "image"

    @cached_property
    def table(self) -> FaceTable:
        """The faces as columns."""
        return FaceTable.of(self.result)

    @cached_property
    def titles(self) -> dict[str, str]:
        """Each detector's title."""
        return titles(self.result)

    @cached_property
    def colours(self) -> dict[str, int]:
        """The place of each detector with scores, which is its colour in all pictures."""
        return {item.id: place for place, (item, _) in enumerate(self.scored)}

    @cached_property
    def counted(self) -> list[tuple[DetectorResult, Array]]:
        """The detectors that are in the count, and in a result of an earlier version all with scores."""
        return [(item, scores) for item, scores in self.scored if self.is_counted(item)]

    def is_counted(self, item: DetectorResult) -> bool:
        """Whether a detector with scores is in the count."""
        return item.finding is None or counts(item)

    @cached_property
    def persons(self) -> list[Person]:
        """All persons; first those to look at first: joint stretches of two kinds of evidence, then how long detectors are above."""
        spans = spans_of(self.result)

        def rank(person: Person) -> tuple[float, float, int, int]:
            joint = sum(one.end_s - one.start_s for one in spans if one.person == person.person and one.families > 1)
            alone = sum(
                one.end_s - one.start_s
                for item, _ in self.counted
                for one in item.stretches
                if one.person == person.person and one.side == "fake"
            )
            return -joint, -alone, -person.faces, person.person

        return sorted(self.result.persons, key=rank)

    @cached_property
    def tells_time(self) -> bool:
        """Whether stretches of time were looked for in faces."""
        return self.result.media.kind == "video" and self.result.mode != "quick"

    @cached_property
    def hears(self) -> bool:
        """Whether a voice was judged and counts."""
        return any(item.unit == "sound" for item, _ in self.counted)

    def lane(self, person: int | None) -> Stretches:
        """What is known over time of a person, or of the voice."""
        unit = "sound" if person is None else "face"
        own = [(item, scores) for item, scores in self.counted if item.unit == unit]
        return Stretches(
            person,
            tuple(one for one in spans_of(self.result) if one.person == person),
            tuple(
                (item, max(0.0, one.start_s), one.end_s)
                for item, _ in own
                for one in item.stretches
                if one.person == person and one.side == "fake"
            ),
            self._judged(person, own),
        )

    def _judged(
        self, person: int | None, own: Sequence[tuple[DetectorResult, Array]]
    ) -> tuple[tuple[float, float], ...]:
        if not own:
            return ()
        if person is None:
            spans = [
                (max(0.0, float(start)), float(end))
                for item, scores in own
                for (start, end), score in zip(
                    own_times(np.array(item.windows, np.float64).reshape(-1, 2)), scores, strict=True
                )
                if not np.isnan(score)
            ]
        else:
            some = np.where(np.any([~np.isnan(scores) for _, scores in own], axis=0), 0.0, np.nan)
            series = person_series(self.table, some, person=person)
            spans = [(float(series.times[a]), float(series.times[b - 1]) + self.step) for a, b in series.runs]
        return tuple(_joined(sorted(spans)))

    @cached_property
    def step(self) -> float:
        """Usual seconds between two pictures with faces."""
        return usual_step(np.unique(self.table.time_s))


def _joined(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Ascending spans without overlap."""
    found: list[tuple[float, float]] = []
    for start, end in spans:
        if found and start <= found[-1][1] + 1e-4:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found
