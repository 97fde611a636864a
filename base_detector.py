"""The contract between the platform and a detector, and the worker loop around it.

Owns: the card (``detector.toml``), the face pack reader, ``BaseDetector``, worker protocol v1.
Promises: needs numpy and the standard library only; a third party's detector needs only this file. May be
imported by everything; imports nothing else of the platform.

Direction of scores: inside a detector class a *soft label* is 1 for real and 0 for fake (the contract of the DeepFake-o-meter
paper, 2021, section 3). Everywhere else the number is ``fake_score``, 1 for fake; ``fake_score_of`` is the one conversion.

Twelve lines make a detector::

    class MyDetector(BaseDetector):
        def load(self, weights, device):
            self.net = read_net(weights / "my.safetensors", device)

        def preproc(self, face):                     # (H, W, 3) uint8 RGB
            return resize(face, 256).astype(np.float32) / 255

        def get_softlabel(self, batch):              # (N, 256, 256, 3) float32
            return self.net(batch)                   # (N,) float, 1 = real
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import functools
import importlib
import importlib.util
import inspect
import itertools
import json
import os
import re
import reprlib
import resource
import socket
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

CONTRACT_VERSION = "1"
PROTOCOL_VERSION = 1
#: 2: ``turn``, the crops of turned faces are upright.
PACK_SCHEMA = 2
#: 2: evidence is an array in a ``.npy`` file; it was a PNG.
SCORES_SCHEMA = 2
#: Most pictures of evidence for one pack.
MOST_MASKS = 512
#: The states of a detector (docs/admission.md); the card's own counts until the operator decides.
STATES = ("draft", "quarantine", "shadow", "enabled", "disabled")
INPUTS = ("face", "frame", "video")
#: How scores become one number (docs/strategies.md). ``own``: ``judge`` returns it.
AGGREGATIONS = ("mean", "max_of_persons", "max_of_persons_of_shots", "deepware", "own")
#: Which frames a detector wants to see: all, so many a second, or so many in all; not none.
SAMPLING = r"every_frame|(?!\w+:[0.]*$)(fps:[0-9]{1,3}(\.[0-9]{1,6})?|frames:[0-9]{1,6})"
#: The keys of the card's table ``[resources]``.
RESOURCES = ("memory_mb", "seconds_per_face", "batch")

#: One row of ``faces.npy``. Boxes and landmarks are x, y in frame pixels (after rotation), box = x1 y1 x2 y2;
#: ``crop_*`` say where the context crop is in ``crops.bin`` (byte offset, pixels) and where its top left
#: pixel was in the frame (``crop_origin`` = x, y). ``tracked`` = box interpolated between two detections. ``turn``: the crop is the
#: frame's rectangle turned clockwise by so many degrees (0, 90, 180, 270), which makes the face upright.
FACE_DTYPE = np.dtype([
    ("frame", "<i4"), ("time_s", "<f8"), ("shot", "<i4"), ("person", "<i4"),
    ("box", "<f4", (4,)), ("confidence", "<f4"), ("landmarks", "<f4", (5, 2)),
    ("crop_offset", "<i8"), ("crop_height", "<i4"), ("crop_width", "<i4"), ("crop_origin", "<i4", (2,)),
    ("tracked", "?"), ("turn", "<i2"),
])  # fmt: skip

Array = npt.NDArray[Any]
#: Called with the progress: (done, total).
Progress = Callable[[int, int], None]


class ContractError(Exception):
    """A detector breaks the contract; the message says how to correct it."""


# --------------------------------------------------------------------------- card

# Of a key of the card: its type, what it must be in words; then (lowest, highest), the pattern of a text, or the type in TOML.
Text = Annotated[str, "a text that is not empty", r"(?s).*\S.*"]
Texts = Annotated[tuple[str, ...], 'a list of texts: ["one", "two"]', r"(?s).*\S.*"]
Truth = Annotated[bool, "true or false, without quotes", bool]
Table = Annotated[dict[str, Any], "a table of texts, finite numbers and lists", dict]


@dataclass(frozen=True)
class WeightsFile:
    """One published weights file: where it comes from and how to know it is the right one.

    ``sha256`` is empty and ``bytes`` 0 where we could not obtain the published file: then names and shapes decide, at load. ``member``
    is its path in the archive at ``url``. ``manual``: ``url`` is a web page. ``optional``: the detector works without it.
    """

    file: Annotated[str, "a file name of letters, digits and _ . + -", r"(?a)\w[\w.+-]*(/\w[\w.+-]*)*"]
    url: Annotated[str, "an address that begins with https:// or http://", r"https?://[^\s/]\S*"]
    licence: Text
    sha256: Annotated[str, "the 64 small hex digits that sha256sum prints", r"([0-9a-f]{64})?"] = ""
    bytes: Annotated[int, "a whole number from 0 to 10,000,000,000,000, without quotes", 0, 10**13] = 0
    member: Annotated[str, "a path in the archive", r".*"] = ""
    alternatives: Annotated[tuple[str, ...], 'a list of addresses: ["https://..."]', r"https?://[^\s/]\S*"] = ()
    manual: Truth = False
    optional: Truth = False


@dataclass(frozen=True, kw_only=True)
class Card:
    """The content of ``detector.toml``: each key, its type, its range and its default. docs/detector.md explains them.

    Thresholds are on the fake_score scale (1 = fake). ``memory_mb``, ``seconds_per_face`` and ``batch`` are in the table ``[resources]``.
    """

    id: Annotated[str, "a name like my_detector: 2 to 41 of a-z, 0-9 and _, a letter first", r"[a-z][a-z0-9_]{1,40}"]
    version: Annotated[str, 'a text like "1.0" of letters, digits and . + - _', r"(?a)\w[\w.+-]{0,59}"]
    title: Text
    summary: Text
    paper: Annotated[str, 'a text, "none" where there is none', r"(?s).*\S.*"]
    year: Annotated[int, "a whole number from 1,900 to 2,100, without quotes", 1900, 2100]
    licence: Annotated[str, "a text", r"(?s).*"] = ""
    input: Annotated[str, f"one of {', '.join(INPUTS)}", "|".join(INPUTS)]
    sampling: Annotated[str, "'every_frame', 'fps:N' or 'frames:N'", SAMPLING]
    margin: Annotated[float, "a number from 1 to 100, without quotes", 1, 100]
    threshold: Annotated[float, "a number from 0 to 1, without quotes", 0, 1]
    aggregation: Annotated[str, f"one of {', '.join(AGGREGATIONS)}", "|".join(AGGREGATIONS)]
    weights: Annotated[tuple[WeightsFile, ...], "tables, one [[weights]] for each file", list] = ()
    parameters: Table = field(default_factory=dict)
    memory_mb: Annotated[int, "a whole number from 1 to 10,000,000, without quotes", 1, 10_000_000] = 2048
    seconds_per_face: Annotated[float, "a number from 0 to 3,600, without quotes", 0, 3600] = 0.1
    batch: Annotated[int, "a whole number from 1 to 65,536, without quotes", 1, 65_536] = 8
    sees: Texts = ()
    limits: Texts = ()
    state: Annotated[str, f"one of {', '.join(STATES)}", "|".join(STATES)] = "draft"
    folder: Path = field(compare=False)

    @classmethod
    def read(cls, folder: Path) -> Card:
        """Read ``folder/detector.toml``; ContractError names every mistake in it and its remedy."""
        path = folder / "detector.toml"
        try:
            if not path.is_file():  # a FIFO would make us wait for ever
                what = "not a file" if path.exists() else "missing"
                raise ContractError(f"{path} is {what}: write the card next to detector.py")
            return cls.of(tomllib.loads(path.read_text(encoding="utf-8")), folder=folder)
        except OSError as error:
            raise ContractError(f"{path} cannot be read ({error.strerror}): correct its rights") from None
        except (ValueError, RecursionError) as error:
            raise ContractError(f"{path} is not valid TOML ({error}): correct that line") from None

    @classmethod
    def of(cls, table: dict[str, Any], *, folder: Path) -> Card:
        """The card of ``table``, the content of ``detector.toml``; ContractError as of ``read``."""
        keys, flat = _keys(cls), dict(table)
        resources, weights = flat.pop("resources", {}), flat.get("weights", [])
        wrong = _mistakes(flat, keys) + _mistakes(resources, {key: keys[key] for key in RESOURCES}, "[resources] ")
        for number, entry in enumerate(weights if isinstance(weights, list) else [], 1):
            wrong += _mistakes(entry, _keys(WeightsFile), f"[[weights]] {number}: ")
        if not wrong:
            wrong = [f"remove {key!r}, it is in [resources] too" for key in flat.keys() & resources.keys()]
        if wrong:
            raise ContractError(f"{folder.name}/detector.toml: {'; '.join(wrong)}")
        files = [WeightsFile(**_frozen(entry)) for entry in weights]
        return cls(folder=folder, **_frozen(flat | resources | {"weights": files}))

    def lacks(self, missing: Collection[WeightsFile]) -> bool:
        """True when the detector cannot work without ``missing``, some of its files: a required one, or all of them."""
        return any(not item.optional for item in missing) or 0 < len(missing) == len(self.weights)

    def as_json(self) -> dict[str, Any]:
        """The card for ``describe`` and the image label, without its folder."""
        return {key: value for key, value in asdict(self).items() if key != "folder"} | {"contract": CONTRACT_VERSION}


def _keys(record: type) -> Mapping[str, inspect.Parameter]:
    """Of each key of a table: ``annotation`` is its rule, ``default`` what it is when it is left out."""
    keys = inspect.signature(record, eval_str=True).parameters
    return {name: key for name, key in keys.items() if name != "folder"}


def _frozen(table: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def _mistakes(table: Any, keys: Mapping[str, inspect.Parameter], where: str = "") -> list[str]:
    """Each mistake in one table of a card, with its remedy."""
    if not isinstance(table, dict):
        return [f"{where}must be a table of keys and values"]
    missing = [key for key in keys if key not in table and keys[key].default is inspect.Parameter.empty]
    wrong = [f"{where}add {key!r}: {keys[key].annotation.__metadata__[0]}" for key in missing]
    for key, value in table.items():
        if key not in keys:
            near = difflib.get_close_matches(key, keys, 1)
            wrong.append(f"{where}remove or rename {reprlib.repr(key)}" + (f" (is it {near[0]!r}?)" if near else ""))
        elif not _holds(value, keys[key].annotation):
            words = keys[key].annotation.__metadata__[0]
            wrong.append(f"{where}{key} must be {words}, not {reprlib.repr(value)}")
    return wrong


def _holds(value: Any, rule: Any) -> bool:
    """Whether ``value``, as TOML or JSON has it, keeps the rule of its key."""
    kind, (_, *limits) = rule.__origin__, rule.__metadata__
    if kind in (int, float):
        return type(value) in (int, kind) and limits[0] <= value <= limits[1]  # true is not a number; nor is NaN
    if kind is str:
        return isinstance(value, str) and re.fullmatch(limits[0], value) is not None
    if kind == tuple[str, ...]:
        return isinstance(value, list) and all(isinstance(i, str) and re.fullmatch(limits[0], i) for i in value)
    return isinstance(value, limits[0])


# --------------------------------------------------------------------------- faces


@dataclass(frozen=True)
class Face:
    """Where one face is in an image (its context crop, or a whole frame).

    ``box`` (4,) float32 x1 y1 x2 y2, may reach outside the image; ``landmarks`` (5, 2) float32: left eye, right
    eye, nose, left and right mouth corner (the viewer's left), NaN where unknown. ``time_s`` is the presentation time.
    ``image_origin`` (x, y) and ``frame_size`` (width, height) place the image in its frame, turned as the image is.
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
class DecodedMedia:
    """A medium as decoded: ``width`` and ``height`` as shown (of most frames), after rotation; ``frames`` counts decoded pictures.

    ``sizes``: (first frame, width, height) of each run of frames of one size, where they differ.
    """

    kind: Literal["video", "image"]
    width: int
    height: int
    fps: float | None
    duration_s: float
    frames: int
    codec: str
    container: str
    rotation: int
    has_audio: bool
    sizes: tuple[tuple[int, int, int], ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class Shot:
    """A run of frames without a cut: frames ``start``..``end`` (inclusive), seconds ``start_s``..``end_s``."""

    shot: int
    start: int
    end: int
    start_s: float
    end_s: float


class FacePack:
    """A face pack directory, read through memory maps (schema: docs/face_pack.md).

    ``faces`` (N,) is FACE_DTYPE. ``frames`` (n,) int64 and ``times`` (n,) float64 seconds are all sampled pictures, ascending, also those
    without a face.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        info = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
        if info.get("schema") != PACK_SCHEMA:
            raise ContractError(f"face pack schema {info.get('schema')!r} is not {PACK_SCHEMA}: update this worker")
        try:
            self._read(info)
        except (KeyError, TypeError) as error:
            raise ContractError(f"{folder / 'pack.json'} is not complete ({error}): see docs/face_pack.md") from None
        self.faces = np.load(folder / "faces.npy", allow_pickle=False, mmap_mode="r")
        if self.faces.dtype != FACE_DTYPE:
            raise ContractError("faces.npy has another layout than this contract: update this worker")
        path = folder / "crops.bin"
        self._crops = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)

    def _read(self, info: dict[str, Any]) -> None:
        self.media: DecodedMedia = record_of(DecodedMedia, info["media"])
        self.shots: tuple[Shot, ...] = tuple(record_of(Shot, item) for item in info["shots"])
        self.frames = np.array([item["frame"] for item in info["frames"]], np.int64)
        self.times = np.array([item["time_s"] for item in info["frames"]], np.float64)

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def frame_size(self) -> tuple[int, int]:
        """Width and height of a frame as shown, pixels (of most frames, where they differ)."""
        return self.media.width, self.media.height

    @functools.cached_property
    def frame_sizes(self) -> Array:
        """Width and height of each face's frame as shown, (N, 2) int64."""
        runs = np.array(self.media.sizes or [(0, *self.frame_size)], np.int64)
        return np.asarray(runs[np.searchsorted(runs[:, 0], self.faces["frame"], side="right") - 1, 1:])

    @functools.cached_property
    def upright(self) -> Array:
        """``faces`` with boxes, landmarks and origins in pixels of the frame after ``turn``, in which the face and its crop are upright."""
        faces: Array = self.faces
        if not faces["turn"].any():
            return faces
        faces = np.array(faces)
        for turn in (90, 180, 270):
            own = faces["turn"] == turn
            rows = faces[own]
            size = tuple(self.frame_sizes[own].T[..., None])
            shown = np.stack([rows["crop_width"], rows["crop_height"]], 1)[:, :: -1 if turn % 180 else 1]
            corners = np.stack([rows["crop_origin"], rows["crop_origin"] + shown], 1)
            rows["crop_origin"] = turn_points(corners, turn=turn, size=size).min(axis=1)
            corners = turn_points(rows["box"].reshape(-1, 2, 2), turn=turn, size=size)
            rows["box"] = np.sort(corners, axis=1).reshape(-1, 4)
            rows["landmarks"] = turn_points(rows["landmarks"], turn=turn, size=size)
            faces[own] = rows
        return faces

    def image(self, index: int) -> Array:
        """Context crop of face ``index``: (H, W, 3) uint8 RGB, a read-only view."""
        row = self.faces[index]
        height, width, start = (int(row[name]) for name in ("crop_height", "crop_width", "crop_offset"))
        flat: Array = self._crops[start : start + height * width * 3]
        return flat.reshape(height, width, 3)

    def face(self, index: int) -> Face:
        """Face ``index`` with box and landmarks in its context crop's own pixels."""
        row = self.upright[index]
        origin = row["crop_origin"].astype(np.float32)
        size = tuple(self.frame_sizes[index].tolist())
        return Face(
            box=row["box"] - np.tile(origin, 2),
            landmarks=row["landmarks"] - origin,
            **{name: row[name].item() for name in ("frame", "time_s", "shot", "person", "confidence")},
            index=index,
            image_origin=tuple(row["crop_origin"].tolist()),
            frame_size=size if row["turn"] % 180 == 0 else size[::-1],
        )


def record_of(record: type[Any], raw: dict[str, Any]) -> Any:
    """A ``record`` of its known members: those that a later platform adds are left out. TypeError when one is missing."""
    return record(**{name: raw[name] for name in record.__dataclass_fields__ if name in raw})


def turn_points(points: Array, *, turn: int, size: tuple[int, int]) -> Array:
    """Points (..., 2) x, y of a picture of ``size`` (width, height) after it was turned clockwise by ``turn`` degrees."""
    x, y, width, height = points[..., 0], points[..., 1], *size
    return np.stack({0: (x, y), 90: (height - y, x), 180: (width - x, height - y), 270: (y, width - x)}[turn], -1)


def square_crop(image: Array, box: Array, *, margin: float) -> Array:
    """Cut the square of side ``margin * max(width, height)`` about the box centre, clipped at the borders."""
    height, width = image.shape[:2]
    side = max(float(box[2] - box[0]), float(box[3] - box[1])) * margin
    cx, cy = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
    left, top = max(0, round(cx - side / 2)), max(0, round(cy - side / 2))
    right, bottom = min(width, round(cx + side / 2)), min(height, round(cy + side / 2))
    return image[top : max(bottom, top + 1), left : max(right, left + 1)]


def fake_score_of(softlabel: float) -> float:
    """The one conversion of direction: soft label (1 = real) to fake_score (1 = fake)."""
    return 1.0 - softlabel


# --------------------------------------------------------------------------- detector


@dataclass(frozen=True)
class Verdict:
    """The result of ``run`` for one face. ``skipped`` holds a reason code when there is no score."""

    fake_score: float | None
    hard_label: str | None
    softlabel: float | None = None
    skipped: str | None = None


@dataclass(frozen=True)
class Judgement:
    """The result of ``judge`` for a pack, in soft labels (1 = real): of each face, (len(pack),) float, NaN = no score.

    ``video`` is the detector's own score of the whole (strategy ``own``), ``persons`` its own scores of persons (else ``postproc``).
    """

    softlabels: Array
    video: float | None = None
    persons: dict[int, float] | None = None
    skipped: dict[str, int] = field(default_factory=dict)


class Skip(Exception):
    """Raise in ``crop_face`` or ``preproc``: this face cannot be judged. The argument is a code such as ``face_too_small``."""

    def __init__(self, reason: str) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_.]{0,40}", reason):
            raise ContractError(f"Skip({reason!r}): the reason is a code like 'face_too_small' (worker_protocol.md)")
        super().__init__(reason)


class BaseDetector:
    """Subclass this in ``detectors/<name>/detector.py``, beside its card ``detector.toml``.

    ``load`` is required, and ``get_softlabel`` (faces one at a time) or ``judge`` (clips, several nets); ``run`` and ``run_pack`` are
    final, the rest has defaults. ``evidence`` may return one picture for each face of a batch (a mask), drawn in the report.
    The class is checked when Python defines it.
    """

    card: ClassVar[Card]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in {"run", "run_pack"} & set(cls.__dict__):
            raise ContractError(f"{cls.__name__}.{name} is final: override crop_face, preproc or get_softlabel instead")
        required = ("load", "get_softlabel") if cls.judge is BaseDetector.judge else ("load",)
        for name in ("load", "crop_face", "preproc", "get_softlabel", "postproc", "get_hardlabel", "judge"):
            method, ours = getattr(cls, name), getattr(BaseDetector, name)
            if method is ours and name in required:
                raise ContractError(f"{cls.__name__} must define {name}(): see the example in base_detector.py")
            arguments = inspect.signature(ours).parameters
            if not callable(method) or len(inspect.signature(method).parameters) != len(arguments):
                raise ContractError(f"{cls.__name__}.{name} must take ({', '.join(arguments)})")
        if "card" not in cls.__dict__:
            source = inspect.getfile(cls) if cls.__module__ != "__main__" else sys.argv[0]
            cls.card = Card.read(Path(source).resolve().parent)

    # -- what a researcher writes

    def load(self, weights: Path, device: str) -> None:
        """Read the files of the card from folder ``weights``; ``device`` is ``cpu`` or ``cuda:0``. Called once."""
        raise NotImplementedError

    def crop_face(self, image: Array, face: Face) -> Array:
        """Cut this detector's own crop, (h, w, 3) uint8 RGB, from an image that shows the face with its surroundings."""
        return square_crop(image, face.box, margin=self.card.margin)

    def preproc(self, face: Array) -> Array:
        """Turn a crop, (h, w, 3) uint8 RGB, into the net's input array (same shape for every face)."""
        return face

    def get_softlabel(self, batch: Array) -> Array:
        """Score a batch, (N, ...) as ``preproc`` made it: (N,) float in [0, 1], 1 = real, 0 = fake."""
        raise NotImplementedError

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

    # -- what the platform calls

    def run(self, image: Array, face: Face | None = None) -> Verdict:
        """Judge one face in ``image`` ((H, W, 3) uint8 RGB). Without ``face`` the whole image is taken as the face."""
        if type(self).get_softlabel is BaseDetector.get_softlabel:
            return Verdict(None, None, skipped="needs_a_clip")
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ContractError(f"run() takes (H, W, 3) uint8 RGB, not {image.dtype} {image.shape}")
        whole = np.array([0, 0, image.shape[1], image.shape[0]], np.float32)
        face = face or Face(box=whole, landmarks=np.full((5, 2), np.nan, np.float32))
        try:
            prepared = self.preproc(self.crop_face(image, face))
        except Skip as reason:
            return Verdict(None, None, skipped=str(reason))
        joined = self.postproc(self._soft(self.get_softlabel(prepared[None]), 1))
        return Verdict(fake_score_of(joined), self.get_hardlabel(joined), softlabel=joined)

    def run_pack(self, pack: FacePack, out: Path, *, progress: Progress | None = None) -> dict[str, Any]:
        """Judge every face of a pack in batches; write masks below ``out``; return the content of ``scores.json``."""
        started, masks, preproc_s = time.perf_counter(), list[Any](), 0.0
        progress = progress or (lambda done, total: None)
        if type(self).judge is BaseDetector.judge:
            judged, masks, preproc_s = self._judge_faces(pack, out, progress)
        else:
            judged = self.judge(pack, progress)
        seconds = {"preproc": preproc_s, "net": time.perf_counter() - started - preproc_s}
        softlabels = self._soft(judged.softlabels, len(pack), gaps=True)
        scored = np.flatnonzero(~np.isnan(softlabels))
        persons = []
        for person in np.unique(pack.faces["person"][scored]).tolist():
            own = softlabels[scored][pack.faces["person"][scored] == person]
            joined = float(self.postproc(own) if judged.persons is None else judged.persons[person])
            score, label = fake_score_of(joined), self.get_hardlabel(joined)
            persons.append({"person": person, "faces": len(own), "fake_score": score, "hard_label": label})
        video = None if judged.video is None else fake_score_of(float(self._soft([judged.video], 1, gaps=True)[0]))
        return {
            "schema": SCORES_SCHEMA, "contract": CONTRACT_VERSION,
            "detector": self.card.id, "version": self.card.version,
            "face_index": scored.tolist(), "fake_score": [fake_score_of(label) for label in softlabels[scored].tolist()],
            "video_fake_score": video, "persons": persons, "skipped": judged.skipped, "masks": masks, "seconds": seconds,
        }  # fmt: skip

    # -- inside

    def _judge_faces(self, pack: FacePack, out: Path, progress: Progress) -> tuple[Judgement, list[Any], float]:
        """Judge one face at a time: the judgement, the entries of the masks written, the seconds of cropping and ``preproc``."""
        softlabels, skipped, masks, preproc_s = np.full(len(pack), np.nan), Counter[str](), list[Any](), 0.0
        faces, to_draw = self._prepared(pack, skipped), set(self._faces_to_draw(pack))
        while True:
            started = time.perf_counter()
            inputs = dict(itertools.islice(faces, self.card.batch))
            preproc_s += time.perf_counter() - started
            if not inputs:
                return Judgement(softlabels, skipped=skipped), masks, preproc_s
            indices, batch = list(inputs), np.stack(list(inputs.values()))
            softlabels[indices] = self._soft(self.get_softlabel(batch), len(batch))
            drawn = [place for place, index in enumerate(indices) if index in to_draw]
            pictures = self.evidence(batch[drawn]) if drawn else None
            if pictures is not None:
                masks += [_write_mask(out, indices[i], picture) for i, picture in zip(drawn, pictures, strict=True)]
            progress(indices[-1] + 1, len(pack))

    def _prepared(self, pack: FacePack, skipped: Counter[str]) -> Iterator[tuple[int, Array]]:
        """The index and the net's input of each face; those that cannot be judged are counted in ``skipped``."""
        for index in range(len(pack)):
            try:
                prepared = self.preproc(self.crop_face(pack.image(index), pack.face(index)))
            except Skip as reason:
                skipped[str(reason)] += 1
            else:
                yield index, prepared

    def _soft(self, labels: Any, count: int, *, gaps: bool = False) -> Array:
        """Soft labels as (count,) float64 in [0, 1]; ContractError when they are not. With ``gaps`` NaN is no score."""
        labels = np.asarray(labels, np.float64)
        if labels.shape != (count,):
            raise ContractError(f"{self.card.id}: soft labels must have shape ({count},), not {labels.shape}")
        allowed = (labels >= -1e-6) & (labels <= 1 + 1e-6) | (np.isnan(labels) & gaps)
        if not allowed.all():
            raise ContractError(f"{self.card.id}: soft labels must lie in [0, 1] (1 = real), got {labels}")
        clipped: Array = np.clip(labels, 0.0, 1.0)
        return clipped

    def _faces_to_draw(self, pack: FacePack) -> Iterator[int]:
        """Up to eight faces of each person, evenly over the clip, of the first persons: evidence is for looking at."""
        if type(self).evidence is not BaseDetector.evidence:
            for person in np.unique(pack.faces["person"])[: MOST_MASKS // 8]:
                own = np.flatnonzero(pack.faces["person"] == person)
                yield from own[np.unique(np.linspace(0, len(own) - 1, 8).astype(int))].tolist()


def _write_mask(out: Path, index: int, picture: Array) -> dict[str, Any]:
    if picture.dtype != np.uint8 or picture.ndim != 2:
        raise ContractError(f"evidence() must return (N, h, w) uint8, not {picture.dtype} {picture.shape[1:]}")
    (out / "masks").mkdir(exist_ok=True)
    name = f"masks/{index:06d}.npy"
    np.save(out / name, np.ascontiguousarray(picture), allow_pickle=False)
    return {"index": index, "file": name}


def load_detector(module: str) -> BaseDetector:
    """Import ``module`` (``detectors.mesonet``) and make its one detector; raise ContractError when there is none."""
    for name in (f"{module}.detector", module):
        with contextlib.suppress(ModuleNotFoundError):
            if importlib.util.find_spec(name):
                break
    else:
        raise ContractError(f"no module {module!r}: name the package that holds detector.py")
    classes = [item for item in vars(importlib.import_module(name)).values() if isinstance(item, type)]
    found = [item for item in classes if issubclass(item, BaseDetector) and item.__module__ == name]
    if len(found) != 1:
        raise ContractError(f"{name} must define exactly one BaseDetector, it defines {len(found)}")
    return found[0]()


# --------------------------------------------------------------------------- worker protocol v1

#: A verb takes (arguments, progress) and returns the members of its answer.
Verb = Callable[[dict[str, Any], Progress], dict[str, Any]]


class WorkerFailure(Exception):
    """A verb's named failure: only ``code`` and ``retryable`` leave the worker, the words stay in its log."""

    def __init__(self, code: str, *, retryable: bool = False) -> None:
        super().__init__(code)
        self.code, self.retryable = code, retryable


class NotApplicable(Exception):
    """A verb's answer that it cannot judge this input; the argument is a reason code such as ``no_face``."""


def serve_worker(verbs: dict[str, Verb], exchange: Path) -> None:
    """Answer protocol v1 on ``exchange/worker.sock`` until ``stop``: one JSON object per line, one caller at a time.

    A request is ``{"verb": name, ...}``. The answer is any number of ``{"event": "progress", "done", "total"}`` lines,
    then one line with ``status``: ``ok`` | ``not_applicable`` (reason) | ``error`` (code, retryable).
    """
    os.chdir(exchange)  # a relative name keeps the socket path under the kernel's 107 bytes
    with contextlib.suppress(FileNotFoundError):
        os.unlink("worker.sock")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("worker.sock.tmp")
    os.chmod("worker.sock.tmp", 0o777)  # noqa: S103  the folder above is 0700: only our user gets here
    listener.listen(4)
    os.rename("worker.sock.tmp", "worker.sock")  # visible only when it listens
    running = True
    while running:
        caller, _ = listener.accept()
        with caller, caller.makefile("rwb") as stream, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            running = all(_answer_line(verbs, line, stream) for line in stream)


def _answer_line(verbs: dict[str, Verb], line: bytes, stream: Any) -> bool:
    """Answer one request; False after ``stop``."""

    def send(message: dict[str, Any]) -> None:
        stream.write(json.dumps(message, allow_nan=False).encode() + b"\n")
        stream.flush()

    def progress(done: int, total: int) -> None:
        send({"event": "progress", "done": done, "total": total})

    request: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        request = json.loads(line)
    verb = request.pop("verb", None) if isinstance(request, dict) else None
    try:
        if not isinstance(verb, str):
            raise WorkerFailure("bad_request")
        if verb == "health":
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
            send({"status": "ok", "protocol": PROTOCOL_VERSION, "verbs": sorted(verbs), "peak_mb": round(peak_mb)})
        elif verb == "stop":
            send({"status": "ok"})
        elif verb in verbs:
            send({"status": "ok"} | verbs[verb](request, progress))
        else:
            raise WorkerFailure("unknown_verb")
    except NotApplicable as reason:
        send({"status": "not_applicable", "reason": str(reason)})
    except BrokenPipeError:
        raise
    except Exception as error:  # the boundary: the trace goes to the worker's log, a code to the platform
        failure = _failure_of(error)
        print(f"{verb}: {failure.code}", file=sys.stderr, flush=True)
        send({"status": "error", "code": failure.code, "retryable": failure.retryable})
    return verb != "stop"


def _failure_of(error: Exception) -> WorkerFailure:
    if isinstance(error, WorkerFailure):
        return error
    if isinstance(error, MemoryError):
        return WorkerFailure("out_of_memory", retryable=True)
    sys.excepthook(type(error), error, error.__traceback__)
    return WorkerFailure("detector_failed")


def detector_verbs(detector: BaseDetector, weights: Path, device: str) -> dict[str, Verb]:
    """The verbs of a detector's worker: describe, load, predict."""
    state = {"loaded": False}

    def load(_: dict[str, Any], __: Progress) -> dict[str, Any]:
        if not state["loaded"]:
            if detector.card.lacks([item for item in detector.card.weights if not (weights / item.file).is_file()]):
                raise WorkerFailure("weights_missing")
            detector.load(weights, device)
            state["loaded"] = True
        return {}

    def predict(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
        load({}, progress)
        if not all(isinstance(request.get(name), str) for name in ("pack", "out")):
            raise WorkerFailure("bad_request")
        pack, out = FacePack(Path(request["pack"])), Path(request["out"])
        if not len(pack):
            raise NotApplicable("no_face")
        scores = detector.run_pack(pack, out, progress=progress)
        if not scores["face_index"]:
            raise NotApplicable(max(scores["skipped"], key=scores["skipped"].__getitem__, default="not_judgeable"))
        temporary = out / "scores.json.tmp"
        temporary.write_text(json.dumps(scores, allow_nan=False), encoding="utf-8")
        temporary.rename(out / "scores.json")
        return {"seconds": scores["seconds"]}

    return {"describe": lambda *_: {"card": detector.card.as_json()}, "load": load, "predict": predict}


def main(argv: list[str] | None = None) -> int:
    """Judge a face pack and print its scores: ``python -m base_detector detectors.mesonet PACK``; or be a worker: ``--serve``."""
    parser = argparse.ArgumentParser(prog="base_detector", description=main.__doc__)
    parser.add_argument("module", help="package of the detector, for example detectors.mesonet")
    parser.add_argument("pack", nargs="?", type=Path, help="face pack to judge: a folder (docs/face_pack.md)")
    parser.add_argument("--out", type=Path, help="folder to write scores.json and evidence to, instead of printing")
    parser.add_argument("--weights", type=Path, help="folder of the weights (default: var/weights/<detector>)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:0 (default: cpu)")
    parser.add_argument("--serve", type=Path, metavar="EXCHANGE", help="be a worker on EXCHANGE/worker.sock")
    args = parser.parse_args(argv)
    if (args.pack is None) == (args.serve is None):
        parser.error("name either PACK to judge or --serve EXCHANGE")
    if args.pack and not (args.pack / "pack.json").is_file():
        remedy = f"use: deepfake-o-meter detectors run {args.module.rpartition('.')[2]} {args.pack}"
        parser.error(f"{args.pack} is not a face pack, a folder with pack.json. For a video or image {remedy}")
    try:
        detector = load_detector(args.module)
        weights = (args.weights or Path("var/weights") / detector.card.id).resolve()
        verbs = detector_verbs(detector, weights, args.device)
        if args.serve:
            serve_worker(verbs, args.serve)
            return 0
        with tempfile.TemporaryDirectory() as scratch:
            out = args.out or Path(scratch)
            out.mkdir(parents=True, exist_ok=True)
            verbs["predict"]({"pack": str(args.pack), "out": str(out)}, lambda done, total: None)
            if args.out is None:
                print((out / "scores.json").read_text(encoding="utf-8"))
        return 0
    except (NotApplicable, WorkerFailure) as error:
        status = "not_applicable" if isinstance(error, NotApplicable) else "error"
        print(json.dumps({"status": status, "code": str(error)}))
        return 3
    except ContractError as error:
        parser.error(str(error))


if __name__ == "__main__":
    import base_detector  # `python -m` makes this file `__main__`; detectors subclass the one of this name

    raise SystemExit(base_detector.main())
