"""A dispatcher around a scripted pipeline, for tests: real folders, real threads, no workers."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

from backend.catalog.detectors import DetectorCatalog
from backend.catalog.durations import Durations
from backend.catalog.states import DetectorStates
from backend.dispatch.dispatcher import Dispatcher
from backend.dispatch.heartbeat import Superseded
from backend.job import Job
from backend.scores.cache import ScoreCache
from shared.records import JobId
from shared.settings import Settings
from shared.store import Store


class ScriptedPipeline:
    """Runs ``script(job)`` as the work and leaves a report; with ``draws(job)``, its video follows."""

    def __init__(self, script: Callable[[Job], None], draws: Callable[[Job], None] | None = None) -> None:
        self.draws = draws
        self.links = tuple
        self.pool = SimpleNamespace(runner_kind=lambda spec: "process", ended=Counter(), census=lambda: ())
        self.script, self.ran = script, []

    def run(self, job: Job, board, *, video_later: bool) -> SimpleNamespace:
        self.ran.append(job.id)
        if not job.report.exists():
            job.stage_in()
            board.step("media")
            self.script(job)
            job.report.mkdir()
            (job.report / "result.json").write_text(json.dumps({"video": "pending"} if self.draws else {}))
        return SimpleNamespace(video=json.loads((job.report / "result.json").read_text()).get("video"))

    def draw(self, job: Job, board, *, given_up: str | None = None) -> None:
        if json.loads((job.report / "result.json").read_text()).get("video") != "pending":
            return
        if given_up is None and self.draws:
            self.draws(job)
            (job.report / "video.mp4").write_text("pictures")
        (job.report / "result.json").write_text(json.dumps({"video": given_up or "ready"}))

    def load_ahead(self) -> None:
        """There are no workers."""

    def run_shadow(self, job: Job) -> None:
        """No detector is on trial."""


def wired(settings: Settings, pipeline: ScriptedPipeline, state: Path) -> SimpleNamespace:
    """A back-end around a scripted pipeline."""
    return SimpleNamespace(
        settings=settings,
        catalog=DetectorCatalog(settings.detectors, availability=lambda card: None),
        pipeline=pipeline,
        durations=Durations(state / "durations.json"),
        cache=ScoreCache(state / "cache"),
        states=DetectorStates(state / "states"),
    )


class BackEnd:
    """One dispatcher in a thread; ``superseded`` once it stood down for another one."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        state: Path,
        script: Callable[[Job], None],
        *,
        draws: Callable[[Job], None] | None,
        retry_s: Sequence[float],
    ) -> None:
        self.pipeline = ScriptedPipeline(script, draws)
        self.dispatcher = Dispatcher(wired(settings, self.pipeline, state), store=store, retry_s=retry_s)
        self.superseded = False
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.dispatcher.run()
        except Superseded:
            self.superseded = True

    def end(self) -> None:
        """Stop it."""
        self.dispatcher.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()


def eventually(condition: Callable[[], object], *, within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def state(store: Store, job: JobId) -> str | None:
    status = store.read_status(job)
    return status.state if status else None
