"""Assembles ``Benchmark`` from the rows, and writes the results: JSON, CSV, LaTeX, HTML, and reference sets.

Owns the files in OUT. Promises: each appears whole, by a rename; the same rows, seed and draws give the same figures.
Imported by the command.
"""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from backend.benchmark import attacks, exports
from backend.benchmark.items import DataSet, digest_of
from backend.benchmark.page import page
from backend.benchmark.records import (
    Attacked,
    Benchmark,
    Pinned,
    Row,
)
from backend.benchmark.tables import Maker, group_of
from backend.scores.references import Data, Detector, Reference, ReferenceSet
from base_detector import CONTRACT_VERSION, Card
from shared import durable
from shared.clock import utc_now
from shared.records import Mode, RunnerKind
from shared.results import Provenance

#: Packages that a figure may depend on.
_PACKAGES: Final = (
    "numpy", "scipy", "scikit-learn", "av", "opencv-python-headless", "pillow", "soxr", "torch", "openvino",
)  # fmt: skip
#: Names of missing files that are listed; all are counted.
_MOST_MISSING: Final = 100


@dataclass(frozen=True)
class Measured:
    """Everything the figures are made of. ``provenance``: detector -> what ran. ``refused``: detector -> why it was not attacked."""

    data: DataSet
    cards: Sequence[Card]
    provenance: Mapping[str, Provenance]
    rows: Sequence[Row]
    conditions: Sequence[str]
    mode: Mode
    seed: int
    draws: int
    pgd: bool
    refused: Mapping[str, str]
    media_runner: RunnerKind
    media_image: str | None


def assemble(measured: Measured) -> Benchmark:
    """All figures."""
    detectors = tuple(detector_of(card, measured.provenance[card.id]) for card in measured.cards)
    maker = Maker(detectors, measured.conditions, draws=measured.draws, seed=measured.seed)
    return Benchmark(
        created=utc_now(),
        platform_version=version("deepfake-o-meter"),
        contract=CONTRACT_VERSION,
        data=data_of(measured.data, measured.rows),
        detectors=detectors,
        pinned=Pinned(
            seed=measured.seed,
            draws=measured.draws,
            mode=measured.mode,
            conditions=tuple(measured.conditions),
            software={"python": platform.python_version(), **_versions()},
            media_runner=measured.media_runner,
            media_image=measured.media_image,
        ),
        tables=tuple(maker.tables(measured.rows)),
        comparisons=tuple(maker.comparisons(measured.rows)),
        together=tuple(maker.together(measured.rows)),
        changes=tuple(maker.changes(measured.rows)),
        attacks=tuple(_attacked(card, measured.refused.get(card.id)) for card in measured.cards) if measured.pgd else (),
    )  # fmt: skip


def write(benchmark: Benchmark, rows: Iterable[Row], out: Path) -> None:
    """Write the results into ``out``."""
    files = {
        "benchmark.json": benchmark.model_dump_json(indent=1),
        "tables.csv": exports.tables_csv(benchmark),
        "together.csv": exports.together_csv(benchmark),
        "scores.csv": exports.scores_csv(rows),
        "tables.tex": exports.tables_latex(benchmark),
        "benchmark.html": page(benchmark),
    }
    for name, text in files.items():
        durable.replace_bytes(out / name, text.encode("utf-8", "replace"))


def keep_references(
    benchmark: Benchmark,
    rows: Sequence[Row],
    *,
    folder_of: Callable[[str], Path],
    name: str,
    about: str = "",
    made: bool = False,
) -> list[Path]:
    """Keep the scores of each detector as the reference set ``name`` in the folder of its id; where they are. An older one is replaced.

    ``about``: what the material is; ``made``: its fakes were made for measuring. Groups get numbers, and no file is named: a set may be
    passed on without the material.
    """
    kept = []
    numbers = {group: f"{place:04}" for place, group in enumerate(sorted({group_of(row) for row in rows}))}
    for detector in benchmark.detectors:
        own = _once(
            row
            for row in rows
            if row.detector == detector.id and row.fake_score is not None and not row.condition.startswith("pgd_")
        )
        kept_set = ReferenceSet(
            name=name,
            about=about,
            made=made,
            created=benchmark.created,
            detector=detector,
            data=benchmark.data.model_copy(update={"missing": ()}),
            mode=benchmark.pinned.mode,
            rows=tuple(
                _reference(row, row.fake_score, group=numbers[group_of(row)])
                for row in own
                if row.fake_score is not None
            ),
        )
        kept.append(write_reference(kept_set, folder_of(detector.id)))
    return kept


def _once(rows: Iterable[Row]) -> list[Row]:
    """``rows`` of one detector with each content once in each condition: a copy under another name is no second witness. Of one that is
    listed as real and as fake nobody knows the truth, so it is left out."""
    truths: dict[str, set[bool]] = {}
    first: dict[tuple[str, str], Row] = {}
    for row in rows:
        truths.setdefault(row.sha256, set()).add(row.fake)
        first.setdefault((row.sha256, row.condition), row)
    return [row for row in first.values() if len(truths[row.sha256]) == 1]


def write_reference(made: ReferenceSet, folder: Path) -> Path:
    """Write a set into ``folder``, where it replaces an older one of its name; its path."""
    path = folder / f"{made.name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    durable.replace_bytes(path, _lines(made).encode())
    return path


def _lines(made: ReferenceSet) -> str:
    """The set as JSON with one row on a line, so that two of them can be compared."""
    whole = made.model_dump(mode="json")
    rows = ",\n  ".join(json.dumps(row, allow_nan=False) for row in whole.pop("rows"))
    return f'{json.dumps(whole, indent=1, allow_nan=False)[:-2]},\n "rows": [\n  {rows}\n ]\n}}\n'


def data_of(data: DataSet, rows: Sequence[Row]) -> Data:
    """The data set as it was judged."""
    facts = {row.item: (row.item, row.sha256, row.fake) for row in rows if row.sha256}
    real, fake = data.counts()
    groups = {item.group or item.whole or item.name for item in data.items}
    return Data(
        name=data.name,
        format=data.format,
        sha256=digest_of(facts.values()),
        real=real,
        fake=fake,
        groups=len(groups),
        subsets=dict(sorted(Counter(item.subset for item in data.items if item.fake and item.subset).items())),
        missing=tuple(name.encode("utf-8", "replace").decode() for name in data.missing[:_MOST_MISSING]),
        missing_count=len(data.missing),
        unlabelled=data.unlabelled,
    )


def detector_of(card: Card, ran: Provenance) -> Detector:
    """One detector that was measured, as results and reference sets have it."""
    return Detector(
        id=card.id,
        title=card.title,
        unit=card.unit,
        threshold=card.threshold,
        strategy=card.aggregation,
        paper=card.paper,
        provenance=ran,
    )


def _attacked(card: Card, refused: str | None) -> Attacked:
    if refused:
        return Attacked(detector=card.id, refused=refused, sentence=attacks.SENTENCES[refused])
    return Attacked(detector=card.id, eps=attacks.EPS, steps=attacks.STEPS, units_per_file=attacks.MOST_UNITS)


def _reference(row: Row, score: float, *, group: str) -> Reference:
    return Reference(
        fake=row.fake, fake_score=score, subset=row.subset, group=group, condition=row.condition, like=row.like
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
