"""The face bank: real faces found once, cut alike, split by identity, and memory-mapped for training.

Owns: which pictures are used, whose face each one shows, in which part (train, calibration, test) a person is, the bank's layout.
Promises: no identity is in two parts; the same pictures give the same bank. Luma only: two thirds of the faces are grey, and colour
against grey must be no cue.
May be imported by detectors.training and its tests.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from base_detector import Array

#: Side of a stored face in pixels, and how many box sides it shows. The sharp content of the grey pictures is about that fine.
SIDE, MARGIN = 160, 1.2
#: The bank of large faces: their stored side, and the smallest box side (pixels) of a face in it, so that none is enlarged.
FINE_SIDE, FINE_SMALLEST = 224, 192
#: Share of the identities in each part that no step trains on.
HELD_OUT = {"calibration": 0.12, "test": 0.16}
#: Identity of every picture whose name has no person: it is trained on, and never held out.
UNNAMED = "unnamed"
#: ``left out``: held-out people who are also in another part, under another name.
PARTS = ("train", "calibration", "test", "left out")
#: A face below this side (pixels of the box) has too little to show.
SMALLEST = 56
#: Share of the square of BARE box sides that may be outside the picture, and how far (box sides) a face is moved to have less of that.
BARE, UNCOVERED, NUDGE = 1.04, 0.22, 0.04
#: The grey faces fill their pictures, where MTCNN misplaces boxes and landmarks; with this share of border repeated on each
#: side it finds them as it does in a whole frame. Detection works on pictures of DETECT pixels, which the landmarks do not need more of.
BORDER, DETECT = 0.4, 260

ROW = np.dtype(
    [
        ("part", "u1"),
        ("identity", "<i4"),
        ("landmarks", "<f4", (5, 2)),
        ("box", "<f4", (4,)),
        ("shown", "<f4", (4,)),
    ]
)


@dataclass(frozen=True)
class Bank:
    """``pixels`` (N, SIDE, SIDE) uint8 luma; ``rows`` (N,) of ROW, in pixels of the stored face; identities by name.

    ``shown`` is the part of the square that the picture really covers (x1 y1 x2 y2); outside it the border is repeated.
    """

    pixels: Array
    rows: Array
    identities: tuple[str, ...]

    @property
    def side(self) -> int:
        """Side of the stored faces in pixels."""
        return int(self.pixels.shape[1])

    def of_part(self, part: str) -> Array:
        """Indices of the faces of ``part``."""
        return np.flatnonzero(self.rows["part"] == PARTS.index(part))


def identity_of(path: Path) -> str | None:
    """Name of the person in a picture of ``../shared/faces``; None when the picture is not to be used.

    Grey: ``Name_Surname_0001.jpg``. Colour: ``0_0_name_0012.jpg``; plain numbers are not names, so they are one identity
    ``unnamed`` that stays in the training part; ``augmented_image_*`` are processed copies of those and no real pictures.
    """
    stem = path.stem
    if stem.startswith("augmented_image") or "copy" in stem:
        return None
    if match := re.fullmatch(r"\d+_\d+_([a-z]+)_\d+", stem):
        return f"colour:{match[1]}"
    if stem.isdecimal():
        return UNNAMED
    return "grey:" + re.sub(r"_?\d+$", "", stem)


def part_of(identity: str) -> str:
    """Part of an identity, by a hash of its name: the same on every machine and whatever other pictures there are."""
    if identity == UNNAMED:
        return "train"
    place = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big") / 2**64
    for part, share in HELD_OUT.items():
        if place < share:
            return part
        place -= share
    return "train"


def build_bank(
    pictures: Iterable[Path],
    out: Path,
    *,
    detect: Callable[[Array], Any],
    side: int = SIDE,
    smallest: float = SMALLEST,
) -> Bank:
    """Find the main face of every picture and write the bank to folder ``out``: faces of ``smallest`` pixels or more, at ``side``.

    ``detect`` takes (H, W, 3) uint8 RGB and answers as ``detectors.nets.mtcnn.Mtcnn.detect``.
    """
    faces, rows, names = [], [], []
    for path in sorted(pictures, key=lambda path: path.name):
        identity = identity_of(path)
        image = cv2.imread(str(path), cv2.IMREAD_COLOR) if identity else None
        if identity is None or image is None:
            continue
        main = _main_face(image, detect=detect, smallest=smallest)
        if main is None:
            continue
        face, row = stored_face(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), *main, side=side)
        if _uncovered(row, side) > UNCOVERED:
            continue
        if identity not in names:
            names.append(identity)
        row["part"], row["identity"] = PARTS.index(part_of(identity)), names.index(identity)
        faces.append(face)
        rows.append(row)
    if not faces:
        raise ValueError("no face was found in the pictures: name the folder that holds gray/ and rgb/")
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "pixels.npy", np.stack(faces))
    np.save(out / "rows.npy", np.array(rows, ROW))
    (out / "bank.json").write_text(json.dumps({"identities": names}, ensure_ascii=False), encoding="utf-8")
    return read_bank(out)


def leave_out(folder: Path, identities: Array) -> Bank:
    """Take identities (their numbers) out of every part of the bank in ``folder``."""
    rows = np.load(folder / "rows.npy", allow_pickle=False)
    rows["part"][np.isin(rows["identity"], identities)] = PARTS.index("left out")
    np.save(folder / "rows.npy", rows)
    return read_bank(folder)


def read_bank(folder: Path) -> Bank:
    """Open a bank that ``build_bank`` wrote; the pixels stay on disk until they are used."""
    names = json.loads((folder / "bank.json").read_text(encoding="utf-8"))["identities"]
    pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
    return Bank(pixels=pixels, rows=np.load(folder / "rows.npy", allow_pickle=False), identities=tuple(names))


def _main_face(image: Array, *, detect: Callable[[Array], Any], smallest: float) -> tuple[Array, Array] | None:
    """Box and landmarks, in pixels of ``image`` (BGR), of the surest large face near the middle; None without one."""
    height, width = image.shape[:2]
    border = round(BORDER * max(height, width))
    wide = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REPLICATE)
    scale = DETECT / max(wide.shape[:2])
    small = cv2.resize(wide, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = detect(np.ascontiguousarray(small[:, :, ::-1]))
    best, chosen = 0.0, None
    for box, confidence, landmarks in zip(
        found.boxes / scale - border, found.confidence, found.landmarks / scale - border, strict=True
    ):
        side = max(box[2] - box[0], box[3] - box[1])
        off = np.hypot((box[0] + box[2] - width) / width, (box[1] + box[3] - height) / height)
        value = float(side * confidence * (1.5 - off))
        if side >= smallest and confidence > 0.95 and value > best:
            best, chosen = value, (box, landmarks)
    return chosen


def _uncovered(row: Array, side: int) -> float:
    """Share of the square of BARE box sides that shows repeated border."""
    half = side * BARE / MARGIN / 2
    low, high = side / 2 - half, side / 2 + half
    x1, y1, x2, y2 = (float(v) for v in np.clip(row["shown"], low, high))
    return 1 - max(0.0, x2 - x1) * max(0.0, y2 - y1) / (high - low) ** 2


def _nudged(centre: float, side: float, length: int) -> float:
    """The centre, moved by up to NUDGE sides so that the bare square overlaps more of 0 .. ``length``."""
    half = side * BARE / 2
    over = max(0.0, half - centre) - max(0.0, centre + half - length)
    return centre + float(np.clip(over, -NUDGE * side, NUDGE * side))


def stored_face(luma: Array, box: Array, landmarks: Array, *, side: int = SIDE) -> tuple[Array, Array]:
    """Cut the square of MARGIN box sides at ``side`` pixels, with what is known of it."""
    height, width = luma.shape
    bare = float(max(box[2] - box[0], box[3] - box[1]))
    shows = bare * MARGIN
    centre = [_nudged(float(box[axis] + box[axis + 2]) / 2, bare, length) for axis, length in ((0, width), (1, height))]
    x1, y1, whole = round(centre[0] - shows / 2), round(centre[1] - shows / 2), round(shows)
    margins = (max(0, -y1), max(0, y1 + whole - height), max(0, -x1), max(0, x1 + whole - width))
    padded = cv2.copyMakeBorder(luma, *margins, cv2.BORDER_REPLICATE)
    square = padded[y1 + margins[0] :, x1 + margins[2] :][:whole, :whole]
    scale = side / whole
    row = np.zeros((), ROW)
    origin = np.array([x1, y1], np.float32)
    row["landmarks"] = (landmarks - origin) * scale
    row["box"] = (box - np.tile(origin, 2)) * scale
    shown = np.array([margins[2], margins[0], whole - margins[3], whole - margins[1]], np.float32)
    row["shown"] = shown * scale
    kind = cv2.INTER_AREA if whole >= side else cv2.INTER_CUBIC
    return cv2.resize(square, (side, side), interpolation=kind), row
