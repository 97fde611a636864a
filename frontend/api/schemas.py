"""The shapes of the API's requests and answers: enumerations and numbers, no wording of pages.

Pydantic models, from which the OpenAPI document is made. For ``frontend.api`` only.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from frontend.progress import Progress
from shared.records import ID_PATTERN, DetectorId, Guess, JobId, JobState, Mode, Moment, Record, RunnerKind

EXAMPLE_ID: Final = "k7q2m4x6p3t5w2y4a6c3e5g7j2"

#: A cursor of a list: opaque to the reader.
CURSOR_PATTERN: Final = r"^[A-Za-z0-9_-]{1,80}$"

Wanted = Annotated[
    tuple[DetectorId, ...],
    Field(min_length=1, max_length=64, description="ids of GET /detectors; default: all that are available"),
]


class Wish(BaseModel):
    """What a submission asks for, beside its file or address."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    detectors: Wanted | None = None
    mode: Mode = Field("standard", description="quick: at most 32 frames; thorough: every frame")
    stability: Literal["fast", "all"] = Field(
        "fast", description="which detectors judge a part again after mild changes: the fast ones, or all"
    )
    video_per_detector: bool = Field(False, description="also a result video for each detector")
    guess: Guess | None = Field(None, description="what you think the file is; for the record of this site only")
    recognise: bool = Field(
        True,
        description="false: later copies of the file are not recognised by it; else their senders are told day and scores of its result",
    )
    email: str | None = Field(None, max_length=254, description="where mails about the submission go")
    webhook: str | None = Field(
        None, max_length=2000, description="https address that is told the end of the work; needs an API key"
    )


class SubmissionByAddress(Wish):
    """A submission whose file is fetched from a web address."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"url": "https://example.org/clip.mp4", "mode": "quick"}]},
    )

    url: str = Field(min_length=1, max_length=2000, description="web address of the file itself, on a public site")


class SubmissionByFile(Wish):
    """A submission with its file, as multipart/form-data."""

    media: Annotated[str, Field(description="the video, picture or sound", json_schema_extra={"format": "binary"})]


class Links(Record):
    """Addresses of a submission, from the root of the site. ``page`` is for people, who open it with the PIN."""

    self: str
    events: str
    result: str
    files: str
    page: str


class Submitted(Record):
    """The answer to a new submission."""

    id: Annotated[JobId, Field(pattern=ID_PATTERN)]
    state: JobState
    links: Links


class Deleting(Record):
    """A submission that is deleted as soon as its work has ended."""

    id: Annotated[JobId, Field(pattern=ID_PATTERN)]
    deleting: Literal[True]


class SubmissionStatus(Progress):
    """How far a submission is. It is over when ``state`` is done, failed or expired, and ``video`` is null."""

    links: Links


class Listed(Record):
    """One submission of a list."""

    id: Annotated[JobId, Field(pattern=ID_PATTERN)]
    created: Moment
    state: JobState
    code: str | None
    links: Links


class Page(Record):
    """A part of a list, newest first. ``next``: the cursor of the next part, null at the end."""

    items: tuple[Listed, ...]
    next: str | None


class PageAsked(BaseModel):
    """Which part of a list is wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=100, description="most items of this part")] = 20
    cursor: Annotated[str, Field(pattern=CURSOR_PATTERN, description="`next` of the part before")] | None = None


class AgainAsked(BaseModel):
    """The same file judged again, with other detectors or another mode."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"detectors": ["mesonet"], "mode": "thorough"}]}
    )

    detectors: Wanted
    mode: Mode = "standard"
    stability: Literal["fast", "all"] = "fast"
    video_per_detector: bool = False
    webhook: str | None = Field(None, max_length=2000)


class Detector(Record):
    """One detector. ``unavailable``: a code why it cannot be chosen now, null where it can."""

    id: DetectorId
    title: str
    version: str
    summary: str
    paper: str
    year: int
    licence: str
    input: Literal["face", "video", "picture", "sound"]
    lossless_only: bool
    threshold: float
    aggregation: str
    sees: tuple[str, ...]
    limits: tuple[str, ...]
    unavailable: str | None
    runner: RunnerKind | None
    typical_seconds: float | None
    measured_jobs: int
    again_seconds: float
    again_by_default: bool
    recommended: int | None


class Detectors(Record):
    """All detectors of this site. ``running``: whether the back-end that runs them is alive."""

    running: bool
    items: tuple[Detector, ...]


class Allowance(Record):
    """``left`` of ``most``, and seconds until there is more."""

    most: int
    left: int
    reset_s: int


class Limits(Record):
    """What this site takes, and what it keeps for how long. ``submissions``: of this key a day, or of this network address an hour."""

    largest_file_bytes: int
    most_detectors: int
    most_duration_s: float
    most_frames: int
    most_pixels: int
    modes: tuple[Mode, ...]
    key_needed: bool
    requests_a_minute: int
    submissions: Allowance
    scopes: tuple[Literal["submit", "read", "delete"], ...]
    keep_media_days: float
    keep_results_days: float
    keep_address_days: float
    platform: str


class Problem(BaseModel):
    """Any error (RFC 9457). ``code`` never changes; docs/errors.md lists all. ``errors``: a sentence for each wrong part of a request."""

    model_config = ConfigDict(frozen=True)

    type: str
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    code: str
    errors: dict[str, str] | None = None
    reference: str | None = None
