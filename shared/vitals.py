"""What the back-end says of itself to its operator, with every heartbeat; and what the operator asks of it in the portal.

Owns the one shape of both. ``Vitals`` holds counts, sizes and codes only: nothing of a visitor, no id of a submission, no address. All
counts are since ``started``: they begin again at zero with the process. May be imported by all.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from shared.records import ID_PATTERN, DetectorId, JobId, Mode, Moment, Record, RunnerKind, new_id

#: Upper edges of the classes in which durations are counted, seconds; one more class is above the last one.
EDGES_S: Final = (1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0)

#: A code of shared.errors; what is longer or of other letters does not come from us.
Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
Count = Annotated[int, Field(ge=0)]

#: ``media``, ``report`` or the id of a detector; the same names as of the workers.
Step = DetectorId

#: States of a detector, those of backend.catalog.cards (a test compares).
State = Literal["draft", "quarantine", "shadow", "enabled", "disabled"]

#: How a job ended. Those of ``deleted`` ended because their owner asked for it.
Outcome = Literal["done", "failed", "deleted"]

#: How a detector's part of a job ended.
Verdict = Literal["ok", "not_applicable", "failed", "timed_out"]

#: Local folders of the back-end that may fill up.
Disk = Literal["scratch", "backend"]


class WorkerVitals(Record):
    """One worker of this machine. ``kept``: for always, for a while, or for one job, as the settings say."""

    name: Step
    kept: Literal["hot", "warm", "cold"]
    state: Literal["starting", "idle", "busy"]
    runner: RunnerKind | None
    #: what its card promises, by which it counts in the budget
    promised_mb: Count
    #: measured now; None in a container, which the engine measures
    used_mb: Count | None = None


class DetectorVitals(Record):
    """One detector: its state, where it may go from there, and how its parts of jobs ended, without those from the cache."""

    id: DetectorId
    title: Annotated[str, StringConstraints(max_length=200)]
    version: Annotated[str, StringConstraints(max_length=60)]
    state: State
    #: states into which the operator may put it now
    next: tuple[State, ...] = ()
    unavailable: Code | None = None
    ended: dict[Verdict, Count] = Field(default_factory=dict)
    #: why it failed or was cut off
    codes: dict[Code, Count] = Field(default_factory=dict)


class StepVitals(Record):
    """How long one step took. ``classes``: jobs by ``EDGES_S``, since ``started``; median and 90 % of the last measurements, which last."""

    step: Step
    mode: Mode
    classes: Annotated[tuple[Count, ...], Field(min_length=len(EDGES_S) + 1, max_length=len(EDGES_S) + 1)]
    seconds: Annotated[float, Field(ge=0)]
    measured: Count
    median_s: float | None = None
    most_s: float | None = None


class JobCount(Record):
    """How many jobs ended so."""

    outcome: Outcome
    code: Code | None = None
    count: Count


class Trouble(Record):
    """What went wrong lately: a code, of which detector (None: of the whole job), how often, and the last time."""

    code: Code
    detector: DetectorId | None = None
    count: Count
    last: Moment


class DiskVitals(Record):
    """Bytes of the disk below a folder of the back-end."""

    folder: Disk
    free: Count
    total: Count


class StateRequest(Record):
    """``submissions/requests/<id>.json``: the operator asks for another state of a detector.

    ``mac`` shows that it comes from who knows the operator's token: the shared folder may have other users.
    """

    max_bytes: ClassVar[int] = 2_000

    id: Annotated[JobId, StringConstraints(pattern=ID_PATTERN)]
    detector: DetectorId
    to: State
    asked: Moment
    mac: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

    @classmethod
    def signed(cls, detector: str, to: State, *, asked: Moment, token: str) -> StateRequest:
        """A new request; ValidationError when a part of it cannot be one."""
        bare = cls(id=new_id(), detector=detector, to=to, asked=asked, mac="0" * 64)
        return bare.model_copy(update={"mac": bare._mac(token)})

    def is_signed_by(self, token: str) -> bool:
        """Whether who made it knew ``token``."""
        return hmac.compare_digest(self.mac, self._mac(token))

    def _mac(self, token: str) -> str:
        said = "\n".join((self.id, self.detector, self.to, self.asked.isoformat()))
        return hmac.new(token.encode(), said.encode(), hashlib.sha256).hexdigest()


class StateAnswer(Record):
    """What became of a request: ``code`` is None when it was done, else a code of shared.errors; ``sentence`` says why."""

    id: Annotated[JobId, StringConstraints(pattern=ID_PATTERN)]
    detector: DetectorId
    before: State | None
    to: State
    at: Moment
    code: Code | None = None
    sentence: Annotated[str, StringConstraints(max_length=500)] = ""


class Vitals(Record):
    """``results/vitals.json``, replaced with every heartbeat of the back-end."""

    schema_version: Literal[1] = 1
    updated: Moment
    started: Moment
    #: seconds since the loop last looked at the folders, when this was written
    scan_age_s: Annotated[float, Field(ge=0)]
    #: jobs in work, and how many there can be
    working: Count
    places: Count
    #: of all warm workers together, MB
    memory_budget_mb: Count
    workers: Annotated[tuple[WorkerVitals, ...], Field(max_length=500)] = ()
    #: workers that were ended, by reason
    ended: dict[Code, Count] = Field(default_factory=dict)
    jobs: tuple[JobCount, ...] = ()
    detectors: Annotated[tuple[DetectorVitals, ...], Field(max_length=500)] = ()
    steps: Annotated[tuple[StepVitals, ...], Field(max_length=1500)] = ()
    disks: tuple[DiskVitals, ...] = ()
    #: of the last day, the last one first
    troubles: Annotated[tuple[Trouble, ...], Field(max_length=100)] = ()
    #: to the last requests, the last one first
    answers: Annotated[tuple[StateAnswer, ...], Field(max_length=20)] = ()
