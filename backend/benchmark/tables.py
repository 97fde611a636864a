"""From rows to the figures of ``benchmark.json``: by detector, condition, level and subset, with intervals and coverage.

Owns: which scores are counted where. Promises: files without a score are in the coverage and nowhere else; robustness is compared on the
files that have a score both untouched and damaged. Imported by the command.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from backend.benchmark import metrics, resampling, together
from backend.benchmark.records import (
    Bin,
    Change,
    Comparison,
    Counts,
    Coverage,
    Figure,
    Level,
    Row,
    Share,
    Table,
    Together,
)
from backend.scores.ratios import known
from backend.scores.references import UNTOUCHED, Detector
from base_detector import Array

#: Points of a stored ROC curve.
_MOST_POINTS: Final = 200
#: Items times draws; and draws that are made in any case.
_MOST_DRAWN, _FEWEST_DRAWS = 20_000_000, 200


@dataclass(frozen=True)
class Scored:
    """One thing with a score: a file, a video made of pictures, or one unit."""

    fake: bool
    subset: str
    group: str
    name: str
    score: float


def group_of(row: Row) -> str:
    """What is drawn as one: the identity, else the video of pictures, else the file."""
    return row.group or row.whole or row.item


def scored(rows: Iterable[Row], level: Level) -> list[Scored]:
    """The scores of rows of one detector and condition. Pictures of one video are joined to their mean at the level of files."""
    found: dict[str, list[tuple[Row, float]]] = {}
    for row in rows:
        if row.status != "ok" or row.fake_score is None:
            continue
        if level == "file":
            found.setdefault(row.whole or row.item, []).append((row, row.fake_score))
        else:
            for number, score in enumerate(row.units):
                found[f"{row.item} {number}"] = [(row, score)]
    return [
        Scored(own[0][0].fake, own[0][0].subset, group_of(own[0][0]), name, float(np.mean([score for _, score in own])))
        for name, own in found.items()
    ]


def coverage(rows: Sequence[Row]) -> Coverage:
    """How many files got a score, by truth, and why others got none."""

    def share(kind: Sequence[Row]) -> Share:
        return Share(judged=sum(row.status == "ok" for row in kind), of=len(kind))

    reals, fakes = [row for row in rows if not row.fake], [row for row in rows if row.fake]
    why = Counter(row.code or "detector_failed" for row in rows if row.status != "ok")
    return Coverage(all=share(rows), real=share(reals), fake=share(fakes), why=dict(sorted(why.items())))


@dataclass(frozen=True)
class Maker:
    """Makes the tables. ``draws`` and ``seed`` are those of the intervals."""

    detectors: Sequence[Detector]
    conditions: Sequence[str]
    draws: int
    seed: int

    def tables(self, rows: Sequence[Row]) -> Iterator[Table]:
        """All tables: untouched files by level and subset, damaged ones as a whole."""
        by: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            by.setdefault((row.detector, row.condition), []).append(row)
        subsets = sorted({row.subset for row in rows if row.fake and row.subset})
        for detector in self.detectors:
            for condition in self.conditions:
                own = by.get((detector.id, condition), [])
                if not own:
                    continue
                yield self.table(detector, condition, own, level="file")
                if condition == UNTOUCHED:
                    yield self.table(detector, condition, own, level="unit")
                    for subset in subsets if len(subsets) > 1 else ():
                        some = [row for row in own if not row.fake or row.subset == subset]
                        yield self.table(detector, condition, some, level="file", subset=subset)

    def table(
        self, detector: Detector, condition: str, rows: Sequence[Row], *, level: Level, subset: str | None = None
    ) -> Table:
        """One table. ``rows``: of one detector and condition; for a subset the reals and its fakes."""
        items = scored(rows, level)
        fake, scores = np.array([item.fake for item in items], bool), np.array([item.score for item in items])
        names = np.array([item.group for item in items])
        whole = level == "file" and subset is None
        return Table(
            detector=detector.id,
            condition=condition,
            level=level,
            subset=subset,
            items=len(items),
            groups=len(set(names.tolist())),
            coverage=coverage(rows),
            figures=self.figures(fake, scores, names, threshold=detector.threshold),
            at_threshold=Counts(**vars(metrics.confusion(fake, scores, threshold=detector.threshold))),
            roc=_thinned(*metrics.roc_points(fake, scores)) if whole else (),
            reliability=tuple(Bin(stated=s, found=f, items=n) for s, f, n in metrics.reliability(fake, scores)) if whole else (),
        )  # fmt: skip

    def figures(self, fake: Array, scores: Array, names: Array, *, threshold: float) -> dict[str, Figure]:
        """Each figure with its interval; null values where there is one kind only, or nothing."""
        values = figures(fake, scores, threshold=threshold)
        spans = {}
        if metrics.both_kinds(fake):
            spans = resampling.intervals(
                fake, scores, names, threshold=threshold, draws=self._draws(len(fake)), seed=self.seed
            )
        return {name: _figure(value, spans.get(name)) for name, value in values.items()}

    def comparisons(self, rows: Sequence[Row]) -> Iterator[Comparison]:
        """Each two detectors, on the untouched files that both judged."""
        for first, second, one, other in self._pairs(rows):
            fake = np.array([item.fake for item in one], bool)
            if metrics.both_kinds(fake):
                yield self._comparison(first.id, second.id, fake, one, other)

    def together(self, rows: Sequence[Row]) -> Iterator[Together]:
        """Whether each two detectors err together, by kind of file."""
        for first, second, one, other in self._pairs(rows):
            for fake in (False, True):
                places = [number for number, item in enumerate(one) if item.fake == fake]
                if places:
                    yield self._together(first, second, [one[n] for n in places], [other[n] for n in places])

    def _pairs(self, rows: Sequence[Row]) -> Iterator[tuple[Detector, Detector, list[Scored], list[Scored]]]:
        """Each two detectors with the untouched files that both judged, in one order."""
        by = {
            detector.id: {
                item.name: item
                for item in scored([r for r in rows if r.detector == detector.id and r.condition == UNTOUCHED], "file")
            }
            for detector in self.detectors
        }
        for first, second in combinations(self.detectors, 2):
            common = sorted(set(by[first.id]) & set(by[second.id]))
            if common:
                yield first, second, [by[first.id][name] for name in common], [by[second.id][name] for name in common]

    def _together(self, first: Detector, second: Detector, one: list[Scored], other: list[Scored]) -> Together:
        names, fake = np.array([item.group for item in one]), one[0].fake
        mine, theirs = (np.array([item.score for item in items]) for items in (one, other))
        wrong = (
            (mine >= first.threshold) != fake,
            (theirs >= second.threshold) != fake,
        )
        found = together.figures(mine, theirs, wrong, names, draws=self._draws(len(one)), seed=self.seed)
        return Together(
            first=first.id,
            second=second.id,
            truth="fake" if fake else "real",
            items=len(one),
            groups=len(set(names.tolist())),
            first_wrong=int(wrong[0].sum()),
            second_wrong=int(wrong[1].sum()),
            both_wrong=int((wrong[0] & wrong[1]).sum()),
            by_chance=float(wrong[0].mean() * wrong[1].mean() * len(one)),
            **{name: _figure(value, span) for name, (value, span) in found.items()},
        )

    def changes(self, rows: Sequence[Row]) -> Iterator[Change]:
        """What each condition changes, detector by detector, on the files that have both scores."""
        for detector in self.detectors:
            known = {
                (row.item, row.condition): row for row in rows if row.detector == detector.id and row.status == "ok"
            }
            for condition in self.conditions:
                base = "pgd_0" if condition.startswith("pgd_") else UNTOUCHED
                if condition != base:
                    names = sorted(name for name, own in known if own == condition and (name, base) in known)
                    pairs = [(known[name, base], known[name, condition]) for name in names]
                    if pairs:
                        yield self._change(detector, condition, pairs)

    def _change(self, detector: Detector, condition: str, pairs: list[tuple[Row, Row]]) -> Change:
        old, new = (np.array([float(pair[side].fake_score or 0.0) for pair in pairs]) for side in (0, 1))
        fake, names = np.array([pair[0].fake for pair in pairs], bool), np.array([group_of(pair[0]) for pair in pairs])
        crossed = (old >= detector.threshold) != (new >= detector.threshold)
        gap = Figure(value=None)
        if metrics.both_kinds(fake):
            found = resampling.compare(fake, new, old, names, draws=self._draws(len(fake)), seed=self.seed)
            gap = Figure(value=found.first - found.second, low=found.low, high=found.high)
        shifts = [float(np.median((new - old)[kind])) if kind.any() else None for kind in (~fake, fake)]
        return Change(
            detector=detector.id,
            condition=condition,
            common=len(pairs),
            crossed=int(crossed.sum()),
            roc_auc_untouched=known(metrics.roc_auc(fake, old)),
            roc_auc=known(metrics.roc_auc(fake, new)),
            difference=gap,
            shift_real=shifts[0],
            shift_fake=shifts[1],
        )

    def _draws(self, items: int) -> int:
        """As many as asked for, fewer where there are very many items: intervals are narrow there, and a draw costs by the item."""
        return min(self.draws, max(_FEWEST_DRAWS, _MOST_DRAWN // max(1, items)))

    def _comparison(self, first: str, second: str, fake: Array, one: list[Scored], other: list[Scored]) -> Comparison:
        names = np.array([item.group for item in one])
        mine, theirs = (np.array([item.score for item in items]) for items in (one, other))
        found = resampling.compare(fake, mine, theirs, names, draws=self._draws(len(fake)), seed=self.seed)
        return Comparison(
            first=first,
            second=second,
            condition=UNTOUCHED,
            common=len(one),
            roc_auc_first=found.first,
            roc_auc_second=found.second,
            difference=Figure(value=found.first - found.second, low=found.low, high=found.high),
            p=found.p,
        )


def figures(fake: Array, scores: Array, *, threshold: float) -> dict[str, float]:
    """Every figure of some scores; NaN where it does not exist."""
    if not len(fake):
        return dict.fromkeys(FIGURES, float("nan"))
    both = metrics.both_kinds(fake)
    return {
        "roc_auc": metrics.roc_auc(fake, scores),
        "eer": metrics.equal_error_rate(fake, scores),
        "average_precision": metrics.average_precision(fake, scores),
        "balanced_accuracy": metrics.balanced_accuracy(fake, scores, threshold=threshold),
        "found_at_1": metrics.found_at(fake, scores, false_alarms=0.01),
        "found_at_5": metrics.found_at(fake, scores, false_alarms=0.05),
        "brier": metrics.brier(fake, scores) if both else float("nan"),
        "ece": metrics.calibration_error(fake, scores) if both else float("nan"),
        "cllr": metrics.cllr(fake, metrics.log_odds(scores)),
        "min_cllr": metrics.min_cllr(fake, scores),
    }


#: name -> (heading, digits)
FIGURES: Final[dict[str, tuple[str, int]]] = {
    "roc_auc": ("ROC-AUC", 3),
    "eer": ("EER", 3),
    "average_precision": ("AP", 3),
    "balanced_accuracy": ("balanced accuracy", 3),
    "found_at_1": ("found at 1 % false alarms", 3),
    "found_at_5": ("found at 5 % false alarms", 3),
    "brier": ("Brier", 3),
    "ece": ("ECE", 3),
    "cllr": ("Cllr", 3),
    "min_cllr": ("min Cllr", 3),
}


def _figure(value: float, span: tuple[float, float] | None) -> Figure:
    if np.isnan(value):
        return Figure(value=None)
    return Figure(value=value, low=span[0], high=span[1]) if span else Figure(value=value)


def _thinned(alarms: Array, found: Array) -> tuple[tuple[float, float], ...]:
    """At most ``_MOST_POINTS`` points of a curve, its ends among them."""
    kept = (
        np.unique(np.linspace(0, len(alarms) - 1, min(len(alarms), _MOST_POINTS)).round().astype(int))
        if len(alarms)
        else ()
    )
    return tuple((float(alarms[number]), float(found[number])) for number in kept)
