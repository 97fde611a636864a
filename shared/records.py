"""The records both sides exchange through the shared folders, parsed once at the edge into frozen models.

A schema version is raised when a member changes its meaning; a record of a later version is refused, never guessed.
"""

from __future__ import annotations

import re
import secrets
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, NewType, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from shared.errors import PermanentError
from shared.stability import Again

JobId = NewType("JobId", str)

SUBMISSION_SCHEMA = 1
STATUS_SCHEMA = 1
CATALOG_SCHEMA = 1
RESULT_SCHEMA = 1

ID_PATTERN = r"^[a-z2-7]{26}$"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"

DETECTOR_PATTERN = r"^[a-z][a-z0-9_]{1,40}$"
DetectorId = Annotated[str, StringConstraints(pattern=DETECTOR_PATTERN)]
Mode = Literal["quick", "standard", "thorough"]
Stage = Literal["tmp", "new", "active", "done", "failed"]
JobState = Literal["queued", "working", "done", "failed", "expired"]
#: A visitor's own guess.
Guess = Literal["real", "fake", "unsure"]
DetectorState = Literal["waiting", "working", "ok", "not_applicable", "failed", "timed_out"]


def _can_be_counted_with(moment: datetime) -> datetime:
    """Refuse years to which retention times cannot be added."""
    if not 1970 <= moment.year < 9000:
        raise ValueError("not a moment of ours")
    return moment


#: A point in time, aware: one without its zone cannot be compared with ours.
Moment = Annotated[AwareDatetime, AfterValidator(_can_be_counted_with)]


def new_id() -> JobId:
    """A random id of 130 bits (26 characters, base 32): unguessable, unordered, safe as a file name."""
    return JobId("".join(secrets.choice(_ALPHABET) for _ in range(26)))


def checked_id(untrusted_id: str) -> JobId:
    """Return the id when it is well-formed; raise PermanentError otherwise."""
    if not re.fullmatch(ID_PATTERN, untrusted_id):
        raise PermanentError("record_invalid")
    return JobId(untrusted_id)


#: How a worker runs: as a plain process, or in a container.
RunnerKind = Literal["process", "docker"]


class Record(BaseModel):
    """Base of all records: frozen, unknown members refused, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    #: a larger file is not one of these records and is not parsed (shared.reading)
    max_bytes: ClassVar[int] = 1_000_000


class Submission(Record):
    """``submission.json``: what the visitor asked for. ``pin_hash`` is argon2id over an HMAC with the portal's pepper."""

    schema_version: Literal[1] = 1
    id: Annotated[JobId, StringConstraints(pattern=ID_PATTERN)]
    received: Moment
    email: str | None
    pin_hash: str | None
    detectors: Annotated[tuple[DetectorId, ...], Field(min_length=1, max_length=64)]
    mode: Mode = "standard"
    video_per_detector: bool = False
    #: which detectors judge again after mild re-encoding
    stability: Again = "fast"
    #: False: the file is not used to recognise later copies of it (``shared.seen``)
    recognise: bool = True
    original_name: Annotated[str, StringConstraints(max_length=120)]
    source_url: str | None = None
    #: the site (``shared.links``) of the page ``source_url``, whose clip the back-end fetches; None: the media came with the submission
    link: str | None = None
    #: of the media; None while the clip of a page was not fetched yet
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None
    bytes: Annotated[int, Field(ge=1)] | None
    #: what the visitor thought of the file before any result; it feeds the record of the site only (shared.truths)
    guess: Guess | None = None
    #: the submission whose file this one judges again
    again_of: Annotated[JobId, StringConstraints(pattern=ID_PATTERN)] | None = None
    #: higher ones begin first; a job in work gives its place to a waiting one above it. 0 for visitors, below 0 for batches
    priority: int = 0
    #: in which language mails about it are written (shared.languages)
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$")] = "en"
    #: fairness key: jobs of one visitor do not hold up the others (a keyed hash, not the address)
    visitor: str = ""

    @model_validator(mode="after")
    def _has_media_or_a_page(self) -> Self:
        if (self.sha256 is None) != (self.bytes is None) or (self.sha256 is None and not self.link):
            raise ValueError("neither media nor a page")
        return self


class Attempts(Record):
    """``attempts.json``: how often work on a job was begun; ``at`` is the moment of the last change, seconds since 1970."""

    max_bytes: ClassVar[int] = 1_000

    attempts: Annotated[int, Field(ge=0)]
    at: float


class DetectorProgress(Record):
    """The progress of one detector. ``code`` is a code of shared.errors when the state is not ok."""

    detector: str
    title: str
    state: DetectorState = "waiting"
    done: int = 0
    total: int = 0
    code: str | None = None
    seconds: float | None = None
    cached: bool = False
    #: what ``done`` and ``total`` count
    unit: Literal["face", "picture", "sound"] = "face"


class Status(Record):
    """``status.json`` of one job, replaced atomically all along. Times are UTC."""

    schema_version: Literal[1] = 1
    id: Annotated[JobId, StringConstraints(pattern=ID_PATTERN)]
    state: JobState
    step: str = "waiting"
    updated: Moment
    received: Moment | None = None
    finished: Moment | None = None
    attempt: int = 0
    #: 1 = next; None when the job is not queued
    queue_position: int | None = None
    #: from measured durations: the wait is about this long. Where a step ahead was never measured, it is at least this
    estimated_wait_s: float | None = None
    #: the same number where all steps ahead were measured; else with their time limits. None: a step ahead has no limit
    longest_wait_s: float | None = None
    progress: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    detectors: tuple[DetectorProgress, ...] = ()
    code: str | None = None
    #: ``pending``: the numbers are published (the state is done), and the result video is still to be drawn
    video: Literal["pending"] | None = None


#: From so many seconds to so many; the second is None where nothing bounds it.
Span = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)] | None]


class Queue(Record):
    """``results/queue.json``: the waiting jobs in the order in which they will begin, each with its wait in seconds: least and most.

    Both are one number where everything ahead was measured; the most is None where something ahead has no limit. Status records get their
    place from here.
    """

    max_bytes: ClassVar[int] = 10_000_000

    schema_version: Literal[1] = 1
    updated: datetime
    waits: dict[JobId, Span]


class Counted(Record):
    """How many real and how many manipulated items of a reference set reached a detector's threshold; ``own``: a set of the operator."""

    reference: str
    own: bool
    real: int
    real_flagged: int
    fake: int
    fake_flagged: int


class CatalogEntry(Record):
    """One detector as the portal shows it. ``unavailable`` is a code of shared.errors, None = can be chosen."""

    id: DetectorId
    title: str
    version: str
    summary: str
    paper: str
    year: int
    licence: str
    threshold: float
    aggregation: str
    #: what it is given: single faces, faces over time, whole pictures, pieces of sound
    input: Literal["face", "video", "picture", "sound"] = "face"
    #: it needs the pixels that were saved, as in PNG
    lossless_only: bool = False
    sees: tuple[str, ...]
    limits: tuple[str, ...]
    weights: tuple[dict[str, Any], ...]
    unavailable: str | None = None
    #: how its worker runs here, None when it cannot
    runner: RunnerKind | None = None
    #: median seconds for a job in standard mode, as measured here; None while nothing was measured
    typical_seconds: float | None = None
    measured_jobs: int = 0
    #: seconds of judging a clip again after mild re-encoding, by the card, and whether it does so unless asked otherwise
    again_seconds: float = 0.0
    again_by_default: bool = False
    #: place among the detectors worth their download, from 1 (the page offers these first), and why it is one; None: it is not
    recommended: int | None = None
    recommended_why: str = ""
    #: its kind of evidence and what it looks for (FAMILIES, KINDS of ``shared.evidence``); empty where its card does not say
    family: str = ""
    looks_for: tuple[str, ...] = ()
    #: of exactly this version, in standard mode; None: no reference set has it
    counted: Counted | None = None


class Catalog(Record):
    """``results/catalog.json``: what the back-end offers, and the sign that it is alive (``updated``)."""

    max_bytes: ClassVar[int] = 4_000_000

    schema_version: Literal[1] = 1
    updated: Moment
    #: how the media worker runs
    runner: RunnerKind
    queued: int
    working: int
    #: workers ended since the start of the back-end because another one needed their memory
    evicted: int = 0
    #: median seconds of what a job needs beside its detectors (media pass, report) in standard mode, as measured here; None: not yet
    overhead_seconds: float | None = None
    detectors: tuple[CatalogEntry, ...]
    #: names of the sites (``shared.links``) of whose pages clips are fetched here; empty without a container engine or its image
    links: tuple[str, ...] = ()
