"""Stretches on made clips: the media pass and the detectors see the encoded file, as they see a visitor's.

``python -m tests.bench.stretches media CLIPS OUT`` makes the clips (``made_clips``), has them judged by ``deepfake-o-meter batch`` in
standard mode, and prints what was found. Parts of forty clips are made and judged one after the other; the same command goes on where it
was stopped, and ``--judged-only`` prints what is there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from backend.scores.lanes import face_lanes
from backend.scores.stretches import joint_stretches, stretches
from base_detector import Card
from shared.results import JointStretch, Stretch
from tests.bench.made_clips import CRFS, LENGTHS_S, Made, numbered

_PART: Final = 40
#: from this intersection over union on a stretch counts as found
FOUND: Final = 0.5


def judge_parts(clips: Path, out: Path, *, count: int, detectors: Sequence[str]) -> None:
    """Make and judge ``count`` clips, half of them clean."""
    for first in range(0, count, _PART):
        part = out / f"part-{first // _PART + 1:02d}"
        if (part / "whole").exists():
            continue
        made = list(numbered(clips, part / "clips", range(first, min(first + _PART, count))))
        print(f"{part.name}: {len(made)} clips made", flush=True)
        command = [
            *(sys.executable, "deepfake_o_meter.py", "batch", str(part / "clips"), "--out", str(part / "judged")),
            *("--detectors", ",".join(detectors), "--units", "--jobs", "1"),
        ]
        subprocess.run(command, check=True, env={"OMP_NUM_THREADS": "1", **os.environ})
        (part / "whole").touch()


@dataclass(frozen=True)
class Judged:
    """A made clip as it was judged. ``found``: detector -> its stretches of ``fake``, of all persons; ``families``: detector -> its family.

    ``manipulated``: the person that the manipulation is on, None where the media pass saw nobody there. ``person_s``: seconds of faces.
    """

    made: Made
    found: dict[str, list[Stretch]]
    families: dict[str, str]
    manipulated: int | None
    person_s: float

    def joint_of(self, names: Sequence[str]) -> list[JointStretch]:
        """The joint stretches of the named detectors, of all persons."""
        return [
            one
            for who in sorted({each.person for its in self.found.values() for each in its}, key=str)
            for one in joint_stretches(
                {name: [each for each in self.found[name] if each.person == who] for name in names},
                families=self.families, person=who,
            )
        ]  # fmt: skip

    @property
    def joint(self) -> list[JointStretch]:
        """Those of two kinds of evidence."""
        return [one for one in self.joint_of(list(self.found)) if one.families > 1]


def judged_in(out: Path, cards: Sequence[Card]) -> Iterator[Judged]:
    """The clips that are judged so far."""
    for part in sorted(path.parent for path in out.glob("part-*/judged")):
        middles = {row["file"]: (row["width"] or 0) / 2 for row in _written(part / "judged", "rows")}
        rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in _written(part / "judged", "units"):
            if row["file"] in middles:
                rows[row["file"]].append(row | {"middle": middles[row["file"]]})
        for path in sorted((part / "clips").glob("made_*.json")):
            told = json.loads(path.read_text())
            if told and rows[told["file"]]:
                yield _judged(Made(**told | {"sources": tuple(told["sources"])}), rows[told["file"]], cards)


def _written(folder: Path, kind: str) -> Iterator[dict[str, Any]]:
    """The rows of a batch (``rows`` or ``units``), those of its journal, which are in no shard yet, too."""
    for shard in sorted((folder / kind).glob("*.parquet")):
        yield from pq.read_table(shard).to_pylist()
    for journal in sorted((folder / "journal").glob("*.jsonl")):
        if journal.name.endswith(".units.jsonl") is (kind == "units"):
            for line in journal.read_text().splitlines(keepends=True):
                if line.endswith("\n"):  # the last one may be half written
                    told = json.loads(line)
                    yield told | told.get("row", {})


def _judged(made: Made, rows: Sequence[Mapping[str, Any]], cards: Sequence[Card]) -> Judged:
    faces = sorted(
        (row for row in rows if row["unit"] == "face" and (row["person"] or 0) >= 0), key=lambda row: row["frame"]
    )
    person, time_s, shot = (np.array([row[name] for row in faces]) for name in ("person", "time_s", "shot"))
    step_s = float(np.median(np.diff(np.unique(time_s))))
    found: dict[str, list[Stretch]] = {}
    for card in cards:
        each = np.array([np.nan if row[f"{card.id}_score"] is None else row[f"{card.id}_score"] for row in faces])
        lanes = face_lanes(person, time_s, each, step_s=step_s, piece=shot)
        found[card.id] = [
            one
            for who, track in lanes
            for one in stretches(track, threshold=card.threshold, person=who)
            if isinstance(one, JointStretch) or one.side == "fake"
        ]
    families = {card.id: card.family or card.id for card in cards}
    return Judged(made, found, families, _manipulated(made, faces), len(faces) * step_s)


def _manipulated(made: Made, faces: Sequence[Mapping[str, Any]]) -> int | None:
    """Who is seen most often where and when the manipulation is."""
    there = [
        row["person"]
        for row in faces
        if made.start_s <= row["time_s"] < made.end_s
        and (made.side == "whole" or _at_left(row) == (made.side == "left"))
    ]
    return Counter(there).most_common(1)[0][0] if there else None


def _at_left(row: Mapping[str, Any]) -> bool:
    return bool((row["x1"] + row["x2"]) / 2 < row["middle"])


def overlap(found: Iterable[Stretch | JointStretch], truth: tuple[float, float]) -> float:
    """The best intersection over union of a stretch of ``fake`` with the manipulated part."""
    shared = [
        (min(one.end_s, truth[1]) - max(one.start_s, truth[0]))
        / (max(one.end_s, truth[1]) - min(one.start_s, truth[0]))
        for one in found
        if isinstance(one, JointStretch) or one.side == "fake"
    ]
    return max([0.0, *shared])


def report(out: Path, cards: Sequence[Card]) -> None:
    """Print what was found, by how the clips were made, by length and by CRF, and how often real parts have a stretch."""
    clips = list(judged_in(out, cards))
    spliced = [one for one in clips if one.made.way != "clean"]
    clean = [one for one in clips if one.made.way == "clean"]
    print(
        f"{len(spliced)} spliced clips and {len(clean)} clean ones, {sum(one.person_s for one in clean) / 60:.1f} min of faces"
    )
    names = [*(card.id for card in cards), "two kinds at once"]
    groups: list[tuple[str, list[Judged]]] = [
        *((f"{way}", [one for one in spliced if one.made.way == way]) for way in ("self_blend", "pair", "cut")),
        *((f"{length:g} s", [one for one in spliced if one.made.length_s == length]) for length in LENGTHS_S),
        *((f"CRF {crf}", [one for one in spliced if one.made.crf == crf]) for crf in CRFS),
        ("one of two persons", [one for one in spliced if one.made.side != "whole"]),
    ]
    for title, own in (("self-blends", "self_blend"), ("labelled fakes", "")):
        chosen = [one for one in spliced if (one.made.way == "self_blend") == bool(own)]
        print(f"\nFound (overlap of {FOUND:g} or more), {title}: {len(chosen)} clips")
        print(f"| | clips | {' | '.join(names)} |\n|{' --- |' * (len(names) + 2)}")
        for name, members in groups:
            inside = [one for one in members if one in chosen]
            if inside:
                print(f"| {name} | {len(inside)} | {' | '.join(_found(inside, each) for each in names)} |")
    print(
        f"\nFalse stretches a minute of real faces, clean clips\n| | clips | {' | '.join(names)} |\n|{' --- |' * (len(names) + 2)}"
    )
    for name, members in [("all", clean), *((f"CRF {crf}", [one for one in clean if one.made.crf == crf]) for crf in CRFS),
                          ("across a cut", [one for one in clean if one.made.cuts])]:  # fmt: skip
        if members:
            print(f"| {name} | {len(members)} | {' | '.join(_false(members, each) for each in names)} |")
    print("\nElsewhere in spliced clips (no overlap with the manipulated part, or another person)")
    for each in names:
        wrong = sum(_elsewhere(one, each) for one in spliced)
        seconds = sum(one.person_s - (one.made.end_s - one.made.start_s) for one in spliced)
        print(f"{each}: {wrong} in {seconds / 60:.1f} min")


def _of(one: Judged, name: str) -> Sequence[Stretch | JointStretch]:
    if name in one.found:
        return one.found[name]
    return one.joint


def _found(members: Sequence[Judged], name: str) -> str:
    """'12 of 20 (median overlap .81 of those)'."""
    values = []
    for one in members:
        own = [each for each in _of(one, name) if each.person == one.manipulated]
        values.append(overlap(own, (one.made.start_s, one.made.end_s)))
    hits = [value for value in values if value >= FOUND]
    return f"{len(hits)} of {len(values)}" + (f" ({np.median(hits):.2f})" if hits else "")


def _false(members: Sequence[Judged], name: str) -> str:
    count, minutes = sum(len(_of(one, name)) for one in members), sum(one.person_s for one in members) / 60
    return f"{count / minutes:.1f} ({count} in {minutes:.1f} min)"


def _elsewhere(one: Judged, name: str) -> int:
    truth = one.made.start_s, one.made.end_s
    return sum(
        each.person != one.manipulated or each.end_s <= truth[0] or each.start_s >= truth[1] for each in _of(one, name)
    )
