"""How detectors of faces do on labelled clips or pictures: ``python -m tests.bench.faces FOLDER ID [ID ...]``.

    python -m tests.bench.faces ../shared/media/clips selfblend mesonet classnseg va
    python -m tests.bench.faces ../shared/media/face_crops selfblend mesonet classnseg va

``FOLDER/labels.csv`` has the columns ``file`` and ``label`` (real, fake), and may have ``identity``, ``pair`` (the identity of a fake's own
original) and ``family``. Each file goes through one media pass (five frames a second) for all detectors; the mean over its faces is the
score of the file. Intervals draw whole identities, and a fake with its original. Files without a score are counted, never filled in.
Weights are those of the research data, or the detector's own. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import tempfile
from pathlib import Path

import numpy as np

from backend.media.extract import extract_pack
from base_detector import BaseDetector, FacePack
from detectors.training.measure import auc_interval, roc_auc
from tests.bench.sets import loaded

SAMPLING = "fps:5"

Row = dict[str, str]


def group_of(row: Row) -> str:
    """What is drawn as one: an identity; a fake goes with its original; else the name without its number."""
    return row.get("pair") or row.get("identity") or re.sub(r"_\d+$", "", Path(row["file"]).stem)


def judged(path: Path, detectors: list[BaseDetector]) -> list[float | None]:
    """The score of each detector: mean over the faces it judged, None where it judged none."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, context = Path(scratch, "pack"), max(2.0, *(item.card.margin for item in detectors), 1.0)
        extract_pack(path, folder, samplings=[SAMPLING], context=context)
        pack = FacePack(folder)
        found: list[float | None] = []
        for detector in detectors:
            scores = detector.run_pack(pack, Path(scratch))["fake_score"] if len(pack) else []
            found.append(float(np.mean(scores)) if scores else None)
        return found


def quality(rows: list[Row], scores: list[float | None], threshold: float) -> str:
    """``files with a score | AUC [95 %] | fakes at the threshold | reals at the threshold | pairs in the right order``."""
    known = [(row, score) for row, score in zip(rows, scores, strict=True) if score is not None]
    fake, values = np.array([row["label"] == "fake" for row, _ in known]), np.array([score for _, score in known])
    groups = np.array([group_of(row) for row, _ in known])
    low, high = auc_interval(fake.astype(float), values, groups=groups, rng=np.random.default_rng(0))
    flagged = values >= threshold
    ordered = []
    for row, score in known:
        own = [value for other, value in known if other["label"] == "real" and other.get("identity") == row.get("pair")]
        if row.get("pair") and row["label"] == "fake" and own:
            ordered.append(score > np.mean(own))
    pairs = f"{sum(ordered)}/{len(ordered)}" if ordered else "-"
    counts = f"{flagged[fake].sum()}/{fake.sum()} | {flagged[~fake].sum()}/{(~fake).sum()}"
    return f"{len(known)}/{len(rows)} | {roc_auc(fake, values):.2f} [{low:.2f}, {high:.2f}] | {counts} | {pairs}"


def main() -> int:
    """Print the tables and, with --json, write all scores."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("ids", nargs="+", metavar="ID")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    detectors = [loaded(name, None, []) for name in args.ids]
    with (args.folder / "labels.csv").open(newline="", encoding="utf-8") as table:
        rows: list[Row] = list(csv.DictReader(table))
    scores = []
    for number, row in enumerate(rows, 1):
        scores.append(judged(args.folder / row["file"], detectors))
        print(f"{number}/{len(rows)} {row['file']} {scores[-1]}", flush=True)
    families = sorted({row.get("family", "") for row in rows if row["label"] == "fake"} - {""})
    head = "detector | fakes of | files with a score | AUC [95 %] | fakes flagged | reals flagged | pairs in order"
    print(f"\n| {head} |\n|{' --- |' * 7}")
    for place, detector in enumerate(detectors):
        for family in ["", *families]:
            kept = [n for n, row in enumerate(rows) if row["label"] == "real" or family in ("", row.get("family"))]
            chosen, own = [rows[n] for n in kept], [scores[n][place] for n in kept]
            print(f"| {detector.card.id} | {family or 'all'} | {quality(chosen, own, detector.card.threshold)} |")
    if args.json:
        args.json.write_text(
            json.dumps([{**row, "scores": own} for row, own in zip(rows, scores, strict=True)], indent=1)
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
