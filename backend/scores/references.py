"""Reference sets: scores with their truth and conditions, made by one version of one detector on labelled material.

Owns the shape of their files and which of them may speak of a score. ``detectors/<id>/references/<name>.json`` are shipped,
``DATA/references/<id>/<name>.json`` are the operator's own. Promises: a set of another version, other weights or other parameters is
void, and so is a damaged file; nobody writes one by hand (``benchmark --reference`` and ``truth --reference`` do).
May be imported by the rooms above.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

import numpy as np
import structlog
from pydantic import Field

from backend.scores.ratios import Measured
from base_detector import CONTRACT_VERSION, Card
from shared.digest import remembered_sha256
from shared.errors import UserError
from shared.evidence import LEAST_OF_A_KIND
from shared.reading import RecordInvalid, read_record
from shared.records import Counted, Mode, Moment, Record
from shared.results import Conditions, Provenance, Score, Unit

log = structlog.get_logger()

#: Names of reference sets, which are names of files.
REFERENCE_NAME: Final = r"^[a-z0-9][a-z0-9_.-]{0,60}$"
#: The condition of files that nobody damaged on purpose; others are names of corruptions, or ``pgd_<eps>``.
UNTOUCHED: Final = "untouched"
#: Below a detector's folder.
SHIPPED: Final = "references"


def checked_name(untrusted_name: str) -> str:
    """The name of a reference set; UserError when it is none."""
    if not re.fullmatch(REFERENCE_NAME, untrusted_name):
        raise UserError(
            "bad_name",
            "The name of a reference set has small letters, digits, dots, - and _ only, and begins with a letter or digit.",
        )
    return untrusted_name


class Detector(Record):
    """One detector that was measured, and what exactly ran."""

    id: str
    title: str
    unit: Unit
    threshold: Score
    strategy: str
    paper: str
    provenance: Provenance


class Data(Record):
    """The data set. ``sha256`` pins it: of the sorted lines "sha256 of the file, label, name". Missing files were listed and not there."""

    name: str
    format: str
    sha256: str
    real: int
    fake: int
    groups: int
    subsets: dict[str, int]
    missing: tuple[str, ...]
    missing_count: int
    unlabelled: int


class Reference(Record):
    """One file of a reference set: the score, the truth and what the file was like."""

    fake: bool
    fake_score: Score
    subset: str
    #: a number for each scene or identity: names could be those of persons or files
    group: str
    condition: str
    like: Conditions | None


class ReferenceSet(Record):
    """A file of reference scores. ``about``: what the material is, in a sentence.

    ``made``: its manipulated items were made for measuring (self-blends), by no method that people use. Such a set counts errors in tables
    and weighs nobody's file: a detector that knows such blends may know no deepfake (docs/evidence.md has the figures).
    """

    max_bytes: ClassVar[int] = 256_000_000

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=REFERENCE_NAME)]
    about: str = ""
    made: bool = False
    created: Moment
    detector: Detector
    data: Data
    mode: Mode
    rows: tuple[Reference, ...]

    def void_for(self, card: Card, ran: Provenance) -> str | None:
        """Why it says nothing of scores that ``ran`` made: the member that differs. None when it does."""
        own = self.detector
        there = {"detector": own.id, **own.provenance.comparable, "strategy": own.strategy}
        here = {"detector": card.id, **ran.comparable, "strategy": card.aggregation}
        return next((name for name in there if there[name] != here[name]), None)


@dataclass(frozen=True)
class Usable:
    """A set that may speak of a file, as arrays: its untouched items of the file's kind. ``like``: their conditions, parallel."""

    set: ReferenceSet
    own: bool
    measured: Measured
    like: tuple[Conditions | None, ...]

    @property
    def rarer(self) -> int:
        """Items of the rarer kind."""
        return min(len(self.measured.of_kind(fake=kind)) for kind in (True, False))

    @property
    def speaks(self) -> bool:
        """Whether it is large enough to say what a score is worth."""
        return self.rarer >= LEAST_OF_A_KIND


class References:
    """The sets of ``own`` (``DATA/references``; None: none) and those beside the detectors. Threads may share it."""

    def __init__(self, own: Path | None) -> None:
        self._own, self._lock = own, threading.Lock()
        self._read: dict[Path, tuple[tuple[int, int], ReferenceSet | None]] = {}

    def best(self, card: Card, ran: Provenance, *, mode: Mode, kind: str) -> Usable | None:
        """The set that speaks of a file of ``kind`` judged in ``mode``: the operator's own before a shipped one, then the one with most
        items of the rarer kind; one too small to say anything only where there is no other, one with fakes made for measuring never.
        None: it was not measured here."""
        usable = [
            usable_of(one, own=own, kind=kind)
            for one, own in self._sets(card)
            if one.void_for(card, ran) is None
            and not one.made
            and (one.mode == mode or kind == "image" or card.unit == "sound")
        ]
        able = [one for one in usable if one.rarer]
        return max(able, key=lambda one: (one.speaks, one.own, one.rarer, one.set.name), default=None)

    def counted(self, card: Card) -> Counted | None:
        """How often this version of ``card``, with the weights that it pins, reached its threshold in the set that speaks of the usual file
        in standard mode; None where no set has both kinds."""
        pinned = {item.file: item.sha256 or "" for item in card.weights}
        ran = Provenance(
            version=card.version, contract=CONTRACT_VERSION, weights=pinned, parameters=card.parameters, runner="process", image=None
        )  # fmt: skip
        kind = {"face": "video", "picture": "image", "sound": "sound"}[card.unit]
        found = self.best(card, ran, mode="standard", kind=kind)
        if found is None:
            return None
        real, fake = (found.measured.scores[found.measured.of_kind(fake=fake)] for fake in (False, True))
        return Counted(
            reference=found.set.name,
            own=found.own,
            real=len(real),
            real_flagged=int((real >= card.threshold).sum()),
            fake=len(fake),
            fake_flagged=int((fake >= card.threshold).sum()),
        )

    def measured(self, card: Card, ran: Provenance) -> bool:
        """Whether there is a set at all of exactly this detector, be it of other files or of another mode."""
        return any(one.void_for(card, ran) is None for one, _ in self._sets(card))

    def digests(self, card: Card) -> dict[str, str]:
        """File name -> sha256 of each set of ``card``, the operator's own as ``own/NAME``: what findings depend on beside the detector."""
        places = [(card.folder / SHIPPED, ""), *([(self._own / card.id, "own/")] if self._own else [])]
        return {
            f"{prefix}{path.name}": remembered_sha256(path)
            for folder, prefix in places
            for path in sorted(folder.glob("*.json"))
        }

    def _sets(self, card: Card) -> Iterator[tuple[ReferenceSet, bool]]:
        places = [(card.folder / SHIPPED, False), *([(self._own / card.id, True)] if self._own else [])]
        for folder, own in places:
            for path in sorted(folder.glob("*.json")):
                if (found := self._of(path)) is not None:
                    yield found, own

    def _of(self, path: Path) -> ReferenceSet | None:
        """The set in ``path``, read again when the file was replaced; None, and a line in the log, when it cannot be used."""
        try:
            facts = path.stat()
            stamp = (facts.st_mtime_ns, facts.st_size)
            with self._lock:
                known = self._read.get(path)
            if known and known[0] == stamp:
                return known[1]
            found: ReferenceSet | None = read_record(path, ReferenceSet)
        except FileNotFoundError:
            return None
        except (RecordInvalid, OSError) as error:
            log.warning("reference_set_left_out", file=str(path), reason=getattr(error, "reason", str(error)))
            found = None
        with self._lock:
            self._read[path] = (stamp, found)
        return found


def usable_of(one: ReferenceSet, *, own: bool, kind: str) -> Usable:
    """What of a set may speak of files of ``kind``.

    Sound is judged alike in a clip and alone; a face or picture of a still is another thing than the mean over a clip's.
    """
    sound = one.detector.unit == "sound"
    rows = [
        row
        for row in one.rows
        if row.condition == UNTOUCHED and (sound or (row.like is not None and row.like.kind == kind))
    ]
    _, groups = np.unique(np.array([row.group for row in rows], str), return_inverse=True)
    measured = Measured(
        np.array([row.fake for row in rows], bool), np.array([row.fake_score for row in rows], np.float64), groups
    )
    return Usable(one, own, measured, tuple(row.like for row in rows))
