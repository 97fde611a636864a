"""``scores.csv``: one row per face, whole picture and window of sound, one column per detector, for spreadsheets and scripts; and
``bands.csv``: one row per detector and mild change after which it judged again.

Owns the columns and their safety: no cell begins as a formula (OWASP, CSV injection), a missing score is an empty cell, and so is what
a row's unit does not have. May be imported by ``backend.report``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from shared.results import DetectorResult, Result, Unit

_FIXED: Final = (
    "unit", "frame", "time_s", "start_s", "end_s", "shot", "person", "x1", "y1", "x2", "y2", "confidence", "tracked",
)  # fmt: skip
_OF_BANDS: Final = (
    "detector", "threshold", "fake_score", "low", "high", "variant", "variant_fake_score", "units", "code",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

#: a row's cells by column, and its place among the scores of each detector
_Row = tuple[dict[str, Any], dict[str, int]]


def write_scores(result: Result, out: Path) -> None:
    """Write ``scores.csv`` of ``result``: fake scores in [0, 1], 1 = fake; detectors without a score have empty columns."""
    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*_FIXED, *(text_cell(item.id) for item in result.detectors)])
        for cells, places in _rows(result):
            scores = [item.scores[places[item.id]] if item.id in places else None for item in result.detectors]
            fixed = [cells.get(name, "") for name in _FIXED]
            writer.writerow([*fixed, *("" if score is None else score for score in scores)])


def write_bands(result: Result, out: Path) -> None:
    """Write ``bands.csv`` of ``result``, where a detector judged again: the file's score, the ends of its band, and after each change the
    score or the code why there is none."""
    again = [(item, item.stability) for item in result.detectors if item.stability]
    if not again:
        return
    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(_OF_BANDS)
        for item, band in again:
            known = (text_cell(item.id), item.threshold, item.fake_score, band.low, band.high)
            for one in band.variants:
                cells = (*known, text_cell(one.name), one.fake_score, one.units, text_cell(one.code or ""))
                writer.writerow(["" if cell is None else cell for cell in cells])


def _rows(result: Result) -> Iterator[_Row]:
    of_faces, of_pictures = _scored(result, "face"), _scored(result, "picture")
    for place, face in enumerate(result.faces):
        cells: dict[str, Any] = {
            "unit": "face",
            "frame": face.frame,
            "time_s": face.time_s,
            "shot": face.shot,
            "person": face.person,
            "confidence": face.confidence,
            "tracked": int(face.tracked),
        }
        yield cells | dict(zip(("x1", "y1", "x2", "y2"), face.box, strict=True)), dict.fromkeys(of_faces, place)
    for place, picture in enumerate(result.pictures):
        cells = {"unit": "picture", "frame": picture.frame, "time_s": picture.time_s, "shot": picture.shot}
        yield cells, dict.fromkeys(of_pictures, place)
    for (start, end), places in sorted(_windows(result).items()):
        yield {"unit": "sound", "start_s": start, "end_s": end}, places


def _scored(result: Result, unit: Unit) -> list[str]:
    return [item.id for item in result.detectors if item.unit == unit and item.scores]


def _windows(result: Result) -> dict[tuple[float, float], dict[str, int]]:
    """Start and end of each window of sound that a detector judged -> detector -> its place there: detectors have windows of their own."""
    found: dict[tuple[float, float], dict[str, int]] = {}
    judged: list[DetectorResult] = [item for item in result.detectors if item.unit == "sound" and item.scores]
    for item in judged:
        for place, window in enumerate(item.windows):
            found.setdefault(window, {})[item.id] = place
    return found


def text_cell(untrusted_words: str) -> str:
    """Words as a cell that is not taken for a formula: formulas get an apostrophe in front."""
    return f"'{untrusted_words}" if untrusted_words.startswith(_FORMULA) else untrusted_words
