"""``curves.json``: what the result page draws over time, as frozen models: curves, lanes, shots, and the wave form of the sound.

The back-end writes it, bounded, once for each report (``backend/report/curves.py``); the portal draws it (``frontend/charts``). Version 1
had curves only. Times are seconds on the clock of the pictures; scores are fake scores in [0, 1], 1 = fake, rounded for drawing.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from shared.records import Record
from shared.results import Count, Score, Unit

CURVES_VERSION = 2

#: how a curve is drawn: joined points, horizontal pieces (two points each), single points
Style = Literal["line", "steps", "dots"]

Seconds = Annotated[float, Field(ge=0)]


class Line(Record):
    """One curve. ``t`` and ``y`` are parallel, ``t`` ascending; both are null where the line breaks.

    ``person``: whose faces; null: the highest face of each frame, or no face at all. ``colour``: place among the detectors with scores.
    """

    detector: str
    title: str
    person: Count | None
    unit: Unit
    style: Style
    colour: Count
    threshold: Score
    t: list[float | None]
    y: list[Score | None]


class CellValues(Record):
    """One detector in the cells of a lane: the ``median`` of its scores (null: none), of how many units (``judged``)."""

    median: list[Score | None]
    judged: list[Count]


class Lane(Record):
    """Cells of one person's faces (``unit`` face), of the whole pictures, or of the voice; the first is number ``first``.

    ``person`` null with unit face: the highest face of each frame. In each cell: ``of`` counted detectors have a median there, ``above``
    of them one at or above their own threshold; ``present`` units are there, judged or not. ``values``: by detector's id.
    """

    unit: Unit
    person: Count | None
    first: Count
    above: list[Count]
    of: list[Count]
    present: list[Count]
    values: dict[str, CellValues]


class ShotCell(Record):
    """One shot: of the person with the most, ``above`` of ``of`` detectors have a median at or above their own threshold there."""

    shot: Count
    start_s: float
    end_s: float
    above: Count
    of: Count


class Wave(Record):
    """The sound's form: lowest and highest sample, in hundredths of the loudest, of each of equal parts from ``start_s`` to ``end_s``."""

    start_s: float
    end_s: float
    low: list[Annotated[int, Field(ge=-100, le=100)]]
    high: list[Annotated[int, Field(ge=-100, le=100)]]


class Curves(Record):
    """``curves.json``. ``cell_s``: seconds of a cell; ``persons``: those who can be chosen, empty where there is only one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)
    #: bounded by the back-end: points of lines, values of cells
    max_bytes: ClassVar[int] = 32_000_000

    version: Literal[1, 2] = Field(alias="schema")
    duration_s: Seconds
    cuts: list[float]
    damaged: list[tuple[float, float]]
    persons: list[Count]
    lines: list[Line]
    cell_s: Seconds = 0.0
    lanes: tuple[Lane, ...] = ()
    shots: tuple[ShotCell, ...] = ()
    wave: Wave | None = None
