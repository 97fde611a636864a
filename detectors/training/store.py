"""The faces of a data set, found once and kept: a second run starts at once.

Owns: how faces are found in clips (the platform's media pass) and pictures (MTCNN), and the files they are kept in: one array an item,
``(n, S, S, 3)`` uint8 RGB, cut and scaled exactly as the detector does it, and a JSON file beside it that appears last.
Promises: an interrupted search continues where it stopped; a file that changed is searched again; of each clip,
only the person with most faces is kept.
May be imported by detectors.training and its tests; imports the media pass, which no detector does at run time.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from backend.media.extract import extract_pack
from base_detector import Array, FacePack, NotApplicable, WorkerFailure, square_crop
from detectors.nets.faces import resized
from detectors.training.dataset import Item

#: A picture that a face fills gets this share of its border repeated on each side: MTCNN finds the face as in a whole frame then.
BORDER = 0.4
#: Longer side, with the border, of what MTCNN looks at.
DETECT = 640
#: Smaller faces than this (longer side of the box, pixels) are not used: the detectors skip them too.
SMALLEST = 32


@dataclass(frozen=True)
class Look:
    """How faces are cut: ``side`` pixels showing ``margin`` box sides; pictures of a clip by ``sampling``, at most ``most`` of them.

    ``scaling``: ``own`` (``detectors.nets.faces.resized``) or ``pillow`` (Pillow's bilinear).
    """

    side: int
    margin: float
    sampling: str
    most: int
    scaling: str = "own"

    def folder(self, cache: Path) -> Path:
        """The folder of faces cut like this."""
        name = f"{self.side}px-{self.margin:g}-{self.sampling.replace(':', '')}-{self.most}"
        return cache / (name if self.scaling == "own" else f"{name}-{self.scaling}")

    def cut(self, image: Array, box: Array) -> Array:
        """The face in ``image`` ((H, W, 3) uint8 RGB) as the detector sees it, (side, side, 3) uint8 RGB."""
        crop = square_crop(image, box, margin=self.margin)
        if self.scaling == "own":
            return resized(crop, self.side)
        picture = Image.fromarray(np.ascontiguousarray(crop))
        return np.asarray(picture.resize((self.side, self.side), Image.Resampling.BILINEAR))


@dataclass(frozen=True)
class Stored:
    """An item with its faces: ``pixels`` (n, S, S, 3) uint8 RGB, memory-mapped; ``times`` (n,) seconds, ``shots`` (n,)."""

    item: Item
    pixels: Array
    times: Array
    shots: Array


def find_faces(
    items: Iterable[Item], cache: Path, *, look: Look, tell: Callable[[str], None] = print
) -> tuple[list[Stored], dict[str, int]]:
    """Every item that shows a face, and how many show none by reason. Items already in ``cache`` are not opened."""
    folder = look.folder(cache)
    folder.mkdir(parents=True, exist_ok=True)
    finder = _Finder(look)
    listed = list(items)
    stored: list[Stored] = []
    without: dict[str, int] = {}
    for number, item in enumerate(listed, 1):
        path = folder / _key(item)
        if not path.with_suffix(".json").is_file():
            _write(path, *finder.faces_of(item))
            if number % 100 == 0 or number == len(listed):
                tell(f"faces of {number} of {len(listed)} files")
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if facts["reason"]:
            without[facts["reason"]] = without.get(facts["reason"], 0) + 1
        else:
            pixels = np.load(path.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
            stored.append(Stored(item, pixels, np.array(facts["times"]), np.array(facts["shots"])))
    return stored, without


def _key(item: Item) -> str:
    facts = item.path.stat()
    return hashlib.sha256(f"{item.name}\n{facts.st_size}\n{facts.st_mtime_ns}".encode()).hexdigest()[:24]


def _write(path: Path, pixels: Array, times: list[float], shots: list[int], reason: str) -> None:
    if not reason:
        with path.with_suffix(".tmp").open("wb") as stream:
            np.save(stream, pixels)
        os.replace(path.with_suffix(".tmp"), path.with_suffix(".npy"))
    facts = json.dumps({"times": times, "shots": shots, "reason": reason})
    path.with_suffix(".part").write_text(facts, encoding="utf-8")
    os.replace(path.with_suffix(".part"), path.with_suffix(".json"))


class _Finder:
    """Finds faces in one item after the other; networks are loaded for the first one."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self._mtcnn: Any = None

    def faces_of(self, item: Item) -> tuple[Array, list[float], list[int], str]:
        """Faces, times, shots, and the reason why there are none."""
        nothing = np.zeros((0, self.look.side, self.look.side, 3), np.uint8)
        if item.is_picture:
            face = self._in_picture(item.path)
            return (nothing, [], [], "no_face") if face is None else (face[None], [0.0], [0], "")
        with tempfile.TemporaryDirectory() as scratch:
            pack_folder = Path(scratch) / "pack"
            try:
                context = max(2.0, self.look.margin)
                extract_pack(item.path, pack_folder, samplings=[self.look.sampling], context=context)
            except (WorkerFailure, NotApplicable) as reason:
                return nothing, [], [], getattr(reason, "code", str(reason))
            return self._in_pack(FacePack(pack_folder), nothing)

    def _in_pack(self, pack: FacePack, nothing: Array) -> tuple[Array, list[float], list[int], str]:
        rows = pack.faces
        sides = (rows["box"][:, 2:] - rows["box"][:, :2]).max(axis=1, initial=0)
        # persons are numbered by the count of their faces
        own = np.flatnonzero((rows["person"] == 0) & (sides >= SMALLEST))[: self.look.most]
        if not len(own):
            return nothing, [], [], "no_face"
        pixels = np.stack([self.look.cut(pack.image(i), pack.face(i).box) for i in map(int, own)])
        return pixels, [float(t) for t in rows["time_s"][own]], [int(s) for s in rows["shot"][own]], ""

    def _in_picture(self, path: Path) -> Array | None:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            return None
        if self._mtcnn is None:
            from detectors.nets.mtcnn import Mtcnn

            self._mtcnn = Mtcnn()
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        found = main_face(image, detect=self._mtcnn.detect)
        if found is None:
            return None
        return self.look.cut(image, found[0])


def main_face(image: Array, *, detect: Callable[[Array], Any]) -> tuple[Array, Array] | None:
    """Box (4,) and landmarks (5, 2), in pixels of ``image`` ((H, W, 3) uint8 RGB), of its largest sure face; None without one.

    ``detect`` answers as ``detectors.nets.mtcnn.Mtcnn.detect``.
    """
    border = round(BORDER * max(image.shape[:2]))
    wide = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REPLICATE)
    scale = min(1.0, DETECT / max(wide.shape[:2]))
    found = detect(cv2.resize(wide, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else wide)
    boxes = found.boxes / scale - border
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    good = np.flatnonzero((sides >= SMALLEST) & (found.confidence > 0.95))
    if not len(good):
        return None
    best = int(good[np.argmax(sides[good])])
    return boxes[best], found.landmarks[best] / scale - border
