"""The shared folders: the only code that turns ids into paths and moves jobs between states.

::

    submissions/  tmp/<id>/ -> new/<id>/ -> active/<id>/ -> done/<id>/ | failed/<id>/     submission.json, media
    results/      <id>/status.json (replaced all along)   <id>/report/ (appears by one rename)   catalog.json

The front-end writes ``tmp`` and ``new``; the one dispatcher moves on from there and writes ``results``. User text never
becomes a path. Dot-names and ``.nfs*`` are ignored everywhere.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from shared import durable
from shared.errors import PermanentError
from shared.reading import RecordInvalid, read_bytes, read_record
from shared.records import DETECTOR_PATTERN, ID_PATTERN, Attempts, Catalog, JobId, Stage, Status, Submission

STAGES: tuple[Stage, ...] = ("tmp", "new", "active", "done", "failed")


def checked_id(untrusted_id: str) -> JobId:
    """Return the id when it has the form of one; raise PermanentError otherwise."""
    if not re.fullmatch(ID_PATTERN, untrusted_id):
        raise PermanentError("record_invalid")
    return JobId(untrusted_id)


class Store:
    """Both shared folders, rooted at ``submissions`` and ``results``; creates what is missing."""

    def __init__(self, submissions: Path, results: Path) -> None:
        self.submissions = submissions.absolute()
        self.results = results.absolute()
        for folder in (*(self.submissions / stage for stage in STAGES), self.results):
            folder.mkdir(parents=True, exist_ok=True)

    # -- paths

    def job(self, stage: Stage, untrusted_id: str) -> Path:
        """Folder of a job in ``stage`` (which need not exist)."""
        return self.submissions / stage / checked_id(untrusted_id)

    def result(self, untrusted_id: str) -> Path:
        """Folder of a job's status and report (which need not exist)."""
        return self.results / checked_id(untrusted_id)

    def report(self, untrusted_id: str) -> Path:
        """Folder of the published report (which need not exist)."""
        return self.result(untrusted_id) / "report"

    # -- front-end

    def open_submission(self, job: JobId) -> Path:
        """Make ``tmp/<id>``; the caller streams ``media`` into it."""
        folder = self.job("tmp", job)
        folder.mkdir()
        return folder

    def submit(self, submission: Submission) -> None:
        """Write the record and publish the job with one rename to ``new/<id>``; durable when it returns."""
        folder = self.job("tmp", submission.id)
        durable.replace_json(folder / "submission.json", submission.model_dump(mode="json"))
        durable.move_directory(folder, self.job("new", submission.id))

    def discard(self, job: JobId) -> None:
        """Drop an upload that was not completed."""
        shutil.rmtree(self.job("tmp", job), ignore_errors=True)

    # -- back-end

    def ids(self, stage: Stage) -> list[JobId]:
        """Ids in ``stage``, oldest arrival first. Names that are no ids are ignored."""
        found: list[tuple[float, JobId]] = []
        with os.scandir(self.submissions / stage) as entries:
            for entry in entries:
                if re.fullmatch(ID_PATTERN, entry.name) and entry.is_dir(follow_symlinks=False):
                    found.append((entry.stat(follow_symlinks=False).st_mtime, JobId(entry.name)))
        return [job for _, job in sorted(found)]

    def move(self, job: JobId, source: Stage, target: Stage) -> None:
        """Move a job from one stage to the next with one durable rename."""
        durable.move_directory(self.job(source, job), self.job(target, job))

    def stage_of(self, job: JobId) -> Stage | None:
        """The stage a job is in, None when no stage has it."""
        return next((stage for stage in reversed(STAGES) if self.job(stage, job).is_dir()), None)

    def read_submission(self, stage: Stage, job: JobId) -> Submission:
        """Parse ``submission.json``; RecordInvalid when it is not the record of this job."""
        path = self.job(stage, job) / "submission.json"
        submission = read_record(path, Submission)
        if submission.id != job:
            raise RecordInvalid(path, "of another job")
        return submission

    def count_attempt(self, job: JobId) -> int:
        """Count one more attempt on disk, before the work: what dies in the middle was counted."""
        attempt = self.attempts(job) + 1
        self._write_attempts(job, attempt)
        return attempt

    def attempts(self, job: JobId) -> int:
        """How often work on this job was begun; RecordInvalid when that cannot be said any more."""
        try:
            return read_record(self._attempts(job), Attempts).attempts
        except FileNotFoundError:
            return 0

    def uncount_attempt(self, job: JobId) -> None:
        """Take the last count back: the work was stopped by us in good order, it did not fail."""
        self._write_attempts(job, max(0, self.attempts(job) - 1))

    def _attempts(self, job: JobId) -> Path:
        return self.job("active", job) / "attempts.json"

    def _write_attempts(self, job: JobId, attempts: int) -> None:
        record = Attempts(attempts=attempts, at=time.time())
        durable.replace_json(self._attempts(job), record.model_dump(mode="json"))

    def write_status(self, status: Status) -> None:
        """Replace the status of a job."""
        folder = self.result(status.id)
        folder.mkdir(exist_ok=True)
        durable.replace_json(folder / "status.json", status.model_dump(mode="json"))

    def read_status(self, untrusted_id: str) -> Status | None:
        """The status of a job, None when it has none; RecordInvalid when it is not the status of this job."""
        path = self.result(untrusted_id) / "status.json"
        try:
            status = read_record(path, Status)
        except FileNotFoundError:
            return None
        if status.id != untrusted_id:
            raise RecordInvalid(path, "of another job")
        return status

    def owners_status(self, untrusted_id: str, *, now: datetime) -> Status | None:
        """``read_status`` as the submission's owner sees it. A damaged record is taken for none while the job waits or is in work (the
        next write replaces it), and for a failure with the reason ``record_invalid`` afterwards, when nobody writes it any more.
        """
        try:
            return self.read_status(untrusted_id)
        except RecordInvalid:
            job = checked_id(untrusted_id)
            if self.stage_of(job) in ("tmp", "new", "active"):
                return None
            return Status(
                id=job, state="failed", step="failed", updated=now, finished=now, progress=1.0, code="record_invalid"
            )

    def publish(self, job: JobId, finished: Path) -> None:
        """Copy a finished report beside its place, then show it with one rename. Publishing twice is a no-op."""
        target = self.report(job)
        if target.exists():
            return
        target.parent.mkdir(exist_ok=True)
        staging = target.with_name("report.tmp")
        shutil.rmtree(staging, ignore_errors=True)
        shutil.copytree(finished, staging)
        durable.move_directory(staging, target)

    def write_catalog(self, catalog: Catalog) -> None:
        """Replace the catalog."""
        durable.replace_json(self.results / "catalog.json", catalog.model_dump(mode="json"))

    def read_catalog(self) -> Catalog | None:
        """The catalog, None while the back-end has written none that can be read; it writes a new one every few seconds."""
        try:
            return read_record(self.results / "catalog.json", Catalog)
        except (FileNotFoundError, RecordInvalid):
            return None

    def write_model_card(self, detector: str, markdown: str) -> None:
        """Keep the model card of ``detector`` where the portal finds it; nothing is written when it is there already."""
        path = self._model_card(detector)
        content = markdown.encode()
        with contextlib.suppress(FileNotFoundError, RecordInvalid):
            if read_bytes(path) == content:
                return
        path.parent.mkdir(exist_ok=True)
        durable.replace_bytes(path, content)

    def read_model_card(self, untrusted_detector: str) -> str | None:
        """The model card of a detector, Markdown; None when there is none that can be read."""
        if not re.fullmatch(DETECTOR_PATTERN, untrusted_detector):
            return None
        try:
            return read_bytes(self._model_card(untrusted_detector)).decode(errors="replace")
        except (FileNotFoundError, RecordInvalid):
            return None

    def _model_card(self, detector: str) -> Path:
        return self.results / "model_cards" / f"{detector}.md"

    # -- retention

    def result_ids(self) -> Iterator[JobId]:
        """Ids that have a result folder."""
        for path in sorted(self.results.iterdir()):
            if re.fullmatch(ID_PATTERN, path.name) and path.is_dir():
                yield JobId(path.name)

    def remove_report(self, job: JobId) -> None:
        """Delete the report of a job; its status stays."""
        durable.remove_directory(self.report(job))

    def remove_submission(self, stage: Stage, job: JobId) -> None:
        """Delete a job's folder with the media and the address."""
        durable.remove_directory(self.job(stage, job))

    def remove_result(self, job: JobId) -> None:
        """Delete status and report of a job."""
        durable.remove_directory(self.result(job))
