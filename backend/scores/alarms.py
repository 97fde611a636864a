"""How often detectors have stretches of ``fake`` on real video: what such a stretch is worth.

Owns the file of what was counted, ``detectors/references/<set>.json``, and which count may speak of a result. Promises: another version,
other weights or parameters, another rule of stretches or another mode have no count; nobody writes one by hand
(``python -m tests.bench.stretches count`` and ``count-made``). May be imported by the back-end.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from backend.scores.stretches import StretchRule
from shared.reading import read_record
from shared.records import Mode, Moment, Record
from shared.results import Count, DetectorResult, FalseStretches, Provenance

#: where the shipped ones are
FOLDER: Final = Path(__file__).resolve().parent.parent.parent / "detectors" / "references"


class Counted(Record):
    """``found`` stretches of ``detectors`` (ids; two: at once) in ``minutes`` of real video, ``clips`` of them, that all of them judged."""

    detectors: tuple[str, ...]
    found: Count
    minutes: Annotated[float, Field(gt=0)]
    clips: Count


class CountedStretches(Record):
    """What was counted on one set of real clips, by ``rule``. ``about``: what they are, in a few words."""

    max_bytes: ClassVar[int] = 1_000_000

    schema_version: Literal[1] = 1
    name: str
    about: str
    created: Moment
    mode: Mode
    rule: dict[str, float]
    ran: dict[str, Provenance]
    counts: tuple[Counted, ...]

    def of(self, answers: Sequence[DetectorResult], *, mode: Mode) -> FalseStretches | None:
        """The count of exactly these detectors as they ran; None where there is none."""
        if mode != self.mode or self.rule != asdict(StretchRule()):
            return None
        if any(
            item.id not in self.ran or self.ran[item.id].comparable != item.provenance.comparable for item in answers
        ):
            return None
        names = {item.id for item in answers}
        found = next((one for one in self.counts if set(one.detectors) == names), None)
        if found is None:
            return None
        return FalseStretches(
            reference=self.name, about=self.about, detectors=found.detectors, found=found.found, minutes=found.minutes
        )


def alone(answer: DetectorResult, *, mode: Mode, folder: Path = FOLDER) -> FalseStretches | None:
    """How often one detector has a stretch on real video; of several sets, the one where it does most often. None: not measured."""
    return _most([answer], mode=mode, folder=folder)


def together(answers: Sequence[DetectorResult], *, mode: Mode, folder: Path = FOLDER) -> FalseStretches | None:
    """How often two of ``answers`` have one at once: two of different families where there are; of these the two that do most often."""
    pairs = list(itertools.combinations(answers, 2))
    apart = [(one, two) for one, two in pairs if (one.family or one.id) != (two.family or two.id)]
    found = [_most(pair, mode=mode, folder=folder) for pair in apart or pairs]
    if None in found:  # a pair that was not measured may do it more often
        return None
    return max((one for one in found if one is not None), key=_rate, default=None)


def _most(answers: Sequence[DetectorResult], *, mode: Mode, folder: Path) -> FalseStretches | None:
    """Of all sets the count that speaks worst of it: real files differ, and nobody knows which of them a file is like."""
    known = [found for one in _read(folder) if (found := one.of(answers, mode=mode)) is not None]
    return max(known, key=_rate, default=None)


def _rate(found: FalseStretches) -> tuple[float, float]:
    """The order of counts: the more a minute the worse; where there was none, the fewer minutes the worse."""
    return found.found / found.minutes, -found.minutes


@lru_cache(maxsize=8)
def _read(folder: Path) -> tuple[CountedStretches, ...]:
    """The files of ``folder``, which come with the program and do not change while it runs."""
    return tuple(read_record(path, CountedStretches) for path in sorted(folder.glob("*.json")))
