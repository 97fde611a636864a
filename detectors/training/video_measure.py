"""What the scores of the folds say: by family and method, with intervals over scenes; pairs in order; what degradation costs.

Owns: the figures of the table of candidates and the table itself.
Promises: a clip counts once, with the score of its home fold; a fake is compared with its own original as the same net scored both.
May be imported by detectors.training and its tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from base_detector import Array
from detectors.training.clips import Clip
from detectors.training.measure import roc_auc

#: Share of real clips that may be flagged where "found" is counted.
FALSE_ALARMS = 0.05
_DRAWS, _SEED = 1000, 0


@dataclass(frozen=True)
class Scored:
    """A clip as one fold scored it: version of the frames -> mean logit of fake. ``home``: this is its score of record."""

    clip: Clip
    fold: int
    home: bool
    logits: dict[str, float]


def within_folds(scored: Sequence[Scored], version: str = "as_is") -> Array:
    """Scores (n,) that may be pooled: less the median of their fold's real clips, since each fold is another net."""
    values = np.array([one.logits[version] for one in scored], np.float64)
    places = np.array([one.fold for one in scored])
    real = np.array([not one.clip.fake for one in scored])
    for fold in np.unique(places):
        own = places == fold
        if (own & real).any():
            values[own] -= np.median(values[own & real])
    return values


def found_at(labels: Array, scores: Array, *, alarms: float = FALSE_ALARMS) -> float:
    """Share of fakes above the score that at most ``alarms`` of the real clips exceed."""
    fake = labels > 0.5
    limit = np.quantile(scores[~fake], 1 - alarms, method="higher")
    return float(np.mean(scores[fake] > limit))


def interval_over_scenes(scenes: Array, statistic: Callable[[Array], float]) -> tuple[float, float]:
    """95 % bootstrap interval of ``statistic`` of row indices: whole scenes are drawn, with all their clips."""
    members = [np.flatnonzero(scenes == scene) for scene in np.unique(scenes)]
    rng, values = np.random.default_rng(_SEED), []
    for _ in range(_DRAWS):
        drawn = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        values.append(statistic(drawn))
    known = np.array(values)[~np.isnan(values)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


@dataclass(frozen=True)
class Row:
    """A line of the table: ``auc`` with its interval, ``found`` at 5 % false alarms, ``pairs`` in order of ``of``."""

    name: str
    clips: int
    auc: float
    low: float
    high: float
    found: float
    pairs: int
    of: int


def row_of(name: str, scored: Sequence[Scored], *, chosen: Callable[[Clip], bool]) -> Row:
    """The fakes that are ``chosen``, against all real clips."""
    home = [one for one in scored if one.home]
    values = within_folds(home)
    kept = np.array([not one.clip.fake or chosen(one.clip) for one in home])
    labels = np.array([float(one.clip.fake) for one in home])[kept]
    values, scenes = values[kept], np.array([one.clip.scene for one in home])[kept]
    low, high = interval_over_scenes(scenes, lambda rows: roc_auc(labels[rows], values[rows]))
    right, of = pairs_in_order([one for one in scored if not one.clip.fake or chosen(one.clip)])
    found = found_at(labels, values) if labels.any() else float("nan")
    return Row(name, int(labels.sum()), roc_auc(labels, values), low, high, found, right, of)


def pairs_in_order(scored: Sequence[Scored]) -> tuple[int, int]:
    """How many fakes score above the mean of their own originals, as the fake's fold scored both, of how many that have one."""
    right = of = 0
    for one in scored:
        if not one.clip.fake or not one.home or not one.clip.pair:
            continue
        own = [
            other.logits["as_is"]
            for other in scored
            if not other.clip.fake and other.fold == one.fold and other.clip.identity == one.clip.pair
        ]
        if own:
            of += 1
            right += one.logits["as_is"] > float(np.mean(own))
    return right, of


def by_fold(scored: Sequence[Scored]) -> dict[int, float]:
    """Fold -> ROC-AUC of its fakes against the real clips it scored: one net, so nothing has to be made comparable."""
    found = {}
    for fold in sorted({one.fold for one in scored}):
        own = [one for one in scored if one.fold == fold and one.home]
        labels = np.array([float(one.clip.fake) for one in own])
        found[fold] = roc_auc(labels, np.array([one.logits["as_is"] for one in own]))
    return found


def degraded(scored: Sequence[Scored]) -> dict[str, tuple[float, float]]:
    """Version -> (ROC-AUC of all fakes, median move of a clip's probability against the clip as it is)."""
    home = [one for one in scored if one.home]
    labels = np.array([float(one.clip.fake) for one in home])
    found = {}
    for version in home[0].logits if home else ():
        moves = [abs(_probability(one.logits[version]) - _probability(one.logits["as_is"])) for one in home]
        found[version] = (roc_auc(labels, within_folds(home, version)), float(np.median(moves)))
    return found


def _probability(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


def _is_of(kind: str, name: str, clip: Clip) -> bool:
    return bool(getattr(clip, kind) == name)


def _names(clips: Sequence[Clip], kind: str, *, least: int) -> list[str]:
    """Families or methods with at least ``least`` fakes."""
    names = Counter(getattr(clip, kind) for clip in clips if clip.fake)
    return sorted(name for name, count in names.items() if name and count >= least)


def table_of(scored: Sequence[Scored]) -> str:
    """The figures as Markdown: all fakes, each family, each method with three clips or more; then the degraded copies."""
    home = [one.clip for one in scored if one.home]
    if not any(clip.fake for clip in home) or all(clip.fake for clip in home):
        return "No fold with real and fake clips is done yet."
    rows = [row_of("all", scored, chosen=lambda clip: True)]
    rows += [row_of(name, scored, chosen=partial(_is_of, "family", name)) for name in _names(home, "family", least=1)]
    rows += [row_of(name, scored, chosen=partial(_is_of, "method", name)) for name in _names(home, "method", least=3)]
    reals = sum(not clip.fake for clip in home)
    lines = [
        f"Folds {', '.join(str(n) for n in sorted({one.fold for one in scored}))}; {reals} real clips.",
        "",
        "| fakes | clips | video ROC-AUC (95 %, scenes) | found at 5 % false alarms | pairs in order |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        pairs = f"{row.pairs} of {row.of}" if row.of else "-"
        lines.append(
            f"| {row.name} | {row.clips} | {row.auc:.2f} ({row.low:.2f}-{row.high:.2f}) | {row.found:.0%} | {pairs} |"
        )
    lines += ["", "| fold | its fakes against its own real clips |", "| --- | --- |"]
    lines += [f"| {fold} | {auc:.2f} |" for fold, auc in by_fold(scored).items()]
    lines += ["", "| frames | ROC-AUC, all fakes | median move of the probability |", "| --- | --- | --- |"]
    lines += [f"| {name} | {auc:.3f} | {move:.3f} |" for name, (auc, move) in degraded(scored).items()]
    return "\n".join(lines)
