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
from collections.abc import Callable, Collection, Iterator
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_type_hints

import numpy as np
import numpy.typing as npt

CONTRACT_VERSION = "1"
#: The states of a detector (docs/admission.md); the card's own counts until the operator decides.
STATES = ("draft", "quarantine", "shadow", "enabled", "disabled")
INPUTS = ("face", "frame", "video")
#: How scores become one number (docs/strategies.md). ``own``: ``judge`` returns it.
AGGREGATIONS = ("mean", "max_of_persons", "max_of_persons_of_shots", "deepware", "own")
#: The keys of the card's table ``[resources]``.
RESOURCES = ("memory_mb", "seconds_per_face", "batch")
PROTOCOL_VERSION = 1
#: 2: ``turn``, the crops of turned faces are upright.
PACK_SCHEMA = 2
#: 2: evidence is an array in a ``.npy`` file; it was a PNG.
SCORES_SCHEMA = 2
#: Most pictures of evidence for one pack.
MOST_MASKS = 512

#: One row of ``faces.npy``. Boxes and landmarks are x, y in frame pixels (after rotation), box = x1 y1 x2 y2;
#: ``crop_*`` say where the context crop is in ``crops.bin`` (byte offset, pixels) and where its top left
#: pixel was in the frame (``crop_origin`` = x, y). ``tracked`` = box interpolated between two detections. ``turn``: the crop is the
#: frame's rectangle turned clockwise by so many degrees (0, 90, 180, 270), which makes the face upright.
FACE_DTYPE = np.dtype(
    [
        ("frame", "<i4"),
        ("time_s", "<f8"),
        ("shot", "<i4"),
        ("person", "<i4"),
        ("box", "<f4", (4,)),
        ("confidence", "<f4"),
        ("landmarks", "<f4", (5, 2)),
        ("crop_offset", "<i8"),
        ("crop_height", "<i4"),
        ("crop_width", "<i4"),
        ("crop_origin", "<i4", (2,)),
        ("tracked", "?"),
        ("turn", "<i2"),
    ]
)

Array = npt.NDArray[Any]
#: Called with the progress: (done, total).
Progress = Callable[[int, int], None]


class ContractError(Exception):
    """A detector breaks the contract; the message says how to correct it."""


# --------------------------------------------------------------------------- card


class _Rule(NamedTuple):
    """What a key of a card may contain: a test, and the same in words for the author."""

    holds: Callable[[Any], bool]
    words: str


def _text(pattern: str = r"(?s).*\S.*", words: str = "a text that is not empty") -> _Rule:
    return _Rule(
        lambda value: isinstance(value, str) and bool(re.fullmatch(pattern, value) and not _CONTROL(value)), words
    )


def _number(low: int, high: int, *types: type) -> _Rule:
    words = f"a {'number' if float in types else 'whole number'} from {low:,} to {high:,}, without quotes"
    return _Rule(lambda value: type(value) in types and low <= value <= high, words)  # true is not a number; nor is NaN


def _one_of(names: Collection[str]) -> _Rule:
    return _Rule(lambda value: isinstance(value, str) and value in names, f"one of {', '.join(names)}")


def _list_of(rule: _Rule, words: str) -> _Rule:
    return _Rule(lambda value: isinstance(value, list) and all(map(rule.holds, value)), words)


def _is_plain(value: Any, depth: int = 8) -> bool:
    """Whether JSON can hold it: parameters are part of the results."""
    if isinstance(value, dict | list):
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        return depth > 0 and all(_is_plain(item, depth - 1) for item in inner)
    return (
        _TEXT.holds(value) or isinstance(value, bool) or (isinstance(value, int | float) and -(2**63) < value < 2**63)
    )


#: Control characters of a terminal, and characters that a file cannot hold.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]").search
_TEXT = _text(r"(?s).*", "a text")
_TRUTH = _Rule(lambda value: isinstance(value, bool), "true or false, without quotes")
_ADDRESS = _text(r"https?://[^\s/]\S*", "an address that begins with https:// or http://")
_TEXTS = _list_of(_text(), 'a list of texts: ["one", "two"]')
_TABLE = _Rule(lambda value: isinstance(value, dict) and _is_plain(value), "a table of texts, finite numbers and lists")
_TABLES = _Rule(lambda value: isinstance(value, list), "tables, one [[weights]] for each file")
_SAMPLING = _Rule(lambda value: _sampling(value) is not None, "'every_frame', 'fps:N' or 'frames:N'")


@dataclass(frozen=True)
class WeightsFile:
    """One published weights file: where it comes from and how to know it is the right one.

    ``sha256`` is empty and ``bytes`` 0 where we could not obtain the published file: then names and shapes decide, at load. ``member``
    is its path in the archive at ``url``. ``manual``: ``url`` is a web page. ``optional``: the detector works without it.
    """

    file: Annotated[str, _text(r"(?a)\w[\w.+-]*(/\w[\w.+-]*)*", "a file name of letters, digits and _ . + -")]
    url: Annotated[str, _ADDRESS]
    licence: Annotated[str, _text()]
    sha256: Annotated[str, _text(r"([0-9a-f]{64})?", "the 64 small hex digits that sha256sum prints")] = ""
    bytes: Annotated[int, _number(0, 10**13, int)] = 0
    member: Annotated[str, _text(r".*", "a path in the archive")] = ""
    alternatives: Annotated[tuple[str, ...], _list_of(_ADDRESS, 'a list of addresses: ["https://..."]')] = ()
    manual: Annotated[bool, _TRUTH] = False
    optional: Annotated[bool, _TRUTH] = False


@dataclass(frozen=True, kw_only=True)
class Card:
    """The content of ``detector.toml``: each key, its type, its range and its default. docs/detector.md explains them.

    Thresholds are on the fake_score scale (1 = fake). The last three of the keys with a range are in the table ``[resources]``.
    """

    id: Annotated[
        str, _text(r"[a-z][a-z0-9_]{1,40}", "a name like my_detector: 2 to 41 of a-z, 0-9 and _, a letter first")
    ]
    version: Annotated[str, _text(r"(?a)\w[\w.+-]{0,59}", 'a text like "1.0" of letters, digits and . + - _')]
    title: Annotated[str, _text()]
    summary: Annotated[str, _text()]
    paper: Annotated[str, _text(words='a text, "none" where there is none')]
    year: Annotated[int, _number(1900, 2100, int)]
    licence: Annotated[str, _TEXT] = ""
    input: Annotated[str, _one_of(INPUTS)]
    sampling: Annotated[str, _SAMPLING]
    margin: Annotated[float, _number(1, 100, int, float)]
    threshold: Annotated[float, _number(0, 1, int, float)]
    aggregation: Annotated[str, _one_of(AGGREGATIONS)]
    weights: Annotated[tuple[WeightsFile, ...], _TABLES] = ()
    parameters: Annotated[dict[str, Any], _TABLE] = field(default_factory=dict)
    memory_mb: Annotated[int, _number(1, 10_000_000, int)] = 2048
    seconds_per_face: Annotated[float, _number(0, 3600, int, float)] = 0.1
    batch: Annotated[int, _number(1, 65_536, int)] = 8
    sees: Annotated[tuple[str, ...], _TEXTS] = ()
    limits: Annotated[tuple[str, ...], _TEXTS] = ()
    state: Annotated[str, _one_of(STATES)] = "draft"
    folder: Path = field(compare=False)

    @classmethod
    def read(cls, folder: Path) -> Card:
        """Read ``folder/detector.toml``; ContractError names every mistake in it and its remedy."""
        path = folder / "detector.toml"
        try:
            if path.exists() and not path.is_file():  # a FIFO would make us wait for ever
                raise ContractError(f"{path} is not a file: write the card there")
            return cls._parse(tomllib.loads(path.read_text(encoding="utf-8")), folder=folder)
        except FileNotFoundError:
            raise ContractError(f"{path} is missing: write the card next to detector.py") from None
        except OSError as error:
            raise ContractError(f"{path} cannot be read ({error.strerror}): correct its rights") from None
        except (ValueError, RecursionError) as error:
            raise ContractError(f"{path} is not valid TOML ({error}): correct that line") from None

    @classmethod
    def from_json(cls, untrusted: Any, *, folder: Path) -> Card:
        """The card that ``as_json`` wrote, from an image's label; ContractError when it is wrong. An image cannot enable itself."""
        if not isinstance(untrusted, dict):
            raise ContractError("the card on the image is not a JSON object: build the image again")
        raw = {key: value for key, value in untrusted.items() if key != "contract"}
        return replace(cls._parse(raw, folder=folder), state="draft")

    @classmethod
    def _parse(cls, raw: dict[str, Any], *, folder: Path) -> Card:
        rules, flat = _rules(cls), {key: value for key, value in raw.items() if key != "resources"}
        resources, weights = raw.get("resources", {}), raw.get("weights", ())
        wrong = list(_mistakes(flat, rules, _optional(cls)))
        wrong += _mistakes(resources, {key: rules[key] for key in RESOURCES}, RESOURCES, "[resources] ")
        for number, entry in enumerate(weights if isinstance(weights, list) else (), 1):
            wrong += _mistakes(entry, _rules(WeightsFile), _optional(WeightsFile), f"[[weights]] {number}: ")
        if not wrong:  # now tables are known to be tables
            files = [entry["file"] for entry in weights]
            wrong = [f"name each file once in [[weights]], not {f!r} again" for f in set(files) if files.count(f) > 1]
            wrong += [f"remove {key!r}, it is in [resources] too" for key in flat.keys() & resources.keys()]
        if wrong:
            raise ContractError(f"{folder.name}/detector.toml: {'; '.join(wrong)}")
        flat["weights"] = [WeightsFile(**_frozen(entry)) for entry in weights]
        return cls(folder=folder, **_frozen(flat | resources))

    def lacks(self, missing: Collection[WeightsFile]) -> bool:
        """True when the detector cannot work without ``missing``, some of its files: a required one, or all of them."""
        return any(not item.optional for item in missing) or 0 < len(missing) == len(self.weights)

    def as_json(self) -> dict[str, Any]:
        """The card as plain JSON, for ``describe`` and the image label (no paths)."""
        out = {key: getattr(self, key) for key in _rules(Card)}
        out["weights"] = [vars(item) for item in self.weights]
        out["sees"], out["limits"] = list(self.sees), list(self.limits)
        return out | {"contract": CONTRACT_VERSION}


def _rules(record: type) -> dict[str, _Rule]:
    hints = get_type_hints(record, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}


def _optional(record: Any) -> set[str]:
    return {i.name for i in fields(record) if i.default is not MISSING or i.default_factory is not MISSING}


def _frozen(table: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def _mistakes(table: Any, rules: dict[str, _Rule], optional: Collection[str], where: str = "") -> Iterator[str]:
    """Each mistake in one table of a card, with its remedy."""
    if not isinstance(table, dict):
        yield f"{where}must be a table of keys and values"
        return
    yield from (f"{where}add {key!r}: {rules[key].words}" for key in rules if key not in table and key not in optional)
    for key, value in table.items():
        if key not in rules:
            near = difflib.get_close_matches(key, rules, 1)
            yield f"{where}remove or rename {reprlib.repr(key)}" + (f" (is it {near[0]!r}?)" if near else "")
        elif not rules[key].holds(value):
            yield f"{where}{key} must be {rules[key].words}, not {reprlib.repr(value)}"


def parse_sampling(text: Any) -> tuple[str, float]:
    """Split a card's sampling into (rule, number): ``every_frame`` | ``fps:1`` | ``frames:32``."""
    found = _sampling(text)
    if found is None:
        raise ContractError(f"sampling must be {_SAMPLING.words}, not {reprlib.repr(text)}")
    return found


def _sampling(text: Any) -> tuple[str, float] | None:
    pattern = r"(every_frame)|(?:(fps):([0-9]{1,3}(?:\.[0-9]{1,6})?)|(frames):([0-9]{1,6}))"
    found = re.fullmatch(pattern, text) if isinstance(text, str) else None
    if found is None:
        return None
    number = float(found[3] or found[5] or 1)
    return (found[1] or found[2] or found[4], number) if number > 0 else None


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
    """A medium as decoded: ``width`` and ``height`` as shown, after rotation; ``frames`` counts decoded pictures."""

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


@dataclass(frozen=True)
class Shot:
    """A run of frames without a cut: frames ``start``..``end`` (inclusive), seconds ``start_s``..``end_s``."""

    shot: int
    start: int
    end: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Person:
    """A cluster of face tracks taken for one person, seen on ``faces`` faces."""

    person: int
    faces: int
    first_s: float
    last_s: float


@dataclass(frozen=True)
class Note:
    """Something about the medium that a reader of its scores must know (docs/face_pack.md lists the codes).

    ``start_s``..``end_s``: the part it is about, seconds; None: all of it. ``value``: the number in its sentence.
    """

    code: str
    start_s: float | None = None
    end_s: float | None = None
    value: float | None = None


class FacePack:
    """A face pack directory, read through memory maps (schema: docs/face_pack.md).

    ``faces`` (N,) is FACE_DTYPE. ``frames`` (n,) int64 and ``times`` (n,) float64 seconds are all sampled pictures, ascending, also those
    without a face; ``keyfaces`` names the row of each person's best view; ``seconds`` is the time of each part of the media pass.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        info = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
        if info.get("schema") != PACK_SCHEMA:
            raise ContractError(f"face pack schema {info.get('schema')!r} is not {PACK_SCHEMA}: update this worker")
        try:
            self.media: DecodedMedia = _known(DecodedMedia, info["media"])
            self.shots: tuple[Shot, ...] = tuple(_known(Shot, item) for item in info["shots"])
            self.persons: tuple[Person, ...] = tuple(_known(Person, item) for item in info["persons"])
            self.keyfaces: dict[int, int] = {item["person"]: item["keyface"] for item in info["persons"]}
            self.frames = np.array([item["frame"] for item in info["frames"]], np.int64)
            self.times = np.array([item["time_s"] for item in info["frames"]], np.float64)
            self.notes: tuple[Note, ...] = tuple(_known(Note, item) for item in info.get("notes", ()))
            self.seconds: dict[str, float] = info["seconds"]
        except (KeyError, TypeError) as error:
            raise ContractError(f"{folder / 'pack.json'} is not complete ({error}): see docs/face_pack.md") from None
        self.faces = np.load(folder / "faces.npy", allow_pickle=False, mmap_mode="r")
        if self.faces.dtype != FACE_DTYPE:
            raise ContractError("faces.npy has another layout than this contract: update this worker")
        path = folder / "crops.bin"
        size = path.stat().st_size
        self._crops = np.memmap(path, np.uint8, "r") if size else np.zeros(0, np.uint8)

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def is_image(self) -> bool:
        """True for a still image."""
        return self.media.kind == "image"

    @property
    def fps(self) -> float | None:
        """Frames a second as the container says; None when it does not."""
        return self.media.fps

    @property
    def frame_size(self) -> tuple[int, int]:
        """Width and height of a frame as shown, pixels."""
        return self.media.width, self.media.height

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
            shown = np.stack([rows["crop_width"], rows["crop_height"]], 1)[:, :: -1 if turn % 180 else 1]
            corners = np.stack([rows["crop_origin"], rows["crop_origin"] + shown], 1)
            rows["crop_origin"] = turn_points(corners, turn=turn, size=self.frame_size).min(axis=1)
            corners = turn_points(rows["box"].reshape(-1, 2, 2), turn=turn, size=self.frame_size)
            rows["box"] = np.sort(corners, axis=1).reshape(-1, 4)
            rows["landmarks"] = turn_points(rows["landmarks"], turn=turn, size=self.frame_size)
            faces[own] = rows
        return faces

    def image(self, index: int) -> Array:
        """Context crop of face ``index``: (H, W, 3) uint8 RGB, a read-only view."""
        row = self.faces[index]
        height, width, start = int(row["crop_height"]), int(row["crop_width"]), int(row["crop_offset"])
        flat: Array = self._crops[start : start + height * width * 3]
        return flat.reshape(height, width, 3)

    def face(self, index: int) -> Face:
        """Face ``index`` with box and landmarks in its context crop's own pixels."""
        row = self.upright[index]
        origin = row["crop_origin"].astype(np.float32)
        return Face(
            box=row["box"] - np.tile(origin, 2),
            landmarks=row["landmarks"] - origin,
            frame=int(row["frame"]),
            time_s=float(row["time_s"]),
            shot=int(row["shot"]),
            person=int(row["person"]),
            confidence=float(row["confidence"]),
            index=index,
            image_origin=(int(row["crop_origin"][0]), int(row["crop_origin"][1])),
            frame_size=self.frame_size if row["turn"] % 180 == 0 else (self.media.height, self.media.width),
        )


def _known(record: type[Any], raw: dict[str, Any]) -> Any:
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
            raise ContractError(
                f"Skip({reason!r}): the reason is a code like 'face_too_small', docs/worker_protocol.md has a list"
            )
        super().__init__(reason)


class BaseDetector:
    """Subclass this in ``detectors/<name>/detector.py``, beside its card ``detector.toml``.

    ``load`` is required, and ``get_softlabel`` (faces one at a time) or ``judge`` (clips, several nets); ``run`` and ``run_pack`` are
    final, the rest has defaults. ``evidence`` may return one picture for each face of a batch (a mask), drawn in the report.
    The class is checked when Python defines it.
    """

    card: ClassVar[Card]
    _final: ClassVar[tuple[str, ...]] = ("run", "run_pack")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in set(cls._final) & set(cls.__dict__):
            raise ContractError(f"{cls.__name__}.{name} is final: override crop_face, preproc or get_softlabel instead")
        two = ("preproc", "get_softlabel", "postproc", "get_hardlabel")
        wanted = {"load": 3, "crop_face": 3, "judge": 3} | dict.fromkeys(two, 2)
        required = ("load", "get_softlabel") if cls.judge is BaseDetector.judge else ("load",)
        for name, count in wanted.items():
            method = getattr(cls, name, None)
            if method is getattr(BaseDetector, name) and name in required:
                raise ContractError(f"{cls.__name__} must define {name}(): see the example in base_detector.py")
            if method is None or len(inspect.signature(method).parameters) != count:
                arguments = list(inspect.signature(getattr(BaseDetector, name)).parameters)
                raise ContractError(f"{cls.__name__}.{name} must take ({', '.join(arguments)})")
        source = inspect.getfile(cls) if cls.__module__ != "__main__" else sys.argv[0]
        if "card" not in cls.__dict__:
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
        if face is None:
            whole = np.array([0, 0, image.shape[1], image.shape[0]], np.float32)
            face = Face(box=whole, landmarks=np.full((5, 2), np.nan, np.float32))
        try:
            prepared = self.preproc(self.crop_face(image, face))
        except Skip as reason:
            return Verdict(None, None, skipped=str(reason))
        softlabel = float(self._checked(prepared[None])[0])
        joined = self.postproc(np.array([softlabel]))
        return Verdict(fake_score_of(joined), self.get_hardlabel(joined), softlabel=joined)

    def run_pack(self, pack: FacePack, out: Path, *, progress: Progress | None = None) -> dict[str, Any]:
        """Judge every face of a pack in batches; write masks below ``out``; return the content of ``scores.json``."""
        masks: list[dict[str, Any]] = []
        seconds = {"preproc": 0.0, "net": 0.0}
        if type(self).judge is BaseDetector.judge:
            judged = self._judge_faces(pack, out, masks, seconds, progress or _silent)
        else:
            started = time.perf_counter()
            judged = self.judge(pack, progress or _silent)
            seconds["net"] = time.perf_counter() - started
        softlabels = self._labels_in_range(judged.softlabels, len(pack))
        persons = [
            self._person_score(person, own, judged.persons)
            for person in sorted({int(p) for p in pack.faces["person"]})
            if len(own := softlabels[(pack.faces["person"] == person) & ~np.isnan(softlabels)])
        ]
        scored = [int(i) for i in np.flatnonzero(~np.isnan(softlabels))]
        video = None if judged.video is None else fake_score_of(float(self._labels_in_range([judged.video], 1)[0]))
        return {
            "schema": SCORES_SCHEMA,
            "contract": CONTRACT_VERSION,
            "detector": self.card.id,
            "version": self.card.version,
            "face_index": scored,
            "fake_score": [fake_score_of(float(softlabels[i])) for i in scored],
            "video_fake_score": video,
            "persons": persons,
            "skipped": judged.skipped,
            "masks": masks,
            "seconds": seconds,
        }

    # -- inside

    def _judge_faces(
        self, pack: FacePack, out: Path, masks: list[dict[str, Any]], seconds: dict[str, float], progress: Progress
    ) -> Judgement:
        softlabels = np.full(len(pack), np.nan)
        skipped: dict[str, int] = {}
        keep_masks = set(self._evidence_faces(pack))
        for indices, batch in self._batches(pack, skipped, seconds):
            started = time.perf_counter()
            softlabels[indices] = self._checked(batch)
            wanted = [i for i, index in enumerate(indices) if index in keep_masks]
            pictures = self.evidence(batch[wanted]) if wanted else None
            seconds["net"] += time.perf_counter() - started
            if pictures is not None:
                masks += [_write_mask(out, indices[i], picture) for i, picture in zip(wanted, pictures, strict=True)]
            progress(indices[-1] + 1, len(pack))
        return Judgement(softlabels, skipped=skipped)

    def _person_score(self, person: int, softlabels: Array, own: dict[int, float] | None) -> dict[str, Any]:
        joined = float(own[person] if own is not None else self.postproc(softlabels))
        score, label = fake_score_of(joined), self.get_hardlabel(joined)
        return {"person": person, "faces": len(softlabels), "fake_score": score, "hard_label": label}

    def _checked(self, batch: Array) -> Array:
        labels = self._labels_in_range(self.get_softlabel(batch), len(batch))
        if np.isnan(labels).any():
            raise ContractError(f"{self.card.id}: soft labels must lie in [0, 1] (1 = real), got {labels}")
        return labels

    def _labels_in_range(self, labels: Any, count: int) -> Array:
        labels = np.asarray(labels, np.float64)
        if labels.shape != (count,):
            raise ContractError(f"{self.card.id}: soft labels must have shape ({count},), not {labels.shape}")
        if np.any((labels < -1e-6) | (labels > 1 + 1e-6)):
            raise ContractError(f"{self.card.id}: soft labels must lie in [0, 1] (1 = real), got {labels}")
        clipped: Array = np.clip(labels, 0.0, 1.0)
        return clipped

    def _batches(self, pack: FacePack, skipped: dict[str, int], seconds: dict[str, float]) -> Iterator[Any]:
        indices: list[int] = []
        prepared: list[Array] = []
        for index in range(len(pack)):
            started = time.perf_counter()
            try:
                prepared.append(self.preproc(self.crop_face(pack.image(index), pack.face(index))))
                indices.append(index)
            except Skip as reason:
                skipped[str(reason)] = skipped.get(str(reason), 0) + 1
            seconds["preproc"] += time.perf_counter() - started
            if len(indices) == self.card.batch:
                yield indices, np.stack(prepared)
                indices, prepared = [], []
        if indices:
            yield indices, np.stack(prepared)

    def _evidence_faces(self, pack: FacePack) -> Iterator[int]:
        """Up to eight faces of each person, evenly over the clip, of the first persons: evidence is for looking at."""
        if type(self).evidence is BaseDetector.evidence:
            return
        for person in sorted({int(p) for p in pack.faces["person"]})[: MOST_MASKS // 8]:
            own = np.flatnonzero(pack.faces["person"] == person)
            yield from (int(own[i]) for i in np.unique(np.linspace(0, len(own) - 1, 8).astype(int)))


def _silent(done: int, total: int) -> None:
    """Progress that is not shown."""


def _write_mask(out: Path, index: int, picture: Array) -> dict[str, Any]:
    if picture.dtype != np.uint8 or picture.ndim != 2:
        raise ContractError(f"evidence() must return (N, h, w) uint8, not {picture.dtype} {picture.shape[1:]}")
    (out / "masks").mkdir(exist_ok=True)
    name = f"masks/{index:06d}.npy"
    np.save(out / name, np.ascontiguousarray(picture), allow_pickle=False)
    return {"index": index, "file": name}


def load_detector(module: str) -> BaseDetector:
    """Import ``module`` (``detectors.mesonet``) and make its one detector; raise ContractError when there is none."""
    spec = None
    for name in (f"{module}.detector", module):
        with contextlib.suppress(ModuleNotFoundError):
            spec = spec or importlib.util.find_spec(name)
    if spec is None:
        raise ContractError(f"no module {module!r}: name the package that holds detector.py")
    loaded = importlib.import_module(spec.name)
    classes = [item for item in vars(loaded).values() if isinstance(item, type) and issubclass(item, BaseDetector)]
    found = [item for item in classes if item.__module__ == loaded.__name__]
    if len(found) != 1:
        raise ContractError(f"{loaded.__name__} must define exactly one BaseDetector, it defines {len(found)}")
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
            for line in stream:
                running = _answer_line(verbs, line, stream)
                if not running:
                    break


def _answer_line(verbs: dict[str, Verb], line: bytes, stream: Any) -> bool:
    def send(message: dict[str, Any]) -> None:
        stream.write(json.dumps(message, allow_nan=False).encode() + b"\n")
        stream.flush()

    def progress(done: int, total: int) -> None:
        send({"event": "progress", "done": done, "total": total})

    request: Any = None
    verb: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        request = json.loads(line)
        verb = request.pop("verb", None) if isinstance(request, dict) else None
    if not isinstance(verb, str):
        send({"status": "error", "code": "bad_request", "retryable": False})
        return True
    if verb == "stop":
        send({"status": "ok"})
        return False
    try:
        if verb == "health":
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
            send({"status": "ok", "protocol": PROTOCOL_VERSION, "verbs": sorted(verbs), "peak_mb": round(peak_mb)})
        elif verb in verbs:
            send({"status": "ok"} | verbs[verb](request, progress))
        else:
            send({"status": "error", "code": "unknown_verb", "retryable": False})
    except NotApplicable as reason:
        send({"status": "not_applicable", "reason": str(reason)})
    except WorkerFailure as failure:
        print(f"{verb}: {failure.code}", file=sys.stderr, flush=True)
        send({"status": "error", "code": failure.code, "retryable": failure.retryable})
    except MemoryError:
        send({"status": "error", "code": "out_of_memory", "retryable": True})
    except BrokenPipeError:
        raise
    except Exception:  # the boundary: the trace goes to the worker's log, a code to the platform
        sys.excepthook(*sys.exc_info())
        send({"status": "error", "code": "detector_failed", "retryable": False})
    return True


def detector_verbs(detector: BaseDetector, weights: Path, device: str) -> dict[str, Verb]:
    """The verbs of a detector's worker: describe, load, predict."""
    state = {"loaded": False}

    def describe(_: dict[str, Any], __: Progress) -> dict[str, Any]:
        return {"card": detector.card.as_json()}

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

    return {"describe": describe, "load": load, "predict": predict}


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
        return _judge(verbs["predict"], args.pack, args.out)
    except ContractError as error:
        parser.error(str(error))


def _judge(predict: Verb, pack: Path, out: Path | None) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        target = out or Path(scratch)
        target.mkdir(parents=True, exist_ok=True)
        try:
            predict({"pack": str(pack), "out": str(target)}, _silent)
        except (NotApplicable, WorkerFailure) as error:
            status = "not_applicable" if isinstance(error, NotApplicable) else "error"
            print(json.dumps({"status": status, "code": str(error)}))
            return 3
        if out is None:
            print((target / "scores.json").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    import base_detector  # `python -m` makes this file `__main__`; detectors subclass the one of this name

    raise SystemExit(base_detector.main())
