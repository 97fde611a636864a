"""``result.json``: the result of a finished job, as frozen models. Its JSON Schema is docs/result.schema.json.

The findings of the media pass (the decoded media, shots, persons, notes) have one shape from ``pack.json`` to the page: the classes of
``base_detector`` and ``shared.findings``, which a worker can import without pydantic. A member added there is in ``result.json``, too.
Every score is a ``fake_score`` in [0, 1], 1 = fake, and null where there is none: nothing is ever filled in.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from base_detector import Shot
from shared.findings import DecodedMedia, Note, Sound
from shared.findings import Person as SeenPerson
from shared.origin import Origin
from shared.records import Mode, Moment, Record, RunnerKind

#: as ``Record`` has it, for the records that extend one of the contract's
_AS_RECORD = ConfigDict(extra="forbid", allow_inf_nan=False)

Count = Annotated[int, Field(ge=0, lt=2**31)]
Score = Annotated[float, Field(ge=0.0, le=1.0)]
HardLabel = Literal["real", "fake"]
#: ``no_trace``: below the threshold of a detector that needs original pixels. Who knows whether this file was lossy before; so "real" is
#: not what it says.
FileLabel = Literal["real", "fake", "no_trace"]
#: What one score is about: a face, a whole picture, a window of sound. Scores of different units are never joined.
Unit = Literal["face", "picture", "sound"]
#: Where an answer points. Never that a file is fake or real.
Points = Literal["points_to_fake", "points_to_real", "inconclusive"]
#: ENFSI's verbal scale of likelihood ratios (``shared.evidence.LEVELS``).
SupportLevel = Literal["limited", "moderate", "moderately_strong", "strong", "very_strong", "extremely_strong"]
#: What became of the result video (a still: of the marked picture). ``pending``: it follows, and this record is replaced then;
#: ``nothing``: no detector has a score, so there is nothing to draw.
VideoState = Literal["ready", "pending", "failed", "not_asked", "nothing"]


@dataclass(frozen=True, config=_AS_RECORD)
class MediaFacts(DecodedMedia):
    """The submitted file. ``width`` and ``height`` are as shown, after rotation; ``frames`` counts decoded ones."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, config=_AS_RECORD)
class Person(SeenPerson):
    """A cluster of face tracks taken for one person. ``keyframe`` is a file of the report, None for none."""

    keyframe: str | None = None


class FaceRow(Record):
    """One face in one sampled frame: box = x1, y1, x2, y2 in pixels of the frame as shown."""

    frame: int
    time_s: float
    shot: int
    person: int
    box: tuple[float, float, float, float]
    confidence: float
    tracked: bool


class PictureRow(Record):
    """One whole picture that was judged."""

    frame: int
    time_s: float
    shot: int


class PersonScore(Record):
    """What one detector says of one person."""

    person: Count
    faces: Annotated[int, Field(ge=1)]
    fake_score: Score
    hard_label: HardLabel


class Provenance(Record):
    """What produced the scores. With the media's sha256 and the pack's digest this is the cache key."""

    version: str
    contract: str
    weights: dict[str, str]
    parameters: dict[str, Any]
    runner: RunnerKind
    image: str | None

    @property
    def comparable(self) -> dict[str, Any]:
        """What must be the same for scores to be read together, wherever they were made."""
        return {name: getattr(self, name) for name in ("version", "contract", "weights", "parameters")}


class MediaWorker(Record):
    """What opened the submitted file and found the faces."""

    runner: RunnerKind
    image: str | None


class Evidence(Record):
    """A picture that supports a score: ``file`` is in the report, ``face`` is a row of ``faces``.

    ``plain``: the same face without the marks; None where ``file`` shows both, as results of earlier versions have it.
    """

    face: int
    file: str
    plain: str | None = None


class Keyframe(Record):
    """A picture of a person in a shot: ``face`` is a row of ``faces``, of all its faces there the one of which most is said."""

    face: int
    file: str


class Conditions(Record):
    """What a file is like: a score is to be read beside those of files like it. None where it is not known.

    ``face_px``: median of the longer sides of the faces' boxes, pixels. ``sharpness``: median variance of the Laplacian of the faces (of
    the picture) at 64 pixels a side. ``bits_per_pixel``: of the file, over all its pictures. ``blocking``: how much stronger steps of
    brightness are at every eighth pixel than between; 1 = no trace of blocks (``backend.scores.conditions`` says what it shows).
    """

    kind: str
    width: int
    height: int
    codec: str
    duration_s: float
    face_px: float | None = None
    sharpness: float | None = None
    bits_per_pixel: float | None = None
    blocking: float | None = None


class Tally(Record):
    """``reached`` of ``of`` items of a reference set; ``low`` to ``high``: 95 % interval of that share (Clopper and Pearson)."""

    reached: Count
    of: Count
    low: Score
    high: Score


class Ratio(Record):
    """How many times likelier a score is for manipulated than for real material, with its 95 % interval.

    All lie from ``least`` to ``most``: a set of this size supports nothing beyond.
    """

    value: Annotated[float, Field(gt=0)]
    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(gt=0)]
    least: Annotated[float, Field(gt=0)]
    most: Annotated[float, Field(gt=0)]


class Worth(Record):
    """What one score is worth, by a reference set of this very detector: docs/evidence.md says how each number is computed.

    ``real``, ``fake``: items of each kind with a score at least as high; ``..._as_low``: with one at most as high; ``..._flagged``: with
    one at or above the threshold.
    ``like``: what the items have in common with the file, in words; null when the whole set was taken, and ``why_whole`` says why.
    ``groups``: scenes or identities among the items, which the intervals count, not the items; ``rarer_groups``: of the kind of item that
    has fewer of them, None in a result of an earlier version.
    """

    reference: str
    about: str
    own: bool
    created: Moment
    data_sha256: str
    real: Tally
    fake: Tally
    real_as_low: Tally
    fake_as_low: Tally
    real_flagged: Tally
    fake_flagged: Tally
    groups: Count
    rarer_groups: Count | None = None
    ratio: Ratio
    cllr: float | None
    min_cllr: float | None
    like: str | None
    why_whole: str | None


class Finding(Record):
    """Where one detector's answer points, and why; ``code`` and the words are in ``shared.evidence``.

    ``level``: how strongly, by the end of the ratio's interval that is nearer to 1; null where no ratio is known.
    """

    points: Points
    code: str
    sentence: str
    level: SupportLevel | None = None


class FalseStretches(Record):
    """How often ``detectors`` (ids; two: at once) had a stretch of ``fake`` on real video: ``found`` times in ``minutes``.

    ``reference``: the set of real clips, ``about``: what they are.
    """

    reference: str
    about: str
    detectors: tuple[str, ...]
    found: Count
    minutes: Annotated[float, Field(gt=0)]


class VariantScore(Record):
    """The score that the file would have after one mild change (``shared.stability``), by the difference that the change makes to the
    ``units`` that were judged again, added to the file's score and kept within 0 and 1. Without a score ``code`` says why."""

    name: str
    fake_score: Score | None = None
    units: Count = 0
    code: str | None = None


class Stability(Record):
    """How far a score moves under mild re-encoding. ``low`` to ``high`` holds the file's score and those of all variants that have one;
    it is no confidence interval. None where no variant has one. ``units`` of the file were judged again, which took ``seconds``."""

    variants: tuple[VariantScore, ...]
    low: Score | None
    high: Score | None
    units: Count
    seconds: Annotated[float, Field(ge=0)] = 0.0

    def crosses(self, threshold: float) -> bool:
        """Whether the label would change somewhere in the band."""
        return self.low is not None and self.high is not None and self.low < threshold <= self.high

    @property
    def scored(self) -> tuple[VariantScore, ...]:
        """The variants that have a score."""
        return tuple(item for item in self.variants if item.fake_score is not None)


class Stretch(Record):
    """From when to when a detector stays at or above its threshold (``fake``) or below it (``real``) for a person; None: for the voice.

    ``units`` were judged there, ``median`` is their middle score. It says on which side the scores are, not what they are worth.
    """

    person: Count | None
    side: HardLabel
    start_s: float
    end_s: float
    units: Count
    median: Score


class JointStretch(Record):
    """When ``detectors`` (ids), of ``families`` kinds of evidence, are at or above their thresholds for one person at once.

    ``false_stretches``: of two of them, of two families where there are two; None: that was not measured.
    """

    person: Count | None
    start_s: float
    end_s: float
    detectors: tuple[str, ...]
    families: Count
    false_stretches: FalseStretches | None = None


class DetectorResult(Record):
    """One detector's answer. ``scores`` is parallel to ``Result.faces``, ``Result.pictures`` or ``windows``, as ``unit`` says (null = no
    opinion on that one). ``windows``: start and end of each window of sound, seconds on the clock of the pictures.

    ``auc`` is the area under the integrity scores (1 - fake_score) sorted in descending order over a unit axis,
    as the published platform defines it (Li et al., 2021); it equals the mean integrity score. It is not a ROC-AUC.
    """

    id: str
    title: str
    unit: Unit = "face"
    status: Literal["ok", "not_applicable", "failed", "timed_out"]
    code: str | None = None
    message: str | None = None
    fake_score: Score | None = None
    hard_label: FileLabel | None = None
    threshold: Score
    strategy: str
    auc: Score | None = None
    persons: tuple[PersonScore, ...] = ()
    scores: tuple[Score | None, ...] = ()
    windows: tuple[tuple[float, float], ...] = ()
    units_scored: int = 0
    skipped: dict[str, int] = {}
    evidence: tuple[Evidence, ...] = ()
    seconds: dict[str, float] = {}
    cached: bool = False
    provenance: Provenance
    paper: str = ""
    limits: tuple[str, ...] = ()
    #: what it looks at, and the kinds of manipulation it looks for, as its card says (``shared.evidence``)
    family: str = ""
    looks_for: tuple[str, ...] = ()
    #: where it points; None without a score, and in a result of an earlier version
    finding: Finding | None = None
    #: None: this version of it was not measured on files of this kind in this mode
    worth: Worth | None = None
    #: the score after mild re-encoding; None where the detector did not judge again
    stability: Stability | None = None
    #: by person and time; none for whole pictures, stills, and in quick mode, whose samples are too far apart
    stretches: tuple[Stretch, ...] = ()
    #: of it alone, on real video; None: that was not measured of this version in this mode
    false_stretches: FalseStretches | None = None


class Consensus(Record):
    """Mean of the fake scores of all detectors that judge one unit, with its spread. Detectors are not calibrated alike: a summary, not a
    verdict."""

    unit: Unit
    detectors: int
    mean: Score
    minimum: Score
    maximum: Score
    standard_deviation: float


class Result(Record):
    """``result.json`` of one job."""

    #: a row of a face and its scores takes some 300 bytes; long clips in thorough mode have hundreds of thousands of them
    max_bytes: ClassVar[int] = 256_000_000

    schema_version: Literal[2] = 2
    id: str
    created: Moment
    platform_version: str
    media: MediaFacts
    mode: Mode
    sampled_frames: int
    #: what a reader of the scores must know about the file, for example a damaged stretch that was not judged
    notes: tuple[Note, ...] = ()
    shots: tuple[Shot, ...]
    persons: tuple[Person, ...]
    faces: tuple[FaceRow, ...]
    #: a face of each person in each shot, those with most above their thresholds first; none in a result of an earlier version
    gallery: tuple[Keyframe, ...] = ()
    pictures: tuple[PictureRow, ...] = ()
    #: None where no detector asked for it, and where there is none
    sound: Sound | None = None
    detectors: tuple[DetectorResult, ...]
    #: one for each unit that two or more detectors scored
    consensus: tuple[Consensus, ...] = ()
    #: where two detectors or more that judged enough of the file are at or above their thresholds at once
    joint_stretches: tuple[JointStretch, ...] = ()
    #: what the file is like; None in a result of an earlier version
    conditions: Conditions | None = None
    #: where the file comes from: its content credentials, traces and marks; None in a result of an earlier version
    origin: Origin | None = None
    #: None where it is not known: the result of an earlier version
    media_worker: MediaWorker | None = None
    #: seconds by stage: stage, media (and its parts), detector.<id>, stability (judging again), report, video
    seconds: dict[str, float]
    #: None where it is not known: the result of an earlier version
    video: VideoState | None = None
    #: files of the report, relative names -> sha256
    files: dict[str, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _of_version_1(cls, untrusted: Any) -> Any:
        """A result of schema 1, written before sound and whole pictures were judged, in the form of today."""
        if isinstance(untrusted, dict) and untrusted.get("schema_version") == 1:
            consensus = untrusted.get("consensus")
            detectors = untrusted.get("detectors")
            untrusted = untrusted | {
                "schema_version": 2,
                "consensus": [consensus | {"unit": "face"}] if isinstance(consensus, dict) else [],
            }
            if isinstance(detectors, list):
                untrusted["detectors"] = [_detector_of_version_1(item) for item in detectors]
        return untrusted


def _detector_of_version_1(untrusted: Any) -> Any:
    if not isinstance(untrusted, dict):
        return untrusted
    rest = {key: value for key, value in untrusted.items() if key != "faces_scored"}
    return rest | {"units_scored": untrusted.get("faces_scored", 0)}
