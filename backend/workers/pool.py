"""The pool of warm workers: loaded once, reused across jobs, within one memory budget.

Promises: one caller per worker at a time. A broken worker is never handed out again. Idle workers are ended, least recently used first,
when another needs their memory, or after ``settings.warm_s``; those in ``settings.hot`` last and only when memory is short, those in
``settings.cold`` after each job. A worker counts with the memory its card promises. Imported by the pipeline and the composition root.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from backend.workers.exchange import remove_tree
from backend.workers.runner import Runners, choose_runners
from backend.workers.scratch import Claim, claim, remove_abandoned
from backend.workers.spec import WorkerError, WorkerSpec
from backend.workers.worker import Worker
from base_detector import NotApplicable
from shared.records import RunnerKind
from shared.settings import Settings

log = structlog.get_logger()


@dataclass
class _Place:
    """Room for one worker: counted in the budget from before it starts until after it is gone."""

    spec: WorkerSpec
    folder: str
    gpu: str | None
    busy: bool = True
    worker: Worker | None = None
    used_at: float = 0.0


class WorkerPool:
    """Starts nothing before the first lease."""

    def __init__(
        self, settings: Settings, *, clock: Callable[[], float] = time.monotonic, runners: Runners | None = None
    ) -> None:
        self._settings, self._clock = settings, clock
        self._chosen = runners
        self._changed = threading.Condition()
        self._places: list[_Place] = []
        self._stuck: list[_Place] = []
        self._leftovers: dict[str, int] = {}
        self._opened_at = 0.0
        self._claim: Claim | None = None
        self._closing = threading.Event()
        self._reaper = threading.Thread(target=self._reap, daemon=True, name="worker-reaper")

    # -- what the platform asks

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

    def close(self) -> None:
        """End all workers. A caller that still holds one gets a WorkerError."""
        self._closing.set()
        with self._changed:
            places, self._places = self._places, []
            leftovers, self._leftovers = self._leftovers, {}
            self._changed.notify_all()
        if self._reaper.is_alive():
            self._reaper.join(10)
        self._end(places)
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
        self._end(expired + stuck)
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
                victims = self._victims(spec) if len(own) < max(1, self._settings.jobs) else None
                if victims is not None:
                    break
                self._changed.wait()
            place = self._new_place(spec)
            self._leftovers.pop(place.folder, None)  # to be adopted
            doomed: dict[str, int] = {}
            if self._over_budget(spec) > 0:
                doomed, self._leftovers = self._leftovers, {}
            for victim in victims:
                victim.busy = True
            self._places.append(place)
        self._remove_leftovers(doomed)
        self._end(victims)
        return place

    def _victims(self, spec: WorkerSpec) -> list[_Place] | None:
        """Idle workers to end so that ``spec`` fits; None: it will fit when a busy one is given back."""
        needed = self._over_budget(spec) - sum(self._leftovers.values())
        victims: list[_Place] = []
        hot = self._settings.hot
        for place in sorted(self._places, key=lambda item: (item.spec.name in hot, item.used_at)):
            if needed <= 0:
                break
            if not place.busy:
                victims.append(place)
                needed -= place.spec.memory_mb
        if needed > 0 and any(place.busy for place in self._places):
            return None
        return victims

    def _over_budget(self, spec: WorkerSpec) -> int:
        used = sum(place.spec.memory_mb for place in self._places + self._stuck) + sum(self._leftovers.values())
        return used + spec.memory_mb - self._settings.worker_memory_mb

    def _new_place(self, spec: WorkerSpec) -> _Place:
        taken = {place.folder for place in self._places + self._stuck}
        numbers = iter(range(len(taken) + 1))
        folder = next(name for number in numbers if (name := f"{spec.name}-{number}") not in taken)
        gpu = None
        if spec.device != "cpu" and self._settings.gpus:
            used = [place.gpu for place in self._places]
            gpu = min(self._settings.gpus, key=used.count)
        return _Place(spec, folder, gpu)

    def _ready(self, place: _Place, spec: WorkerSpec) -> Worker:
        """The worker of ``place``, started when there is none, when it died idle, or when its image or card changed."""
        try:
            worker = place.worker
            if worker and (place.spec != spec or not worker.alive() or worker.image_digest != self.image_digest(spec)):
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
        for _ in range(2):
            exchange = runner.exchange(self._claim.folder / place.folder, place.spec)
            try:
                running = runner.start(place.spec, exchange, gpu=place.gpu)
            except BaseException:
                exchange.close()
                raise
            worker = place.worker = Worker(place.spec, running, exchange)
            try:
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
        cold = place.spec.name in self._settings.cold
        with self._changed:
            keep = place.worker is not None and not place.worker.broken and not cold and not self._closing.is_set()
            if keep:
                place.busy, place.used_at = False, self._clock()
                self._changed.notify_all()
        if not keep:
            self._end([place])

    def _end(self, places: list[_Place]) -> None:
        """End the workers of ``places``, all at once, then free their memory."""

        def close(place: _Place) -> bool:
            return place.worker is None or place.worker.close() != "stuck"

        if not places:
            return
        with ThreadPoolExecutor(min(8, len(places))) as threads:
            gone = list(threads.map(close, places))
        with self._changed:
            self._places = [place for place in self._places if not any(place is item for item in places)]
            self._stuck += [place for place, is_gone in zip(places, gone, strict=True) if not is_gone]
            self._changed.notify_all()

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
