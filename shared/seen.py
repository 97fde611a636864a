"""What is kept of a judged file so that a later copy of it is recognised on this installation, and how two files are compared.

Owns the shape of ``results/<id>/report/seen.json`` (in a report, so that it goes with it) and the distances of
docs/provenance.md, which were measured. Promises: no name, address, id or picture is in it; "alike" never says that a file is a copy, since
a clip in which one face was exchanged looks like its original. May be imported by all.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal, Self

import numpy as np
from pydantic import Field, StringConstraints

from base_detector import Array
from shared.errors import StoreTrouble
from shared.origin import MOST_PICTURE_MARKS, MOST_SOUND_MARKS, Fingerprint
from shared.reading import RecordInvalid, read_record
from shared.records import JobId, Mode, Moment, Record
from shared.results import Result, Score, Unit
from shared.store import Store

#: Clips look alike when the marks of both are so near to each other's, in the median over the marks (of 256 bits).
PICTURES_APART: Final = 56
#: Still pictures look alike when one of their two marks (of the whole, and without its borders) is so near to one of the other's.
STILLS_APART: Final = 44
#: Sounds are alike when so many marks in a row differ in at most this share of their bits (Haitsma and Kalker: 0.35 over 256 marks).
SOUND_APART: Final = 0.30
SOUND_RUN: Final = 64
#: Of all places at which two sounds can be put over each other, the likeliest are looked at closely.
_MOST_PLACES: Final = 6


#: In a report, beside what is listed in ``result.json``: nobody is sent it, and it goes when the report goes.
SEEN: Final = "seen.json"


class SeenScore(Record):
    """The score of one detector then; ``made_by``: a digest of what makes scores comparable (version, weights, parameters, strategy)."""

    id: Annotated[str, StringConstraints(max_length=60)]
    title: Annotated[str, StringConstraints(max_length=120)]
    unit: Unit
    threshold: Score
    fake_score: Score | None
    made_by: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]


class Seen(Record):
    """``seen.json``: the marks of a judged file, its scores, and the day."""

    max_bytes: ClassVar[int] = 200_000

    schema_version: Literal[1] = 1
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    kind: Literal["video", "image", "sound"]
    judged: Moment
    mode: Mode
    pictures: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")], ...], Field(max_length=MOST_PICTURE_MARKS)
    ] = ()
    sound: Annotated[
        str, StringConstraints(pattern=r"^([0-9a-f]{8}|-{8})*$", max_length=8 * (MOST_SOUND_MARKS + 1))
    ] = ""
    scores: Annotated[tuple[SeenScore, ...], Field(max_length=64)] = ()

    @classmethod
    def of(cls, result: Result) -> Self:
        """What is kept of a result."""
        marks = result.origin.fingerprint if result.origin else None
        marks = marks or Fingerprint()
        return cls(
            sha256=result.media.sha256,
            kind=result.media.kind,
            judged=result.created,
            mode=result.mode,
            pictures=marks.pictures,
            sound=marks.sound,
            scores=tuple(
                SeenScore(
                    id=answer.id,
                    title=answer.title,
                    unit=answer.unit,
                    threshold=answer.threshold,
                    fake_score=answer.fake_score,
                    made_by=hashlib.sha256(
                        json.dumps([answer.provenance.comparable, answer.strategy], sort_keys=True).encode()
                    ).hexdigest()[:16],
                )
                for answer in result.detectors
            ),
        )


def read_seen(store: Store, job: JobId) -> Seen | None:
    """What was kept of a published file; None when there is nothing, or nothing that can be read. StoreTrouble as of the store's steps."""
    try:
        return read_record(store.report(job) / SEEN, Seen)
    except RecordInvalid:
        return None
    except FileNotFoundError:
        store.check()  # an empty mount point has none
        return None
    except OSError as error:
        raise StoreTrouble(error) from error


@dataclass(frozen=True, eq=False)
class Marks:
    """The marks of a file, ready to be compared: ``pictures`` (n, 32) uint8, ``sound`` (m,) uint32, ``heard`` (m,) bool."""

    sha256: str
    kind: str
    pictures: Array
    sound: Array
    heard: Array

    @classmethod
    def of(cls, seen: Seen) -> Marks:
        """Those of a record."""
        words = [seen.sound[at : at + 8] for at in range(0, len(seen.sound), 8)]
        heard = np.array([not word.startswith("-") for word in words], bool)
        return cls(
            seen.sha256,
            seen.kind,
            np.frombuffer(bytes.fromhex("".join(seen.pictures)), np.uint8).reshape(-1, 32),
            np.array([0 if word.startswith("-") else int(word, 16) for word in words], np.uint32),
            heard,
        )


@dataclass(frozen=True)
class Likeness:
    """How alike two files are. ``same``: byte for byte. ``pictures``, ``sound``: alike or not; None where it was not compared."""

    same: bool
    pictures: bool | None
    sound: bool | None

    @property
    def any(self) -> bool:
        """Whether there is anything to say."""
        return self.same or bool(self.pictures) or bool(self.sound)


def likeness(one: Marks, other: Marks) -> Likeness:
    """Compare two files."""
    if one.sha256 == other.sha256:
        return Likeness(same=True, pictures=None, sound=None)
    pictures = sound = None
    if len(one.pictures) and len(other.pictures) and (one.kind == "image") == (other.kind == "image"):
        if one.kind == "image":
            pictures = stills_apart(one.pictures, other.pictures) <= STILLS_APART
        else:
            pictures = pictures_apart(one.pictures, other.pictures) <= PICTURES_APART
    # two clips that do not look alike are not compared by ear: that takes a millisecond, and a site has thousands
    by_ear = pictures or "sound" in (one.kind, other.kind)
    if by_ear and one.heard.sum() >= SOUND_RUN and other.heard.sum() >= SOUND_RUN:
        sound = sound_apart(one, other) <= SOUND_APART
    return Likeness(same=False, pictures=pictures, sound=sound)


def pictures_apart(one: Array, other: Array) -> float:
    """Median distance of the marks (n, 32) of each file to the nearest one (m, 32) of the other, the larger of the two ways, bits."""
    between = _bits(one[:, None] ^ other[None]).sum(axis=2, dtype=np.int32)
    return float(max(np.median(between.min(axis=0)), np.median(between.min(axis=1))))


def stills_apart(one: Array, other: Array) -> int:
    """Least distance of a mark (n, 32) of one picture to one (m, 32) of the other, bits."""
    return int(_bits(one[:, None] ^ other[None]).sum(axis=2, dtype=np.int32).min())


def sound_apart(one: Marks, other: Marks) -> float:
    """Least share of differing bits over ``SOUND_RUN`` marks in a row, wherever the two are put over each other; 1.0 for no such place."""
    if min(len(one.sound), len(other.sound)) < SOUND_RUN:
        return 1.0
    size = 1 << (len(one.sound) + len(other.sound)).bit_length()
    mine, theirs = (np.fft.rfft(_signs(item), size, axis=1) for item in (one, other))
    # at each place the sum over all bits of equal minus different ones; the first row counts the marks that are there in both
    together = np.fft.irfft(
        np.stack([mine[0].conj() * theirs[0], (mine[1:].conj() * theirs[1:]).sum(axis=0)]), size, axis=1
    )
    offsets = np.concatenate([np.arange(len(other.sound)), np.arange(-len(one.sound) + 1, 0)])
    marks, equal = (row[offsets] for row in together)
    likely = np.where(marks >= SOUND_RUN // 2, equal / np.maximum(marks, 1), -32.0)
    return min(_over(one, other, int(offsets[place])) for place in np.argsort(-likely, kind="stable")[:_MOST_PLACES])


def _signs(marks: Marks) -> Array:
    """(33, m) float32: 1 where a mark is heard, then its bits as 1 and -1; 0 where it is not."""
    bits = np.unpackbits(marks.sound.astype(">u4").view(np.uint8).reshape(-1, 4), axis=1).T
    heard = marks.heard.astype(np.float32)
    return np.concatenate([heard[None], (2 * bits.astype(np.float32) - 1) * heard])


def _over(one: Marks, other: Marks, offset: int) -> float:
    """Least share of differing bits over a run, with the other sound ``offset`` marks later."""
    start, stop = max(0, -offset), min(len(one.sound), len(other.sound) - offset)
    if stop - start < SOUND_RUN:
        return 1.0
    mine, theirs = slice(start, stop), slice(start + offset, stop + offset)
    differ = _bits(one.sound[mine] ^ other.sound[theirs]).astype(np.int64)
    told = one.heard[mine] & other.heard[theirs]
    wrong, total = (np.concatenate([[0], np.cumsum(item)]) for item in (differ * told, told.astype(np.int64)))
    bits, marks = wrong[SOUND_RUN:] - wrong[:-SOUND_RUN], total[SOUND_RUN:] - total[:-SOUND_RUN]
    enough = marks >= SOUND_RUN * 3 // 4
    return float((bits[enough] / (32 * marks[enough])).min()) if enough.any() else 1.0


def _bits(words: Array) -> Array:
    """How many bits of each word are set."""
    ones: Array = np.bitwise_count(words)
    return ones
