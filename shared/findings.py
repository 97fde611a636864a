"""What the media pass finds out for the reader of a result, and no detector reads: persons, notes, and the reader of a whole face pack.

Promises: plain records, without pydantic, which the media worker's image does not have. May be imported by all; imports the contract only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from base_detector import FacePack, record_of


@dataclass(frozen=True)
class Person:
    """A cluster of face tracks taken for one person, seen on ``faces`` faces."""

    person: int
    faces: int
    first_s: float
    last_s: float


@dataclass(frozen=True)
class Note:
    """Something about the medium that a reader of its scores must know (docs/face_pack.md lists the codes).

    ``start_s``..``end_s``: the part it is about, seconds; None: all of it. ``value``: the number in its sentence.
    """

    code: str
    start_s: float | None = None
    end_s: float | None = None
    value: float | None = None


class MediaPack(FacePack):
    """A face pack with all that is in ``pack.json``, for the result and the report.

    ``keyfaces``: person -> row of the best view. ``seconds``: of each part of the media pass.
    """

    def _read(self, info: dict[str, Any]) -> None:
        super()._read(info)
        self.persons: tuple[Person, ...] = tuple(record_of(Person, item) for item in info["persons"])
        self.keyfaces: dict[int, int] = {item["person"]: item["keyface"] for item in info["persons"]}
        self.notes: tuple[Note, ...] = tuple(record_of(Note, item) for item in info.get("notes", ()))
        self.seconds: dict[str, float] = info["seconds"]
