"""``boxes.json``: where the faces are and what is written of each, for the player of the result page.

Owns the file's schema (docs/report.md) and its bound. Words and colours are those of the result video (``plan.counts_at``). May be
imported by ``backend.report``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from backend.report.palette import LEVELS
from backend.report.plan import Counts
from backend.report.series import FaceTable, usual_step
from base_detector import Array
from shared.curve_colours import hexadecimal
from shared.results import Result

BOXES_SCHEMA: Final = 1
#: Most faces in the file, about 700 kB; beyond, sampled frames are left out evenly.
MOST_FACES: Final = 16_000
#: Corners are whole numbers of this many parts of the picture's width and height: a quarter of a pixel at 4K.
PARTS: Final = 10_000
#: A face is shown until the next one of the same person in the same piece of the clip, but no longer than so many usual steps.
_HOLD_STEPS: Final = 2.5
#: And at least so long, seconds: frames of a slow sampling.
_LEAST_HOLD_S: Final = 0.12


def write_boxes(result: Result, said: Counts, out: Path) -> None:
    """Write ``boxes.json``: ``said`` is what is written of each face of ``result``."""
    out.write_text(json.dumps(boxes_of(result, said), allow_nan=False, separators=(",", ":")), encoding="utf-8")


def boxes_of(result: Result, said: Counts) -> dict[str, Any]:
    """The content of ``boxes.json``. Faces are in the order of time, then of persons."""
    table = FaceTable.of(result)
    rows = _thinned(table)
    words = sorted({said.words[row] for row in rows})
    places = {word: place for place, word in enumerate(words)}
    corners = _corners(result, table)
    step = usual_step(np.unique(table.time_s[rows]))
    return {
        "schema": BOXES_SCHEMA,
        "hold_s": round(max(_LEAST_HOLD_S, _HOLD_STEPS * step), 4),
        "levels": [hexadecimal(colour) for colour in LEVELS],
        "words": words,
        "faces": [
            [
                round(float(table.time_s[row]), 3),
                int(table.piece[row]),
                int(table.person[row]),
                *(int(part) for part in corners[row]),
                int(said.level[row]),
                places[said.words[row]],
            ]
            for row in rows
        ],
    }


def _thinned(table: FaceTable) -> list[int]:
    """Rows of the faces that are kept: all of every k-th sampled frame."""
    order: list[int] = np.lexsort((table.person, table.frame)).tolist()
    frames, place = np.unique(table.frame, return_inverse=True)
    if not len(frames):
        return []
    every = -(-len(order) // MOST_FACES)
    kept = [row for row in order if place[row] % every == 0]
    return kept[:MOST_FACES]  # one frame may show a crowd


def _corners(result: Result, table: FaceTable) -> Array:
    """Boxes (n, 4) as parts of the size that the picture has at that frame."""
    boxes = np.array([row.box for row in result.faces], np.float64).reshape(-1, 4)
    sizes: Sequence[tuple[int, int, int]] = result.media.sizes or ((0, result.media.width, result.media.height),)
    run = np.searchsorted([first for first, _, _ in sizes], table.frame, side="right") - 1
    size = np.array([[width, height] for _, width, height in sizes], np.float64)[np.maximum(run, 0)]
    shares = boxes / np.maximum(np.hstack([size, size]), 1)
    parts: Array = np.round(PARTS * np.clip(shares, 0, 1)).astype(np.int64)
    return parts
