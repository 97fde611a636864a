"""How well stretches are found, and how often they are false: ``python -m tests.bench.stretches OUT/scores.jsonl [--splices 300]``.

``OUT`` is a benchmark of labelled clips (``deepfake-o-meter benchmark``), whose rows have the score of each face. Splices are made of these
scores: .5 to 8 s of a fake that the detector sees (its mean is at or above the threshold) within scores of real clips that it passes (below
it). A splice counts as found when a stretch covers it with an intersection over union of half or more. False stretches are counted on all
real clips, flagged ones too.
For each rule of a grid a line in Markdown; ``*`` marks the one that ships. What is measured is the rule, not the detector: a fake that a
detector does not see has no stretch, and ``benchmark`` says how many those are.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.catalog.detectors import BUNDLED, read_cards
from backend.scores.stretches import Stretch, StretchRule, Track, joint_stretches, stretches
from base_detector import Array, Card
from shared.evidence import LEAST_UNITS

LENGTHS_S = (0.5, 1.0, 2.0, 4.0, 8.0)
#: more faces a second than this are several people in one row
_MOST_A_SECOND = 61.0


@dataclass(frozen=True)
class Clip:
    """The scores of one person's faces (n,), ``step_s`` apart."""

    fake: bool
    scores: Array
    step_s: float
    mean: float


def clips_of(path: Path, detector: str) -> list[Clip]:
    """The judged clips of one detector."""
    found = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        if row["detector"] != detector or row["status"] != "ok" or row["condition"] != "untouched":
            continue
        scores, duration = np.array(row["units"]), row["like"]["duration_s"]
        if len(scores) >= 10 and len(scores) / duration <= _MOST_A_SECOND:
            found[row["item"]] = Clip(row["fake"], scores, duration / len(scores), row["fake_score"])
    return list(found.values())


def spliced(
    real: list[Clip], fake: Clip, *, length_s: float, rng: np.random.Generator
) -> tuple[Track, tuple[float, float]] | None:
    """``length_s`` of a fake between two real clips, all of one shot, and where it is; None where the fake is too short."""
    count = round(length_s / fake.step_s)
    if count > len(fake.scores):
        return None
    first = int(rng.integers(0, len(fake.scores) - count + 1))
    before, after = (real[place] for place in rng.choice(len(real), 2))
    parts = [
        (before.scores, before.step_s),
        (fake.scores[first : first + count], fake.step_s),
        (after.scores, after.step_s),
    ]
    scores = np.concatenate([part for part, _ in parts])
    steps = np.concatenate([np.full(len(part), step) for part, step in parts])
    start = np.cumsum(steps) - steps
    begin = len(before.scores)
    return Track(start, start + steps, scores, np.zeros(len(scores), np.int64)), (
        float(start[begin]), float(start[begin + count - 1] + steps[begin + count - 1]),
    )  # fmt: skip


def overlap(found: list[Stretch], truth: tuple[float, float]) -> float:
    """The best intersection over union of a stretch of ``fake`` with the splice."""
    best = 0.0
    for item in found:
        if item.side == "fake":
            shared = min(item.end_s, truth[1]) - max(item.start_s, truth[0])
            best = max(best, shared / (max(item.end_s, truth[1]) - min(item.start_s, truth[0])))
    return best


def alarms(real: list[Clip], *, threshold: float, rule: StretchRule) -> tuple[int, float]:
    """(stretches of ``fake``, minutes) of real clips."""
    count, seconds = 0, 0.0
    for clip in real:
        start = np.arange(len(clip.scores)) * clip.step_s
        track = Track(start, start + clip.step_s, clip.scores, np.zeros(len(start), np.int64))
        count += sum(item.side == "fake" for item in stretches(track, threshold=threshold, rule=rule))
        seconds += len(start) * clip.step_s
    return count, seconds / 60


def table(path: Path, detector: str, *, threshold: float, splices: int) -> None:
    """Print the lines of one detector."""
    clips, rng = clips_of(path, detector), np.random.default_rng(18)
    real, seen = [one for one in clips if not one.fake], [one for one in clips if one.fake and one.mean >= threshold]
    passed = [one for one in real if one.mean < threshold]
    if not seen or not passed:
        print(f"{detector}: it sees {len(seen)} fakes and passes {len(passed)} reals, so there is nothing to splice")
        return
    made = []
    for length in itertools.islice(itertools.cycle(LENGTHS_S), 4 * splices):
        able = [one for one in seen if len(one.scores) * one.step_s >= length]
        if able and len(made) < splices:
            got = spliced(passed, able[int(rng.integers(len(able)))], length_s=length, rng=rng)
            made += [(length, *got)] if got else []
    print(
        f"\n{detector}: {len(made)} splices of {len(seen)} fakes it sees; {len(real)} real clips, {len(passed)} passed"
    )
    lengths = sorted({length for length, _, _ in made})
    print(
        f"| window s | margin | least s | {' | '.join(f'found at {length:g} s' for length in lengths)} | median overlap | false a minute |"
    )
    print(f"|{' --- |' * (len(lengths) + 5)}")
    shipped = StretchRule()
    for window, margin, least in itertools.product((0.5, 1.0, 1.5), (0.0, 0.01, 0.05, 0.1), (0.3, 0.5, 1.0)):
        rule = StretchRule(window_s=window, margin=margin, least_s=least)
        overlaps = [
            (length, overlap(stretches(track, threshold=threshold, rule=rule), truth)) for length, track, truth in made
        ]
        by_length = [np.mean([value >= 0.5 for size, value in overlaps if size == length]) for length in lengths]
        count, minutes = alarms(real, threshold=threshold, rule=rule)
        mark = " *" if rule == shipped else ""
        print(
            f"| {window:g}{mark} | {margin:g} | {least:g} | {' | '.join(f'{share:.2f}' for share in by_length)} | "
            f"{np.median([value for _, value in overlaps]):.2f} | {count / minutes:.1f} ({count} in {minutes:.1f} min) |"
        )  # fmt: skip


def joint_alarms(path: Path, cards: list[Card]) -> None:
    """Print how often detectors of two families have a stretch at once on real clips, by the rule that ships."""
    lanes: dict[str, dict[str, list[Stretch]]] = {}
    seconds: dict[str, float] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        card = next((one for one in cards if one.id == row["detector"]), None)
        if card is None or row["fake"] or row["status"] != "ok" or len(row["units"]) < LEAST_UNITS:
            continue
        step = row["like"]["duration_s"] / len(row["units"])
        start = np.arange(len(row["units"])) * step
        track = Track(start, start + step, np.array(row["units"]), np.zeros(len(start), np.int64))
        lanes.setdefault(row["item"], {})[card.id] = stretches(track, threshold=card.threshold)
        seconds[row["item"]] = row["like"]["duration_s"]
    family = {card.id: card.family for card in cards}
    found = [item for own in lanes.values() for item in joint_stretches(own)]
    two = [item for item in found if len({family[name] for name in item.detectors}) > 1]
    minutes = sum(seconds.values()) / 60
    print(f"\n{len(lanes)} real clips, {minutes:.1f} min: {len(found)} joint stretches, {len(two)} of two families")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--splices", type=int, default=300)
    args = parser.parse_args()
    judged = {json.loads(line)["detector"] for line in args.rows.read_text().splitlines()}
    cards = [card for card in read_cards(BUNDLED) if card.id in judged and card.unit == "face"]
    for card in cards:
        table(args.rows, card.id, threshold=card.threshold, splices=args.splices)
    joint_alarms(args.rows, cards)


if __name__ == "__main__":
    main()
