"""The rows of a batch: one for each file, and on request one for each face, picture and window; their columns, and how they are filled.

Promises: a score is null where there is none, with the reason beside it; nothing is filled in. The columns depend on the detectors and the
list only, so that all shards of a batch have the same ones. May be imported by ``backend.batch``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import pyarrow as pa

from backend.batch.entries import Entry
from shared.results import DetectorResult, Result

Row = dict[str, Any]

#: Columns of every batch (docs/batch.md says what they mean).
FIXED: Final[tuple[tuple[str, Any], ...]] = (
    ("file", pa.string()),
    ("mention", pa.int32()),
    ("status", pa.string()),
    ("code", pa.string()),
    ("reason", pa.string()),
    ("sha256", pa.string()),
    ("same_as", pa.string()),
    ("bytes", pa.int64()),
    ("kind", pa.string()),
    ("duration_s", pa.float64()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("sampled_frames", pa.int64()),
    ("persons", pa.int32()),
    ("faces", pa.int32()),
    ("notes", pa.list_(pa.string())),
    ("seconds", pa.float64()),
    ("report", pa.string()),
)
#: Columns of each detector, after its id: the file's score (1 = fake), the label of the published threshold, where it points and why, what
#: its score is worth as a likelihood ratio, and how many units it scored.
OF_A_DETECTOR: Final[tuple[tuple[str, Any], ...]] = (
    ("score", pa.float64()),
    ("label", pa.string()),
    ("finding", pa.string()),
    ("finding_code", pa.string()),
    ("ratio", pa.float64()),
    ("status", pa.string()),
    ("code", pa.string()),
    ("units", pa.int32()),
)
#: And where it was asked for: from where to where the score moves under mild re-encoding.
OF_A_BAND: Final[tuple[tuple[str, Any], ...]] = (("low", pa.float64()), ("high", pa.float64()))
_OF_UNITS: Final[tuple[tuple[str, Any], ...]] = (
    ("file", pa.string()),
    ("sha256", pa.string()),
    ("unit", pa.string()),
    ("frame", pa.int64()),
    ("time_s", pa.float64()),
    ("end_s", pa.float64()),
    ("shot", pa.int32()),
    ("person", pa.int32()),
    ("x1", pa.float32()),
    ("y1", pa.float32()),
    ("x2", pa.float32()),
    ("y2", pa.float32()),
    ("confidence", pa.float32()),
)
JUDGED: Final = "judged"
NOT_JUDGED: Final = "not_judged"


@dataclass(frozen=True)
class Columns:
    """The columns of one batch: ours, those of each detector, those of the list (renamed where ours has the name)."""

    detectors: tuple[str, ...]
    listed: tuple[str, ...] = ()
    bands: bool = False

    @cached_property
    def schema(self) -> pa.Schema:
        """Of ``rows/``."""
        return pa.schema([*self._own.items(), *((name, pa.string()) for name in self._kept)])

    @cached_property
    def unit_schema(self) -> pa.Schema:
        """Of ``units/``: where each face, picture or window is, and the score of each detector."""
        return pa.schema([*_OF_UNITS, *((f"{name}_score", pa.float64()) for name in self.detectors)])

    def row(self, entry: Entry, found: Row) -> Row:
        """The row of ``entry``: ``found`` are the members that are known, all others are null."""
        assert found.keys() <= self._own.keys(), found.keys() - self._own.keys()
        cells = entry.cells or ("",) * len(self.listed)
        return found | {"file": entry.file, "mention": entry.mention} | dict(zip(self._kept, cells, strict=True))

    def same_content(self, first: Row, *, seconds: float) -> Row:
        """What a row says of a file with the content of one that has its row already."""
        known = {name: value for name, value in first.items() if name in self._own and value is not None}
        return known | {"same_as": first.get("same_as") or first["file"], "seconds": round(seconds, 4)}

    @cached_property
    def _own(self) -> dict[str, Any]:
        parts = (*OF_A_DETECTOR, *(OF_A_BAND if self.bands else ()))
        return dict([*FIXED, *((f"{name}_{part}", kind) for name in self.detectors for part, kind in parts)])

    @cached_property
    def _kept(self) -> tuple[str, ...]:
        """The names of the list's columns in the rows."""
        return tuple(f"list_{name}" if name in self._own else name for name in self.listed)


def judged(result: Result, *, seconds: float, bands: bool = False) -> Row:
    """What a row says of a judged file. ``seconds``: how long it was in work; ``bands``: with the columns of bands."""
    media = result.media
    row: Row = {
        "status": JUDGED,
        "sha256": media.sha256,
        "bytes": media.bytes,
        "kind": media.kind,
        "duration_s": media.duration_s,
        "width": media.width,
        "height": media.height,
        "sampled_frames": result.sampled_frames,
        "persons": len(result.persons),
        "faces": len(result.faces),
        "notes": list(dict.fromkeys(note.code for note in result.notes)),
        "seconds": round(seconds, 4),
    }
    for item in result.detectors:
        answer = _answer(item) | (_band(item) if bands else {})
        row |= {f"{item.id}_{part}": value for part, value in answer.items()}
    return row


def not_judged(code: str, reason: str, *, seconds: float, sha256: str | None = None, size: int | None = None) -> Row:
    """What a row says of a file that could not be judged, and why."""
    row: Row = {"status": NOT_JUDGED, "code": code, "reason": reason, "seconds": round(seconds, 4)}
    return row | ({"sha256": sha256, "bytes": size} if sha256 else {})


def unit_rows(result: Result, *, file: str) -> Iterator[Row]:
    """A row for each face, picture and window that a detector was asked about."""
    common = {"file": file, "sha256": result.media.sha256}
    faces = [item for item in result.detectors if item.unit == "face" and item.scores]
    for number, face in enumerate(result.faces):
        x1, y1, x2, y2 = face.box
        place = {"unit": "face", "frame": face.frame, "time_s": face.time_s, "shot": face.shot, "person": face.person}
        box = {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "confidence": face.confidence}
        yield common | place | box | {f"{item.id}_score": item.scores[number] for item in faces}
    pictures = [item for item in result.detectors if item.unit == "picture" and item.scores]
    for number, picture in enumerate(result.pictures if pictures else ()):
        place = {"unit": "picture", "frame": picture.frame, "time_s": picture.time_s, "shot": picture.shot}
        yield common | place | {f"{item.id}_score": item.scores[number] for item in pictures}
    for item in result.detectors:
        for (start, end), score in zip(item.windows, item.scores if item.windows else (), strict=True):
            yield common | {"unit": "sound", "time_s": start, "end_s": end, f"{item.id}_score": score}


def _band(item: DetectorResult) -> Row:
    return {
        "low": item.stability.low if item.stability else None,
        "high": item.stability.high if item.stability else None,
    }


def _answer(item: DetectorResult) -> Row:
    return {
        "score": item.fake_score,
        "label": item.hard_label,
        "finding": item.finding.points if item.finding else None,
        "finding_code": item.finding.code if item.finding else None,
        "ratio": item.worth.ratio.value if item.worth else None,
        "status": item.status,
        "code": item.code,
        "units": item.units_scored,
    }
