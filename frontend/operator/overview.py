"""What the operator's page shows, gathered once for one look: from the folders, and from what the back-end says of itself.

Promises: of submissions only the first eight characters of their ids, how long they wait and where they are; nothing of visitors. While the
shared folders are away, what can be said without them. For ``frontend.operator.views``.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from frontend.operator.office import Office
from frontend.operator.pause import Pause
from frontend.portal import Portal
from shared.errors import PermanentError, StoreTrouble, sentence_for
from shared.records import JobId, Stage
from shared.truths import SiteRecord, site_record
from shared.vitals import DetectorVitals, StepVitals, Vitals, WorkerVitals

#: Jobs that are listed; of the others the number is said.
MOST_JOBS: Final = 50
_STAGES: Final[tuple[Stage, ...]] = ("new", "active")
#: Without a word from the back-end for so long it counts as away, seconds.
SILENT_S: Final = 30.0


@dataclass(frozen=True)
class JobRow:
    """A job by the beginning of its id. ``place``: in the queue, 1 is next; ``waited_s``: since it was sent."""

    id: str
    place: int | None
    step: str
    attempt: int
    progress: float
    waited_s: float


@dataclass(frozen=True)
class DiskRow:
    """Bytes of the disk below a folder."""

    folder: str
    free: int
    total: int

    @property
    def free_share(self) -> float:
        """From 0 to 1."""
        return self.free / self.total if self.total else 0.0


@dataclass(frozen=True)
class DetectorRow:
    """A detector with what its parts of jobs took, by mode."""

    vitals: DetectorVitals
    steps: tuple[StepVitals, ...]

    @property
    def judged(self) -> int:
        """Parts of jobs that ended since the back-end started."""
        return sum(self.vitals.ended.values())

    @property
    def failed(self) -> int:
        """Those that failed or were cut off."""
        return self.vitals.ended.get("failed", 0) + self.vitals.ended.get("timed_out", 0)

    @property
    def why(self) -> list[tuple[str, int]]:
        """Codes of failures, the most frequent first."""
        return sorted(self.vitals.codes.items(), key=lambda item: -item[1])


@dataclass(frozen=True)
class Overview:
    """One look. ``vitals`` is None while the back-end never spoke, ``silent_s`` is how long it has not."""

    now: datetime
    store: bool
    pause: Pause | None
    waiting: tuple[JobRow, ...]
    waiting_all: int
    working: tuple[JobRow, ...]
    working_all: int
    vitals: Vitals | None
    silent_s: float | None
    detectors: tuple[DetectorRow, ...]
    steps: tuple[StepVitals, ...]
    disks: tuple[DiskRow, ...]
    mails: int
    mail_age_s: float
    requests: int
    record: SiteRecord | None

    @property
    def away(self) -> bool:
        """Whether the back-end does not speak."""
        return self.silent_s is None or self.silent_s > SILENT_S

    @property
    def workers(self) -> tuple[WorkerVitals, ...]:
        """Those there were at the last word."""
        return self.vitals.workers if self.vitals else ()

    @property
    def troubles(self) -> list[tuple[str, str | None, int, datetime, str]]:
        """Code, detector, how often, last time and the sentence of what went wrong lately."""
        found = self.vitals.troubles if self.vitals else ()
        return [(item.code, item.detector, item.count, item.last, sentence_for(item.code)) for item in found]


def overview(site: Portal, office: Office) -> Overview:
    """Look at everything now."""
    now = site.clock()
    vitals: Vitals | None = None
    rows: dict[Stage, list[JobRow]] = {"new": [], "active": []}
    counts: dict[Stage, int] = {"new": 0, "active": 0}
    requests, record, store = 0, None, False
    with contextlib.suppress(StoreTrouble):
        office.desk.check()
        vitals = office.desk.read_vitals()
        for stage in _STAGES:
            jobs = site.store.ids(stage)
            counts[stage] = len(jobs)
            rows[stage] = [_row(site, stage, job, now=now) for job in jobs[:MOST_JOBS]]
        requests = len(office.desk.waiting())
        noted, damaged = site.store.noted()
        record = site_record(noted, damaged=len(damaged))
        store = True
    mails = [mail.created for mail in site.outbox.waiting()]
    steps = vitals.steps if vitals else ()
    return Overview(
        now=now,
        store=store,
        pause=office.intake.paused(),
        waiting=tuple(sorted(rows["new"], key=lambda row: row.place or MOST_JOBS + 1)),
        waiting_all=counts["new"],
        working=tuple(rows["active"]),
        working_all=counts["active"],
        vitals=vitals,
        silent_s=max(0.0, (now - vitals.updated).total_seconds()) if vitals else None,
        detectors=tuple(
            DetectorRow(item, tuple(step for step in steps if step.step == item.id))
            for item in sorted(vitals.detectors if vitals else (), key=lambda one: one.unavailable is not None)
        ),
        steps=tuple(step for step in steps if step.step in ("media", "report")),
        disks=_disks(site, vitals),
        mails=len(mails),
        mail_age_s=max(0.0, (now - min(mails)).total_seconds()) if mails else 0.0,
        requests=requests,
        record=record,
    )


def _row(site: Portal, stage: Stage, job: JobId, *, now: datetime) -> JobRow:
    status = None
    with contextlib.suppress(PermanentError):  # damaged, and written again with the next step
        status = site.store.read_status(job)
    # the first status follows within seconds; until then the folder says when it came
    waited = now.timestamp() - (
        status.received.timestamp() if status and status.received else _came(site, stage, job, now)
    )
    return JobRow(
        id=job[:8],
        place=status.queue_position if status else None,
        step=status.step if status else "waiting",
        attempt=status.attempt if status else 0,
        progress=status.progress if status else 0.0,
        waited_s=max(0.0, waited),
    )


def _came(site: Portal, stage: Stage, job: JobId, now: datetime) -> float:
    try:
        return site.store.changed(stage, job)
    except FileNotFoundError:  # moved just now
        return now.timestamp()


def _disks(site: Portal, vitals: Vitals | None) -> tuple[DiskRow, ...]:
    found = []
    settings = site.settings
    for name, path in (
        ("submissions", settings.submissions),
        ("results", settings.results),
        ("frontend", settings.frontend_state),
    ):
        with contextlib.suppress(OSError):
            usage = shutil.disk_usage(path)
            found.append(DiskRow(name, usage.free, usage.total))
    found += [DiskRow(disk.folder, disk.free, disk.total) for disk in (vitals.disks if vitals else ())]
    return tuple(found)
