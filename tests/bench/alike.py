"""Which copies of clips are found again, and which other clips are taken for copies: ``python -m tests.bench.alike FOLDER [--most N]``.

``FOLDER`` has clips and ``labels.csv`` (``file``, ``label``, ``identity``, ``pair``). Each clip is marked as the media pass does, and so
are copies of it: encoded anew, smaller, cut, mirrored. Prints how many copies are within the distance of ``shared.seen``, and the pairs
of different clips that are: those of one pair or identity, and all others, nearest first.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np

from backend.media.fingerprints import PictureMarks
from base_detector import Array, Shot
from shared.seen import PICTURES_APART, pictures_apart


def _shrunk(picture: Array, factor: float) -> Array:
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def _cut(picture: Array) -> Array:
    down, right = (round(side * 0.025) for side in picture.shape[:2])
    return picture[down:-down, right:-right]


#: name -> constant rate factor of H.264, and what is done to each picture
COPIES: dict[str, tuple[int, Callable[[Array], Array]]] = {
    "CRF 23": (23, lambda picture: picture),
    "CRF 40": (40, lambda picture: picture),
    "half the size": (28, lambda picture: _shrunk(picture, 0.5)),
    "640 pixels": (30, lambda picture: _shrunk(picture, min(1.0, 640 / max(picture.shape[:2])))),
    "5 % cut off": (23, _cut),
    "mirrored": (23, lambda picture: picture[:, ::-1]),
}


def marks(source: Any) -> Array:
    """The marks of a clip, (n, 32) uint8, as of one shot."""
    finder, frames = PictureMarks(), 0
    with av.open(source) as container:
        for number, frame in enumerate(container.decode(container.streams.video[0])):
            scale = 256 / max(frame.width, frame.height)
            size = [max(2, round(side * scale)) for side in (frame.width, frame.height)]
            small = frame.reformat(*size, "bgr24", interpolation="POINT").to_ndarray()
            finder.feed(SimpleNamespace(index=number, time_s=float(frame.time or 0), thumb=lambda small=small: small))  # type: ignore[arg-type]
            frames = number + 1
    digits = finder.chosen([Shot(0, 0, max(0, frames - 1), 0.0, 0.0)])
    return np.frombuffer(bytes.fromhex("".join(digits)), np.uint8).reshape(-1, 32)


def copied(path: Path, *, factor: int, change: Callable[[Array], Array]) -> io.BytesIO:
    """The clip encoded anew in memory."""
    out = io.BytesIO()
    with av.open(str(path)) as source, av.open(out, "w", format="mp4") as target:
        stream, made = source.streams.video[0], None
        for frame in source.decode(stream):
            picture = change(frame.to_ndarray(format="rgb24"))
            height, width = (side // 2 * 2 for side in picture.shape[:2])
            if made is None:
                made = target.add_stream(
                    "libx264", rate=stream.average_rate or 25, options={"crf": str(factor), "preset": "veryfast"}
                )
                made.width, made.height, made.pix_fmt = width, height, "yuv420p"
            copy = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
            copy.pts, copy.time_base = frame.pts, frame.time_base
            target.mux(made.encode(copy))
        if made is not None:
            target.mux(made.encode())
    out.seek(0)
    return out


def of_one_kind(one: dict[str, str], other: dict[str, str]) -> bool:
    """Whether the labels say that two clips have a person or a source in common."""
    paired = (
        one["pair"] == other["file"] or other["pair"] == one["file"] or (one["pair"] and one["pair"] == other["pair"])
    )
    return bool(paired or (one["identity"] and one["identity"] == other["identity"]))


def pairs(known: list[tuple[dict[str, str], Array]]) -> Iterator[tuple[float, bool, str, str]]:
    """Distance, whether of one kind, and the names of each two clips."""
    for at, (one, own) in enumerate(known):
        for other, theirs in known[at + 1 :]:
            yield pictures_apart(own, theirs), of_one_kind(one, other), one["file"], other["file"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--most", type=int, default=10_000, help="clips to take")
    asked = parser.parse_args()
    with (asked.folder / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[: asked.most]
    known = [(row, own) for row in rows if len(own := marks(str(asked.folder / row["file"])))]
    for name, (factor, change) in COPIES.items():
        near = 0
        for row, own in known:
            copy = marks(copied(asked.folder / row["file"], factor=factor, change=change))
            near += bool(len(copy)) and pictures_apart(own, copy) <= PICTURES_APART
        print(f"{name:16} {near:4} of {len(known)}", flush=True)
    found = sorted(pairs(known))
    for words, kind in (("of one person or source", True), ("others", False)):
        mine = [item for item in found if item[1] is kind]
        print(f"pairs {words}: {sum(item[0] <= PICTURES_APART for item in mine)} of {len(mine)} alike")
        for distance, _, one, other in mine[:80]:
            print(f"  {distance:5.0f}  {one}  {other}")


if __name__ == "__main__":
    main()
