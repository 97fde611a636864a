"""The pool of warm workers: loaded once, reused across jobs, within one memory budget.

Promises: one caller per worker at a time. A broken worker is never handed out again. Idle workers are ended when another needs their
memory (in which order: ``needs.py``), or after ``settings.warm_s``; those in ``settings.hot`` only when memory is short, those in
``settings.cold`` after each job. Each end is logged and counted with its reason. A worker counts with the memory its card promises.
Imported by the pipeline and the composition root.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import structlog

from backend.workers import gpus
from backend.workers.exchange import remove_tree
from backend.workers.needs import Needs
from backend.workers.runner import Runners, choose_runners
from backend.workers.scratch import Claim, claim, remove_abandoned
from backend.workers.spec import WorkerError, WorkerSpec
from backend.workers.worker import Worker
from base_detector import NotApplicable
from shared.records import RunnerKind
from shared.settings import Settings
from shared.vitals import WorkerVitals

log = structlog.get_logger()

#: Why a worker was ended: ``budget``: another needed its memory; ``idle``: for too long; ``cold``: it is to be started for each job;
#: ``changed``: its card or image; ``broken``: it broke the protocol, its output was refused, its work was cut off, or it did not start;
#: ``unwanted``: it was loaded ahead, and a job came that does not need it; ``closed``: the back-end stops.
Reason = Literal["budget", "idle", "cold", "changed", "broken", "unwanted", "closed"]


@dataclass
class _Place:
    """Room for one worker: counted in the budget from before it starts until after it is gone."""

    spec: WorkerSpec
    folder: str
    gpu: str | None = None
    busy: bool = True
    worker: Worker | None = None
    used_at: float = 0.0
    #: it is started for the next lease, which waits for it; ``ahead``: before any job
    warming: bool = False
    ahead: bool = False
    unwanted: bool = False


class WorkerPool:
    """Starts nothing before the first lease."""

    def __init__(
        self, settings: Settings, *, clock: Callable[[], float] = time.monotonic, runners: Runners | None = None
    ) -> None:
        self._settings, self._clock = settings, clock
        self._chosen = runners
        self._changed = threading.Condition()
        #: how many workers were ended so far, by reason
        self.ended: Counter[Reason] = Counter()
        self._needs = Needs()
        self._places: list[_Place] = []
        self._stuck: list[_Place] = []
        self._leftovers: dict[str, int] = {}
        self._opened_at = 0.0
        self._claim: Claim | None = None
        self._closing = threading.Event()
        self._reaper = threading.Thread(target=self._reap, daemon=True, name="worker-reaper")

    # -- what the platform asks

    def census(self) -> tuple[WorkerVitals, ...]:
        """Every worker there is now, also those that start, in the order of their names."""
        with self._changed:
            places = [(place, place.worker, place.busy) for place in self._places]
        return tuple(
            WorkerVitals(
                name=place.spec.name,
                kept=self._kept(place.spec.name),
                state="starting" if worker is None or place.warming else "busy" if busy else "idle",
                runner=worker.started_by if worker else None,
                promised_mb=place.spec.memory_mb,
                used_mb=worker.used_mb() if worker else None,
            )
            for place, worker, busy in sorted(places, key=lambda item: item[0].folder)
        )

    def _kept(self, name: str) -> Literal["hot", "warm", "cold"]:
        return "hot" if name in self._settings.hot else "cold" if name in self._settings.cold else "warm"

    def runner_kind(self, spec: WorkerSpec) -> RunnerKind:
        """How this worker would be started now: as a ``process``, or by ``docker``."""
        return self._runners().of(spec).kind

    def available(self, spec: WorkerSpec) -> str | None:
        """None, or the code that says why this worker cannot run here."""
        return self._runners().available(spec)

    def image_digest(self, spec: WorkerSpec) -> str | None:
        """The image the worker would run from now, None for processes."""
        return self._runners().of(spec).image_digest(spec)

    @contextlib.contextmanager
    def lease(self, spec: WorkerSpec) -> Iterator[Worker]:
        """A ready worker, ours until the block ends. Waits while all such workers, or the memory, are in use."""
        place = self._take(spec)
        worker = self._ready(place, spec)
        try:
            yield worker
        except (NotApplicable, WorkerError):  # an answer; ``worker.broken`` says whether it may be used again
            raise
        except BaseException:  # its output was refused, or its work was cut off
            worker.broken = True
            raise
        finally:
            self._give_back(place)

    @contextlib.contextmanager
    def needs(self, specs: Iterable[WorkerSpec]) -> Iterator[Callable[[WorkerSpec], None]]:
        """Tell which workers a job needs, step by step; call the given function when the step of one is over.

        What is loaded ahead of jobs and not among them makes way at once.
        """
        with self._changed:
            job = self._needs.begin(spec.name for spec in specs)
            unwanted = [place for place in self._places if place.ahead and not self._needs.coming(place.spec.name)]
            for place in unwanted:
                place.unwanted = True
        for place in unwanted:
            if place.worker is not None:
                place.worker.broken = True  # it is killed, not asked
                place.worker.close()

        def over(spec: WorkerSpec) -> None:
            with self._changed:
                self._needs.step_over(job, spec.name)

        try:
            yield over
        finally:
            with self._changed:
                self._needs.end(job)

    def warm(self, spec: WorkerSpec) -> None:
        """Start a worker for the next lease of ``spec``, unless there is one or it would take memory that a job needs."""
        self._warm(spec, ahead=False)

    def load_ahead(self, specs: Iterable[WorkerSpec]) -> list[str]:
        """Start workers before any job is there, while they fit; the names of those that are ready. Stops when a job begins."""
        ready = []
        for spec in specs:
            try:
                if self._warm(spec, ahead=True):
                    ready.append(spec.name)
            except WorkerError as error:
                if error.code == "cancelled":
                    break
                log.warning("not_loaded_ahead", worker=spec.name, code=error.code)
        return ready

    def _warm(self, spec: WorkerSpec, *, ahead: bool) -> bool:
        place = self._take_to_warm(spec, ahead=ahead)
        if place is None:
            return False
        self._ready(place, spec)
        self._give_back(place)
        return True

    def close(self) -> None:
        """End all workers. A caller that still holds one gets a WorkerError."""
        self._closing.set()
        with self._changed:
            places, self._places = self._places, []
            leftovers, self._leftovers = self._leftovers, {}
            self._changed.notify_all()
        if self._reaper.is_alive():
            self._reaper.join(10)
        self._end(places, "closed")
        self._remove_leftovers(leftovers)
        if self._claim is not None:
            self._claim.close()
            self._claim = None
        if self._chosen is not None:
            self._chosen.close()

    def sweep(self) -> None:
        """End workers that were idle for too long; a thread of the pool does this every few seconds."""
        now = self._clock()
        with self._changed:
            expired = [
                p for p in self._places if not p.busy and p.spec.name not in self._settings.hot and self._idle(p, now)
            ]
            stuck, self._stuck = self._stuck, []
            leftovers: dict[str, int] = {}
            if now - self._opened_at >= self._settings.warm_s:
                leftovers, self._leftovers = self._leftovers, {}
            for place in expired:
                place.busy = True
        self._end(expired, "idle")
        self._end(stuck, "broken", counted=False)
        self._remove_leftovers(leftovers)

    # -- taking

    def _take(self, spec: WorkerSpec) -> _Place:
        """A place for a worker of ``spec``: an idle one's, or a new one for which idle others were ended."""
        self._open()
        with self._changed:
            while True:
                if self._closing.is_set():
                    raise WorkerError("cancelled")
                own = [place for place in self._places if place.spec.name == spec.name]
                idle = [place for place in own if not place.busy]
                if idle:
                    place = max(idle, key=lambda item: item.used_at)
                    place.busy = True
                    return place
                room = len(own) < max(1, self._settings.jobs) and not any(place.warming for place in own)
                victims = self._victims(spec) if room else None
                if victims is not None:
                    break
                self._changed.wait()
            place, doomed = self._placed(spec, victims)
        self._remove_leftovers(doomed)
        self._end(victims, "budget", wanted=spec)
        return place

    def _take_to_warm(self, spec: WorkerSpec, *, ahead: bool) -> _Place | None:
        """A new place for a worker of ``spec``; None when there is a worker, or no memory to spare."""
        self._open()
        with self._changed:
            if self._closing.is_set() or (ahead and self._needs):
                raise WorkerError("cancelled")
            victims = self._victims(spec)
            there = any(place.spec.name == spec.name for place in self._places)
            if there or victims is None or self._over_budget(spec, without=victims) > 0:
                return None
            if (ahead and victims) or any(self._needs.coming(victim.spec.name) for victim in victims):
                return None
            place, doomed = self._placed(spec, victims)
            place.warming, place.ahead = True, ahead
        self._remove_leftovers(doomed)
        self._end(victims, "budget", wanted=spec)
        return place

    def _placed(self, spec: WorkerSpec, victims: list[_Place]) -> tuple[_Place, dict[str, int]]:
        """A new place, for which ``victims`` are to be ended, and the leftovers to be removed for it."""
        place = self._new_place(spec)
        self._leftovers.pop(place.folder, None)  # to be adopted
        doomed: dict[str, int] = {}
        if self._over_budget(spec) > 0:
            doomed, self._leftovers = self._leftovers, {}
        for victim in victims:
            victim.busy = True
        self._places.append(place)
        return place, doomed

    def _victims(self, spec: WorkerSpec) -> list[_Place] | None:
        """Idle workers to end so that ``spec`` fits; None: it will fit when a busy one is given back."""
        needed = self._over_budget(spec) - sum(self._leftovers.values())
        victims: list[_Place] = []
        for place in sorted(self._places, key=self._order):
            if needed <= 0:
                break
            if not place.busy:
                victims.append(place)
                needed -= place.spec.memory_mb
        if needed > 0 and any(place.busy for place in self._places):
            return None
        return victims

    def _order(self, place: _Place) -> tuple[bool, bool, bool, int, float]:
        name = place.spec.name
        return self._needs.order(name, hot=name in self._settings.hot, used_at=place.used_at)

    def _over_budget(self, spec: WorkerSpec, *, without: Iterable[_Place] = ()) -> int:
        used = sum(place.spec.memory_mb for place in self._places + self._stuck) + sum(self._leftovers.values())
        freed = sum(place.spec.memory_mb for place in without)
        return used + spec.memory_mb - freed - self._settings.worker_memory_mb

    def _new_place(self, spec: WorkerSpec) -> _Place:
        taken = {place.folder for place in self._places + self._stuck}
        numbers = iter(range(len(taken) + 1))
        folder = next(name for number in numbers if (name := f"{spec.name}-{number}") not in taken)
        return _Place(spec, folder)

    def _on_a_gpu(self, place: _Place) -> None:
        """Choose the GPU of ``place``, whose worker starts now."""
        if place.spec.device == "cpu" or not self._settings.gpus:
            return
        free = gpus.read_free_mb(self._settings.gpus)  # asked without the lock: it may take seconds
        with self._changed:
            # a worker that was given back has loaded its networks, so its memory is no longer free
            tenants = [
                gpus.Tenant(other.gpu, 0 if other.used_at else other.spec.memory_mb)
                for other in self._places
                if other is not place and other.gpu is not None
            ]
            place.gpu = gpus.choose(self._settings.gpus, free_mb=free, tenants=tenants)

    def _ready(self, place: _Place, spec: WorkerSpec) -> Worker:
        """The worker of ``place``, started when there is none, when it died idle, or when its image or card changed."""
        try:
            worker = place.worker
            if worker and (place.spec != spec or not worker.alive() or worker.image_digest != self.image_digest(spec)):
                self._say_ended(place, "broken" if place.spec == spec and not worker.alive() else "changed")
                worker.close()
                worker = place.worker = None
            if worker is None:
                place.spec = spec
                worker = self._started(place)
            return worker
        except BaseException:
            self._give_back(place)
            raise

    def _started(self, place: _Place) -> Worker:
        assert self._claim is not None
        # one way for the whole start: an image may appear meanwhile
        runner, began = self._runners().of(place.spec), time.perf_counter()
        code = runner.available(place.spec)
        if code:
            raise WorkerError(code, retryable=code == "engine_unavailable")
        self._on_a_gpu(place)
        for _ in range(2):
            exchange = runner.exchange(self._claim.folder / place.folder, place.spec)
            try:
                running = runner.start(place.spec, exchange, gpu=place.gpu)
            except BaseException:
                exchange.close()
                raise
            worker = Worker(place.spec, running, exchange)
            with self._changed:
                place.worker, unwanted = worker, place.unwanted
            try:
                if unwanted:
                    worker.close()
                    raise WorkerError("cancelled")
                worker.open()
            except WorkerError:
                if running.adopted and worker.ending != "stuck":  # busy with abandoned work: a fresh one is quicker
                    continue
                raise
            log.info(
                "worker_started",
                worker=place.spec.name,
                runner=runner.kind,
                seconds=round(time.perf_counter() - began, 3),
            )
            return worker
        raise WorkerError("worker_not_started", retryable=True)

    # -- giving back

    def _give_back(self, place: _Place) -> None:
        cold = place.spec.once or place.spec.name in self._settings.cold
        with self._changed:
            place.warming = place.ahead = False
            keep = place.worker is not None and not (
                place.worker.broken or cold or place.unwanted or self._closing.is_set()
            )
            if keep:
                place.busy, place.used_at = False, self._clock()
                self._changed.notify_all()
        if not keep:
            broken = place.worker is None or place.worker.broken
            self._end([place], "unwanted" if place.unwanted else "broken" if broken else "cold" if cold else "closed")

    def _end(
        self, places: list[_Place], reason: Reason, *, wanted: WorkerSpec | None = None, counted: bool = True
    ) -> None:
        """End the workers of ``places``, all at once, then free their memory."""

        def close(place: _Place) -> bool:
            return place.worker is None or place.worker.close() != "stuck"

        if not places:
            return
        for place in places:
            if counted:
                self._say_ended(place, reason, wanted=wanted)
        with ThreadPoolExecutor(min(8, len(places))) as threads:
            gone = list(threads.map(close, places))
        with self._changed:
            self._places = [place for place in self._places if not any(place is item for item in places)]
            self._stuck += [place for place, is_gone in zip(places, gone, strict=True) if not is_gone]
            self._changed.notify_all()

    def _say_ended(self, place: _Place, reason: Reason, *, wanted: WorkerSpec | None = None) -> None:
        """Count and log the end of a worker; ``wanted``: the one that needs its memory."""
        if place.worker is None:
            return
        self.ended[reason] += 1
        facts = {"wanted": wanted.name, "budget_mb": self._settings.worker_memory_mb} if wanted else {}
        log.info("worker_ended", worker=place.spec.name, reason=reason, memory_mb=place.spec.memory_mb, **facts)

    def _idle(self, place: _Place, now: float) -> bool:
        return now - place.used_at >= self._settings.warm_s

    # -- life

    def _open(self) -> None:
        """Claim a folder of the scratch and find the workers an earlier back-end left there."""
        runners = self._runners()
        with self._changed:
            if self._claim is not None or self._closing.is_set():
                return
            workers = self._settings.scratch_folder / "workers"
            self._claim = claim(workers)
            self._opened_at = self._clock()
            with contextlib.suppress(WorkerError):  # without an engine there is nothing to sweep, and starting says so
                self._leftovers = runners.sweep(self._claim.folder)
            for entry in self._claim.folder.iterdir():
                if entry.is_dir() and entry.name not in self._leftovers:
                    remove_tree(entry)
            remove_abandoned(workers)
            self._reaper.start()

    def _runners(self) -> Runners:
        with self._changed:
            if self._chosen is None:
                self._chosen = choose_runners(self._settings)
            return self._chosen

    def _remove_leftovers(self, leftovers: dict[str, int]) -> None:
        for name in leftovers:
            assert self._claim is not None
            try:
                self._runners().remove(self._claim.folder / name)
            except WorkerError as error:
                log.warning("leftover_not_removed", worker=name, code=error.code)
            remove_tree(self._claim.folder / name)

    def _reap(self) -> None:
        while not self._closing.wait(min(30.0, max(0.5, self._settings.warm_s / 4))):
            self.sweep()
