"""The contract between the platform and a detector, and the worker loop around it.

Owns: the card (``detector.toml``), the face pack reader, ``BaseDetector``, worker protocol v1. docs/detector.md explains them.
Promises: needs numpy and the standard library only. May be imported by everything; imports nothing else of the platform.

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
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

CONTRACT_VERSION = "1"
PROTOCOL_VERSION = 1
PACK_SCHEMA = 2  # 2: ``turn``, the crops of turned faces are upright
SCORES_SCHEMA = 2  # 2: evidence is an array in a ``.npy`` file
MOST_MASKS = 512  # pictures of evidence for one pack
#: The states of a detector (docs/admission.md); the card's own counts until the operator decides.
STATES = ("draft", "quarantine", "shadow", "enabled", "disabled")
INPUTS = ("face", "frame", "video")
#: How scores become one number (docs/strategies.md). ``own``: ``judge`` returns it.
AGGREGATIONS = ("mean", "max_of_persons", "max_of_persons_of_shots", "deepware", "own")
#: Which frames a detector wants to see: all, so many a second, or so many in all; not none.
SAMPLING = r"every_frame|(?!\w+:[0.]*$)(fps:[0-9]{1,3}(\.[0-9]{1,6})?|frames:[0-9]{1,6})"
RESOURCES = ("memory_mb", "seconds_per_face", "batch")  # the card's table [resources]

#: One row of ``faces.npy`` (docs/face_pack.md). Boxes (x1 y1 x2 y2), landmarks and the crop's origin (x, y) are in pixels of the frame as
#: shown. ``turn``: the crop is the frame's rectangle turned clockwise by so many degrees (0, 90, 180, 270), which makes the face upright.
FACE_DTYPE = np.dtype([
    ("frame", "<i4"), ("time_s", "<f8"), ("shot", "<i4"), ("person", "<i4"),
    ("box", "<f4", (4,)), ("confidence", "<f4"), ("landmarks", "<f4", (5, 2)),
    ("crop_offset", "<i8"), ("crop_height", "<i4"), ("crop_width", "<i4"), ("crop_origin", "<i4", (2,)),
    ("tracked", "?"), ("turn", "<i2"),
])  # fmt: skip

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]  # called with (done, total)


class ContractError(Exception):
    """A detector breaks the contract; the message says how to correct it."""


# --------------------------------------------------------------------------- card
# Of a key: its type; its limits ((lowest, highest), choices, the pattern of a text, or the type in TOML); the words that these do not give.
Text = Annotated[str, r"(?s).*\S.*", "a text that is not empty"]
Texts = Annotated[tuple[str, ...], r"(?s).*\S.*", 'a list of texts: ["one", "two"]']
Truth = Annotated[bool, bool, "true or false, without quotes"]
Table = Annotated[dict[str, Any], dict, "a table of texts, finite numbers and lists"]


@dataclass(frozen=True)
class WeightsFile:
    """One published weights file. ``sha256`` is empty and ``bytes`` 0 where we could not obtain it: names and shapes decide, at load."""

    file: Annotated[str, r"(?a)\w[\w.+-]*(/\w[\w.+-]*)*", "a file name of letters, digits and _ . + -"]
    url: Annotated[str, r"https?://[^\s/]\S*", "an address that begins with https:// or http://"]
    licence: Text
    sha256: Annotated[str, r"([0-9a-f]{64})?", "the 64 small hex digits that sha256sum prints"] = ""
    bytes: Annotated[int, (0, 10**13)] = 0
    member: Annotated[str, r".*", "a path in the archive"] = ""
    alternatives: Annotated[tuple[str, ...], r"https?://[^\s/]\S*", 'a list of addresses: ["https://..."]'] = ()
    manual: Truth = False
    optional: Truth = False


@dataclass(frozen=True, kw_only=True)
class Card:
    """The content of ``detector.toml``: keys with type, limits and default. ``threshold`` is on the fake_score scale (1 = fake)."""

    id: Annotated[str, r"[a-z][a-z0-9_]{1,40}", "a name like my_detector: 2 to 41 of a-z, 0-9 and _, a letter first"]
    version: Annotated[str, r"(?a)\w[\w.+-]{0,59}", 'a text like "1.0" of letters, digits and . + - _']
    title: Text
    summary: Text
    paper: Annotated[str, r"(?s).*\S.*", 'a text, "none" where there is none']
    year: Annotated[int, (1900, 2100)]
    licence: Annotated[str, r"(?s).*", "a text"] = ""
    input: Annotated[str, INPUTS]
    sampling: Annotated[str, SAMPLING, "'every_frame', 'fps:N' or 'frames:N'"]
    margin: Annotated[float, (1, 100)]
    threshold: Annotated[float, (0, 1)]
    aggregation: Annotated[str, AGGREGATIONS]
    weights: Annotated[tuple[WeightsFile, ...], list, "tables, one [[weights]] for each file"] = ()
    parameters: Table = field(default_factory=dict)
    memory_mb: Annotated[int, (1, 10_000_000)] = 2048
    seconds_per_face: Annotated[float, (0, 3600)] = 0.1
    batch: Annotated[int, (1, 65_536)] = 8
    sees: Texts = ()
    limits: Texts = ()
    state: Annotated[str, STATES] = "draft"
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
    wrong = [f"{where}add {key!r}: {rule_of(keys[key])[0]}" for key in missing]
    for key, value in table.items():
        if key not in keys:
            near = difflib.get_close_matches(key, keys, 1)
            wrong.append(f"{where}remove or rename {reprlib.repr(key)}" + (f" (is it {near[0]!r}?)" if near else ""))
        elif not rule_of(keys[key])[1](value):
            wrong.append(f"{where}{key} must be {rule_of(keys[key])[0]}, not {reprlib.repr(value)}")
    return wrong


def rule_of(key: inspect.Parameter) -> tuple[str, Callable[[Any], bool]]:
    """What a key of a card must be in words, and whether a value is that, as TOML or JSON has it."""
    kind, (limits, *words) = key.annotation.__origin__, key.annotation.__metadata__
    if kind in (int, float):
        low, high = limits  # true is not a number; nor is NaN
        named = f"a {'whole ' * (kind is int)}number from {low:,} to {high:,}, without quotes"
        return named, lambda value: type(value) in (int, kind) and low <= value <= high
    if isinstance(limits, tuple):
        return f"one of {', '.join(limits)}", limits.__contains__
    if kind is str:
        return words[0], lambda value: isinstance(value, str) and re.fullmatch(limits, value) is not None
    if isinstance(limits, type):
        return words[0], lambda value: isinstance(value, limits)
    each = re.compile(limits).fullmatch
    return words[
        0
    ], lambda value: isinstance(value, list) and all(isinstance(item, str) and each(item) for item in value)


# --------------------------------------------------------------------------- faces
@dataclass(frozen=True)
class Face:
    """Where one face is in an image (its context crop, or a whole frame).

    ``box`` (4,) float32 x1 y1 x2 y2, may reach outside the image; ``landmarks`` (5, 2) float32: left eye, right eye, nose, left and right
    mouth corner (the viewer's left), NaN where unknown. ``time_s`` is the presentation time, seconds. ``image_origin`` (x, y) and
    ``frame_size`` (width, height) place the image in its frame, turned as the image is.
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
    """A face pack directory, read through memory maps (docs/face_pack.md).

    ``faces`` (N,) is FACE_DTYPE. ``frames`` (n,) int64 and ``times`` (n,) float64 seconds: all sampled pictures, also without a face.
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
        rows: Array = self.faces
        if rows["turn"].any():
            rows, sizes, turn = np.array(rows), self.frame_sizes.T[..., None], rows["turn"][:, None]
            shown = np.stack([rows["crop_width"], rows["crop_height"]], 1)
            shown = np.where(turn % 180, shown[:, ::-1], shown)
            corners = np.stack([rows["crop_origin"], rows["crop_origin"] + shown], 1)
            rows["crop_origin"] = turn_points(corners, turn=turn, size=sizes).min(axis=1)
            corners = turn_points(rows["box"].reshape(-1, 2, 2), turn=turn, size=sizes)
            rows["box"] = np.sort(corners, axis=1).reshape(-1, 4)
            rows["landmarks"] = turn_points(rows["landmarks"], turn=turn, size=sizes)
        return rows

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


def turn_points(points: Array, *, turn: Any, size: Any) -> Array:
    """Points (..., 2) x, y of a picture of ``size`` (width, height) after it was turned clockwise by ``turn`` degrees."""
    (x, y), (width, height), quarters = np.moveaxis(points, -1, 0), size, np.asarray(turn) // 90
    back_x, back_y = width - x, height - y
    return np.stack([np.choose(quarters, [x, back_y, back_x, y]), np.choose(quarters, [y, x, back_y, back_x])], -1)


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
    """Subclass this in ``detectors/<name>/detector.py``, beside its card ``detector.toml``; its definition is checked.

    ``load`` is required, and ``get_softlabel`` (faces one at a time) or ``judge`` (clips, several nets); ``run`` and ``run_pack`` are
    final, the rest has defaults.
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
                raise ContractError(f"{cls.__name__} must define {name}(): see the example in base_detector.py")
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

    def run_pack(self, pack: FacePack, out: Path, *, progress: Progress = lambda done, total: None) -> dict[str, Any]:
        """Judge every face of a pack in batches; write masks below ``out``; return the content of ``scores.json``."""
        started, masks, preproc_s = time.perf_counter(), list[Any](), 0.0
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

    def _judge_faces(self, pack: FacePack, out: Path, progress: Progress) -> tuple[Judgement, list[Any], float]:
        """Judge one face at a time: the judgement, the entries of the masks written, the seconds of cropping and ``preproc``."""
        softlabels, skipped, masks, preproc_s = np.full(len(pack), np.nan), Counter[str](), list[Any](), 0.0
        to_draw, inputs = self._faces_to_draw(pack), dict[int, Array]()
        for index in range(len(pack)):
            started = time.perf_counter()
            try:
                inputs[index] = self.preproc(self.crop_face(pack.image(index), pack.face(index)))
            except Skip as reason:
                skipped[str(reason)] += 1
            preproc_s += time.perf_counter() - started
            if inputs and (len(inputs) == self.card.batch or index + 1 == len(pack)):
                labels = self.get_softlabel(np.stack(list(inputs.values())))
                softlabels[list(inputs)] = self._soft(labels, len(inputs))
                masks += self._draw({face: inputs[face] for face in inputs if face in to_draw}, out)
                progress(index + 1, len(pack))
                inputs = {}
        return Judgement(softlabels, skipped=skipped), masks, preproc_s

    def _draw(self, inputs: dict[int, Array], out: Path) -> list[dict[str, Any]]:
        """Write the evidence of some faces; its entries in ``scores.json``."""
        pictures = self.evidence(np.stack(list(inputs.values()))) if inputs else None
        if pictures is None:
            return []
        masks = []
        for index, picture in zip(inputs, pictures, strict=True):
            if picture.dtype != np.uint8 or picture.ndim != 2:
                raise ContractError(f"evidence() must return (N, h, w) uint8, not {picture.dtype} {picture.shape}")
            masks.append({"index": index, "file": f"masks/{index:06d}.npy"})
            (out / "masks").mkdir(exist_ok=True)
            np.save(out / f"masks/{index:06d}.npy", np.ascontiguousarray(picture), allow_pickle=False)
        return masks

    def _soft(self, labels: Any, count: int, *, gaps: bool = False) -> Array:
        """Soft labels as (count,) float64 in [0, 1]; ContractError when they are not. With ``gaps`` NaN is no score."""
        labels = np.asarray(labels, np.float64)
        if labels.shape != (count,):
            raise ContractError(f"{self.card.id}: soft labels must have shape ({count},), not {labels.shape}")
        allowed = (labels >= -1e-6) & (labels <= 1 + 1e-6) | (np.isnan(labels) & gaps)
        if not allowed.all():
            raise ContractError(f"{self.card.id}: soft labels must lie in [0, 1] (1 = real), got {labels}")
        return np.asarray(np.clip(labels, 0.0, 1.0))

    def _faces_to_draw(self, pack: FacePack) -> set[int]:
        """Up to eight faces of each person, evenly over the clip, of the first persons: evidence is for looking at."""
        found: set[int] = set()
        for person in np.unique(pack.faces["person"])[: MOST_MASKS // 8]:
            own = np.flatnonzero(pack.faces["person"] == person)
            found.update(own[np.linspace(0, len(own) - 1, 8).astype(int)].tolist())
        return found if type(self).evidence is not BaseDetector.evidence else set()


def load_detector(module: str) -> BaseDetector:
    """Import ``module`` (``detectors.mesonet``) and make the one detector of its ``detector.py``; ContractError when there is none."""
    name, spec = f"{module}.detector", None
    with contextlib.suppress(ModuleNotFoundError):
        spec = importlib.util.find_spec(name)
    if spec is None:
        raise ContractError(f"no module {name!r}: name the package that holds detector.py")
    classes = [item for item in vars(importlib.import_module(name)).values() if isinstance(item, type)]
    found = [item for item in classes if issubclass(item, BaseDetector) and item.__module__ == name]
    if len(found) != 1:
        raise ContractError(f"{name} must define exactly one BaseDetector, it defines {len(found)}")
    return found[0]()


# --------------------------------------------------------------------------- worker protocol v1
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

    def send(**message: Any) -> None:
        stream.write(json.dumps(message, allow_nan=False).encode() + b"\n")
        stream.flush()

    request: Any = None
    answer: dict[str, Any] = {}
    with contextlib.suppress(ValueError, RecursionError):
        request = json.loads(line)
    verb = request.pop("verb", None) if isinstance(request, dict) else None
    try:
        if not isinstance(verb, str):
            raise WorkerFailure("bad_request")
        if verb == "health":
            peak_mb = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
            answer = {"protocol": PROTOCOL_VERSION, "verbs": sorted(verbs), "peak_mb": peak_mb}
        elif verb in verbs:
            answer = verbs[verb](request, lambda done, total: send(event="progress", done=done, total=total))
        elif verb != "stop":
            raise WorkerFailure("unknown_verb")
        send(status="ok", **answer)
    except NotApplicable as reason:
        send(status="not_applicable", reason=str(reason))
    except BrokenPipeError:
        raise
    except Exception as error:  # the boundary: the trace goes to the worker's log, a code to the platform
        if isinstance(error, MemoryError):
            error = WorkerFailure("out_of_memory", retryable=True)
        elif not isinstance(error, WorkerFailure):
            sys.excepthook(type(error), error, error.__traceback__)
            error = WorkerFailure("detector_failed")
        print(f"{verb}: {error.code}", file=sys.stderr, flush=True)
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
        if not len(pack):
            raise NotApplicable("no_face")
        scores = detector.run_pack(pack, out, progress=progress)
        if not scores["face_index"]:
            raise NotApplicable(max(scores["skipped"], key=scores["skipped"].__getitem__, default="not_judgeable"))
        (out / "scores.json.tmp").write_text(json.dumps(scores, allow_nan=False), encoding="utf-8")
        (out / "scores.json.tmp").rename(out / "scores.json")
        return {"seconds": scores["seconds"]}

    return {"describe": lambda *_: {"card": detector.card.as_json()}, "load": lambda *_: load(), "predict": predict}


def main(argv: list[str] | None = None) -> int:
    """Judge a face pack and print its scores: ``python -m base_detector detectors.mesonet PACK``; or be a worker: ``--serve``."""
    parser = argparse.ArgumentParser(prog="base_detector", description=main.__doc__)
    parser.add_argument("module", help="the detector's package, for example detectors.mesonet")
    parser.add_argument("pack", nargs="?", type=Path, help="folder of a face pack (docs/face_pack.md)")
    parser.add_argument("--out", type=Path, help="write scores.json and evidence to this folder instead of printing")
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
