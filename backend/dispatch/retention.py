"""Retention: what is deleted when. Each step is complete in itself, so a crash in the middle is continued by the next sweep.

Media goes first, then the address, then the result with its cached scores; a status ``expired`` stays one more retention
time so that the visitor's link can say what happened, then it goes as well.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime

from backend.scores.cache import ScoreCache
from shared import durable
from shared.errors import PermanentError
from shared.records import JobId, Stage
from shared.settings import Settings
from shared.store import Store

DAY_S = 86400.0


@dataclass
class Expired:
    """How many of each class one sweep removed."""

    media: int = 0
    addresses: int = 0
    results: int = 0
    uploads: int = 0
    cached: int = 0


def expire(store: Store, settings: Settings, *, cache: ScoreCache | None, now: datetime) -> Expired:
    """Delete what outlived its retention time at ``now`` (aware, UTC)."""
    gone = Expired()
    for stage in ("done", "failed"):
        for job in store.ids(stage):
            _expire_submission(store, stage, job, settings, now=now, gone=gone)
    for job in list(store.result_ids()):
        _expire_result(store, job, settings, now=now, gone=gone)
    for job in store.ids("tmp"):  # an upload that broke off; a day is longer than any upload takes
        if now.timestamp() - store.job("tmp", job).stat().st_mtime > DAY_S:
            store.remove_submission("tmp", job)
            gone.uploads += 1
    _sweep_removed(store)
    if cache:
        gone.cached = cache.expire(older_than_s=settings.keep_results_days * DAY_S, now=now.timestamp())
    return gone


def _expire_submission(
    store: Store, stage: Stage, job: JobId, settings: Settings, *, now: datetime, gone: Expired
) -> None:
    folder = store.job(stage, job)
    try:
        submission = store.read_submission(stage, job)
        age_s = (now - submission.received).total_seconds()
    except (PermanentError, FileNotFoundError):
        submission, age_s = None, now.timestamp() - folder.stat().st_mtime
    media = folder / "media"
    if media.exists() and age_s > settings.keep_media_days * DAY_S:
        media.unlink()
        gone.media += 1
    if submission and submission.email and age_s > settings.keep_address_days * DAY_S:
        bare = submission.model_copy(update={"email": None, "source_url": None})
        durable.replace_json(folder / "submission.json", bare.model_dump(mode="json"))
        gone.addresses += 1
    if age_s > max(settings.keep_results_days, settings.keep_media_days, settings.keep_address_days) * DAY_S:
        store.remove_submission(stage, job)


def _expire_result(store: Store, job: JobId, settings: Settings, *, now: datetime, gone: Expired) -> None:
    status = store.read_status(job)
    if status is None or status.state in ("queued", "working"):
        return
    age_days = (now - (status.finished or status.updated)).total_seconds() / DAY_S
    if status.state != "expired" and age_days > settings.keep_results_days:
        store.remove_report(job)
        expired = status.model_copy(update={"state": "expired", "step": "expired", "code": "expired", "updated": now})
        store.write_status(expired.model_copy(update={"finished": now, "detectors": ()}))
        gone.results += 1
    elif status.state == "expired" and age_days > settings.keep_results_days:
        store.remove_result(job)


def _sweep_removed(store: Store) -> None:
    """What a crash or an open file left under a dot-name goes now."""
    folders = [store.results, *store.results.iterdir(), *store.submissions.iterdir()]
    for folder in folders:
        if folder.is_dir():
            for leftover in folder.glob(".removed-*"):
                shutil.rmtree(leftover, ignore_errors=True)
