"""``scores.csv``: one row per face, one column per detector, for spreadsheets and scripts.

Owns the columns and their safety: no cell begins as a formula (OWASP, CSV injection), a missing score is an empty cell.
May be imported by ``backend.report``.
"""

from __future__ import annotations

import csv
from pathlib import Path

from shared.results import Result

_FIXED = ("frame", "time_s", "shot", "person", "x1", "y1", "x2", "y2", "confidence", "tracked")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def write_scores(result: Result, out: Path) -> None:
    """Write ``scores.csv`` of ``result``: fake scores in [0, 1], 1 = fake; detectors without a score have empty columns."""
    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*_FIXED, *(text_cell(item.id) for item in result.detectors)])
        for index, face in enumerate(result.faces):
            scores = [item.scores[index] if item.scores else None for item in result.detectors]
            writer.writerow(
                [
                    face.frame,
                    face.time_s,
                    face.shot,
                    face.person,
                    *face.box,
                    face.confidence,
                    int(face.tracked),
                    *("" if score is None else score for score in scores),
                ]
            )


def text_cell(untrusted_words: str) -> str:
    """Words as a cell that is not taken for a formula: formulas get an apostrophe in front."""
    return f"'{untrusted_words}" if untrusted_words.startswith(_FORMULA) else untrusted_words
