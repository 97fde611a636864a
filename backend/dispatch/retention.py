"""Retention: what is deleted when. Each step is complete in itself, so a crash in the middle is continued by the next sweep.

The media is deleted first, then the address, then the result with its cached scores. A status ``expired`` stays for one more retention
time, so that the visitor's link can say what happened. Where a record cannot be read, the age of its folder decides
(on the file system's clock), and what may hold media or an address is deleted after the shorter of the two times. Trouble with one job is
logged and does not stop the others.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from backend.scores.cache import ScoreCache
from shared import durable
from shared.errors import StoreTrouble
from shared.reading import RecordInvalid
from shared.records import JobId, Stage, Status
from shared.settings import Settings
from shared.store import Store

log = structlog.get_logger()

DAY_S: Final = 86400.0

#: Unfinished files of durable.replace_bytes, durable.staging and Store.now: after a day, they are abandoned.
_IN_THE_MAKING: Final = re.compile(r"\..+\.[0-9a-f]{12}|\..+\.part|\.probe-[0-9a-f]+")


@dataclass
class Expired:
    """How many of each class one sweep removed."""

    media: int = 0
    addresses: int = 0
    results: int = 0
    uploads: int = 0
    cached: int = 0


def expire(store: Store, settings: Settings, *, cache: ScoreCache | None, now: datetime) -> Expired:
    """Delete what is older than its retention time at ``now`` (aware, UTC); StoreTrouble when a shared folder is away."""
    return _Sweep(store, settings, now=now).run(cache)


class _Sweep:
    """One pass over everything. ``now`` is compared with what records say, ``self.folder_now`` with the ages of files."""

    def __init__(self, store: Store, settings: Settings, *, now: datetime) -> None:
        self.store, self.settings, self.now = store, settings, now
        self.folder_now = store.now()
        self.gone = Expired()

    def run(self, cache: ScoreCache | None) -> Expired:
        for stage in ("done", "failed"):
            for job in self.store.ids(stage):
                with _one(job):
                    self._submission(stage, job)
        for job in self.store.result_ids():
            with _one(job):
                self._result(job)
        for job in self.store.ids("tmp"):  # an interrupted upload; a day is longer than any upload takes
            with _one(job):
                if self.folder_now - self.store.changed("tmp", job) > DAY_S:
                    self.store.remove_submission("tmp", job)
                    self.gone.uploads += 1
        self._dot_names()
        if cache:
            days = self.settings.keep_results_days
            self.gone.cached = cache.expire(older_than_s=days * DAY_S, now=self.now.timestamp())
        return self.gone

    def _submission(self, stage: Stage, job: JobId) -> None:
        keep = self.settings
        try:
            submission = self.store.read_submission(stage, job)
        except (RecordInvalid, FileNotFoundError) as error:
            log.warning("record_skipped", job=job, reason=str(getattr(error, "reason", "it is missing")))
            if (
                self.folder_now - self.store.changed(stage, job)
                > min(keep.keep_media_days, keep.keep_address_days) * DAY_S
            ):
                self.store.remove_submission(stage, job)
                self.gone.media += 1
                self.gone.addresses += 1
            return
        age_s = (self.now - submission.received).total_seconds()
        if age_s > keep.keep_media_days * DAY_S and self.store.remove_media(stage, job):
            self.gone.media += 1
        if age_s > keep.keep_address_days * DAY_S and (submission.email or submission.source_url):
            self.store.forget_address(stage, submission)
            self.gone.addresses += 1
        if age_s > max(keep.keep_results_days, keep.keep_media_days, keep.keep_address_days) * DAY_S:
            self.store.remove_submission(stage, job)

    def _result(self, job: JobId) -> None:
        status, age_s = self._status(job)
        if age_s <= self.settings.keep_results_days * DAY_S:
            return
        if status and status.state == "expired":
            self.store.remove_result(job)
            return
        # without a readable final status, the job may still be in work
        if (status is None or status.state in ("queued", "working")) and self.store.stage_of(job) in ("new", "active"):
            return
        self.store.remove_report(job)
        self.store.write_status(
            Status(
                id=job,
                state="expired",
                step="expired",
                updated=self.now,
                received=status.received if status else None,
                finished=self.now,
                progress=1.0,
                code="expired",
            )
        )
        self.gone.results += 1

    def _status(self, job: JobId) -> tuple[Status | None, float]:
        """The status of a job, None when it cannot be read, and seconds since its end."""
        try:
            status = self.store.read_status(job)
        except RecordInvalid as error:
            log.warning("record_skipped", job=job, reason=error.reason)
            status = None
        if status is None:
            return None, self.folder_now - self.store.changed(None, job)
        return status, (self.now - (status.finished or status.updated)).total_seconds()

    def _dot_names(self) -> None:
        """Delete dot-names that a crash, an open file or damage left."""
        keep = self.settings
        damaged_s = min(keep.keep_media_days, keep.keep_address_days, keep.keep_results_days) * DAY_S
        for path, changed in self.store.dot_names():
            age_s = self.folder_now - changed
            if (
                path.name.startswith(durable.REMOVED)
                or (path.name.startswith(durable.ASIDE) and age_s > damaged_s)
                or (_IN_THE_MAKING.fullmatch(path.name) and age_s > DAY_S)
            ):
                with contextlib.suppress(OSError):  # an open file on NFS: the next sweep
                    durable.remove(path)


@contextlib.contextmanager
def _one(job: JobId) -> Iterator[None]:
    """Keep trouble with one job from the others; a shared folder that is away ends the sweep."""
    try:
        yield
    except FileNotFoundError:  # moved or deleted just now
        pass
    except StoreTrouble as error:
        if error.errno is None:
            raise
        log.warning("not_expired", job=job, reason=str(error.__cause__ or error))
