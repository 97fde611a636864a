"""The ledger of a dispatcher: how jobs and their detectors ended since it started, and the operator's requests it took up.

Makes the record that the dispatcher leaves for the operator with every heartbeat (``shared.vitals``). Counts and codes only: nothing of a
visitor gets here. Requests change the state of a detector by the rules of ``backend.catalog.states``; who asked must know the operator's
token. Imported by the dispatcher.
"""

from __future__ import annotations

import shutil
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol, cast, get_args

import structlog

from backend.catalog.detectors import DetectorCatalog
from backend.catalog.durations import Durations
from backend.catalog.states import DetectorStates
from base_detector import Card
from shared.clock import Clock, utc_now
from shared.desk import Desk
from shared.errors import SENTENCES, UserError
from shared.reading import RecordInvalid
from shared.records import Status
from shared.settings import Settings
from shared.vitals import (
    DetectorVitals,
    Disk,
    DiskVitals,
    JobCount,
    Outcome,
    State,
    StateAnswer,
    StateRequest,
    StepVitals,
    Trouble,
    Verdict,
    Vitals,
    WorkerVitals,
)

log = structlog.get_logger()

#: How long a request counts: one that waited for longer surprises the operator when it is done at last.
FRESH: Final = timedelta(minutes=10)
#: How long trouble counts as recent, and how much of it is kept.
RECENT: Final = timedelta(days=1)
MOST_TROUBLES: Final = 1000
#: Answers that are kept for the operator's page.
MOST_ANSWERS: Final = 20


class Pool(Protocol):
    """What is asked of the pool of workers."""

    def census(self) -> tuple[WorkerVitals, ...]:
        """The workers there are now."""


class Ledger:
    """One for the life of a dispatcher; thread-safe."""

    def __init__(
        self,
        settings: Settings,
        desk: Desk,
        *,
        catalog: DetectorCatalog,
        states: DetectorStates,
        durations: Durations,
        now: Clock = utc_now,
    ) -> None:
        self._settings, self._desk, self._now = settings, desk, now
        self._catalog, self._states, self._durations = catalog, states, durations
        self._lock = threading.Lock()
        self._started = now()
        self._jobs: Counter[tuple[Outcome, str | None]] = Counter()
        self._verdicts: dict[str, Counter[Verdict]] = defaultdict(Counter)
        self._codes: dict[str, Counter[str]] = defaultdict(Counter)
        self._troubles: deque[tuple[datetime, str, str | None]] = deque(maxlen=MOST_TROUBLES)
        self._answers: deque[StateAnswer] = deque(maxlen=MOST_ANSWERS)

    # -- what happened

    def job_ended(self, code: str | None, status: Status | None = None) -> None:
        """Count a job that ended, None: with a result; and from its last status how its detectors did."""
        with self._lock:
            outcome: Outcome = "done" if code is None else "deleted" if code == "deleted" else "failed"
            self._jobs[outcome, code] += 1
            if outcome == "failed":
                self._note(code or "internal", None)
            for item in status.detectors if status else ():
                if item.state not in get_args(Verdict) or item.cached:
                    continue
                verdict = cast(Verdict, item.state)
                self._verdicts[item.detector][verdict] += 1
                if verdict in ("failed", "timed_out"):
                    self._codes[item.detector][_known(item.code)] += 1
                    self._note(_known(item.code), item.detector)

    def _note(self, code: str, detector: str | None) -> None:
        self._troubles.append((self._now(), _known(code), detector))

    # -- what the operator asks

    def take_up(self) -> None:
        """Answer every request that waits, then remove it. After a crash in between it is answered again, which changes nothing more."""
        answered = {answer.id for answer in self._answers}
        for name in self._desk.waiting():
            try:
                if name not in answered:
                    self._answer(self._desk.read_request(name))
            except FileNotFoundError:
                continue
            except RecordInvalid as error:
                log.warning("state_request_invalid", reason=error.reason)
            self._desk.remove_request(name)

    def _answer(self, request: StateRequest) -> None:
        before: State | None = None
        code, sentence = None, ""
        try:
            self._check(request)
            card = self._catalog.card(request.detector)
            before = cast(State, self._states.move(card, request.to))
            log.warning(
                "detector_state_changed", detector=card.id, before=before, to=request.to, asked_by="operator page"
            )
        except UserError as error:
            code, sentence = error.code, error.sentence[:500]
            log.warning("detector_state_refused", detector=request.detector, to=request.to, code=code)
        answer = StateAnswer(
            id=request.id, detector=request.detector, before=before, to=request.to, at=self._now(), code=code, sentence=sentence
        )  # fmt: skip
        with self._lock:
            self._answers.appendleft(answer)

    def _check(self, request: StateRequest) -> None:
        token = self._settings.operator_token
        if token is None or not request.is_signed_by(token.get_secret_value()):
            raise UserError("state_request_refused")
        if abs(self._now() - request.asked) > FRESH:
            raise UserError("state_request_late")

    # -- what is said of all that

    def record(
        self,
        pool: Pool,
        *,
        ended: Mapping[str, int],
        working: int,
        places: int,
        scan_age_s: float,
        given_up: Mapping[str, int],
    ) -> Vitals:
        """The record for the operator. ``ended``: workers, by reason; ``given_up``: jobs that ended without a run, by code."""
        detectors = tuple(self._detector(card) for card in self._catalog)
        with self._lock:
            jobs = self._jobs.copy()
            troubles = _summed(self._troubles, since=self._now() - RECENT)
            answers = tuple(self._answers)
        for code, count in given_up.items():
            jobs["deleted" if code == "deleted" else "failed", code] += count
        return Vitals(
            updated=self._now(),
            started=self._started,
            scan_age_s=max(0.0, scan_age_s),
            working=working,
            places=places,
            memory_budget_mb=self._settings.worker_memory_mb,
            workers=pool.census(),
            ended=dict(ended),
            jobs=tuple(JobCount(outcome=outcome, code=code, count=count) for (outcome, code), count in jobs.items()),
            detectors=detectors,
            steps=self._steps(),
            disks=tuple(
                found
                for name, folder in (
                    ("scratch", self._settings.scratch_folder),
                    ("backend", self._settings.backend_state),
                )
                if (found := _disk(cast(Disk, name), folder))
            ),
            troubles=troubles,
            answers=answers,
        )

    def _detector(self, card: Card) -> DetectorVitals:
        with self._lock:
            ended, codes = dict(self._verdicts[card.id]), dict(self._codes[card.id])
        return DetectorVitals(
            id=card.id,
            title=card.title[:200],
            version=card.version[:60],
            state=cast(State, self._states.of(card)),
            next=self._states.open_to(card),
            unavailable=self._catalog.unavailable(card),
            ended=ended,
            codes=codes,
        )

    def _steps(self) -> tuple[StepVitals, ...]:
        """Of the detectors there are: one that was removed leaves its measurements behind."""
        known = {"media", "report", *(card.id for card in self._catalog)}
        return tuple(item for item in self._durations.vitals() if item.step in known)


def _known(code: str | None) -> str:
    """The code if it is one of ours: the record has no room for others."""
    return code if code in SENTENCES else "detector_failed"


def _summed(
    troubles: deque[tuple[datetime, str, str | None]], *, since: datetime, most: int = 100
) -> tuple[Trouble, ...]:
    groups: dict[tuple[str, str | None], list[datetime]] = defaultdict(list)
    for moment, code, detector in troubles:
        if moment >= since:
            groups[code, detector].append(moment)
    found = [
        Trouble(code=code, detector=detector, count=len(moments), last=max(moments))
        for (code, detector), moments in groups.items()
    ]
    return tuple(sorted(found, key=lambda item: item.last, reverse=True)[:most])


def _disk(name: Disk, folder: Path) -> DiskVitals | None:
    """Of the nearest folder that is there: the scratch is made with the first job."""
    for place in (folder, *folder.absolute().parents):
        try:
            usage = shutil.disk_usage(place)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        return DiskVitals(folder=name, free=usage.free, total=usage.total)
    return None
