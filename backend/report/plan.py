"""The render plan: what the result video shows, as one JSON document for ``backend.media.render``.

Owns the choice of curves and boxes and the plan's schema. The renderer runs in the sandbox and does not know the detectors:
the plan holds final words, colours and numbers only. May be imported by ``backend.report``.

Schema 4 (all times in seconds from the first frame, scores are fake scores in [0, 1], colours [red, green, blue])::

    {"schema": 4, "kind": "video"|"image"|"sound",
     "width": int, "height": int,                     the media as shown, after rotation: boxes are in these pixels
     "sizes": [[frame, width, height]],               or in these, from that frame on; none where all frames have one size
     "duration_s": float, "frames": int,              length of the time axis; expected frames, for the progress only
     "small": bool,                                   a clip is drawn 480 pixels high at most, as a long one is; may be missing
     "heading": str, "note": str, "footer": str,      words above the plot, below the heading, at the foot
     "levels": [colour],                              of boxes, sound and rows by level: 0 = nobody to count, 1 = no detector is above its
                                                      threshold, 2 = one is, and so on; the last one for all beyond
     "thresholds": [{"value": float, "label": str, "colour": colour}],
     "curves": [{"label": str, "colour": colour,      none for an image
                 "turn": int,                         how often its colour was used before: a hollow line; may be missing
                 "style": "line"|"steps"|"dots",      points joined; two points for each window of sound; runs of one point
                 "hold_s": float,                     its latest score is called current for this long (steps: to the end of the window)
                 "runs": [[[time, score], ...], ...]}],
     "sound": {"label": str,                          words beside the wave form
               "spans": [[start, end, str, level]]}|null,   ascending, without overlap: what is written there; null: none has a score
     "cuts": [time],                                  where shots begin, without the first
     "damaged": [[start, end]],                       parts that were not judged
     "bars": [{"label": str, "colour": colour, "score": score, "threshold": score}],         an image only
     "table": [[int|str, str, share|null, level]],    an image with more scores than bars: person's number, words, length of a bar
     "table_note": str,                               what the bars of the table are
     "left_out": str,                                 what the table leaves out, empty when it has all
     "boxes": {"frame": [int], "shot": [int], "person": [int],       parallel, ascending by frame; a damaged part begins a new shot
               "box": [[x1, y1, x2, y2]], "words": [str], "level": [int]},   words: the score of the one detector, or "2 of 3" of several
     "gap": int}                                      faces further apart than this many frames are not joined

A sound file has no boxes, cuts and sizes, and 0 for width, height and frames.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.report.palette import LEVELS, side_colour
from backend.report.series import (
    FaceTable,
    Series,
    bar_label,
    damaged_stretches,
    detector_series,
    label_of,
    person_series,
    persons_scored,
    score_array,
    step_pieces,
    usual_step,
)
from base_detector import Array
from shared.curve_colours import curve_colour, turn
from shared.results import DetectorResult, Result
from shared.rounding import for_drawing
from shared.rounding import score as rounded
from shared.statement import left_out as in_no_count
from shared.words import counted, titles

PLAN_SCHEMA = 4

#: With at most this many persons a single detector gets one curve per person; more would be unreadable.
_MOST_PERSON_CURVES = 4
#: words of a face that no number is written of
_NOTHING = ("no score", "not counted")
#: more bars than this cannot be read: a table of all faces takes their place
_MOST_BARS = 16
#: more rows than this have no room in the table; scores.csv has all
_MOST_ROWS = 96

FOOTER = "Fake scores from 0 to 1. A score is not a proof."


def build_plan(result: Result, detectors: Sequence[str] | None) -> dict[str, Any]:
    """Plan a video of the named detectors (None: all). Those without scores are left out; the curves may be none."""
    chosen = [item for item in result.detectors if detectors is None or item.id in detectors]
    table = FaceTable.of(result)
    faces = len(result.faces)
    scored = [(item, scores) for item in chosen if not np.isnan(scores := score_array(item, result)).all()]
    of_faces = [(item, scores) for item, scores in scored if item.unit == "face"]
    said = counts_at(of_faces, units=faces)
    still = result.media.kind == "image"
    curves, note = ([], "") if still and scored else _curves(result, table, scored)
    heading = "Fake score" if still else "Fake score over time"
    crowd = still and is_crowd([scores for _, scores in of_faces])
    rows = _table(table, said) if crowd else []
    if crowd:
        note = _crowd_note(len(of_faces), others=len(scored) - len(of_faces))
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
        "small": result.mode == "quick",  # drawing it takes longer than all that was judged
        "heading": heading,
        "note": note,
        "footer": FOOTER,
        "levels": [list(colour) for colour in LEVELS],
        "thresholds": [] if crowd and len(scored) > 1 else _thresholds([item for item, _ in scored]),
        "curves": curves,
        "sound": _sound(scored),
        "cuts": [round(shot.start_s, 3) for shot in result.shots[1:]],
        "damaged": [[start, end] for start, end in damaged_stretches(result)],
        "bars": _bars(table, scored) if still and not crowd else [],
        "table": rows,
        "table_note": _bars_note(len(of_faces)) if crowd else "",
        "left_out": left_out(len(rows), of=faces) if crowd else "",
        "boxes": _boxes(result, table, said),
        "gap": _gap(table),
    }


@dataclass(frozen=True)
class Counts:
    """Of each unit (n,): what is written of it, its level (index of ``LEVELS``), its rank (the higher, the more is to be seen), and the
    length of its bar in [0, 1], NaN without one."""

    words: list[str]
    level: Array
    rank: Array
    share: Array


def counts_at(scored: Sequence[tuple[DetectorResult, Array]], *, units: int) -> Counts:
    """How many of several detectors are at or above their own thresholds at each of ``units``, or the score of the one there is.

    Each of ``scored`` has scores (units,), NaN = none. Detectors that are in no count are not counted here either.
    """
    counted = [(item, scores) for item, scores in scored if not in_no_count(item)]
    thresholds = np.array([[item.threshold] for item, _ in counted]).reshape(-1, 1)
    stacked = np.stack([scores for _, scores in counted]) if counted else np.zeros((0, units))
    known = ~np.isnan(stacked)
    of, above = known.sum(axis=0), (known & (np.nan_to_num(stacked, nan=-1.0) >= thresholds)).sum(axis=0)
    level = np.where(of > 0, np.minimum(above + 1, len(LEVELS) - 1), 0)
    margin = np.where(known, stacked - thresholds, -1.0).max(axis=0, initial=-1.0)
    if len(scored) == 1:
        item, alone = scored[0]
        words = ["no score" if math.isnan(one) else rounded(float(one), threshold=item.threshold) for one in alone]
        return Counts(words, level, np.nan_to_num(alone, nan=-1.0), alone)
    any_score = np.any([~np.isnan(scores) for _, scores in scored], axis=0) if scored else np.zeros(units, bool)
    words = [
        f"{a} of {n}" if n else "not counted" if some else "no score"
        for a, n, some in zip(above.tolist(), of.tolist(), any_score.tolist(), strict=True)
    ]
    share = np.where(of > 0, above / np.maximum(of, 1), np.nan)
    return Counts(words, level, np.where(of > 0, above + 1 + margin / 2, -1.0), share)


def _curves(
    result: Result, table: FaceTable, scored: Sequence[tuple[DetectorResult, Array]]
) -> tuple[list[dict[str, Any]], str]:
    if not scored:
        return [], "No detector has a score for this file."
    hold_s = {
        "line": max(0.05, 1.5 * usual_step(np.unique(table.time_s))),
        "dots": max(0.05, 1.5 * usual_step([row.time_s for row in result.pictures])),
        "steps": 0.05,
    }
    if len(scored) == 1 and scored[0][0].unit == "face":
        scores = scored[0][1]
        persons = persons_scored(table, scores)
        if 1 < len(persons) <= _MOST_PERSON_CURVES:
            series = [person_series(table, scores, person=person) for person in sorted(persons)]
            counts = not in_no_count(scored[0][0])
            curves = [_curve(one, index, hold_s, counted=counts) for index, one in enumerate(series)]
            return curves, "One curve per person." + ("" if counts else " In no count.")
        several = len(persons) > 1
    else:
        several = table.several
    names = titles(result)
    curves = [
        _curve(
            detector_series(result, table, item, scores, label=label_of(item, names)),
            index,
            hold_s,
            counted=not in_no_count(item),
        )
        for index, (item, scores) in enumerate(scored)
    ]
    return curves, _note([item for item, _ in scored], several=several)


def _note(detectors: Sequence[DetectorResult], *, several: bool) -> str:
    """How to read the curves and the boxes."""
    of_faces = [item for item in detectors if item.unit == "face"]
    if len(detectors) == 1:
        return "Highest face of each frame." if several and of_faces else ""
    notes = ["Curves: highest face of each frame."] if several and of_faces else []
    if len(of_faces) > 1:
        notes.append("Boxes: detectors at or above their thresholds.")
    elif of_faces:
        notes.append(f"Boxes: {of_faces[0].title}.")
    return " ".join(notes)


def _sound(scored: Sequence[tuple[DetectorResult, Array]]) -> dict[str, Any] | None:
    """What is written over time of the detectors of sound, wherever one or more of them has a score."""
    heard = [(item, scores) for item, scores in scored if item.unit == "sound"]
    if not heard:
        return None
    pieces = [(place, *piece) for place, (item, scores) in enumerate(heard) for piece in step_pieces(item, scores)]
    edges = sorted({edge for _, start, end, _ in pieces for edge in (start, end)})
    times = list(itertools.pairwise(edges))
    each = np.full((len(heard), len(times)), np.nan)
    for column, (start, end) in enumerate(times):
        for place, begin, stop, score in pieces:
            if begin <= start and stop >= end:
                each[place, column] = score
    said = counts_at([(item, row) for (item, _), row in zip(heard, each, strict=True)], units=len(times))
    spans = [
        [round(start, 4), round(end, 4), said.words[column], int(said.level[column])]
        for column, (start, end) in enumerate(times)
        if not np.isnan(each[:, column]).all()
    ]
    label = heard[0][0].title if len(heard) == 1 else "detectors at or above their thresholds"
    return {"label": f"Sound: {label}", "spans": spans}


def _bars(table: FaceTable, scored: list[tuple[DetectorResult, Array]]) -> list[dict[str, Any]]:
    """A row for each face and detector of a still, and for each detector of whole pictures; the person numbers are on the boxes."""
    return [
        {
            "label": bar_label(item, table, place),
            "colour": list(side_colour(item, float(scores[place]))),
            "score": for_drawing(float(scores[place])),
            "threshold": item.threshold,
        }
        for item, scores in scored
        for place in map(int, np.flatnonzero(~np.isnan(scores)))
    ]


def _crowd_note(of_faces: int, *, others: int) -> str:
    """What is said above the table of a crowd. ``others``: detectors of the whole picture, whose scores it does not have."""
    note = "Numbers as on the picture."
    note += f" How many of {counted(of_faces, 'detector')} are at or above their thresholds." if of_faces > 1 else ""
    return note + (" Scores of the whole picture: on the page." if others else "")


def is_crowd(scores: Sequence[Array]) -> bool:
    """Whether a still has more scores of faces than bars can show."""
    return sum(int((~np.isnan(one)).sum()) for one in scores) > _MOST_BARS


def left_out(shown: int, *, of: int) -> str:
    """The sentence about what a picture does not show, empty when it shows all."""
    return f"Highest {shown} of {of} faces; scores.csv has all." if shown < of else ""


def crowd_words(result: Result, scored: Sequence[tuple[DetectorResult, Array]]) -> str:
    """What a reader of a crowd's picture must know, empty for a clip and for few faces."""
    faces = len(result.faces)
    if result.media.kind != "image" or not is_crowd([scores for item, scores in scored if item.unit == "face"]):
        return ""
    shown = min(faces, _MOST_ROWS)
    which = f"the highest {shown} of {faces} faces; scores.csv has all" if shown < faces else f"all {faces} faces"
    return (
        f"The numbers on the picture are those of the persons on this page. The table beside it has {which}. "
        "The file video/side_by_side.png is larger."
    )


def _bars_note(of_faces: int) -> str:
    """What the bars of a crowd's table are."""
    if of_faces > 1:
        return "Bars: share of the detectors that are at or above their thresholds"
    return "Bars from 0 to 1, most like manipulated; upright mark: threshold"


def _table(table: FaceTable, said: Counts) -> list[list[Any]]:
    """A row for each face of a crowd, by its number: person, words, bar, level. The highest ones, where there are too many."""
    order = np.lexsort((table.person, -said.rank))[:_MOST_ROWS]
    chosen = sorted(order.tolist(), key=lambda face: (table.person[face] < 0, table.person[face]))
    return [
        [
            int(table.person[face]) + 1 if table.person[face] >= 0 else "-",
            "-" if said.words[face] in _NOTHING else said.words[face],
            None if math.isnan(said.share[face]) else for_drawing(float(said.share[face])),
            int(said.level[face]),
        ]
        for face in chosen
    ]


def _curve(series: Series, index: int, hold_s: Mapping[str, float], *, counted: bool) -> dict[str, Any]:
    points = [[round(float(t), 4), for_drawing(float(s))] for t, s in zip(series.times, series.scores, strict=True)]
    runs = [[point] for point in points] if series.style == "dots" else [points[a:b] for a, b in series.runs]
    return {
        "label": series.label,
        "colour": list(curve_colour(index, counted=counted)),
        "turn": turn(index),
        "style": series.style,
        "hold_s": round(hold_s[series.style], 4),
        "runs": runs,
    }


def _thresholds(detectors: list[DetectorResult]) -> list[dict[str, Any]]:
    """One dashed line per value: grey where detectors share it, else in the colour of its detector."""
    lines = []
    for value in sorted({item.threshold for item in detectors}):
        owners = [index for index, item in enumerate(detectors) if item.threshold == value]
        own = 1 == len(owners) < len(detectors)
        colour = curve_colour(owners[0], counted=not in_no_count(detectors[owners[0]])) if own else (90, 90, 90)
        lines.append({"value": value, "label": f"threshold {value:.2f}", "colour": list(colour)})
    return lines


def _boxes(result: Result, table: FaceTable, said: Counts) -> dict[str, Any]:
    order = np.lexsort((table.person, table.frame))
    return {
        "frame": [int(table.frame[i]) for i in order],
        "shot": [int(table.piece[i]) for i in order],
        "person": [int(table.person[i]) for i in order],
        "box": [[round(value, 2) for value in result.faces[i].box] for i in order],
        "words": [said.words[i] for i in order],
        "level": [int(said.level[i]) for i in order],
    }


def _gap(table: FaceTable) -> int:
    """Twice the usual distance between sampled frames, at least 2."""
    frames = np.unique(table.frame)
    return max(2, int(2 * np.median(np.diff(frames)))) if len(frames) > 1 else 2
