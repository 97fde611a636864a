"""The curves of one report, parsed: ``curves.json`` as arrays, by the person or the voice that is looked at.

Promises: read once for each report and kept while others ask (they are asked for one person after the other); None where an old report has
none, or a damaged one. Never opens media.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import structlog

from base_detector import Array
from frontend.reading import Reading
from shared.curves import Curves, Lane, Line
from shared.errors import PermanentError
from shared.reading import read_record

log = structlog.get_logger()

NAME = "curves.json"


@dataclass(frozen=True)
class Curve:
    """One line: ``t`` seconds and ``y`` fake scores, (n,) each, without the breaks; ``runs``: (start, stop) of the joined pieces."""

    line: Line
    t: Array
    y: Array
    runs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, line: Line) -> Curve:
        """The arrays of ``line``."""
        t, y = np.array(line.t, np.float64), np.array(line.y, np.float64)
        known = ~(np.isnan(t) | np.isnan(y))
        edges = [0, *(np.cumsum(known)[~known]).tolist(), int(known.sum())]
        runs = tuple((a, b) for a, b in itertools.pairwise(edges) if b > a)
        return cls(line.model_copy(update={"t": [], "y": []}), t[known], y[known], runs)  # arrays take a tenth


class Chart:
    """What can be drawn over time of one report."""

    def __init__(self, record: Curves) -> None:
        self.record = record

    @cached_property
    def curves(self) -> list[Curve]:
        """All lines that have points."""
        return [curve for line in self.record.lines if len((curve := Curve.of(line)).t)]

    def lane(self, unit: str, person: int | None) -> Lane | None:
        """The cells of a person's faces, of the whole pictures, of the voice; None where there are none."""
        found = (lane for lane in self.record.lanes if (lane.unit, lane.person) == (unit, person))
        return next(found, None)

    @property
    def persons(self) -> list[int]:
        """Who can be chosen."""
        return list(self.record.persons)

    def has(self, unit: str) -> bool:
        """Whether something of this unit was judged."""
        return any(curve.line.unit == unit for curve in self.curves)


def chart_of(reading: Reading) -> Chart | None:
    """The chart of a report; None where it has none that can be read."""
    if not reading.holds(NAME):
        return None
    try:
        path = reading.path(NAME)
        known = path.stat()
        return _chart(path, known.st_mtime_ns, known.st_size)
    except (PermanentError, FileNotFoundError) as error:
        log.warning("curves_invalid", job=reading.result.id[:8], reason=getattr(error, "reason", "missing"))
        return None


@lru_cache(maxsize=4)
def _chart(path: Path, _changed: int, _size: int) -> Chart:
    chart = Chart(read_record(path, Curves))
    emptied = [curve.line for curve in chart.curves]
    chart.record = chart.record.model_copy(update={"lines": emptied})
    return chart
