"""How well stretches are found, and how often they are false.

``python -m tests.bench.stretches scores OUT/scores.jsonl [--splices 300]``: splices of scores, for a grid of rules.
``python -m tests.bench.stretches count OUT/scores.jsonl --name NAME --about WORDS``: writes how often real clips have stretches, which the
sentences about stretches say (``backend.scores.alarms``).
``python -m tests.bench.stretches media CLIPS OUT``: splices of media (``judged_clips``).
``python -m tests.bench.stretches count-made OUT --name NAME --about WORDS``: as ``count``, of the clean ones of these.

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
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from backend.catalog.detectors import BUNDLED, read_cards
from backend.scores.alarms import FOLDER, Counted, CountedStretches
from backend.scores.stretches import StretchRule, Track, joint_stretches, stretches
from base_detector import Array, Card
from shared.evidence import LEAST_UNITS
from shared.results import Stretch
from tests.bench.judged_clips import FOUND, judge_parts, judged_in, overlap, report
from tests.bench.made_clips import LENGTHS_S, in_half

MARGINS = (0.0, 0.01, 0.05, 0.1)
#: more faces a second than this are several people in one row
_MOST_A_SECOND = 61.0


@dataclass(frozen=True)
class Clip:
    """The scores of one person's faces (n,), ``step_s`` apart. ``group``: the scene."""

    group: str
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
            found[row["item"]] = Clip(row["group"], row["fake"], scores, duration / len(scores), row["fake_score"])
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
    clips = clips_of(path, detector)
    real, seen = [one for one in clips if not one.fake], [one for one in clips if one.fake and one.mean >= threshold]
    passed = [one for one in real if one.mean < threshold]
    made = _splices(clips, threshold=threshold, splices=splices)
    if not made:
        print(f"{detector}: it sees {len(seen)} fakes and passes {len(passed)} reals, so there is nothing to splice")
        return
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


def halves(path: Path, cards: Sequence[Card], *, splices: int) -> None:
    """Choose the margin on half of the scenes, and print what it and the shipped one find, and how often they are false, on the other half.

    Chosen: the margin with the fewest false stretches among those that find at most .02 less than the one that finds most, over all
    detectors that have something to splice in both halves.
    """
    known = [(card, clips_of(path, card.id)) for card in cards]
    figures: dict[tuple[bool, float], list[tuple[float, float, float]]] = {}
    for card, clips in known:
        parts = {half: [one for one in clips if in_half(one.group) is half] for half in (True, False)}
        made = {half: _splices(own, threshold=card.threshold, splices=splices) for half, own in parts.items()}
        if not all(made.values()):
            print(f"{card.id}: nothing to splice in one of the halves")
            continue
        for half, margin in itertools.product((True, False), MARGINS):
            rule = StretchRule(margin=margin)
            found = [
                overlap(stretches(track, threshold=card.threshold, rule=rule), truth) >= FOUND
                for _, track, truth in made[half]
            ]
            real = [one for one in parts[half] if not one.fake]
            count, minutes = alarms(real, threshold=card.threshold, rule=rule)
            figures.setdefault((half, margin), []).append((float(np.mean(found)), count, minutes))
    if not figures:
        return
    shares = {margin: np.mean([share for share, _, _ in figures[True, margin]]) for margin in MARGINS}
    able = [margin for margin in MARGINS if shares[margin] >= max(shares.values()) - 0.02]
    chosen = min(able, key=lambda margin: (sum(count for _, count, _ in figures[True, margin]), -shares[margin]))
    print(f"\nmargin chosen on half of the scenes: {chosen:g}; shipped: {StretchRule().margin:g}")
    print(
        "| margin | half | found, mean of the detectors | false stretches of all detectors |\n| --- | --- | --- | --- |"
    )
    for half, margin in itertools.product((True, False), MARGINS):
        own = figures[half, margin]
        false = f"{sum(count for _, count, _ in own):.0f} in {sum(minutes for _, _, minutes in own):.1f} min"
        print(
            f"| {margin:g} | {'chosen on' if half else 'the other'} | {np.mean([one[0] for one in own]):.2f} | {false} |"
        )


def _splices(
    clips: Sequence[Clip], *, threshold: float, splices: int
) -> list[tuple[float, Track, tuple[float, float]]]:
    """(length, track, truth) of splices of fakes that the detector sees between reals that it passes."""
    rng = np.random.default_rng(18)
    seen = [one for one in clips if one.fake and one.mean >= threshold]
    passed = [one for one in clips if not one.fake and one.mean < threshold]
    made: list[tuple[float, Track, tuple[float, float]]] = []
    if not seen or not passed:
        return made
    for length in itertools.islice(itertools.cycle(LENGTHS_S), 4 * splices):
        able = [one for one in seen if len(one.scores) * one.step_s >= length]
        if able and len(made) < splices:
            got = spliced(passed, able[int(rng.integers(len(able)))], length_s=length, rng=rng)
            made += [(length, *got)] if got else []
    return made


def real_lanes(path: Path, cards: list[Card]) -> tuple[dict[str, dict[str, list[Stretch]]], dict[str, float]]:
    """Of real clips of one person: clip -> detector -> its stretches, for detectors that judged enough; and clip -> seconds.

    Only detectors that judge every face have times here: the rows have no places of those that were not judged.
    """
    lanes: dict[str, dict[str, list[Stretch]]] = {}
    seconds: dict[str, float] = {}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    most: dict[str, int] = {}
    for row in rows:
        most[row["item"]] = max(most.get(row["item"], 0), len(row["units"]))
    for row in rows:
        card = next((one for one in cards if one.id == row["detector"]), None)
        units = len(row["units"])
        if card is None or row["fake"] or row["status"] != "ok" or row["condition"] != "untouched":
            continue
        if units < LEAST_UNITS or units < most[row["item"]] or units / row["like"]["duration_s"] > _MOST_A_SECOND:
            continue
        step = row["like"]["duration_s"] / units
        start = np.arange(units) * step
        track = Track(start, start + step, np.array(row["units"]), np.zeros(units, np.int64))
        lanes.setdefault(row["item"], {})[card.id] = stretches(track, threshold=card.threshold, person=0)
        seconds[row["item"]] = row["like"]["duration_s"]
    return lanes, seconds


def count(path: Path, cards: list[Card], *, name: str, about: str, out: Path) -> None:
    """Write how often each detector, and each two of them, have stretches on the real clips of a benchmark (``backend.scores.alarms``)."""
    run = json.loads((path.parent / "run.json").read_text())
    lanes, seconds = real_lanes(path, cards)
    families = {card.id: card.family or card.id for card in cards}
    counts = []
    for names in [(card.id,) for card in cards] + list(itertools.combinations(families, 2)):
        judged = [clip for clip, own in lanes.items() if all(one in own for one in names)]
        minutes = sum(seconds[clip] for clip in judged) / 60
        if len(judged) < LEAST_UNITS:
            continue
        if len(names) == 1:
            found = sum(item.side == "fake" for clip in judged for item in lanes[clip][names[0]])
        else:
            found = sum(
                len(joint_stretches({one: lanes[clip][one] for one in names}, families=families)) for clip in judged
            )
        counts.append(Counted(detectors=names, found=found, minutes=round(minutes, 2), clips=len(judged)))
        print(f"{' and '.join(names)}: {found} in {minutes:.1f} min, {len(judged)} clips")
    _write(out, counts, name=name, about=about, mode=run["mode"], ran=run["detectors"])


def count_made(made: Path, cards: list[Card], *, name: str, about: str, out: Path) -> None:
    """The same on the clean clips of ``media``, which are encoded anew; minutes are those of faces."""
    told = json.loads(next(iter(sorted(made.glob("part-*/judged/batch.json")))).read_text())
    clean = [one for one in judged_in(made, cards) if one.made.way == "clean"]
    minutes = round(sum(one.person_s for one in clean) / 60, 2)
    counts = []
    for names in [(card.id,) for card in cards] + list(itertools.combinations([card.id for card in cards], 2)):
        found = sum(len(one.found[names[0]] if len(names) == 1 else one.joint_of(names)) for one in clean)
        counts.append(Counted(detectors=names, found=found, minutes=minutes, clips=len(clean)))
        print(f"{' and '.join(names)}: {found} in {minutes:.1f} min, {len(clean)} clips")
    ran = {
        card.id: {key: told["detectors"][card.id][key] for key in ("version", "contract", "weights", "parameters")}
        | {"runner": "process", "image": None}
        for card in cards
    }
    _write(out, counts, name=name, about=about, mode=told["mode"], ran=ran)


def _write(out: Path, counts: list[Counted], *, name: str, about: str, mode: str, ran: dict[str, Any]) -> None:
    known = {one for counted in counts for one in counted.detectors}
    made = CountedStretches(
        name=name,
        about=about,
        created=datetime.now(UTC),
        mode=mode,
        rule=asdict(StretchRule()),
        ran={key: value for key, value in ran.items() if key in known},
        counts=tuple(counts),
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(f"{made.model_dump_json(indent=1)}\n", encoding="utf-8")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    scores = commands.add_parser("scores", help="splices of scores, for a grid of rules")
    scores.add_argument("rows", type=Path)
    scores.add_argument("--splices", type=int, default=300)
    for command, of in (("count", "real clips of a benchmark"), ("count-made", "clean clips of media")):
        counting = commands.add_parser(command, help=f"write how often {of} have stretches")
        counting.add_argument("rows" if command == "count" else "out", type=Path)
        counting.add_argument("--name", required=True)
        counting.add_argument("--about", required=True, help="what the clips are, in a few words")
        if command == "count-made":
            counting.add_argument("--detectors", default="selfblend,mesonet")
    media = commands.add_parser("media", help="made clips, encoded and judged")
    media.add_argument("clips", type=Path, help="folder of labelled clips, with labels.csv")
    media.add_argument("out", type=Path)
    media.add_argument("--count", type=int, default=400, help="clips, half of them clean")
    media.add_argument("--detectors", default="selfblend,mesonet")
    media.add_argument("--judged-only", action="store_true", help="make and judge nothing, print what is there")
    args = parser.parse_args()
    if args.command in ("media", "count-made"):
        names = args.detectors.split(",")
        chosen = [card for card in read_cards(BUNDLED) if card.id in names]
    if args.command == "count-made":
        count_made(args.out, chosen, name=args.name, about=args.about, out=FOLDER)
        return
    if args.command == "media":
        if not args.judged_only:
            judge_parts(args.clips, args.out, count=args.count, detectors=names)
        report(args.out, chosen)
        return
    judged = {json.loads(line)["detector"] for line in args.rows.read_text().splitlines()}
    cards = [card for card in read_cards(BUNDLED) if card.id in judged and card.unit == "face"]
    if args.command == "count":
        count(args.rows, cards, name=args.name, about=args.about, out=FOLDER)
        return
    for card in cards:
        table(args.rows, card.id, threshold=card.threshold, splices=args.splices)
    halves(args.rows, cards, splices=args.splices)


if __name__ == "__main__":
    main()
