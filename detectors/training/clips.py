"""Faces of labelled video clips, found once by the platform's media pass and kept in several degradations of the whole frames.

Owns: the table of clips (``labels.csv``), which clips share a scene, what happens to a clip before its faces are cut, and the files
they are kept in: one array a clip, ``(versions, n, SIDE, SIDE, 3)`` uint8 RGB, and a JSON file beside it that appears last.
Promises: real clips and fakes go through the same versions, drawn from the file's name alone; a face has the same frame and box
in each version; an interrupted search continues where it stopped; of each clip only the person with most faces is kept.
May be imported by detectors.training and its tests; imports the media pass, which no detector does at run time.

``labels.csv`` has the columns ``file`` and ``label`` (real, fake), and may have ``method``, ``family``, ``identity``, ``pair`` (the
identity of a fake's own original) and ``source repository@commit path`` (the file a clip was cut from).
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np

from backend.media.extract import extract_pack
from backend.media.limits import UNLIMITED
from backend.media.opening import open_medium
from base_detector import Array, FacePack, NotApplicable, WorkerFailure
from detectors.nets.faces import resized
from detectors.training.dataset import DataError

#: A stored face shows MARGIN box sides at SIDE pixels, so that nets can be given 1.4 of them at 128 pixels, moved and turned a little.
SIDE, MARGIN = 160, 1.75
#: Pictures of a clip that are looked at, evenly.
SAMPLING: Final = "frames:16"
#: Smaller faces than this (longer side of the box, pixels) are not used.
SMALLEST = 32
_SOURCE: Final = "source repository@commit path"


@dataclass(frozen=True)
class Version:
    """What happens to the whole frames: sides times ``scale``, then x264 at ``crf`` (None: the frames as they are)."""

    name: str
    crf: tuple[int, int] | None = None
    scale: tuple[float, float] = (1.0, 1.0)

    def drawn(self, file: str) -> tuple[int, float]:
        """CRF and scale for ``file``: the same on every machine, the same distribution for real clips and fakes."""
        assert self.crf is not None
        seed = hashlib.sha256(f"{self.name} of {file}".encode()).digest()
        rng = np.random.default_rng(list(seed[:8]))
        return int(rng.integers(self.crf[0], self.crf[1] + 1)), float(rng.uniform(*self.scale))


#: ``half`` and ``crf32`` are what robustness is measured on; ``drawn`` spreads over what large sites and messengers do.
VERSIONS: Final = (
    Version("as_is"),
    Version("half", (20, 20), (0.5, 0.5)),
    Version("crf32", (32, 32)),
    Version("drawn", (18, 40), (0.5, 1.0)),
)


@dataclass(frozen=True)
class Clip:
    """One row of the table. ``scene`` is equal for clips that share an identity, an original or the file they were cut from."""

    path: Path
    fake: bool
    method: str
    family: str
    identity: str
    pair: str
    scene: str

    @property
    def name(self) -> str:
        """File name."""
        return self.path.name


@dataclass(frozen=True)
class Faces:
    """A clip with its faces: ``pixels`` (versions, n, SIDE, SIDE, 3) uint8 RGB, memory-mapped; ``times`` (n,) seconds.

    ``sides`` (n,): longer sides of the boxes in the clip; ``points`` (n, 5, 2): landmarks x, y in stored pixels.
    """

    clip: Clip
    pixels: Array
    times: Array
    sides: Array
    points: Array

    def __len__(self) -> int:
        return int(self.pixels.shape[1])


def read_clips(folder: Path) -> list[Clip]:
    """The clips of ``folder/labels.csv``, in its order. DataError when there is no table or a label is neither real nor fake."""
    table = folder / "labels.csv"
    if not table.is_file():
        raise DataError(f"{table} is missing: it needs the columns file and label (real or fake)")
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        if row.get("label") not in ("real", "fake") or not row.get("file"):
            raise DataError(f"{table}: each row needs a file and a label, real or fake, not {row!r}")
    scenes = _scenes(rows)
    return [
        Clip(
            path=folder / row["file"],
            fake=row["label"] == "fake",
            scene=scene,
            **{name: row.get(name) or "" for name in ("method", "family", "identity", "pair")},
        )
        for row, scene in zip(rows, scenes, strict=True)
    ]


def _scenes(rows: Sequence[dict[str, str]]) -> list[str]:
    """For each row the first key of all that hang together with it (a union of sets)."""
    above: dict[str, str] = {}

    def top(key: str) -> str:
        above.setdefault(key, key)
        while above[key] != key:
            key = above[key]
        return key

    own = []
    for row in rows:
        people = [f"person {row[name]}" for name in ("identity", "pair") if row.get(name)]
        keys = people + ([f"source {row[_SOURCE]}"] if row.get(_SOURCE) else []) or [f"file {row['file']}"]
        own.append(keys[0])
        for key in keys[1:]:
            above[top(key)] = top(keys[0])
    return [top(key) for key in own]


def faces_of_clips(
    clips: Iterable[Clip], cache: Path, *, tell: Callable[[str], None] = print
) -> tuple[list[Faces], dict[str, str]]:
    """The faces of each clip that shows one, and why the others have none (file -> code). Clips already in ``cache`` are not opened."""
    cache.mkdir(parents=True, exist_ok=True)
    found: list[Faces] = []
    without: dict[str, str] = {}
    listed = list(clips)
    for number, clip in enumerate(listed, 1):
        path = cache / key_of(clip)
        if not path.with_suffix(".json").is_file():
            write_cut(path, _cut_clip(clip))
            tell(f"{number} of {len(listed)} clips: {clip.name}")
        cut = read_cut(path, clip)
        if isinstance(cut, str):
            without[clip.name] = cut
        else:
            found.append(cut)
    return found, without


def key_of(clip: Clip) -> str:
    facts = clip.path.stat()
    made = "|".join(map(repr, (clip.name, facts.st_size, SIDE, MARGIN, SAMPLING, VERSIONS)))
    return f"{clip.path.stem}-{hashlib.sha256(made.encode()).hexdigest()[:12]}"


def write_cut(path: Path, cut: tuple[Array | None, dict[str, Any]]) -> None:
    pixels, facts = cut
    if pixels is not None:
        with path.with_suffix(".tmp").open("wb") as stream:
            np.save(stream, pixels)
        os.replace(path.with_suffix(".tmp"), path.with_suffix(".npy"))
    path.with_suffix(".part").write_text(json.dumps(facts), encoding="utf-8")
    os.replace(path.with_suffix(".part"), path.with_suffix(".json"))


def read_cut(path: Path, clip: Clip) -> Faces | str:
    """What ``write_cut`` kept, as faces of ``clip``; the reason where there are none."""
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    if facts["reason"]:
        return str(facts["reason"])
    pixels = np.load(path.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
    return Faces(clip, pixels, *(np.array(facts[name]) for name in ("times", "sides", "points")))


@dataclass(frozen=True)
class Seen:
    """Where the media pass saw the main person of a clip: ``frames`` (n,), ``times`` (n,) seconds, ``sides`` (n,) of the boxes in pixels.

    ``boxes`` (n, 4) x1 y1 x2 y2 and ``points`` (n, 5, 2) in widths of the frame, so that they fit a frame that was made smaller.
    """

    frames: Array
    times: Array
    sides: Array
    boxes: Array
    points: Array


def seen_in(path: Path) -> Seen | str:
    """Faces of one clip, or the code of the reason why it has none."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            extract_pack(path, Path(scratch, "pack"), samplings=[SAMPLING], context=1.0)
        except (WorkerFailure, NotApplicable) as reason:
            return getattr(reason, "code", str(reason))
        pack = FacePack(Path(scratch, "pack"))
        rows, widths = np.array(pack.faces), np.array(pack.frame_sizes[:, 0])
    sides = (rows["box"][:, 2:] - rows["box"][:, :2]).max(axis=1, initial=0)
    # persons are numbered by the count of their faces; a face the pass had to turn is not worth the trouble
    own = np.flatnonzero((rows["person"] == 0) & (sides >= SMALLEST) & (rows["turn"] == 0))
    if not len(own):
        return "no_face"
    rows, widths = rows[own], widths[own]
    points = rows["landmarks"] / widths[:, None, None]
    return Seen(rows["frame"], rows["time_s"], sides[own], rows["box"] / widths[:, None], points)


def facts_of(seen: Seen) -> dict[str, Any]:
    """What is kept beside the pixels of faces."""
    return {
        "reason": "",
        "times": seen.times.tolist(),
        "sides": seen.sides.tolist(),
        "points": stored_points(seen).round(2).tolist(),
    }


def stored_points(seen: Seen) -> Array:
    """The landmarks in pixels of the stored faces, (n, 5, 2)."""
    centres = (seen.boxes[:, :2] + seen.boxes[:, 2:]) / 2
    longer = (seen.boxes[:, 2:] - seen.boxes[:, :2]).max(axis=1)
    return np.asarray((seen.points - centres[:, None]) * (SIDE / MARGIN / longer)[:, None, None] + SIDE / 2)


def _cut_clip(clip: Clip) -> tuple[Array | None, dict[str, Any]]:
    """All versions of a clip's faces, (versions, n, SIDE, SIDE, 3), and the facts that are kept beside them."""
    seen = seen_in(clip.path)
    if isinstance(seen, str):
        return None, {"reason": seen}
    pixels = np.stack([_cut_version(clip.path, version, seen) for version in VERSIONS])
    return pixels, facts_of(seen)


def _cut_version(path: Path, version: Version, seen: Seen) -> Array:
    """The faces of one version: (n, SIDE, SIDE, 3)."""
    frames = frames_of(path, count=int(seen.frames.max()) + 1)
    if version.crf is not None:
        crf, scale = version.drawn(path.name)
        frames = through_x264(frames, crf=crf, scale=scale)
    return cut_faces(frames, seen)


def cut_faces(frames: Iterable[Array], seen: Seen) -> Array:
    """The faces of a clip's ``frames``, whatever their size: (n, SIDE, SIDE, 3) uint8 RGB."""
    boxes = dict(zip(seen.frames.tolist(), seen.boxes, strict=True))
    return np.stack(
        [
            framed(frame, boxes[number] * frame.shape[1], margin=MARGIN, side=SIDE)
            for number, frame in enumerate(frames)
            if number in boxes
        ]
    )


def frames_of(path: Path, *, count: int) -> Iterator[Array]:
    """The first ``count`` frames, upright, (H, W, 3) uint8 RGB."""
    with open_medium(path, limits=UNLIMITED) as medium:
        for picture in itertools.islice(medium.pictures(), count):
            yield picture.rgb()


def framed(image: Array, box: Array, *, margin: float, side: int) -> Array:
    """The square of ``margin`` longer box sides about the box, at ``side`` pixels; beyond the picture its border is repeated."""
    (height, width), longer = image.shape[:2], float(max(box[2] - box[0], box[3] - box[1]))
    cut = max(2, round(longer * margin))
    x, y = round(float(box[0] + box[2] - cut) / 2), round(float(box[1] + box[3] - cut) / 2)
    rows = np.clip(np.arange(y, y + cut), 0, height - 1)
    columns = np.clip(np.arange(x, x + cut), 0, width - 1)
    return resized(image[rows[:, None], columns[None]], side)


def through_x264(frames: Iterable[Array], *, crf: int, scale: float = 1.0) -> Iterator[Array]:
    """``frames`` ((H, W, 3) uint8 RGB, of one size) as a clip of x264 leaves them, one by one: predicted frames as in uploads.

    Sides are multiplied by ``scale`` first and made even.
    """
    encoder: Any = av.CodecContext.create("libx264", "w")
    decoder: Any = av.CodecContext.create("h264", "r")
    encoder.pix_fmt, encoder.time_base, encoder.thread_count, decoder.thread_count = "yuv420p", Fraction(1, 25), 1, 1
    encoder.options = {"crf": str(crf), "preset": "veryfast", "x264-params": "log-level=none:rc-lookahead=10"}
    size = (0, 0)
    packets: Iterable[Any]
    for number, frame in enumerate(frames):
        if not number:
            size = tuple(max(16, 2 * round(length * scale / 2)) for length in frame.shape[1::-1])
            encoder.width, encoder.height = size
        if frame.shape[1::-1] != size:
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts = number
        packets = encoder.encode(picture)
        yield from _decoded(decoder, packets)
    yield from _decoded(decoder, [*encoder.encode(None), None])


def _decoded(decoder: Any, packets: Iterable[Any]) -> Iterator[Array]:
    for packet in packets:
        for frame in decoder.decode(packet):
            yield frame.to_ndarray(format="rgb24")
