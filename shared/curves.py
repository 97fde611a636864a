"""``curves.json``: what the result page draws over time, as frozen models: curves, lanes, shots, and the wave form of the sound.

The back-end writes it, bounded, once for each report (``backend/report/curves.py``); the portal draws it (``frontend/charts``). Version 1
had curves only. Times are seconds on the clock of the pictures; scores are fake scores in [0, 1], 1 = fake, rounded for drawing.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from shared.records import Record
from shared.results import Count, Score, Unit

CURVES_VERSION = 2

#: how a curve is drawn: joined points, horizontal pieces (two points each), single points
Style = Literal["line", "steps", "dots"]

#: Of a file: no clip is longer than some months.
Seconds = Annotated[float, Field(ge=0, le=1e7)]

#: Most cells of the whole time; the back-end makes some hundred.
MOST_CELLS = 10_000


def _parallel(*lists: Sized) -> None:
    if len({len(one) for one in lists}) > 1:
        raise ValueError("lists that belong together have different lengths")


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

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _parallel(self.t, self.y)
        return self


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

    @model_validator(mode="after")
    def _fits(self) -> Self:
        of_detectors = [part for one in self.values.values() for part in (one.median, one.judged)]
        _parallel(self.above, self.of, self.present, *of_detectors)
        return self


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

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.lanes and self.duration_s > MOST_CELLS * self.cell_s:
            raise ValueError("the cells are too short for the time")
        if self.lanes and self.cell_s < 0.001:
            raise ValueError("the cells have no length")
        return self
