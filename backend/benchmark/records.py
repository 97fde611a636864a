"""``benchmark.json`` and what is kept of each judged file, as frozen models. The JSON Schema is docs/benchmark.schema.json.

Owns the shape of the results. Promises: a figure that does not exist is null; coverage is beside every figure. Imported by this room.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from backend.scores.references import Data, Detector
from shared.records import Mode, Moment, Record, RunnerKind
from shared.results import Conditions, Score

#: A score counts for the whole file, or for each of its faces, pictures or windows.
Level = Literal["file", "unit"]
Status = Literal["ok", "not_applicable", "failed", "timed_out"]


class Row(Record):
    """What one detector said of one file in one condition. ``units``: the fake score of each unit it judged."""

    max_bytes: ClassVar[int] = 16_000_000

    item: str
    sha256: str
    fake: bool
    subset: str
    group: str
    whole: str
    condition: str
    detector: str
    status: Status
    code: str | None = None
    fake_score: Score | None = None
    units: tuple[Score, ...] = ()
    like: Conditions | None = None
    seconds: float = 0.0


class Figure(Record):
    """A figure and its 95 % interval; null where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Share(Record):
    """How many of how many."""

    judged: int
    of: int


class Coverage(Record):
    """Which files got a score at all; ``why``: code -> how many files got none for it. Nothing is filled in for them."""

    all: Share
    real: Share
    fake: Share
    why: dict[str, int]


class Counts(Record):
    """At the card's threshold: score >= threshold is called fake."""

    fakes_found: int
    fakes_missed: int
    reals_passed: int
    reals_flagged: int


class Bin(Record):
    """One column of the reliability plot."""

    stated: float
    found: float
    items: int


class Table(Record):
    """The figures of one detector in one condition, for all files or one subset of the fakes (with all reals).

    ``groups``: how many identities or videos the intervals draw from. ``figures``: docs/benchmark.md says what each is.
    """

    detector: str
    condition: str
    level: Level
    subset: str | None
    items: int
    groups: int
    coverage: Coverage
    figures: dict[str, Figure]
    at_threshold: Counts
    #: false alarms and fakes found at all thresholds (at most 200 points), for all files of a condition
    roc: tuple[tuple[float, float], ...] = ()
    reliability: tuple[Bin, ...] = ()


class Comparison(Record):
    """Two detectors on the files that both judged: ROC-AUC of the first minus that of the second.

    ``p``: of DeLong's test; null where files share a group, which the test does not allow.
    """

    first: str
    second: str
    condition: str
    common: int
    roc_auc_first: float | None
    roc_auc_second: float | None
    difference: Figure
    p: float | None


class Together(Record):
    """Whether two detectors err together, on the untouched files of one kind (``truth``) that both judged.

    ``rank``: Spearman's correlation of their scores. ``phi``, ``kappa``: correlation and agreement beyond chance of their errors at their
    thresholds; null where one of them makes no error, or only errors. ``by_chance``: files that both would have wrong if their errors had
    nothing to do with each other.
    """

    first: str
    second: str
    truth: Literal["real", "fake"]
    items: int
    groups: int
    first_wrong: int
    second_wrong: int
    both_wrong: int
    by_chance: float
    rank: Figure
    phi: Figure
    kappa: Figure


class Change(Record):
    """What a condition changes, on the ``common`` files with a score untouched and in it. ``crossed``: on the other side of the threshold.

    ``difference``: ROC-AUC in the condition minus untouched. ``shift_real``, ``shift_fake``: median change of the fake score.
    """

    detector: str
    condition: str
    common: int
    crossed: int
    roc_auc_untouched: float | None
    roc_auc: float | None
    difference: Figure
    shift_real: float | None
    shift_fake: float | None


class Attacked(Record):
    """How a detector was attacked with PGD, or why not. Scores: conditions ``pgd_<eps>``; ``pgd_0`` is the same units untouched."""

    detector: str
    refused: str | None = None
    sentence: str = ""
    eps: tuple[float, ...] = ()
    steps: int = 0
    units_per_file: int = 0


class Pinned(Record):
    """What the figures depend on beside the detectors. ``software``: package -> version."""

    seed: int
    draws: int
    mode: Mode
    conditions: tuple[str, ...]
    software: dict[str, str]
    media_runner: RunnerKind
    media_image: str | None


class Benchmark(Record):
    """``benchmark.json``: one data set, some detectors, everything that was measured."""

    max_bytes: ClassVar[int] = 256_000_000

    schema_version: Literal[1] = 1
    created: Moment
    platform_version: str
    contract: str
    data: Data
    detectors: tuple[Detector, ...]
    pinned: Pinned
    tables: tuple[Table, ...]
    comparisons: tuple[Comparison, ...] = ()
    together: tuple[Together, ...] = ()
    changes: tuple[Change, ...] = ()
    attacks: tuple[Attacked, ...] = ()
    #: what a reader must know, in sentences
    notes: tuple[str, ...] = ()


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of ``benchmark.json``."""
    made = Benchmark.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}
