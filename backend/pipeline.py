"""The pipeline: runs one job from media to finished report. It knows workers and files, but no queues and no visitors.

Steps: stage in -> media pass (once) -> each chosen detector on its face pack (and, where asked, on a part of it after mild changes:
``backend.rejudging``) -> assemble -> report -> result video. Each step leaves a finished directory (the last one a finished file); a
step whose directory exists is not repeated. A detector that fails does not affect the others.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from backend.board import Board, SilentBoard
from backend.catalog.detectors import DetectorCatalog
from backend.catalog.states import DetectorStates
from backend.harvest.scores import HarvestedScores, harvested_masks
from backend.harvest.stored import finished_report, finished_scores, has_pack, read_scores, take_scores
from backend.job import Cancelled, Job
from backend.links.fetching import FetchedClip, fetch_clip, links_spec
from backend.rejudging import Rejudging
from backend.report.build import Render, add_video, build_report, load_drawing
from backend.report.waveform import wave_of
from backend.scores.assemble import DetectorOutcome, assemble, scores_of, shadow_entry
from backend.scores.cache import ScoreCache, pack_digest
from backend.scores.references import References
from backend.workers.calls import draw_result, judge_pack, make_pack, wanted_by
from backend.workers.pool import WorkerPool
from backend.workers.provenance import as_run_by, provenance
from backend.workers.spec import ENGINE_AWAY, WorkerError, WorkerSpec, detector_spec, media_spec
from backend.workers.worker import Worker
from base_detector import Card, NotApplicable, square_crop
from shared import durable
from shared.errors import PermanentError, RetryableError, UserError
from shared.findings import MediaPack
from shared.reading import RecordInvalid, read_record
from shared.records import DetectorProgress, JobId, Mode, Submission
from shared.results import MediaWorker, Provenance, Result
from shared.seen import SEEN, Seen
from shared.settings import Settings
from shared.stability import is_judged_again

log = structlog.get_logger()

#: A worker that died is replaced and asked once more. When two workers die in a row, the attempt ends, or this detector's part in it.
TRIES = 2

Answer = TypeVar("Answer")


class Measures(Protocol):
    """Where measured times go."""

    def add(self, step: str, *, mode: Mode, seconds: float) -> None:
        """Record that ``step`` of a job in ``mode`` took ``seconds``."""


@dataclass
class Pipeline:
    """What all jobs share. ``cache`` and ``durations`` may be None (single runs of the command line)."""

    settings: Settings
    pool: WorkerPool
    catalog: DetectorCatalog
    cache: ScoreCache | None = None
    durations: Measures | None = None
    states: DetectorStates | None = None

    def run(self, job: Job, board: Board, *, video_later: bool = False) -> Result:
        """Do what is left of ``job``; its report is in ``job.report`` afterwards. PermanentError names what failed, RetryableError
        what may succeed in the next attempt. ``video_later``: a clip's report is made without its video; ``draw`` adds that."""
        if finished := finished_report(job.report):  # made before a crash, but not yet published
            return finished
        seconds: dict[str, float] = {}
        media = media_spec(self.settings)
        with self._judging(job, board, seconds, last=[media]) as (pack, outcomes, fresh):
            board.step("report")
            with _Timed(seconds, "report"):
                result = self._report(job, pack, outcomes, seconds, board, video_later=video_later)
        self._measure(job, seconds, outcomes, media=fresh)
        return result

    def fetch(
        self, submission: Submission, folder: Path, board: Board, *, cancelled: Callable[[], bool]
    ) -> FetchedClip:
        """Fetch the clip of a page into ``folder``. PermanentError says why there is none, RetryableError what may succeed later."""
        away = self.pool.available(links_spec(self.settings))
        if away == ENGINE_AWAY:
            raise RetryableError(ENGINE_AWAY)
        if away or submission.link not in self.settings.offered_sites:
            raise PermanentError("links_unavailable")
        folder.mkdir(parents=True, exist_ok=True)
        board.step("fetch")

        def work(worker: Worker) -> FetchedClip:
            return fetch_clip(
                worker,
                str(submission.source_url),
                str(submission.link),
                folder / "fetched",
                name=submission.id,
                settings=self.settings,
                on_progress=lambda done, total: board.step("fetch", done=done, total=total),
                cancelled=cancelled,
            )

        try:
            return self._with_worker(links_spec(self.settings), work, _Page(submission.id, cancelled))
        except WorkerError as error:
            if error.code in ("media_timed_out", "detector_failed", "media_bad_output"):
                raise PermanentError("link_failed") from None
            raise error.for_the_job() from None

    def links(self) -> tuple[str, ...]:
        """Names of the sites of whose pages clips are fetched here now."""
        sites = self.settings.offered_sites
        return sites if sites and self.pool.available(links_spec(self.settings)) is None else ()

    def judge(self, job: Job, board: Board) -> Result:
        """As ``run``, without report and video, for batches and benchmarks; ``job.pack`` stays until the job is removed."""
        seconds: dict[str, float] = {}
        with self._judging(job, board, seconds) as (pack, outcomes, _):
            return self._assembled(job, pack, outcomes, seconds)

    @contextlib.contextmanager
    def _judging(
        self, job: Job, board: Board, seconds: dict[str, float], *, last: Sequence[WorkerSpec] = ()
    ) -> Iterator[tuple[MediaPack, list[DetectorOutcome], bool]]:
        """The media pass and all detectors: the pack, their outcomes, whether the pack was made now. ``last``: workers the block needs."""
        cards = [self.catalog.card(name) for name in job.detectors]
        with _Timed(seconds, "stage"):
            job.stage_in()
        board.step("media")
        media, judges = media_spec(self.settings), {card.id: detector_spec(card, self.settings) for card in cards}
        needed = [judges[card.id] for card in cards if self._is_to_judge(job, card)]
        with self.pool.needs([media, *needed, *last]) as over:
            self._warm_up(needed, draws=bool(last))
            with _Timed(seconds, "media"):
                fresh = self._media_pass(job, cards, board)
            pack, outcomes = MediaPack(job.pack), []
            again = Rejudging(job, pack, self.settings, self._with_worker, self._deadline, self.cache)
            with _Timed(seconds, "stability"):
                again.prepare([card for card in cards if self.catalog.unavailable(card) is None], self._made_by)
            over(media)
            for card in cards:
                outcomes.append(self._detector(job, card, pack, board))
                outcomes[-1].stability = again.band(outcomes[-1])
                over(judges[card.id])
            again.close()
            bands = [item.stability.seconds for item in outcomes if item.stability]
            seconds["stability"] += sum(bands)
            if not bands:
                del seconds["stability"]
            seconds |= {f"detector.{item.card.id}": item.wall_s for item in outcomes}
            yield pack, outcomes, fresh

    def draw(self, job: Job, board: Board, *, given_up: str | None = None) -> None:
        """Draw the pending video of the report in ``job.report`` and complete the report. When that fails, the report says so and the
        numbers stay. ``given_up``: a code, by which no attempt is made any more."""

        def give_up(plan: Path, out: Path) -> None:
            raise PermanentError(str(given_up))

        result = finished_report(job.report)
        if result is not None and result.video == "pending":
            video = give_up if given_up else self._renderer(job, board)
            add_video(result, out=job.report, video=video, each=job.video_per_detector)

    def load_ahead(self) -> None:
        """Start the media worker and the detectors that are offered, small ones first, while they fit and until a job begins; load what
        draws reports.
        A failure is only logged: it is reported to the job that needs the worker."""
        began, cold = time.perf_counter(), self.settings.cold
        if self.settings.warm_s <= 0:
            return
        try:
            load_drawing()
            offered = [card for card in self.catalog if self.catalog.state(card) == "enabled" and card.id not in cold]
            able = [card for card in offered if self.catalog.unavailable(card) is None]
            judges = [detector_spec(card, self.settings) for card in sorted(able, key=lambda card: card.memory_mb)]
            media = [media_spec(self.settings)] if "media" not in cold else []
            ready = self.pool.load_ahead(media + judges)
            log.info("loaded_ahead", workers=ready, seconds=round(time.perf_counter() - began, 3))
        except Exception:
            log.exception("loading_ahead_failed")

    def run_shadow(self, job: Job) -> None:
        """Let the detectors in state ``shadow`` judge a finished job's face pack; their scores are recorded and not shown."""
        if self.states is None or not job.pack.exists():
            return
        pack = MediaPack(job.pack)
        for card in self.catalog:
            if self.states.of(card) != "shadow" or card.id in job.detectors or pack.lacks(card):
                continue
            outcome = self._detector(job, card, pack, SilentBoard())
            self.states.record_shadow(card, shadow_entry(outcome, pack))

    @cached_property
    def _references(self) -> References:
        return References(self.settings.references)

    def _assembled(
        self, job: Job, pack: MediaPack, outcomes: list[DetectorOutcome], seconds: dict[str, float]
    ) -> Result:
        worker = _media_worker(job)
        return assemble(job, pack, outcomes, seconds=seconds, media_worker=worker, references=self._references)

    # -- media pass

    def _media_pass(self, job: Job, cards: list[Card], board: Board) -> bool:
        if has_pack(job.pack):
            return False

        def work(worker: Worker) -> None:
            make_pack(
                worker,
                job.media,
                job.pack,
                name=job.id,
                wanted=wanted_by(cards),
                mode=job.mode,
                settings=self.settings,
                on_progress=lambda done, total: board.step("media", done=done, total=total),
                cancelled=job.cancelled,
            )
            ran = MediaWorker(runner=worker.started_by, image=worker.image_digest)
            with contextlib.suppress(OSError):  # no result is lost for it
                durable.replace_json(job.media_worker, ran.model_dump())

        try:
            self._with_worker(media_spec(self.settings), work, job)
        except NotApplicable as reason:
            raise UserError(str(reason)) from None
        except WorkerError as error:
            if error.code == "detector_failed":
                raise PermanentError("media_unreadable") from None
            raise error.for_the_job() from None
        return True

    # -- detectors

    def _is_to_judge(self, job: Job, card: Card) -> bool:
        """Whether the worker of ``card`` has work to do in this job, as far as is known before the media pass."""
        return not job.scores(card.id).exists() and self.catalog.unavailable(card) is None

    def _warm_up(self, needed: list[WorkerSpec], *, draws: bool) -> None:
        """Start the detectors' workers during the media pass, as many as fit together: a network takes seconds to load. Then, for a
        job that ``draws`` a report, load what draws it."""
        specs, memory = [], media_spec(self.settings).memory_mb
        for spec in needed:
            memory += spec.memory_mb
            if memory > self.settings.worker_memory_mb:
                break
            if spec.name not in self.settings.cold:
                specs.append(spec)

        def start() -> None:
            for spec in specs:
                with contextlib.suppress(WorkerError):  # a worker's failure is reported when its detector is due
                    self.pool.warm(spec)
            if draws:
                load_drawing()

        threading.Thread(target=start, name="warm-up", daemon=True).start()

    def _detector(self, job: Job, card: Card, pack: MediaPack, board: Board) -> DetectorOutcome:
        outcome = DetectorOutcome(card=card, provenance=self._made_by(card), folder=job.scores(card.id))
        started = time.perf_counter()
        try:
            outcome.scores = scores_of(card, pack, lambda: self._judged(job, card, pack, board, outcome))
        except NotApplicable as reason:
            outcome.status, outcome.code = "not_applicable", str(reason)
        except (WorkerError, PermanentError) as error:
            if error.code == ENGINE_AWAY:
                raise RetryableError(error.code) from None
            outcome.fail(error.code)
            log.warning("detector_failed", job=job.id, detector=card.id, code=error.code)
        outcome.wall_s = time.perf_counter() - started
        board.detector(outcome.progress())
        return outcome

    def _made_by(self, card: Card) -> Provenance:
        return provenance(card, settings=self.settings, pool=self.pool)

    def _judged(self, job: Job, card: Card, pack: MediaPack, board: Board, outcome: DetectorOutcome) -> HarvestedScores:
        """Scores of an earlier attempt, of the cache, or of the detector's worker."""
        units = len(pack.units(card))
        if scores := finished_scores(outcome.folder, card_id=card.id, units=units, unit=card.unit):
            outcome.cached = _marker(outcome.folder).exists()
            return scores
        unavailable = self.catalog.unavailable(card)
        if unavailable:
            raise PermanentError(unavailable)
        digest = pack_digest(pack, card)

        def key() -> str:
            return ScoreCache.key(
                detector=card.id, provenance=outcome.provenance, media_sha256=job.sha256, pack_digest=digest
            )

        def cached(copy: Path) -> HarvestedScores:
            scores = read_scores(copy, card_id=card.id, units=units, unit=card.unit)
            _marker(copy).touch()
            return scores

        if self.cache and (scores := self.cache.fetch(key(), outcome.folder, read=cached)):
            outcome.cached = True
            return scores

        def working(done: int, total: int) -> None:
            board.detector(
                DetectorProgress(
                    detector=card.id, title=card.title, state="working", done=done, total=total, unit=card.unit
                )
            )

        working(0, units)

        def work(worker: Worker) -> HarvestedScores:
            outcome.provenance = as_run_by(worker, outcome.provenance)
            return judge_pack(
                worker,
                job.pack,
                name=job.id,
                timeout_s=self._deadline(card, units),
                take=lambda out: take_scores(out, outcome.folder, card_id=card.id, units=units, unit=card.unit),
                on_progress=working,
                cancelled=job.cancelled,
            )

        scores = self._with_worker(detector_spec(card, self.settings), work, job)
        if self.cache:
            self.cache.keep(key(), outcome.folder)
        return scores

    def _deadline(self, card: Card, units: int) -> float:
        """Ten times what the card promises and at least five minutes, within the site's limit: some read their networks per job."""
        return min(self.settings.detector_timeout_s, max(300.0, 10 * card.seconds_per_face * units))

    # -- report

    def _report(
        self,
        job: Job,
        pack: MediaPack,
        outcomes: list[DetectorOutcome],
        seconds: dict[str, float],
        board: Board,
        *,
        video_later: bool,
    ) -> Result:
        result = self._assembled(job, pack, outcomes, seconds)
        evidence = {
            item.card.id: masks
            for item in outcomes
            if item.scores and (masks := harvested_masks(item.folder, item.scores))
        }
        keyframes = {person: pack.image(row) for person, row in pack.keyfaces.items()}
        margins = {outcome.card.id: outcome.card.margin for outcome in outcomes}
        with durable.staging(job.report) as staging:
            staging.mkdir()
            result = build_report(
                result,
                out=staging,
                evidence=evidence,
                video=self._renderer(job, board) if job.video or result.media.kind == "image" else None,
                video_per_detector=job.video_per_detector,
                later=video_later,
                keyframes=keyframes,
                picture=pack.image,
                wave=wave_of(pack.sound, pack.sound_start_s),
                crop=lambda detector, row: square_crop(pack.image(row), pack.face(row).box, margin=margins[detector]),
            )
            if job.recognise and result.origin and result.origin.fingerprint:
                durable.replace_json(staging / SEEN, Seen.of(result).model_dump(mode="json"))
            return result

    def _renderer(self, job: Job, board: Board) -> Render:
        return lambda plan, out: self._render(job, plan, out, board)

    def _render(self, job: Job, plan: Path, out: Path, board: Board) -> None:
        """Let the media worker draw the result video (or the marked still) of ``plan`` and take it out of its room."""

        def work(worker: Worker) -> None:
            draw_result(
                worker,
                job.media,
                plan,
                out,
                name=job.id,
                settings=self.settings,
                on_progress=lambda done, total: board.step("video", done=done, total=total),
                cancelled=job.cancelled,
            )

        try:
            self._with_worker(media_spec(self.settings), work, job)
        except WorkerError as error:
            if error.code == ENGINE_AWAY:
                raise RetryableError(error.code) from None
            raise PermanentError(error.code) from None  # the report has no video then

    # -- inside

    def _with_worker(self, spec: WorkerSpec, work: Callable[[Worker], Answer], job: Job | _Page) -> Answer:
        for left in reversed(range(TRIES)):
            if job.cancelled():
                raise Cancelled
            try:
                with self.pool.lease(spec) as worker:
                    return work(worker)
            except WorkerError as error:
                if job.cancelled():
                    raise Cancelled from None
                if not (error.retryable and left):
                    raise
                log.warning("worker_replaced", job=job.id, worker=spec.name, code=error.code)
        raise AssertionError("the last try returns or raises")

    def _measure(self, job: Job, seconds: dict[str, float], outcomes: list[DetectorOutcome], *, media: bool) -> None:
        if not self.durations:
            return
        if media:
            self.durations.add("media", mode=job.mode, seconds=seconds["media"])
        for outcome in outcomes:
            if outcome.status == "ok" and not outcome.cached:
                # what a visitor waits for who did not ask for more
                usual = is_judged_again(outcome.card, "fast", mode=job.mode)
                more = outcome.stability.seconds if usual and outcome.stability else 0.0
                self.durations.add(outcome.card.id, mode=job.mode, seconds=outcome.wall_s + more)
        self.durations.add("report", mode=job.mode, seconds=seconds["report"])


@dataclass(frozen=True)
class _Page:
    """A job whose media is still to be fetched."""

    id: JobId
    cancelled: Callable[[], bool]


class _Timed:
    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._name] = time.perf_counter() - self._started


def _media_worker(job: Job) -> MediaWorker | None:
    try:
        return read_record(job.media_worker, MediaWorker)
    except (FileNotFoundError, RecordInvalid):
        return None


def _marker(folder: Path) -> Path:
    return folder / "from-cache"
