"""One attempt at one job, in a thread of the engine: the pipeline, publishing, and how the attempt ended.

The numbers are published as soon as they are there, and then the job is done for its visitor. A clip's video follows into the published
report. The job stays in ``active`` until then, so that all the rules of attempts hold for the video as well; what happens to the video
does not touch the numbers any more.

The dispatcher makes a run, hands it to the engine and reads its ``ending`` afterwards; a run decides nothing about other jobs. An engine
whose machines are elsewhere does not call it: there, ``node`` makes a run of the same attempt, and its ending is written into this one.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog

from backend.board import StatusBoard
from backend.dispatch.hold import Claim, Hold, NotOurs
from backend.dispatch.order import VIDEO_WAITS_S
from backend.job import Cancelled, Job
from backend.workers.spec import ENGINE_AWAY
from base_detector import ContractError
from shared.clock import utc_now
from shared.errors import DfomError, RetryableError, StoreTrouble
from shared.reading import RecordInvalid
from shared.records import JobId, Submission
from shared.store import Store

if TYPE_CHECKING:
    from backend.pipeline import Pipeline

log = structlog.get_logger()

#: ``released``: it continues later, and the attempt does not count. ``broke_off``: the attempt counts. ``held_up``: something that all
#: jobs need was away (a shared folder, the container engine). ``not_ours``: another dispatcher has it, or its owner deleted it.
#: ``lost``: the machine it was on does not answer; the attempt counts, and the next one begins at once.
Ending = Literal["done", "failed", "released", "broke_off", "held_up", "not_ours", "lost"]

#: Why one run is cancelled: a visitor's job needs the place, or the owner deletes the submission.
Why = Literal["yield", "withdrawn"]


@dataclass(frozen=True)
class Parts:
    """What all runs of one back-end share; ``title`` gives the title of a detector."""

    store: Store
    pipeline: Pipeline
    title: Callable[[str], str]


class Run:
    """Call it to do the work; ``folder`` is the job's scratch. ``draws`` False: drawing the video was interrupted too often."""

    def __init__(
        self,
        submission: Submission,
        *,
        hold: Hold,
        board: StatusBoard,
        store: Store,
        pipeline: Pipeline,
        folder: Path,
        draws: bool = True,
    ) -> None:
        self.submission, self.hold, self.board = submission, hold, board
        #: set before it is cancelled; None: the back-end stops
        self.why: Why | None = None
        self.ending: Ending = "not_ours"
        #: the code a failed job ended with, even if it could not be written yet
        self.code: str | None = None
        #: the numbers are published, and the video is being drawn
        self.numbers_out = False
        self.draws = draws
        self._store, self._pipeline, self._folder = store, pipeline, folder
        self._log = log.bind(job=submission.id, attempt=hold.attempt)

    @classmethod
    def of(
        cls,
        submission: Submission,
        parts: Parts,
        *,
        attempt: int,
        claim: Claim,
        folder: Path,
        begun: float | None = None,
        draws: bool = True,
    ) -> Run:
        """The run of one attempt; ``claim`` and ``begun`` as in ``Hold``."""
        job, store = submission.id, parts.store
        hold = Hold(job, attempt=attempt, begun=begun, store=store, heartbeat=claim)
        detectors = [(name, parts.title(name)) for name in submission.detectors]
        board = StatusBoard(hold, job, detectors=detectors, received=submission.received, attempt=attempt)
        return cls(submission, hold=hold, board=board, store=store, pipeline=parts.pipeline, folder=folder, draws=draws)

    @property
    def job(self) -> JobId:
        """Id of the job."""
        return self.hold.job

    @property
    def rank(self) -> tuple[int, bool]:
        """A waiting job of a higher rank (``Backlog.rank``) may take its place: the work on a video ranks below that on numbers."""
        since = self.board.finished
        waits = since is not None and (utc_now() - since).total_seconds() < VIDEO_WAITS_S
        return self.submission.priority, not (self.numbers_out and waits)

    def __call__(self, cancelled: Callable[[], bool]) -> None:
        """Work until the job is done, has failed, or is to stop. Raises nothing."""
        try:
            self.ending = self._attempt(cancelled)
        except NotOurs:
            self.ending = "not_ours"
        except StoreTrouble as error:
            self._log.warning("job_held_up", reason=error.sentence)
            self.ending = "broke_off" if self._is_of_this_job(error) else "held_up"
        except BaseException:  # our own bug: the attempt counts, so this cannot repeat for ever
            self._log.exception("job_broke_off", code="internal")
            self.ending = "broke_off"
        self._log.info("job_ended", ending=self.ending)

    def _is_of_this_job(self, error: StoreTrouble) -> bool:
        """Whether the folders answer, so that only a file of this job cannot be read: then the attempt counts."""
        if not error.may_be_of_one_file:
            return False
        try:
            self.hold.check()
        except (NotOurs, StoreTrouble):
            return False
        return True

    def _attempt(self, cancelled: Callable[[], bool]) -> Ending:
        try:
            source = self._store.job("active", self.job) / "media"
            submission = self._with_media(cancelled)
            job = Job.of(submission, source=source, folder=self._folder, cancelled=cancelled)
            if self._numbers(job):
                self._video(job)
            self._close(job)
            return "done"
        except NotOurs:
            raise
        except Cancelled:
            return self._let_go()
        except StoreTrouble:
            raise
        except RetryableError as error:
            self._log.warning("job_broke_off", code=error.code)
            return "held_up" if error.code == ENGINE_AWAY else "broke_off"
        except (DfomError, ContractError) as error:
            self.code = error.code if isinstance(error, DfomError) else "internal"
            self._log.warning("job_failed", code=self.code, exc_info=self.code == "internal")
            self.give_up(self.code)
            return "failed"
        except Exception:
            self.hold.check()  # the cause may be that a shared folder is away
            raise

    def _with_media(self, cancelled: Callable[[], bool]) -> Submission:
        """The submission with its media; the clip of a page is fetched now, unless an earlier attempt did that."""
        if self.submission.sha256 is not None:
            return self.submission
        kept = self._store.read_submission("active", self.job)
        if kept.sha256 is not None:
            return kept
        clip = self._pipeline.fetch(kept, self._folder, self.board, cancelled=cancelled)
        kept = kept.model_copy(update={"sha256": clip.sha256, "bytes": clip.bytes, "original_name": clip.name})
        self.hold.take_in(kept, clip.file)
        clip.file.unlink(missing_ok=True)
        return kept

    def _numbers(self, job: Job) -> bool:
        """Publish the report, unless an earlier attempt did; whether its video is to follow."""
        published = self._store.is_published(self.job)
        if published:
            self._show_numbers(again=True)
            if not job.report.exists():  # drawn by another machine
                job.folder.mkdir(parents=True, exist_ok=True)
                self._store.fetch_report(self.job, job.report)
        else:
            self.board.step("starting")
        result = self._pipeline.run(job, self.board, video_later=True)
        if not published:
            self.board.step("publish")
            self.hold.publish(job.report)
            if result.video == "pending":
                self._show_numbers()
        return published or result.video == "pending"

    def _show_numbers(self, *, again: bool = False) -> None:
        known = None
        with contextlib.suppress(RecordInvalid):
            known = self._store.read_status(self.job) if again else None
        self.numbers_out = True
        self.board.numbers(known)

    def _video(self, job: Job) -> None:
        """Draw what is missing, and show it beside the numbers. When it cannot be drawn, the report says so."""
        try:
            if self.draws:
                job.stage_in()
                self._pipeline.draw(job, self.board)
            else:
                self._pipeline.draw(job, self.board, given_up="video_given_up")
        except (StoreTrouble, RetryableError):
            raise
        except (DfomError, ContractError) as error:
            self._log.warning("video_failed", code=error.code if isinstance(error, DfomError) else "internal")
            self._pipeline.draw(job, self.board, given_up=error.code if isinstance(error, DfomError) else "internal")
        try:
            self.hold.complete(job.report)
        except FileNotFoundError:  # the time of the report is over
            if self._store.is_published(self.job):
                raise

    def _close(self, job: Job) -> None:
        if self._store.is_published(self.job):
            self.board.finish("done")
        self.hold.move("done")
        self._shadow(job)
        job.remove()

    def _shadow(self, job: Job) -> None:
        """Run the detectors on trial; the visitor has the result, which they cannot change any more."""
        try:
            self._pipeline.run_shadow(job)
        except Cancelled:
            self._log.info("shadow_left_out")
        except Exception:
            self._log.exception("shadow_failed")

    def call_off(self) -> None:
        """End the attempt in good order when nobody has begun its work, and nobody will."""
        try:
            self.ending = self._let_go()
        except NotOurs:
            self.ending = "not_ours"
        except StoreTrouble as error:
            self._log.warning("job_held_up", reason=error.sentence)
            self.ending = "held_up"

    def _let_go(self) -> Ending:
        if self.why == "withdrawn":
            self.code = "deleted"
            self.give_up(self.code)
            return "failed"
        self.hold.uncount()
        return "released"

    def give_up(self, code: str) -> None:
        """End the job with ``code`` and delete its scratch."""
        self.board.finish("failed", code=code)
        shutil.rmtree(self._folder, ignore_errors=True)  # before the move: after it, the job is no longer ours
        self.hold.move("failed")
        self._log.warning("job_given_up", code=code)
