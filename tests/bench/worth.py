"""What shipped reference sets say of our detectors, and what visitors would be told of re-encoded files.

``python -m tests.bench.worth``: a line in Markdown for each shipped set: how well its detector tells real from fake, its errors at the
threshold, how many answers are inconclusive, and what error remains when the answers nearest to the threshold are left out (risk against
coverage: El-Yaniv and Wiener, "On the foundations of noise-free selective classification", JMLR 11 (2010)).
``python -m tests.bench.worth OUT``: for a benchmark with ``--corruptions`` in OUT, where the answers of each detector would point by the
shipped sets, by condition. No file is weighed by a set with itself or its own scene.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from backend.benchmark.judging import ROWS
from backend.benchmark.page import figure_words
from backend.benchmark.records import Row
from backend.benchmark.tables import Maker
from backend.benchmark.words import condition
from backend.catalog.detectors import BUNDLED, read_cards
from backend.scores.evidence import worth_of
from backend.scores.findings import finding_of
from backend.scores.references import UNTOUCHED, ReferenceSet, usable_of
from base_detector import Card
from shared.intervals import clopper_pearson
from shared.results import Conditions, DetectorResult, Finding

#: Shares of the answers that are kept, those furthest from the threshold.
_KEPT = (1.0, 0.5, 0.25)
_HEADINGS = (
    "detector", "set", "real + fake", "ROC-AUC", "EER", "Cllr", "min Cllr", "false alarms", "misses", "inconclusive",
    "error when 100, 50, 25 % are kept",
)  # fmt: skip


def shipped() -> Iterator[tuple[Card, ReferenceSet]]:
    """Every set beside a detector."""
    for own in read_cards(BUNDLED):
        for path in sorted((own.folder / "references").glob("*.json")):
            yield own, ReferenceSet.model_validate_json(path.read_bytes())


def told(own: Card, made: ReferenceSet, score: float, like: Conditions, *, without: str | None = None) -> Finding:
    """Where an answer points by ``made`` without the scene ``without``; its file has enough units, and no band is known."""
    others = made.model_copy(update={"rows": tuple(row for row in made.rows if row.group != without)})
    usable = usable_of(others, own=False, kind=like.kind)
    worth = worth_of(score, usable, threshold=own.threshold, like=like) if usable.rarer else None
    label = "fake" if score >= own.threshold else "no_trace" if own.lossless_only else "real"
    answer = DetectorResult(
        id=own.id, title=own.title, unit=own.unit, status="ok", fake_score=score, threshold=own.threshold, hard_label=label,
        strategy=own.aggregation, scores=(score,) * 100, units_scored=100, provenance=made.detector.provenance, worth=worth,
    )  # fmt: skip
    finding = finding_of(answer, own, like=like, is_clip=like.kind == "video", elsewhere=worth is None)
    assert finding is not None
    return finding


# --------------------------------------------------------------------------- the table of shipped sets


def line_of(own: Card, made: ReferenceSet, *, draws: int = 1000) -> list[str]:
    """The cells of one set: the untouched items only."""
    rows = [row for row in made.rows if row.condition == UNTOUCHED]
    fake, scores = np.array([row.fake for row in rows], bool), np.array([row.fake_score for row in rows])
    names = np.array([row.group for row in rows])
    found = Maker((), (), draws=draws, seed=0).figures(fake, scores, names, threshold=own.threshold)
    findings = [told(own, made, row.fake_score, row.like, without=row.group) for row in rows if row.like is not None]
    inconclusive = sum(one.points == "inconclusive" for one in findings)
    misled = sum(
        (one.points == "points_to_fake") != row.fake
        for one, row in zip(findings, (row for row in rows if row.like is not None), strict=True)
        if one.points != "inconclusive"
    )
    return [
        f"`{own.id}`",
        f"`{made.name}`",
        f"{(~fake).sum()} + {fake.sum()}",
        *(figure_words(found[name]) for name in ("roc_auc", "eer", "cllr", "min_cllr")),
        _share(scores[~fake] >= own.threshold, names[~fake]),
        _share(scores[fake] < own.threshold, names[fake]),
        f"{inconclusive} of {len(findings)}; misled {misled}",
        ", ".join(f"{_risk(fake, scores, own.threshold, kept):.2f}" for kept in _KEPT),
    ]


def _share(wrong: Any, names: Any) -> str:
    """``22 of 139 (10 to 23 %)``: the interval counts scenes."""
    groups = len(set(names.tolist()))
    low, high = clopper_pearson(float(wrong.mean()) * groups, groups)
    return f"{wrong.sum()} of {len(wrong)} ({100 * low:.0f} to {100 * high:.0f} %)"


def _risk(fake: Any, scores: Any, threshold: float, kept: float) -> float:
    """Mean of the shares of reals flagged and of fakes missed among the answers furthest from the threshold, ``kept`` of each kind."""
    risks = []
    for kind in (False, True):
        own = scores[fake == kind]
        far = own[np.argsort(-np.abs(own - threshold), kind="stable")][: max(1, round(kept * len(own)))]
        risks.append(float(((far >= threshold) != kind).mean()))
    return sum(risks) / 2


# --------------------------------------------------------------------------- re-encoded files


def counts(rows: Iterable[Row]) -> dict[tuple[str, str, str], Counter[str]]:
    """(condition, detector, real or fake) -> where answers would point, with the level: how many."""
    cards = {own.id: own for own in read_cards(BUNDLED)}
    sets = {}
    for own, made in shipped():
        if not made.made:  # such a set weighs no file
            sets.setdefault(own.id, []).append(made)
    rows, found = list(rows), dict[tuple[str, str, str], Counter[str]]()
    untouched = {(row.item, row.detector): row for row in rows if row.condition == UNTOUCHED}
    for row in rows:
        if row.fake_score is None or row.like is None:
            continue
        card, like = cards[row.detector], row.like
        own_sets = sets.get(card.id, [])
        able = [one for one in own_sets if usable_of(one, own=False, kind=like.kind).speaks]
        made = next(iter([*able, *own_sets]), None)  # one of other files says "measured otherwise"
        words = "no set"
        if made is not None:
            finding = told(
                card, made, row.fake_score, like, without=_own_scene(made, untouched.get((row.item, row.detector)))
            )
            words = f"{finding.points} ({finding.level})" if finding.level else finding.points
        key = row.condition, row.detector, "fake" if row.fake else "real"
        found.setdefault(key, Counter())[words] += 1
    return found


def _own_scene(made: ReferenceSet, untouched: Row | None) -> str | None:
    """The scene of a file in a set that names no file: its score and conditions without damage are there, digit by digit."""
    if untouched is None:
        return None
    own = untouched.fake_score, untouched.like
    return next((row.group for row in made.rows if (row.fake_score, row.like) == own), None)


def main() -> None:
    """See the module."""
    if len(sys.argv) > 1:
        rows: dict[tuple[str, str, str], Row] = {}
        for line in (Path(sys.argv[1]) / ROWS).read_text().splitlines():
            row = Row.model_validate_json(line)
            rows[row.item, row.condition, row.detector] = row
        print("| condition | detector | truth | files | where the answers point |\n| --- | --- | --- | --- | --- |")
        for (what, detector, truth), points in sorted(counts(rows.values()).items()):
            told_words = ", ".join(f"{words}: {number}" for words, number in points.most_common())
            print(f"| {condition(what)} | `{detector}` | {truth} | {points.total()} | {told_words} |")
        return
    print("| " + " | ".join(_HEADINGS) + " |")
    print("| " + " | ".join(["---"] * len(_HEADINGS)) + " |")
    for own, made in shipped():
        print("| " + " | ".join(line_of(own, made)) + " |")


if __name__ == "__main__":
    main()
