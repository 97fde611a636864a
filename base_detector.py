"""The contract between the platform and a detector, and the worker loop around it.

Owns: the card (``detector.toml``), the face pack reader, ``BaseDetector``, worker protocol v1. docs/detector.md explains them.
Promises: needs numpy and the standard library only. May be imported by everything; imports nothing else of the platform.

Direction of scores: inside a detector class a *soft label* is 1 for real and 0 for fake (the contract of the DeepFake-o-meter
paper, 2021, section 3). Everywhere else the number is ``fake_score``, 1 for fake; ``fake_score_of`` is the one conversion.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import inspect
import json
import os
import re
import resource
import socket
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

CONTRACT_VERSION, PROTOCOL_VERSION = "1", 1
PACK_SCHEMA, SCORES_SCHEMA = 3, 3  # 3: whole pictures and sound
SOUND_RATE = 16_000  # samples a second of a pack's sound
UNITS = {"face": "face", "video": "face", "picture": "picture", "sound": "sound"}  # ``input`` of a card: what it judges
MOST_MASKS = 512  # pictures of evidence for one pack

#: One row of ``faces.npy`` (docs/face_pack.md). Boxes (x1 y1 x2 y2), landmarks and the crop's origin (x, y) are in pixels of the frame as
#: shown. ``turn``: the crop is the frame's rectangle turned clockwise by so many degrees (0, 90, 180, 270), which makes the face upright.
FACE_DTYPE = np.dtype([
    ("frame", "<i4"), ("time_s", "<f8"), ("shot", "<i4"), ("person", "<i4"),
    ("box", "<f4", (4,)), ("confidence", "<f4"), ("landmarks", "<f4", (5, 2)),
    ("crop_offset", "<i8"), ("crop_height", "<i4"), ("crop_width", "<i4"), ("crop_origin", "<i4", (2,)),
    ("tracked", "?"), ("turn", "<i2"),
])  # fmt: skip
#: One row of ``pictures.npy``: a whole picture, whose pixels begin ``offset`` bytes after the start of ``pictures.bin``.
PICTURE_DTYPE = np.dtype([("frame", "<i4"), ("time_s", "<f8"), ("shot", "<i4"), ("offset", "<i8"), ("height", "<i4"),
                          ("width", "<i4")])  # fmt: skip
#: One row of ``windows.npy``: samples ``start`` up to ``stop`` of ``sound.f32``, by the lengths (seconds) that a card asked for.
WINDOW_DTYPE = np.dtype([("start", "<i8"), ("stop", "<i8"), ("window_s", "<f8"), ("hop_s", "<f8")])

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]  # called with (done, total)


class ContractError(Exception):
    """A detector breaks the contract; the message says how to correct it."""


@dataclass(frozen=True)
class WeightsFile:
    """One published weights file. ``sha256`` is empty and ``bytes`` 0 where we could not obtain it: names and shapes decide, at load."""

    file: str
    url: str
    licence: str
    sha256: str = ""
    bytes: int = 0
    member: str = ""
    alternatives: tuple[str, ...] = ()
    manual: bool = False
    optional: bool = False
    consent: bool = False  # its licence forbids some uses, so whoever fetches it agrees first


@dataclass(frozen=True, kw_only=True)
class Card:
    """The content of ``detector.toml``: keys, types, defaults. docs/detector.md says more. ``threshold`` is a fake_score (1 = fake)."""

    id: str
    version: str
    title: str
    summary: str
    paper: str
    year: int
    licence: str = ""
    input: str
    sampling: str = "frames:8"
    margin: float = 1.0
    threshold: float
    aggregation: str
    window_s: float = 0.0
    hop_s: float = 0.0
    least_units: int = 1
    lossless_only: bool = False
    weights: tuple[WeightsFile, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    memory_mb: int = 2048
    seconds_per_face: float = 0.1
    batch: int = 8
    family: str = ""
    looks_for: tuple[str, ...] = ()
    sees: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    fails_below: dict[str, Any] = field(default_factory=dict)
    state: str = "draft"
    folder: Path = field(compare=False)

    def __post_init__(self) -> None:
        for key, hint in get_type_hints(Card).items():
            value, kind = getattr(self, key), get_origin(hint) or hint
            if not isinstance(value, int | float if kind is float else kind):
                raise TypeError(f"{key} must be of type {kind.__name__}, not {value!r}")
        if not (1 <= self.margin <= 100 and 0 <= self.threshold <= 1 and min(self.batch, self.least_units) >= 1):
            raise TypeError("margin must be from 1 to 100, threshold from 0 to 1, batch and least_units 1 or more")
        if self.input not in UNITS or (self.unit == "sound") != (0 < self.window_s <= 60 and 0 < self.hop_s <= 60):
            raise TypeError(f"input must be one of {', '.join(UNITS)}; sound needs window_s and hop_s from 0 to 60")

    @property
    def unit(self) -> Any:
        """What one score is about: ``face``, ``picture`` or ``sound`` (a window of it)."""
        return UNITS[self.input]

    @classmethod
    def read(cls, folder: Path) -> Card:
        """Read ``folder/detector.toml``; ContractError names a mistake in it. The platform asks for more (docs/detector.md)."""
        if not (path := folder / "detector.toml").is_file():  # a FIFO would make us wait for ever
            raise ContractError(f"{path} is missing, or not a file: write the card next to detector.py")
        try:
            return cls.of(tomllib.loads(path.read_text(encoding="utf-8")), folder=folder)
        except OSError as error:
            raise ContractError(f"{path} cannot be read ({error.strerror}): correct its rights") from None
        except (ValueError, RecursionError) as error:
            raise ContractError(f"{path} is not valid TOML ({error}): correct that line") from None

    @classmethod
    def of(cls, table: dict[str, Any], *, folder: Path) -> Card:
        """The card of ``table``, the content of ``detector.toml``; ContractError as of ``read``."""
        flat = dict(table)
        resources, weights = flat.pop("resources", {}), flat.pop("weights", [])
        try:
            if not isinstance(resources, dict) or not isinstance(weights, list):
                raise TypeError("write one table [resources], and a table [[weights]] for each file")
            parts: list[dict[str, Any]] = [dict(part.items()) for part in (flat, resources, *weights)]
            for part in parts:
                part |= {key: tuple(value) for key, value in part.items() if isinstance(value, list)}
            return cls(**parts[0], **parts[1], weights=tuple(WeightsFile(**part) for part in parts[2:]), folder=folder)
        except (AttributeError, TypeError) as error:  # Python names a key that is missing, unknown or there twice
            raise ContractError(f"{folder.name}/detector.toml: {error} (docs/detector.md lists the keys)") from None

    def lacks(self, missing: Collection[WeightsFile]) -> bool:
        """True when the detector cannot work without ``missing``, some of its files: a required one, or all of them."""
        return any(not item.optional for item in missing) or 0 < len(missing) == len(self.weights)

    def as_json(self) -> dict[str, Any]:
        """The card for ``describe`` and the image label, without its folder."""
        return {key: value for key, value in asdict(self).items() if key != "folder"} | {"contract": CONTRACT_VERSION}


@dataclass(frozen=True)
class Face:
    """Where one face is in an image (its context crop, or a whole frame).

    ``box`` (4,) float32 x1 y1 x2 y2, may reach outside; ``landmarks`` (5, 2) float32: left eye, right eye, nose, left and right mouth
    corner (the viewer's left), NaN where unknown. ``image_origin`` (x, y), ``frame_size`` (w, h): its place in the frame, turned like it.
    """

    box: Array
    landmarks: Array
    frame: int = 0
    time_s: float = 0.0
    shot: int = 0
    person: int = 0
    confidence: float = 1.0
    index: int = 0
    image_origin: tuple[int, int] = (0, 0)
    frame_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Shot:
    """A run of frames without a cut: frames ``start``..``end`` (inclusive), seconds ``start_s``..``end_s``."""

    shot: int
    start: int
    end: int
    start_s: float
    end_s: float


class FacePack:
    """A face pack directory, read through memory maps (docs/face_pack.md): what the chosen detectors asked for.
    ``faces`` (N,) is FACE_DTYPE, ``frame_sizes`` (N, 2) int64 the width and height of each face's frame as shown, pixels. ``frames`` (n,)
    int64 and ``times`` (n,) float64 seconds: all sampled pictures, also without a face; ``mode``: the visitor's. Of the medium:
    ``is_image``, ``fps`` (or None), ``frame_count`` (decoded), ``frame_size`` (width, height of most) and ``shots``. ``pictures`` (n,) is
    PICTURE_DTYPE, ``windows`` WINDOW_DTYPE. ``sound`` (n,) float32 mono, SOUND_RATE, -1 to 1, begins at ``sound_start_s``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        info = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
        if info.get("schema") != PACK_SCHEMA:
            raise ContractError(f"face pack schema {info.get('schema')!r} is not {PACK_SCHEMA}: update this worker")
        names = ("faces.npy", "pictures.npy", "windows.npy")
        self.faces, self.pictures, self.windows = (np.load(folder / name, "r", allow_pickle=False) for name in names)
        if (self.faces.dtype, self.pictures.dtype, self.windows.dtype) != (FACE_DTYPE, PICTURE_DTYPE, WINDOW_DTYPE):
            raise ContractError("a table of the pack has another layout than this contract: update this worker")
        maps = [
            (folder / name, kind) for name, kind in (("crops.bin", "u1"), ("pictures.bin", "u1"), ("sound.f32", "<f4"))
        ]
        self._crops, self._pixels, self.sound = (
            np.memmap(path, kind, "r") if path.stat().st_size else np.zeros(0, kind) for path, kind in maps
        )  # an empty file cannot be mapped
        try:
            self._read(info)
        except (KeyError, TypeError) as error:
            raise ContractError(f"{folder / 'pack.json'} is not complete ({error}): see docs/face_pack.md") from None

    def _read(self, info: dict[str, Any]) -> None:
        media, known = info["media"], Shot.__dataclass_fields__
        self.mode: str = info["sampling"]["mode"]  # quick, standard or thorough: every picture is sampled
        self.is_image: bool = media["kind"] == "image"
        self.fps: float | None = media["fps"]
        self.frame_count: int = media["frames"]
        self.frame_size: tuple[int, int] = (media["width"], media["height"])
        sizes = np.array(media.get("sizes") or [(0, *self.frame_size)], np.int64)  # from which frame on, width, height
        self.frame_sizes: Array = sizes[np.searchsorted(sizes[:, 0], self.faces["frame"], side="right") - 1, 1:]
        self.shots = tuple(Shot(**{name: item[name] for name in known}) for item in info["shots"])
        self.frames = np.array([item["frame"] for item in info["frames"]], np.int64)
        self.times = np.array([item["time_s"] for item in info["frames"]], np.float64)
        self.sound_start_s: float = info["sound"]["start_s"] if info["sound"] else 0.0

    def __len__(self) -> int:
        return len(self.faces)

    @functools.cached_property
    def upright(self) -> Array:
        """``faces`` with boxes, landmarks and origins in pixels of the frame after ``turn``, in which the face and its crop are upright."""
        rows, sizes, turn = np.array(self.faces), self.frame_sizes.T[..., None], self.faces["turn"][:, None]
        crop = np.stack([rows["crop_width"], rows["crop_height"]], 1)
        corners = np.stack([rows["crop_origin"], rows["crop_origin"] + np.where(turn % 180, crop[:, ::-1], crop)], 1)
        rows["crop_origin"] = turn_points(corners, turn=turn, size=sizes).min(axis=1)
        rows["box"] = np.sort(turn_points(rows["box"].reshape(-1, 2, 2), turn=turn, size=sizes), axis=1).reshape(-1, 4)
        rows["landmarks"] = turn_points(rows["landmarks"], turn=turn, size=sizes)
        return rows

    def image(self, index: int) -> Array:
        """Context crop of face ``index``: (H, W, 3) uint8 RGB, a read-only view."""
        row = self.faces[index]
        return self._cut(self._crops, row["crop_offset"], row["crop_height"], row["crop_width"])

    def picture(self, index: int) -> Array:
        """Whole picture ``index``: (H, W, 3) uint8 RGB, upright, in its own pixels; a read-only view."""
        row = self.pictures[index]
        return self._cut(self._pixels, row["offset"], row["height"], row["width"])

    def _cut(self, pixels: Array, *place: Any) -> Array:
        start, height, width = map(int, place)
        return np.asarray(pixels[start : start + height * width * 3]).reshape(height, width, 3)

    def units(self, card: Card) -> Array:
        """What ``card`` judges, (n,): rows of FACE_DTYPE or PICTURE_DTYPE, or those of WINDOW_DTYPE of its lengths."""
        own = (self.windows["window_s"] == card.window_s) & (self.windows["hop_s"] == card.hop_s)
        return np.asarray({"face": self.faces, "picture": self.pictures, "sound": self.windows[own]}[card.unit])

    def face(self, index: int) -> Face:
        """Face ``index`` with box and landmarks in its context crop's own pixels."""
        row, size = self.upright[index], tuple(self.frame_sizes[index].tolist())
        origin = row["crop_origin"].astype(np.float32)
        return Face(
            box=row["box"] - np.tile(origin, 2), landmarks=row["landmarks"] - origin, index=index,
            **{name: row[name].item() for name in ("frame", "time_s", "shot", "person", "confidence")},
            image_origin=tuple(row["crop_origin"].tolist()), frame_size=size if row["turn"] % 180 == 0 else size[::-1],
        )  # fmt: skip


def turn_points(points: Array, *, turn: Any, size: Any) -> Array:
    """Points (..., 2) x, y of a picture of ``size`` (width, height) after it was turned clockwise by ``turn`` degrees."""
    (x, y), (width, height), quarters = np.moveaxis(points, -1, 0), size, np.asarray(turn) // 90
    back_x, back_y = width - x, height - y
    return np.stack([np.choose(quarters, [x, back_y, back_x, y]), np.choose(quarters, [y, x, back_y, back_x])], -1)


def square_crop(image: Array, box: Array, *, margin: float) -> Array:
    """Cut the square of side ``margin * max(width, height)`` about the box centre, clipped at the borders."""
    (height, width), side = image.shape[:2], max(float(box[2] - box[0]), float(box[3] - box[1])) * margin
    cx, cy = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
    left, top = max(0, round(cx - side / 2)), max(0, round(cy - side / 2))
    right, bottom = min(width, round(cx + side / 2)), min(height, round(cy + side / 2))
    return image[top : max(bottom, top + 1), left : max(right, left + 1)]


def fake_score_of(softlabel: float) -> float:
    """The one conversion of direction: soft label (1 = real) to fake_score (1 = fake)."""
    return 1.0 - softlabel


@dataclass(frozen=True)
class Judgement:
    """What ``judge`` returns, in soft labels (1 = real): of each unit, (n,) float, NaN = no score. ``video``: the detector's own
    score of the whole (strategy ``own``). ``persons``: its own scores of persons (else ``postproc``)."""

    softlabels: Array
    video: float | None = None
    persons: dict[int, float] | None = None
    skipped: dict[str, int] = field(default_factory=dict)


class Skip(Exception):
    """Raise in ``crop_face`` or ``preproc``: this unit cannot be judged. The argument is a code such as ``face_too_small``."""

    def __init__(self, reason: str) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_.]{0,40}", reason):
            raise ContractError(f"Skip({reason!r}): the reason is a code like 'face_too_small' (worker_protocol.md)")


class BaseDetector:
    """Subclass this in ``detectors/<name>/detector.py``, beside its card ``detector.toml``; its definition is checked.
    ``load`` is required, and ``get_softlabel`` (units one at a time) or ``judge`` (clips, several nets); the rest has defaults.
    """

    card: ClassVar[Card]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        required = ("load", "get_softlabel") if cls.judge is BaseDetector.judge else ("load",)
        for name, ours in inspect.getmembers(BaseDetector, inspect.isfunction):
            method, arguments = getattr(cls, name), inspect.signature(ours).parameters
            if (name[0] == "_" or name in ("run", "run_pack")) and method is not ours:
                raise ContractError(f"{cls.__name__}.{name} is final: override crop_face, preproc or get_softlabel")
            if name in required and method is ours:
                raise ContractError(f"{cls.__name__} must define {name}(): see the example in docs/detector.md")
            if not callable(method) or len(inspect.signature(method).parameters) != len(arguments):
                raise ContractError(f"{cls.__name__}.{name} must take ({', '.join(arguments)})")
        if "card" not in cls.__dict__:
            source = inspect.getfile(cls) if cls.__module__ != "__main__" else sys.argv[0]
            cls.card = Card.read(Path(source).resolve().parent)

    def load(self, weights: Path, device: str) -> None:
        """Read the files of the card from folder ``weights``; ``device`` is ``cpu`` or ``cuda:0``. Called once."""
        raise NotImplementedError

    def crop_face(self, image: Array, face: Face) -> Array:
        """Cut this detector's own crop, (h, w, 3) uint8 RGB, from an image that shows the face with its surroundings."""
        return square_crop(image, face.box, margin=self.card.margin)

    def preproc(self, face: Array) -> Array:
        """Turn one unit, a crop or picture (h, w, 3) uint8 RGB or samples (n,) float32, into the net's input (of one shape for all)."""
        return face

    def get_softlabel(self, batch: Array) -> Array:
        """Score a batch, (N, ...) as ``preproc`` made it: (N,) float in [0, 1], 1 = real, 0 = fake."""
        raise Skip("needs_a_clip")  # a detector with ``judge`` was given one picture

    def postproc(self, softlabels: Array) -> float:
        """Join the soft labels (N,) of one person into one soft label. Default: the mean."""
        return float(np.mean(softlabels))

    def get_hardlabel(self, softlabel: float) -> str:
        """``fake`` when the fake_score reaches the card's threshold, else ``real``."""
        return "fake" if fake_score_of(softlabel) >= self.card.threshold else "real"

    def judge(self, pack: FacePack, progress: Progress) -> Judgement:
        """Judge a whole pack: override it where faces cannot be scored one at a time. Call ``progress(done, total)`` now and then."""
        raise NotImplementedError

    def evidence(self, batch: Array) -> Array | None:
        """A picture for each face of the batch, (N, h, w) uint8, 255 = manipulated; None: this detector has none."""
        return None

    def run(self, image: Array, face: Face | None = None) -> float:
        """The fake_score of one face in ``image``, (H, W, 3) uint8 RGB; without ``face`` the whole image is the face. Of a picture: of
        ``image``. Of sound: of one window, (n,) float32 mono at SOUND_RATE. Raises Skip."""
        if self.card.unit != "sound" and (image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8):
            raise ContractError(f"run() takes (H, W, 3) uint8 RGB, not {image.dtype} {image.shape}")
        if self.card.unit == "face":
            whole = np.array([0, 0, image.shape[1], image.shape[0]], np.float32)
            image = self.crop_face(image, face or Face(box=whole, landmarks=np.full((5, 2), np.nan, np.float32)))
        return fake_score_of(self.postproc(self._soft(self.get_softlabel(self.preproc(image)[None]), 1)))

    def run_pack(self, pack: FacePack, out: Path, *, progress: Progress = lambda done, total: None) -> dict[str, Any]:
        """Judge every unit of a pack in batches; write masks below ``out``; return the content of ``scores.json``."""
        started, alone = time.perf_counter(), type(self).judge is BaseDetector.judge
        found = self._judge_units(pack, out, progress) if alone else (self.judge(pack, progress), list[Any](), 0.0)
        judged, masks, preproc_s = found
        seconds = {"preproc": preproc_s, "net": time.perf_counter() - started - preproc_s}
        softlabels = self._soft(judged.softlabels, len(pack.units(self.card)), gaps=True)
        scored = np.flatnonzero(~np.isnan(softlabels))
        who = pack.faces["person"][scored] if self.card.unit == "face" else scored[:0]
        persons, order = list[Any](), np.argsort(who, kind="stable")
        for own in np.split(order, np.flatnonzero(np.diff(who[order])) + 1) if len(who) else ():
            person, labels = int(who[own[0]]), softlabels[scored[own]]
            joined = float(self.postproc(labels) if judged.persons is None else judged.persons[person])
            score, label = fake_score_of(joined), self.get_hardlabel(joined)
            persons.append({"person": person, "faces": len(own), "fake_score": score, "hard_label": label})
        video = None if judged.video is None else fake_score_of(float(self._soft([judged.video], 1, gaps=True)[0]))
        return {
            "schema": SCORES_SCHEMA, "contract": CONTRACT_VERSION, "unit": self.card.unit,
            "detector": self.card.id, "version": self.card.version,
            "index": scored.tolist(), "fake_score": [fake_score_of(label) for label in softlabels[scored].tolist()],
            "video_fake_score": video, "persons": persons, "skipped": judged.skipped, "masks": masks, "seconds": seconds,
        }  # fmt: skip

    def _input(self, pack: FacePack, index: int) -> Array:
        """Unit ``index`` as ``preproc`` takes it."""
        if self.card.unit == "sound":
            start, stop, *_ = pack.units(self.card)[index].tolist()
            return np.array(pack.sound[start:stop], np.float32).reshape(stop - start)  # fails where the file is cut
        if self.card.unit == "picture":
            return pack.picture(index)
        return self.crop_face(pack.image(index), pack.face(index))

    def _judge_units(self, pack: FacePack, out: Path, progress: Progress) -> tuple[Judgement, list[Any], float]:
        """Judge one unit at a time: the judgement, the entries of the masks written, the seconds of cropping and ``preproc``."""
        count, masks, preproc_s, inputs = len(pack.units(self.card)), list[Any](), 0.0, dict[int, Array]()
        softlabels, skipped = np.full(count, np.nan), Counter[str]()
        to_draw = self._faces_to_draw(pack) if type(self).evidence is not BaseDetector.evidence else set()
        for index in range(count):
            started = time.perf_counter()
            try:
                inputs[index] = self.preproc(self._input(pack, index))
            except Skip as reason:
                skipped[str(reason)] += 1
            preproc_s += time.perf_counter() - started
            if inputs and (len(inputs) == self.card.batch or index + 1 == count):
                softlabels[list(inputs)] = self._soft(self.get_softlabel(np.stack([*inputs.values()])), len(inputs))
                masks += self._draw({face: inputs[face] for face in inputs if face in to_draw}, out)
                progress(index + 1, count)
                inputs = {}
        return Judgement(softlabels, skipped=skipped), masks, preproc_s

    def _draw(self, inputs: dict[int, Array], out: Path) -> Iterator[dict[str, Any]]:
        """Write the evidence of some faces; its entries in ``scores.json``."""
        pictures = self.evidence(np.stack(list(inputs.values()))) if inputs else None
        for index, picture in zip(inputs, pictures, strict=True) if pictures is not None else ():
            if picture.dtype != np.uint8 or picture.ndim != 2:
                raise ContractError(f"evidence() must return (N, h, w) uint8, not {picture.dtype} {picture.shape}")
            (out / "masks").mkdir(exist_ok=True)
            np.save(out / f"masks/{index:06d}.npy", np.ascontiguousarray(picture), allow_pickle=False)
            yield {"index": index, "file": f"masks/{index:06d}.npy"}

    def _soft(self, labels: Any, count: int, *, gaps: bool = False) -> Array:
        """Soft labels as (count,) float64 in [0, 1]; ContractError when they are not. With ``gaps`` NaN is no score."""
        labels = np.asarray(labels, np.float64)
        allowed = (labels >= -1e-6) & (labels <= 1 + 1e-6) | (np.isnan(labels) & gaps)
        if labels.shape != (count,) or not allowed.all():
            raise ContractError(f"{self.card.id}: soft labels must be ({count},) in [0, 1] (1 = real), not {labels}")
        return np.asarray(np.clip(labels, 0.0, 1.0))

    def _faces_to_draw(self, pack: FacePack) -> set[int]:
        """Up to eight faces of each person, evenly over the clip, of the first persons: evidence is for looking at."""
        first = np.unique(pack.faces["person"])[: MOST_MASKS // 8] if self.card.unit == "face" else ()
        rows = [np.flatnonzero(pack.faces["person"] == person) for person in first]
        return {int(row) for own in rows for row in own[np.linspace(0, len(own) - 1, 8).astype(int)]}


def load_detector(module: str) -> BaseDetector:
    """Import ``module`` (``detectors.mesonet``) and make the one detector of its ``detector.py``; ContractError when there is none."""
    name = f"{module}.detector"
    try:
        classes = [item for item in vars(importlib.import_module(name)).values() if isinstance(item, type)]
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ContractError(f"no module {name!r}: name the package that holds detector.py") from None
    found = [item for item in classes if issubclass(item, BaseDetector) and item.__module__ == name]
    if len(found) != 1:
        raise ContractError(f"{name} must define exactly one BaseDetector, it defines {len(found)}")
    return found[0]()


Verb = Callable[[dict[str, Any], Progress], dict[str, Any]]  # (arguments, progress) -> members of the answer


class WorkerFailure(Exception):
    """A verb's named failure: only ``code`` and ``retryable`` leave the worker, the words stay in its log."""

    def __init__(self, code: str, *, retryable: bool = False) -> None:
        super().__init__(code)
        self.code, self.retryable = code, retryable


class NotApplicable(Exception):
    """A verb's answer that it cannot judge this input; the argument is a reason code such as ``no_face``."""


def serve_worker(verbs: dict[str, Verb], exchange: Path) -> None:
    """Answer protocol v1 (docs/worker_protocol.md) on ``exchange/worker.sock`` until ``stop``: JSON lines, one caller at a time."""
    os.chdir(exchange)  # a relative name keeps the socket path under the kernel's 107 bytes
    Path("worker.sock").unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("worker.sock.tmp")
    os.chmod("worker.sock.tmp", 0o777)  # noqa: S103  the folder above is 0700: only our user gets here
    listener.listen(4)
    os.rename("worker.sock.tmp", "worker.sock")  # visible only when it listens
    while True:
        caller, _ = listener.accept()
        with caller, caller.makefile("rwb") as stream, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if not all(_answer_line(verbs, line, stream) for line in stream):
                return


def _answer_line(verbs: dict[str, Verb], line: bytes, stream: Any) -> bool:
    """Answer one request; False after ``stop``."""

    def send(**message: Any) -> None:
        stream.write(json.dumps(message, allow_nan=False).encode() + b"\n")
        stream.flush()

    peak_mb = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
    health = {"protocol": PROTOCOL_VERSION, "verbs": sorted(verbs), "peak_mb": peak_mb}
    known, verb = {**verbs, "health": lambda *_: health, "stop": lambda *_: {}}, None
    try:
        with contextlib.suppress(ValueError, RecursionError, AttributeError, TypeError, KeyError):
            request = json.loads(line)
            verb = request.pop("verb")
        if not isinstance(verb, str) or verb not in known:
            raise WorkerFailure("unknown_verb" if isinstance(verb, str) else "bad_request")
        send(status="ok", **known[verb](request, lambda done, total: send(event="progress", done=done, total=total)))
    except NotApplicable as reason:
        send(status="not_applicable", reason=str(reason))
    except Exception as error:  # the boundary: the trace goes to the worker's log, a code to the platform
        if isinstance(error, MemoryError):
            error = WorkerFailure("out_of_memory", retryable=True)
        elif not isinstance(error, WorkerFailure):
            sys.excepthook(type(error), error, error.__traceback__)
            error = WorkerFailure("detector_failed")
        print(f"{verb}: {error.code}" + f": {error}" * (str(error) != error.code), file=sys.stderr, flush=True)
        send(status="error", code=error.code, retryable=error.retryable)
    return verb != "stop"


def detector_verbs(detector: BaseDetector, weights: Path, device: str) -> dict[str, Verb]:
    """The verbs of a detector's worker: describe, load, predict."""

    @functools.cache  # once; what fails is tried again
    def load() -> dict[str, Any]:
        if detector.card.lacks([item for item in detector.card.weights if not (weights / item.file).is_file()]):
            raise WorkerFailure("weights_missing")
        detector.load(weights, device)
        return {}

    def predict(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
        load()
        if not all(isinstance(request.get(name), str) for name in ("pack", "out")):
            raise WorkerFailure("bad_request")
        pack, out = FacePack(Path(request["pack"])), Path(request["out"])
        if not len(pack.units(detector.card)):
            raise NotApplicable(f"no_{detector.card.unit}")
        scores = detector.run_pack(pack, out, progress=progress)
        if not scores["index"]:
            raise NotApplicable(max(scores["skipped"], key=scores["skipped"].__getitem__, default="not_judgeable"))
        (out / "scores.json").write_text(json.dumps(scores, allow_nan=False), encoding="utf-8")
        return {"seconds": scores["seconds"]}

    return {"describe": lambda *_: {"card": detector.card.as_json()}, "load": lambda *_: load(), "predict": predict}


def main(argv: list[str] | None = None) -> int:
    """Judge a face pack and print its scores: ``python -m base_detector detectors.mesonet PACK``; or be a worker: ``--serve``."""
    parser = argparse.ArgumentParser(prog="base_detector", description=main.__doc__)
    parser.add_argument("module", help="the detector's package, for example detectors.mesonet")
    work = parser.add_mutually_exclusive_group(required=True)
    work.add_argument("pack", nargs="?", type=Path, help="folder of a face pack (docs/face_pack.md)")
    work.add_argument("--serve", type=Path, metavar="EXCHANGE", help="be a worker on EXCHANGE/worker.sock")
    parser.add_argument("--out", type=Path, help="keep scores.json and evidence in this folder")
    parser.add_argument("--weights", type=Path, help="folder of the weights (default: var/weights/<detector>)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:0 (default: cpu)")
    args = parser.parse_args(argv)
    if args.pack and not (args.pack / "pack.json").is_file():
        remedy = f"use: deepfake-o-meter detectors run {args.module.rpartition('.')[2]} {args.pack}"
        parser.error(f"{args.pack} is not a face pack, a folder with pack.json. For a video or image {remedy}")
    try:
        detector = load_detector(args.module)
        verbs = detector_verbs(detector, (args.weights or Path("var/weights", detector.card.id)).resolve(), args.device)
        if args.serve:
            serve_worker(verbs, args.serve)
            return 0
        with tempfile.TemporaryDirectory() as scratch:
            out = args.out or Path(scratch)
            out.mkdir(parents=True, exist_ok=True)
            verbs["predict"]({"pack": str(args.pack), "out": str(out)}, lambda done, total: None)
            print(args.out or (out / "scores.json").read_text(encoding="utf-8"))
        return 0
    except (NotApplicable, WorkerFailure) as error:
        status = "error" if isinstance(error, WorkerFailure) else "not_applicable"
        print(json.dumps({"status": status, "code": str(error)}))
        return 3
    except ContractError as error:
        parser.error(str(error))


if __name__ == "__main__":
    import base_detector  # `python -m` makes this file `__main__`; detectors subclass the one of this name

    raise SystemExit(base_detector.main())
