"""Stills of labelled clips: the middle picture of each as JPEG, with its clip's row of ``labels.csv``.

``python -m tests.bench.stills CLIPS OUT``: what the reference sets ``stills-2026`` were measured on (docs/evidence.md). Deepfakes of the
world, where blends made for measuring (``detectors.training.still_blends``) are none. Nothing it writes may be committed.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import av

from detectors.training.still_blends import QUALITY


def write_stills(clips: Path, out: Path) -> int:
    """Write the stills of ``clips`` (a folder with labels.csv) and their ``labels.csv`` into ``out``; how many."""
    with (clips / "labels.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    out.mkdir(parents=True, exist_ok=True)
    for row in rows:
        with av.open(str(clips / row["file"])) as opened:
            pictures = list(opened.decode(video=0))
        row["file"] = f"{Path(row['file']).stem}.jpg"
        pictures[len(pictures) // 2].to_image().save(out / row["file"], quality=QUALITY)
    with (out / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    print(f"{write_stills(asked.clips, asked.out)} stills")


if __name__ == "__main__":
    main()
