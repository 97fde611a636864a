"""A labelled set of stills: photographs of real faces, and the same photographs with the face blended with an altered copy of itself.

Owns which photographs are taken, and how they are written: material for reference sets of stills (docs/evidence.md). Promises: a
photograph and its blend go through the same decoder and the same JPEG, so that the blend is the only difference; the same pictures and seed
give the same set; ``--part test`` takes people on whom no step trained under that name (``detectors.training.faces.part_of``). A few of
them may be in the training part under another name (``doubles``); ``--bank`` leaves those out, as a set for ``selfblend`` has to.
Run: ``python -m detectors.training.still_blends --faces FOLDER --out SET``. Nothing it writes may be committed.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from base_detector import Array
from detectors.nets.mtcnn import Mtcnn
from detectors.training.blends import blend
from detectors.training.faces import MARGIN, SMALLEST, Bank, _main_face, identity_of, part_of

#: JPEG of both: what cameras and sites write.
QUALITY = 90


def chosen(
    pictures: Iterable[Path], *, part: str | None, most: int | None, seed: int, known: frozenset[str] | None = None
) -> list[tuple[Path, str]]:
    """One picture of each person of ``part`` (None: of all parts) with that person's name, at most ``most`` people, drawn by ``seed``;
    with ``known`` of these people only.
    """
    people: dict[str, Path] = {}
    for path in sorted(pictures, key=lambda one: one.name):
        identity = identity_of(path)
        if identity is None or identity == "unnamed" or (known is not None and identity not in known):
            continue
        if part in (None, part_of(identity)):
            people.setdefault(identity, path)
    names = sorted(people)
    if most is not None and most < len(names):
        names = sorted(np.random.default_rng(seed).choice(names, most, replace=False).tolist())
    return [(people[name], name) for name in names]


def people_of(bank: Bank) -> frozenset[str]:
    """Names of the people whose faces a training's bank holds. Held-out ones who may be in its training part, too, it has left out."""
    return frozenset(bank.identities[number] for number in np.unique(bank.rows["identity"]))


def blended(picture: Array, box: Array, landmarks: Array, *, seed: int) -> Array:
    """``picture`` (H, W, 3) uint8 with the face of ``box`` blended with an altered copy: its square of MARGIN box sides changes at most."""
    half = MARGIN * max(box[2] - box[0], box[3] - box[1]) / 2
    x, y = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    height, width = picture.shape[:2]
    side = int(min(2 * half, height, width))
    left, top = int(np.clip(x - side / 2, 0, width - side)), int(np.clip(y - side / 2, 0, height - side))
    face = picture[top : top + side, left : left + side].astype(np.float32)
    mixed, _ = blend(face, (landmarks - [left, top]).astype(np.float32), rng=np.random.default_rng(seed))
    made = picture.copy()
    made[top : top + side, left : left + side] = np.round(mixed).astype(np.uint8)
    return made


def write_set(people: Iterable[tuple[Path, str]], out: Path, *, seed: int) -> Iterator[tuple[str, str, str]]:
    """Write each photograph and its blend as JPEG into ``out``; the rows of ``labels.csv``. Pictures without a sure face are left out."""
    detect = Mtcnn().detect
    for kind in ("real", "fake"):
        (out / kind).mkdir(parents=True, exist_ok=True)
    for number, (path, _) in enumerate(people):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        main = None if image is None else _main_face(image, detect=detect, smallest=SMALLEST)
        if image is None or main is None:
            continue
        own = int.from_bytes(hashlib.sha256(f"{seed} {path.name}".encode()).digest()[:4])
        made = blended(image, *main, seed=own)
        for kind, pixels in (("real", image), ("fake", made)):
            name = f"{kind}/{number:05}.jpg"
            cv2.imwrite(str(out / name), pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
            yield name, kind, f"{number:05}"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=Path, required=True, help="folder with pictures, or with tar files of them")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--part", choices=["train", "calibration", "test"], help="people of one part of selfblend's training only"
    )
    parser.add_argument("--most", type=int, help="at most so many people")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--bank",
        type=Path,
        help="face bank of selfblend's training, made of FACES when it is not there: only people whom it holds, so none who may be in its "
        "training part under another name",
    )
    asked = parser.parse_args()
    known = None
    if asked.bank:
        from detectors.training.selfblend import bank_of

        known = people_of(bank_of(asked.faces, asked.bank))
    with tempfile.TemporaryDirectory() as unpacked:
        pictures = list(asked.faces.rglob("*.jpg"))
        for archive in sorted(asked.faces.glob("*.tar")):
            with tarfile.open(archive) as opened:
                opened.extractall(unpacked, filter="data")
        pictures += Path(unpacked).rglob("*.jpg")
        people = chosen(pictures, part=asked.part, most=asked.most, seed=asked.seed, known=known)
        rows = list(write_set(people, asked.out, seed=asked.seed))
    with (asked.out / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "label", "identity"])
        writer.writerows(rows)


if __name__ == "__main__":
    main()
