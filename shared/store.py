"""The shared folders: the only code that turns ids into paths and moves jobs between states.

::

    submissions/  tmp/<id>/ -> new/<id>/ -> active/<id>/ -> done/<id>/ | failed/<id>/     submission.json, media
    results/      <id>/status.json (replaced all along)   <id>/report/ (appears by one rename)   catalog.json
                  record/<id>.json: truths that were noted later, with their scores (shared.truths)
                  a clip's video follows into <id>/report/, file by file; <id>/report/result.json is replaced last

The front-end writes ``tmp`` and ``new``; the one dispatcher moves on from there and writes ``results``. User text never
becomes a path. Dot-names and ``.nfs*`` are ignored everywhere; something foreign under one of our names is renamed to a dot-name
(``.damaged-...``). Nothing is written to, or made in, a folder that has lost its marker (``shared.marker``).

Errors of every step: StoreTrouble when a folder is away, full or does not answer (nothing was changed, try again later);
FileNotFoundError when the folder is there and the job is not; RecordInvalid for a record that is not ours.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import structlog
from pydantic import BaseModel

from shared import durable, marker
from shared.errors import StoreTrouble
from shared.guarding import reads, writes
from shared.reading import RecordInvalid, read_bytes, read_record
from shared.records import (
    DETECTOR_PATTERN,
    ID_PATTERN,
    Attempts,
    Catalog,
    JobId,
    Queue,
    Span,
    Stage,
    Status,
    Submission,
    checked_id,
)
from shared.site_record import SiteRecord

if TYPE_CHECKING:
    from shared.truths import Noted

_LOOKS = 3  # at a record that is not there in one look and there in the next
STAGES: tuple[Stage, ...] = ("tmp", "new", "active", "done", "failed")

__all__ = ["STAGES", "Store", "checked_id"]

log = structlog.get_logger()

Record = TypeVar("Record", bound=BaseModel)


class Store(SiteRecord):
    """Both shared folders, rooted at ``submissions`` and ``results``. Makes nothing; ``prepare`` does."""

    def __init__(self, submissions: Path, results: Path) -> None:
        self.submissions = submissions.absolute()
        self.results = results.absolute()
        self._queue: tuple[tuple[int, int, int] | None, dict[str, tuple[int, Span]]] = (None, {})
        self._noted: tuple[int, tuple[list[Noted], list[JobId]]] | None = None

    def prepare(self, state: Path) -> Self:
        """Make and mark what is missing, at the start of a process; ``state`` is the local folder of this side, which remembers it.

        StoreTrouble when a folder was in use before and is not mounted now.
        """
        try:
            marker.set_up((self.submissions, self.results), memory=state / "shared_folders.json")
            for stage in STAGES:
                (self.submissions / stage).mkdir(exist_ok=True)
        except StoreTrouble:
            raise
        except OSError as error:
            raise StoreTrouble(error) from error
        return self

    def check(self) -> None:
        """StoreTrouble while one of the two folders is away or does not answer."""
        try:
            marker.check(self.submissions)
            marker.check(self.results)
        except StoreTrouble:
            raise
        except OSError as error:
            raise StoreTrouble(error) from error

    def _read_or_none(self, path: Path, model: type[Record]) -> Record | None:
        """The record, None when it is not there. StoreTrouble unless that is sure: one that only seems missing would start the work again.

        A record written between the look for it and the check is read in the next look.
        """
        for _ in range(_LOOKS):
            with contextlib.suppress(FileNotFoundError):
                return read_record(path, model)
            self.check()
            if not durable.exists(path):
                return None
        raise StoreTrouble(sentence=f"{path.name} is there and cannot be opened.")

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

    @writes
    def free_bytes(self) -> int:
        """Free space for submissions."""
        return shutil.disk_usage(self.submissions).free

    @writes
    def open_submission(self, job: JobId) -> Path:
        """Make ``tmp/<id>``; the caller streams ``media`` into it."""
        folder = self.job("tmp", job)
        folder.mkdir()
        return folder

    @writes
    def reuse_media(self, stage: Stage, job: JobId, new: JobId) -> None:
        """Make ``tmp/<new>`` with the media of ``job``, for a submission of the same file; FileNotFoundError when its media are gone.

        Media are never changed, so both may have one file under two names: each is deleted in its own time.
        """
        folder = self.open_submission(new)
        try:
            durable.second_name(self.job(stage, job) / "media", folder / "media")
        except BaseException:
            self.discard(new)
            raise

    @writes
    def submit(self, submission: Submission) -> None:
        """Write the record and publish the job with one rename to ``new/<id>``; durable when it returns."""
        folder = self.job("tmp", submission.id)
        durable.replace_json(folder / "submission.json", submission.model_dump(mode="json"))
        try:
            durable.move_directory(folder, self.job("new", submission.id))
        except FileExistsError:
            raise
        except OSError:
            # perhaps renamed, but not durable: the visitor gets an error, so it must not be worked on
            with contextlib.suppress(OSError):
                durable.remove_directory(self.job("new", submission.id))
            raise

    def discard(self, job: JobId) -> None:
        """Delete an incomplete upload; what cannot be removed now is swept later."""
        with contextlib.suppress(OSError):
            durable.remove(self.job("tmp", job))

    # -- back-end

    @reads
    def ids(self, stage: Stage) -> list[JobId]:
        """Ids in ``stage``, oldest arrival first. Names that are not ids are ignored."""
        found: list[tuple[float, JobId]] = []
        with os.scandir(self.submissions / stage) as entries:
            for entry in entries:
                if re.fullmatch(ID_PATTERN, entry.name) and entry.is_dir(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):  # moved just now
                        found.append((entry.stat(follow_symlinks=False).st_mtime, JobId(entry.name)))
        return [job for _, job in sorted(found)]

    @reads
    def misfits(self, stage: Stage) -> list[JobId]:
        """Names in ``stage`` that are ids but do not belong to a folder: links, files, FIFOs. ``ids`` leaves them out."""
        with os.scandir(self.submissions / stage) as entries:
            return sorted(
                JobId(entry.name)
                for entry in entries
                if re.fullmatch(ID_PATTERN, entry.name) and not entry.is_dir(follow_symlinks=False)
            )

    @writes
    def set_aside(self, stage: Stage, job: JobId) -> None:
        """Rename whatever has the job's name in ``stage`` to a dot-name; retention deletes it later."""
        aside = durable.set_aside(self.job(stage, job))
        log.warning("set_aside", stage=stage, name=aside.name)

    @writes
    def move(self, job: JobId, source: Stage, target: Stage) -> None:
        """Move a job from one stage to the next with one durable rename.

        The same id twice can only be a folder that was put back by hand. One in work is never displaced: the newcomer is set aside and
        FileExistsError raised. In any other stage the existing one gives way.
        """
        try:
            durable.rename(self.job(source, job), self.job(target, job))
        except FileExistsError:
            if target == "active":
                self.set_aside(source, job)
                raise
            self.set_aside(target, job)
            durable.rename(self.job(source, job), self.job(target, job))

    @reads
    def stage_of(self, job: JobId) -> Stage | None:
        """The stage a job is in, None when no stage has it."""
        found = next((stage for stage in reversed(STAGES) if durable.is_folder(self.job(stage, job))), None)
        if found is None:
            self.check()
        return found

    @reads
    def read_submission(self, stage: Stage, job: JobId) -> Submission:
        """Parse ``submission.json``; RecordInvalid when it is not the record of this job."""
        path = self.job(stage, job) / "submission.json"
        submission = read_record(path, Submission)
        if submission.id != job:
            raise RecordInvalid(path, "of another job")
        return submission

    @writes
    def count_attempt(self, job: JobId) -> int:
        """Count one more attempt on disk, before the work, so that a crash during the work is counted.

        A fence, too: what earlier attempts prepared for the result is taken away, so that one of them that is frozen between its check and
        its rename finds nothing to rename when it wakes up.
        """
        attempt = self.attempts(job) + 1
        self._write_attempts(job, attempt)
        current = self.begun(job)
        prepared = self._prepared(job)
        if self.begun(job) == current:  # else we were frozen ourselves, and some of it may be our successor's
            for path in prepared:
                durable.take_away(path)
        return attempt

    def _prepared(self, job: JobId) -> list[Path]:
        """Unfinished files and folders of ``publish`` and ``complete``."""
        folder = self.result(job)
        report = folder / "report"
        inside = report.rglob(".*.part") if durable.is_folder(report) else ()
        return [*folder.glob(".report-*.part"), *inside]

    @reads
    def attempts(self, job: JobId) -> int:
        """How often work on this job was begun; RecordInvalid when the count is damaged."""
        return self.begun(job).attempts

    @reads
    def begun(self, job: JobId) -> Attempts:
        """The count of attempts, and the moment of its last change: no two begins of a job have both the same."""
        return self._read_or_none(self._attempts(job), Attempts) or Attempts(attempts=0, at=0.0)

    @writes
    def uncount_attempt(self, job: JobId) -> None:
        """Uncount the last attempt: we stopped the work in good order, it did not fail."""
        self._write_attempts(job, max(0, self.attempts(job) - 1))

    def _attempts(self, job: JobId) -> Path:
        return self.job("active", job) / "attempts.json"

    def _write_attempts(self, job: JobId, attempts: int) -> None:
        record = Attempts(attempts=attempts, at=time.time())
        durable.replace_json(self._attempts(job), record.model_dump(mode="json"))

    @writes
    def take_in(self, submission: Submission, media: Path, *, check: Callable[[], None] = lambda: None) -> None:
        """Keep the fetched clip of a job in ``active``, then its record with the clip's sha256.

        ``check`` is called before each of the two appears, as in ``publish``.
        """
        folder = self.job("active", submission.id)
        with durable.staging(folder / "media", tag=f"-{secrets.token_hex(4)}") as staging:
            shutil.copyfile(media, staging)
            check()
        check()
        durable.replace_json(folder / "submission.json", submission.model_dump(mode="json"))

    @writes
    def write_status(self, status: Status) -> None:
        """Replace the status of a job."""
        durable.replace_json(self._own_result(status.id) / "status.json", status.model_dump(mode="json"))

    @reads
    def read_status(self, untrusted_id: str) -> Status | None:
        """The status of a job, None when it has none; RecordInvalid when it is not the status of this job."""
        path = self.result(untrusted_id) / "status.json"
        status = self._read_or_none(path, Status)
        if status is None:
            return None
        if status.id != untrusted_id:
            raise RecordInvalid(path, "of another job")
        if status.state == "queued" and (place := self._places().get(status.id)):
            position, (least, most) = place
            return status.model_copy(
                update={"queue_position": position, "estimated_wait_s": least, "longest_wait_s": most}
            )
        return status

    @writes
    def write_queue(self, queue: Queue) -> None:
        """Replace the places of all waiting jobs."""
        durable.replace_json(self.results / "queue.json", queue.model_dump(mode="json"))

    def _places(self) -> dict[str, tuple[int, Span]]:
        """Place and wait of each waiting job, read again when the file changed; empty when it cannot be read."""
        path = self.results / "queue.json"
        try:
            info = path.stat()
            version = (info.st_ino, info.st_mtime_ns, info.st_size)
            if self._queue[0] != version:
                self._queue = version, {}  # a damaged one is not parsed for every visitor
                waits = read_record(path, Queue).waits
                self._queue = version, {job: (place, wait) for place, (job, wait) in enumerate(waits.items(), start=1)}
        except (OSError, RecordInvalid):
            return {}
        return self._queue[1]

    @reads
    def owners_status(self, untrusted_id: str, *, now: datetime) -> Status | None:
        """``read_status`` as the submission's owner sees it. A damaged record counts as missing while the job waits or is in work: the
        next write replaces it. For a job that has ended, the stage is the truth: its record may be damaged or missing, or be an old one
        from a process that was stopped in a write and woke up.
        """
        job, status, damaged = checked_id(untrusted_id), None, False
        try:
            status = self.read_status(job)
        except RecordInvalid:
            damaged = True
        if status and status.state not in ("queued", "working"):
            return status
        stage = self.stage_of(job)
        if stage not in ("done", "failed") and not (stage is None and damaged):
            return status
        ended = status or Status(id=job, state="failed", updated=now)
        if stage == "done" and durable.is_folder(self.report(job)):
            change = {"state": "done", "step": "done"}
        else:
            change = {"state": "failed", "step": "failed", "code": "internal" if status else "record_invalid"}
        return ended.model_copy(update={**change, "updated": now, "finished": now, "progress": 1.0})

    @writes
    def publish(self, job: JobId, finished: Path, *, check: Callable[[], None] = lambda: None) -> None:
        """Copy a finished report beside its place, then publish it with one rename. Publishing twice is a no-op.

        ``check`` is called before the rename: what it raises leaves nothing published. Two who publish at once, one of them woken after a
        long stop, do not touch each other's copies; a stop between ``check`` and the rename ends in FileNotFoundError when another attempt
        was counted meanwhile.
        """
        target = self._own_result(job) / "report"
        if durable.is_folder(target):
            return
        if durable.exists(target) and not durable.is_folder(target):
            durable.set_aside(target)
        with durable.staging(target, tag=f"-{secrets.token_hex(4)}") as staging:
            durable.copy_tree(finished, staging)
            check()

    @reads
    def is_published(self, job: JobId) -> bool:
        """Whether the job's report is published; its video may still be missing."""
        found = durable.is_folder(self.report(job))
        if not found:
            self.check()
        return found

    @writes
    def complete(self, job: JobId, finished: Path, *, check: Callable[[], None] = lambda: None) -> None:
        """Bring a published report to the state of ``finished``, file by file; ``result.json``, which names them all, last.

        ``check`` is called before each rename. May be repeated after a crash. FileNotFoundError when the report is gone (its owner deleted
        it, or its time is over; no folder is made again then, save one inside the report), or as with ``publish``.
        """
        target = self.report(job)
        for name in sorted(durable.files_below(finished), key=lambda item: item == Path("result.json")):
            if durable.exists(target / name) and filecmp.cmp(finished / name, target / name, shallow=False):
                continue
            if len(name.parts) > 1:
                (target / name).parent.mkdir(exist_ok=True)
            with durable.staging(target / name, tag=f"-{secrets.token_hex(4)}") as staging:
                shutil.copyfile(finished / name, staging)
                check()

    @reads
    def fetch_report(self, job: JobId, copy: Path) -> None:
        """Copy the published report to ``copy``, which appears whole."""
        with durable.staging(copy) as staging:
            durable.copy_tree(self.report(job), staging)

    @writes
    def ask_for_end(self, job: JobId) -> bool:
        """For the front-end: mark a job in ``active`` as withdrawn, so that the back-end ends its work; False when it is not there."""
        try:
            durable.replace_bytes(self._withdrawn(job), b"")
        except FileNotFoundError:
            self.check()
            return False
        return True

    @reads
    def is_withdrawn(self, job: JobId) -> bool:
        """Whether the owner of a job in ``active`` asked for its deletion."""
        found = durable.exists(self._withdrawn(job))
        if not found:
            self.check()
        return found

    def _withdrawn(self, job: JobId) -> Path:
        return self.job("active", job) / "withdrawn"

    def _own_result(self, untrusted_id: str) -> Path:
        """The folder of a job's status and report, made when it is missing; what is not a folder under its name is set aside."""
        folder = self.result(untrusted_id)
        if not durable.is_folder(folder):
            if durable.exists(folder) and not durable.is_folder(folder):
                durable.set_aside(folder)
            folder.mkdir(exist_ok=True)
        return folder

    @writes
    def write_catalog(self, catalog: Catalog) -> None:
        """Replace the catalog."""
        durable.replace_json(self.results / "catalog.json", catalog.model_dump(mode="json"))

    @reads
    def read_catalog(self) -> Catalog | None:
        """The catalog, None while the back-end has written none that can be read; it writes a new one every few seconds."""
        try:
            return read_record(self.results / "catalog.json", Catalog)
        except FileNotFoundError:
            self.check()
            return None
        except RecordInvalid:
            return None

    @writes
    def write_model_card(self, detector: str, markdown: str) -> None:
        """Keep the model card of ``detector`` where the portal finds it; nothing is written when it is there already."""
        path = self._model_card(detector)
        content = markdown.encode()
        with contextlib.suppress(FileNotFoundError, RecordInvalid):
            if read_bytes(path) == content:
                return
        if durable.exists(path.parent) and not durable.is_folder(path.parent):
            durable.set_aside(path.parent)
        path.parent.mkdir(exist_ok=True)
        durable.replace_bytes(path, content)

    @reads
    def read_model_card(self, untrusted_detector: str) -> str | None:
        """The model card of a detector, Markdown; None when there is none that can be read."""
        if not re.fullmatch(DETECTOR_PATTERN, untrusted_detector):
            return None
        try:
            return read_bytes(self._model_card(untrusted_detector)).decode(errors="replace")
        except FileNotFoundError:
            self.check()
            return None
        except RecordInvalid:
            return None

    def _model_card(self, detector: str) -> Path:
        return self.results / "model_cards" / f"{detector}.md"

    # -- retention

    @reads
    def result_ids(self) -> list[JobId]:
        """Ids that have a result folder."""
        self.check()  # an empty mount point has none
        with os.scandir(self.results) as entries:
            return sorted(
                JobId(entry.name)
                for entry in entries
                if re.fullmatch(ID_PATTERN, entry.name) and entry.is_dir(follow_symlinks=False)
            )

    @writes
    def now(self) -> float:
        """The current time on the clock that stamps these folders, seconds since 1970: a file server has its own clock."""
        probe = self.results / f".probe-{secrets.token_hex(6)}"
        try:
            probe.touch(exist_ok=False)
            return probe.lstat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    @reads
    def changed(self, stage: Stage | None, job: JobId) -> float:
        """When the job's folder in ``stage`` was last changed, its result's folder for None; on the clock of ``now``."""
        return (self.job(stage, job) if stage else self.result(job)).lstat().st_mtime

    @writes
    def remove_media(self, stage: Stage, job: JobId) -> bool:
        """Delete a job's media, whatever is under its name; False when there is none."""
        media = self.job(stage, job) / "media"
        if not durable.exists(media):
            return False
        durable.remove(media)
        return True

    @writes
    def forget_address(self, stage: Stage, submission: Submission) -> None:
        """Rewrite the record of a submission without the visitor's address and the address of a download."""
        bare = submission.model_copy(update={"email": None, "source_url": None})
        durable.replace_json(self.job(stage, submission.id) / "submission.json", bare.model_dump(mode="json"))

    @reads
    def dot_names(self) -> list[tuple[Path, float]]:
        """Files and folders with a dot-name, in all places where such names are made, and when each was last changed."""
        self.check()
        others = filter(durable.is_folder, (self.results / "model_cards", self._record))
        places = [self.results, *map(self.result, self.result_ids()), *(self.submissions / stage for stage in STAGES)]
        found = []
        for place in [*places, *others]:
            with contextlib.suppress(FileNotFoundError), os.scandir(place) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        found.append((Path(entry.path), entry.stat(follow_symlinks=False).st_mtime))
        return found

    @writes
    def remove_report(self, job: JobId) -> None:
        """Delete the report of a job; its status stays."""
        durable.remove_directory(self.report(job))

    @writes
    def remove_submission(self, stage: Stage, job: JobId) -> None:
        """Delete a job's folder with the media and the address."""
        durable.remove_directory(self.job(stage, job))

    @writes
    def remove_result(self, job: JobId) -> None:
        """Delete status and report of a job."""
        durable.remove_directory(self.result(job))
