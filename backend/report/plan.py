"""The render plan: what the result video shows, as one JSON document for ``backend.media.render``.

Owns the choice of curves and boxes and the plan's schema. The renderer runs in the sandbox and does not know the detectors:
the plan holds final words, colours and numbers only. May be imported by ``backend.report``.

Schema 2 (all times in seconds from the first frame, scores are fake scores in [0, 1], colours [red, green, blue])::

    {"schema": 2, "kind": "video"|"image",
     "width": int, "height": int,                     the media as shown, after rotation: boxes are in these pixels
     "sizes": [[frame, width, height]],               or in these, from that frame on; none where all frames have one size
     "duration_s": float, "frames": int,              length of the time axis; expected frames, for the progress only
     "heading": str, "note": str, "footer": str,      words above the plot, below the heading, at the foot
     "scale": [[score, colour], ...], "unscored": colour,
     "thresholds": [{"value": float, "label": str, "colour": colour}],
     "curves": [{"label": str, "colour": colour, "runs": [[[time, score], ...], ...]}],      none for an image
     "cuts": [time],                                  where shots begin, without the first
     "damaged": [[start, end]],                       parts that were not judged
     "bars": [{"label": str, "colour": colour, "score": score, "threshold": score}],         an image only
     "table": [[int, score|null, colour]],            an image with more scores than bars: person's number, mean of the detectors
     "left_out": str,                                 what the table leaves out, empty when it has all
     "boxes": {"frame": [int], "shot": [int], "person": [int],       parallel, ascending by frame; a damaged part begins a new shot
               "box": [[x1, y1, x2, y2]], "score": [float|null]},
     "gap": int,                                      faces further apart than this many frames are not joined
     "hold_s": float}                                 a curve's latest score is called current for this long
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backend.report.palette import SCALE, UNSCORED, curve_colour, score_colour
from backend.report.series import (
    FaceTable,
    Series,
    damaged_stretches,
    highest_series,
    person_name,
    person_series,
    persons_scored,
    score_array,
    usual_step,
)
from base_detector import Array
from shared.results import DetectorResult, Result

PLAN_SCHEMA = 2

#: With at most this many persons a single detector gets one curve per person; more would be unreadable.
_MOST_PERSON_CURVES = 4
#: more bars than this cannot be read: a table of all faces takes their place
_MOST_BARS = 16
#: more rows than this have no room in the table; scores.csv has all
_MOST_ROWS = 96

FOOTER = "Fake score: 0 = real, 1 = fake. A score is not a proof."


def build_plan(result: Result, detectors: Sequence[str] | None) -> dict[str, Any]:
    """Plan a video of the named detectors (None: all). Those without scores are left out; the curves may be none."""
    chosen = [item for item in result.detectors if detectors is None or item.id in detectors]
    table = FaceTable.of(result)
    faces = len(result.faces)
    scored = [(item, score_array(item, faces=faces)) for item in chosen]
    scored = [(item, scores) for item, scores in scored if not np.isnan(scores).all() and faces]
    still = result.media.kind == "image"
    curves, note = ([], "") if still and scored else _curves(table, scored)
    heading = "Fake score" if still else "Fake score over time"
    crowd = still and is_crowd([scores for _, scores in scored])
    rows = _table(table, [scores for _, scores in scored]) if crowd else []
    if crowd:
        note = "Numbers as on the picture."
        note += f" Mean of {len(scored)} detectors." if len(scored) > 1 else ""
    if len(scored) == 1:
        heading, note = scored[0][0].title, f"{heading}. {note}".strip()
    return {
        "schema": PLAN_SCHEMA,
        "kind": result.media.kind,
        "width": result.media.width,
        "height": result.media.height,
        "sizes": [list(run) for run in result.media.sizes],
        "duration_s": round(result.media.duration_s, 6),
        "frames": result.media.frames,
        "heading": heading,
        "note": note,
        "footer": FOOTER,
        "scale": [[at, list(colour)] for at, colour in SCALE],
        "unscored": list(UNSCORED),
        "thresholds": [] if crowd and len(scored) > 1 else _thresholds([item for item, _ in scored]),
        "curves": curves,
        "cuts": [round(shot.start_s, 3) for shot in result.shots[1:]],
        "damaged": [[start, end] for start, end in damaged_stretches(result)],
        "bars": _bars(table, scored) if still and not crowd else [],
        "table": rows,
        "left_out": left_out(len(rows), of=faces) if crowd else "",
        "boxes": _boxes(result, table, [scores for _, scores in scored]),
        "gap": _gap(table),
        "hold_s": round(max(0.05, 1.5 * usual_step(np.unique(table.time_s))), 4),
    }


def face_means(scores: Sequence[Array], *, faces: int) -> Array:
    """Mean over the detectors of each face's score, (faces,) float, NaN where no detector has one."""
    if not scores or not faces:
        return np.full(faces, np.nan)
    stacked = np.stack(list(scores))
    counts = (~np.isnan(stacked)).sum(axis=0)
    means: Array = np.where(counts > 0, np.nansum(stacked, axis=0) / np.maximum(counts, 1), np.nan)
    return means


def _curves(table: FaceTable, scored: list[tuple[DetectorResult, Array]]) -> tuple[list[dict[str, Any]], str]:
    if not scored:
        return [], "No detector has a score for this clip."
    if len(scored) == 1:
        item, scores = scored[0]
        persons = persons_scored(table, scores)
        if 1 < len(persons) <= _MOST_PERSON_CURVES:
            series = [person_series(table, scores, person=person) for person in sorted(persons)]
            return [_curve(one, index) for index, one in enumerate(series)], "One curve per person."
        note = "Highest face of each frame." if len(persons) > 1 else ""
        return [_curve(highest_series(table, scores, label=item.title), 0)], note
    several = len(np.unique(table.person)) > 1
    curves = [
        _curve(highest_series(table, scores, label=item.title), index) for index, (item, scores) in enumerate(scored)
    ]
    note = "Curves: highest face of each frame. " if several else ""
    return curves, f"{note}Boxes: mean of the detectors."


def _bars(table: FaceTable, scored: list[tuple[DetectorResult, Array]]) -> list[dict[str, Any]]:
    """A row for each face and detector of a still; the person numbers are on the boxes."""
    several = len(np.unique(table.person)) > 1
    return [
        {
            "label": f"{item.title}, {person_name(int(table.person[face]))}" if several else item.title,
            "colour": list(curve_colour(index)),
            "score": round(float(scores[face]), 4),
            "threshold": item.threshold,
        }
        for index, (item, scores) in enumerate(scored)
        for face in np.flatnonzero(~np.isnan(scores))
    ]


def is_crowd(scores: Sequence[Array]) -> bool:
    """Whether a still has more scores than bars can show."""
    return sum(int((~np.isnan(one)).sum()) for one in scores) > _MOST_BARS


def left_out(shown: int, *, of: int) -> str:
    """The sentence about what a picture does not show, empty when it shows all."""
    return f"Highest {shown} of {of} faces; scores.csv has all." if shown < of else ""


def crowd_words(result: Result, scored: Sequence[tuple[DetectorResult, Array]]) -> str:
    """What a reader of a crowd's picture must know, empty for a clip and for few faces."""
    faces = len(result.faces)
    if result.media.kind != "image" or not is_crowd([scores for _, scores in scored]):
        return ""
    shown = min(faces, _MOST_ROWS)
    which = f"the highest {shown} of {faces} faces; scores.csv has all" if shown < faces else f"all {faces} faces"
    return (
        f"The numbers on the picture are those of the persons on this page. The table beside it has {which}. "
        "The file video/side_by_side.png is larger."
    )


def _table(table: FaceTable, scores: list[Array]) -> list[list[Any]]:
    """A row for each face of a crowd, by its number: person, mean score, colour. The highest scores, where there are too many."""
    means = face_means(scores, faces=len(table.person))
    order = np.lexsort((table.person, -np.nan_to_num(means, nan=-1.0)))[:_MOST_ROWS]
    chosen = sorted(order, key=lambda face: (table.person[face] < 0, table.person[face]))
    return [
        [
            int(table.person[face]) + 1 if table.person[face] >= 0 else "-",
            None if math.isnan(means[face]) else round(float(means[face]), 4),
            list(UNSCORED if math.isnan(means[face]) else score_colour(float(means[face]))),
        ]
        for face in chosen
    ]


def _curve(series: Series, index: int) -> dict[str, Any]:
    points = [[round(float(t), 4), round(float(s), 4)] for t, s in zip(series.times, series.scores, strict=True)]
    return {
        "label": series.label,
        "colour": list(curve_colour(index)),
        "runs": [points[start:stop] for start, stop in series.runs],
    }


def _thresholds(detectors: list[DetectorResult]) -> list[dict[str, Any]]:
    """One dashed line per value: grey where detectors share it, else in the colour of its detector."""
    lines = []
    for value in sorted({item.threshold for item in detectors}):
        owners = [index for index, item in enumerate(detectors) if item.threshold == value]
        colour = curve_colour(owners[0]) if 1 == len(owners) < len(detectors) else (90, 90, 90)
        lines.append({"value": value, "label": f"threshold {value:.2f}", "colour": list(colour)})
    return lines


def _boxes(result: Result, table: FaceTable, scores: list[Array]) -> dict[str, Any]:
    order = np.lexsort((table.person, table.frame))
    means = face_means(scores, faces=len(result.faces))
    return {
        "frame": [int(table.frame[i]) for i in order],
        "shot": [int(table.piece[i]) for i in order],
        "person": [int(table.person[i]) for i in order],
        "box": [[round(value, 2) for value in result.faces[i].box] for i in order],
        "score": [None if math.isnan(means[i]) else round(float(means[i]), 4) for i in order],
    }


def _gap(table: FaceTable) -> int:
    """Twice the usual distance between sampled frames, at least 2."""
    frames = np.unique(table.frame)
    return max(2, int(2 * np.median(np.diff(frames)))) if len(frames) > 1 else 2
