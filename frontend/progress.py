"""The state of a submission as enumerations and numbers, no words: for the pages, the events and programs alike.

Owns the shape of what is said while a submission waits, is in work, and at its end. Promises: ``without_details`` holds nothing about the
file or what was asked of it, so it may be shown to anyone with the link. For the front-end only.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from shared.records import DetectorProgress, DetectorState, JobId, JobState, Moment, Record, Status
from shared.results import Unit

#: Where a submission is. ``ended``: nothing more will change, save the video of a finished one.
Stage = Literal["waiting", "starting", "fetch", "media", "detectors", "report", "video", "ended"]

#: Steps of ``Status`` -> stage; an unknown one of a later back-end counts as ``starting``.
_STAGES: Final[dict[str, Stage]] = {
    "starting": "starting",
    "fetch": "fetch",
    "media": "media",
    "detectors": "detectors",
    "report": "report",
    "publish": "report",
    "video": "video",
}


class Wait(Record):
    """Seconds until the work begins. One number where all that is ahead was measured here; ``most_s`` None: nothing bounds it."""

    least_s: Annotated[float, Field(ge=0)]
    most_s: Annotated[float, Field(ge=0)] | None


class DetectorStep(Record):
    """How far one detector is: ``done`` of ``total`` units. ``code``: a code of ``shared.errors`` when it gave no score."""

    id: str
    title: str
    state: DetectorState
    done: Annotated[int, Field(ge=0)]
    total: Annotated[int, Field(ge=0)]
    unit: Unit
    code: str | None
    seconds: float | None
    cached: bool


class Progress(Record):
    """One look at a submission. ``progress`` is 0 to 1; ``attempt`` counts from 1, 0 before the work began.

    ``queue_position``: 1 = next, None when it does not wait or is not known yet. ``code``: why there is no result. ``video``: ``pending``
    while a finished result waits for its video. ``detectors``: None where they may not be shown.
    """

    id: JobId
    state: JobState
    stage: Stage
    progress: Annotated[float, Field(ge=0, le=1)]
    attempt: Annotated[int, Field(ge=0)]
    queue_position: int | None
    wait: Wait | None
    code: str | None
    video: Literal["pending"] | None
    updated: Moment | None
    received: Moment | None
    finished: Moment | None
    detectors: tuple[DetectorStep, ...] | None

    @property
    def final(self) -> bool:
        """Whether the result, or the reason why there is none, is there."""
        return self.state in ("done", "failed", "expired")

    @property
    def over(self) -> bool:
        """Whether nothing of it changes any more."""
        return self.final and self.video is None

    def without_details(self) -> Progress:
        """The same without what says something about the file: for those who have the link and no PIN."""
        return self.model_copy(update={"detectors": None})


def progress_of(job: JobId, status: Status | None) -> Progress:
    """What a status says. None: the back-end has not seen the submission yet."""
    if status is None:
        return Progress(
            id=job, state="queued", stage="waiting", progress=0.0, attempt=0, queue_position=None, wait=None, code=None,
            video=None, updated=None, received=None, finished=None, detectors=(),
        )  # fmt: skip
    final = status.state in ("done", "failed", "expired")
    queued = status.state == "queued"
    stage: Stage = "waiting" if queued else _STAGES.get(status.step, "starting")
    placed = queued and status.queue_position is not None and status.estimated_wait_s is not None
    return Progress(
        id=job,
        state=status.state,
        stage="ended" if final and status.video is None else stage,
        progress=status.progress,
        attempt=status.attempt,
        queue_position=status.queue_position if queued else None,
        wait=Wait(least_s=status.estimated_wait_s or 0.0, most_s=status.longest_wait_s) if placed else None,
        code=status.code,
        video=status.video,
        updated=status.updated,
        received=status.received,
        finished=status.finished,
        detectors=tuple(map(_detector, status.detectors)),
    )


def _detector(item: DetectorProgress) -> DetectorStep:
    return DetectorStep(
        id=item.detector,
        title=item.title,
        state=item.state,
        done=item.done,
        total=item.total,
        unit=item.unit,
        code=item.code,
        seconds=item.seconds,
        cached=item.cached,
    )
