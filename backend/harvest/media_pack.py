"""Checks a face pack against docs/face_pack.md: shapes, ranges, and that its parts agree on frames, shots and persons.

After these checks no reader of the pack can read outside its files: every crop is inside ``crops.bin`` and inside its frame.
Imported by the pipeline and the command line of detectors.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, FailFast, Field, StringConstraints, ValidationError
from pydantic.dataclasses import dataclass

from backend.harvest import pack_units
from backend.harvest.origin import CheckedOrigin
from backend.harvest.untrusted import (
    Refused,
    count_values,
    open_file,
    open_folder,
    read_array,
    read_file,
    refusal,
    take_file,
)
from base_detector import FACE_DTYPE, PICTURE_DTYPE, WINDOW_DTYPE, Array, Shot
from shared import durable
from shared.findings import DecodedMedia, Note, Person, Sound
from shared.records import Mode
from shared.results import Count

MAX_PACK_JSON_BYTES: Final = 64_000_000
#: A million sampled frames, three values each.
MAX_PACK_VALUES: Final = 3_000_000
#: Runs of frames of one size; a million frames is the most of a clip.
MAX_SIZES: Final = 1_000_000
MAX_FACES_BYTES: Final = 512_000_000
#: Pictures are sampled one by one, windows of sound are at most some dozens for each detector.
MAX_TABLE_BYTES: Final = 64_000_000
#: Stretches of speech; the media pass joins what is close together.
MAX_STRETCHES: Final = 100_000
#: Damaged stretches are the most frequent; the media pass joins them long before.
MAX_NOTES: Final = 200
#: Longest side of a picture; with three bytes a pixel the size of a crop stays far below 2^63.
MAX_SIDE = pack_units.MAX_SIDE
#: Boxes may reach outside the frame, but not arbitrarily far.
MAX_COORDINATE = 1e7

Time = Annotated[float, Field(ge=-1e7, le=1e7)]
Seconds = Annotated[float, Field(ge=0, le=1e7)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
#: Names of codecs and containers as FFmpeg writes them, and sampling rules; they are shown in reports.
Plain = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.,:+ -]{0,80}$")]


#: The pack's records with bounds for a worker's numbers. A member without a bound here is checked by its type. A member
#: that the contract does not have is refused: it would be lost on the way to the result.
_CHECKED = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True, config=_CHECKED)
class CheckedMedia(DecodedMedia):
    """The media as decoded."""

    width: Annotated[int, Field(ge=0, le=MAX_SIDE)]
    height: Annotated[int, Field(ge=0, le=MAX_SIDE)]
    fps: Annotated[float, Field(gt=0, le=1e6)] | None
    duration_s: Seconds
    frames: Count
    codec: Plain
    container: Plain
    rotation: Literal[0, 90, 180, 270]
    sizes: Annotated[tuple[tuple[Count, Side, Side], ...], Field(max_length=MAX_SIZES)] = field(
        default=(), kw_only=True
    )


@dataclass(frozen=True, config=_CHECKED)
class CheckedShot(Shot):
    """A shot, ``start`` and ``end`` included."""

    shot: Count
    start: Count
    end: Count
    start_s: Time
    end_s: Time


@dataclass(frozen=True, config=_CHECKED)
class CheckedPerson(Person):
    """A person; ``keyface`` is a row of ``faces.npy``."""

    person: Count
    faces: Annotated[int, Field(ge=1)]
    first_s: Time
    last_s: Time
    keyface: Count


@dataclass(frozen=True, config=_CHECKED)
class CheckedNote(Note):
    """A note; ``code`` is a word, so that a page can show a code that it does not know."""

    code: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
    start_s: Time | None = None
    end_s: Time | None = None
    value: Annotated[float, Field(ge=-1e7, le=1e7)] | None = None


@dataclass(frozen=True, config=_CHECKED)
class CheckedSound(Sound):
    """The sound; ``samples`` is the length of ``sound.f32``."""

    samples: Annotated[int, Field(ge=0, lt=2**40)]
    start_s: Time
    speech: Annotated[tuple[tuple[Time, Time], ...], Field(max_length=MAX_STRETCHES)] | None = None


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, **_CHECKED)


class Sampling(_Part):
    """How frames were chosen."""

    mode: Mode
    samplings: Annotated[list[Plain], Field(max_length=64)]
    context: Annotated[float, Field(ge=1, le=100)]
    detect_every: Annotated[int, Field(ge=1, le=10_000)]


class SampledFrame(_Part):
    """A sampled frame."""

    frame: Count
    time_s: Time


class PackInfo(_Part):
    """``pack.json``."""

    schema_version: Literal[3] = Field(alias="schema")
    media: CheckedMedia
    sampling: Sampling
    # FailFast: the first mistake is enough
    frames: Annotated[list[SampledFrame], FailFast()]
    shots: Annotated[list[CheckedShot], FailFast()]
    persons: Annotated[list[CheckedPerson], FailFast()]
    # a pack of an earlier version has none
    notes: Annotated[list[CheckedNote], FailFast(), Field(max_length=MAX_NOTES)] = []
    sound: CheckedSound | None
    # a pack of an earlier version, and one of a pass that was not asked for it, has none
    origin: CheckedOrigin | None = None
    seconds: Annotated[dict[Plain, Seconds], Field(max_length=64)]

    def as_json(self) -> str:
        """The file as we write it."""
        return self.model_dump_json(by_alias=True)


def harvest_pack(untrusted_dir: Path, target: Path, *, moved: bool = False) -> None:
    """Take a face pack to ``target``, which appears complete; PermanentError(media_bad_output) when it breaks its schema.

    The small files are parsed and rewritten. Pixels and samples are copied, or with ``moved``, for a worker that is trusted, renamed
    (``take_file`` has the reasons).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with durable.staging(target) as staging:
        staging.mkdir()
        try:
            with open_folder(untrusted_dir) as folder:
                info, tables = _read_small_files(folder)
                for name, size in _sizes(info, tables).items():
                    if take_file(folder, name, staging / name, max_bytes=size, moved=moved) != size:
                        raise Refused(f"{name} is shorter than what is in it")
        except (Refused, ValidationError) as error:
            raise refusal("media_bad_output", error) from None
        for name, table in tables.items():
            np.save(staging / name, table, allow_pickle=False)
        (staging / "pack.json").write_text(info.as_json(), encoding="utf-8")
        for path in staging.iterdir():
            os.chmod(path, 0o444)
        os.chmod(staging, 0o755)  # noqa: S103  containers read it as another user


def check_pack(folder: Path) -> None:
    """Check a pack that was harvested before; PermanentError(media_bad_output) when it is damaged."""
    try:
        with open_folder(folder) as handle:
            for name, size in _sizes(*_read_small_files(handle)).items():
                with open_file(handle, name, max_bytes=size) as file:
                    if os.fstat(file).st_size != size:
                        raise Refused(f"{name} is shorter than what is in it")
    except (Refused, ValidationError) as error:
        raise refusal("media_bad_output", error) from None


def _read_small_files(folder: int) -> tuple[PackInfo, dict[str, Array]]:
    """``pack.json`` and the tables of an open folder, checked; Refused or ValidationError."""
    untrusted = read_file(folder, "pack.json", max_bytes=MAX_PACK_JSON_BYTES)
    if count_values(untrusted) > MAX_PACK_VALUES:
        raise Refused("pack.json holds more values than any clip has")
    info = PackInfo.model_validate_json(untrusted)
    tables = {
        name: read_array(read_file(folder, name, max_bytes=most), name=name, dtype=kind, dimensions=1)
        for name, kind, most in (
            ("faces.npy", FACE_DTYPE, MAX_FACES_BYTES),
            ("pictures.npy", PICTURE_DTYPE, MAX_TABLE_BYTES),
            ("windows.npy", WINDOW_DTYPE, MAX_TABLE_BYTES),
        )
    }
    check_faces(tables["faces.npy"], info)
    sampled = {item.frame: item.time_s for item in info.frames}
    _check(pack_units.picture_rules(tables["pictures.npy"], sampled=sampled, shots=[item.shot for item in info.shots]))
    _check(pack_units.window_rules(tables["windows.npy"], info.sound))
    return info, tables


def _sizes(info: PackInfo, tables: dict[str, Array]) -> dict[str, int]:
    """Bytes that each file of pixels or samples must have."""
    pictures = tables["pictures.npy"]
    return {
        "crops.bin": crops_size(tables["faces.npy"]),
        "pictures.bin": pack_units.end_of_pixels(
            pictures["offset"], height=pictures["height"], width=pictures["width"]
        ),
        "sound.f32": 4 * info.sound.samples if info.sound else 0,
    }


def crops_size(faces: Array) -> int:
    """Bytes that ``crops.bin`` must have to hold all crops."""
    return pack_units.end_of_pixels(faces["crop_offset"], height=faces["crop_height"], width=faces["crop_width"])


def check_faces(faces: Array, info: PackInfo) -> None:
    """Check every row; Refused names the first rule that is broken."""
    _check(_rules(faces, info))


def _check(rules: Iterable[tuple[str, Any]]) -> None:
    for rule, kept in rules:
        if not bool(np.all(kept)):
            raise Refused(f"face pack: {rule}")


def _rules(faces: Array, info: PackInfo) -> Any:
    """(rule, whether each row keeps it); later rules may rely on earlier ones."""
    media = info.media
    frames = [item.frame for item in info.frames]
    pictures = (media.width > 0, media.height > 0, media.frames > 0, bool(frames), bool(info.shots))
    yield "a medium has pictures, or none of their numbers", all(pictures) or not (any(pictures) or len(faces))
    yield "only a sound file has no pictures", all(pictures) == (media.kind != "sound")
    if not frames:
        return
    yield "sampled frames ascend", np.diff(frames) > 0
    yield "no frame is after the last", frames[-1] < media.frames
    starts = [run[0] for run in media.sizes]
    yield (
        "sizes begin with the first frame and ascend",
        (starts[:1] == [0] or not starts) and np.all(np.diff(starts) > 0),
    )
    yield "shots are numbered once", len({item.shot for item in info.shots}) == len(info.shots)
    for name in ("time_s", "box", "confidence"):
        yield f"{name} is finite", np.isfinite(faces[name])
    yield "landmarks are not infinite", ~np.isinf(faces["landmarks"])
    yield "coordinates are sane", np.abs(faces["box"]) <= MAX_COORDINATE
    yield "landmarks are sane", ~(np.abs(faces["landmarks"]) > MAX_COORDINATE)
    yield "boxes have an area", (faces["box"][:, 2:] > faces["box"][:, :2])
    yield "confidence is in [0, 1]", (faces["confidence"] >= 0) & (faces["confidence"] <= 1)
    yield "tracked is a truth value", _byte(faces, "tracked") <= 1
    yield "faces are of sampled frames", np.isin(faces["frame"], frames)
    yield "faces are of known shots", np.isin(faces["shot"], [item.shot for item in info.shots])
    yield "faces are sorted by frame, then person", _sorted(faces)
    yield from _crop_rules(faces, media)
    yield from _person_rules(faces, info.persons)


def _crop_rules(faces: Array, media: DecodedMedia) -> Any:
    origin, height, width = faces["crop_origin"].astype(np.int64), faces["crop_height"], faces["crop_width"]
    yield "crops have pixels", (height >= 1) & (width >= 1)
    yield "crops are turned by quarters", np.isin(faces["turn"], (0, 90, 180, 270))
    lying = (
        faces["turn"] % 180 == 90
    )  # height and width are the crop's, which is upright; the rules below are the frame's
    height, width = np.where(lying, width, height), np.where(lying, height, width)
    frame_width, frame_height = _frame_sizes(faces, media)
    yield "crops are no larger than the frame", (height <= frame_height) & (width <= frame_width)
    yield "crops begin in the frame", origin >= 0
    yield "crops end in the frame", (origin[:, 0] + width <= frame_width) & (origin[:, 1] + height <= frame_height)
    yield "crops begin in the file", (faces["crop_offset"] >= 0) & (faces["crop_offset"] < 2**62)


def _frame_sizes(faces: Array, media: DecodedMedia) -> tuple[Array, Array]:
    """Width and height of each face's frame, (n,) each."""
    runs = np.array(media.sizes or [(0, media.width, media.height)], np.int64)
    own = runs[np.searchsorted(runs[:, 0], faces["frame"], side="right") - 1]
    return own[:, 1], own[:, 2]


def _person_rules(faces: Array, persons: list[CheckedPerson]) -> Any:
    known, counts = np.unique(faces["person"], return_counts=True)
    listed = {item.person: item for item in persons}
    yield "persons are numbered once", len(listed) == len(persons)
    yield "persons are those of the faces", sorted(listed) == known.tolist()
    yield "persons' faces are counted", [listed[person].faces for person in known.tolist()] == counts.tolist()
    for item in persons:
        yield "a keyface shows its person", item.keyface < len(faces) and faces["person"][item.keyface] == item.person


def _sorted(faces: Array) -> Any:
    frame, person = np.diff(faces["frame"].astype(np.int64)), np.diff(faces["person"].astype(np.int64))
    return (frame > 0) | ((frame == 0) & (person >= 0))


def _byte(faces: Array, name: str) -> Array:
    """A one-byte member as numbers: a bool made of another byte than 0 and 1 is neither true nor false."""
    dtype, offset = FACE_DTYPE.fields[name][:2]  # type: ignore[index]
    assert dtype.itemsize == 1
    raw: Array = np.frombuffer(faces.tobytes(), np.uint8).reshape(len(faces), FACE_DTYPE.itemsize)[:, offset]
    return raw
