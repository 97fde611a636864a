"""What the loss of a worker means for the job: one more worker, then the next attempt; only what will never work ends the job."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.board import SilentBoard
from backend.catalog.detectors import DetectorCatalog
from backend.job import Job
from backend.pipeline import TRIES, Pipeline
from backend.scores.assemble import DetectorOutcome
from backend.workers.spec import WorkerError
from shared.errors import PermanentError, RetryableError
from shared.settings import Settings, read_settings
from tests.detectors.test_contract import write_pack


class FailingPool:
    """Every lease ends with ``error``."""

    def __init__(self, error: WorkerError) -> None:
        self.error, self.leased = error, []

    @contextlib.contextmanager
    def lease(self, spec: Any) -> Iterator[Any]:
        self.leased.append(spec.name)
        raise self.error
        yield

    @contextlib.contextmanager
    def needs(self, specs: Any) -> Iterator[Any]:
        yield lambda spec: None

    def warm(self, spec: Any) -> None:
        raise self.error

    def runner_kind(self, spec: Any) -> str:
        return "process"

    def image_digest(self, spec: Any) -> None:
        return None


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings(data=tmp_path, cold=["mesonet"])


@pytest.fixture
def job(tmp_path: Path) -> Job:
    source = tmp_path / "clip.mp4"
    source.write_bytes(b"media")
    return Job(
        id="a" * 26, source=source, sha256=hashlib.sha256(b"media").hexdigest(), bytes=5, name="clip.mp4",
        detectors=("mesonet",), mode="quick", video_per_detector=False, folder=tmp_path / "scratch",
    )  # fmt: skip


@pytest.fixture
def pipeline_with(settings: Settings) -> Callable[[WorkerError], Pipeline]:
    def make(error: WorkerError) -> Pipeline:
        catalog = DetectorCatalog(settings.detectors, availability=lambda card: None)
        return Pipeline(settings, FailingPool(error), catalog)

    return make


@pytest.mark.parametrize("code", ["worker_died", "worker_not_started", "engine_unavailable"])
def test_a_media_worker_lost_twice_ends_the_attempt_and_not_the_job(pipeline_with, job: Job, code: str):
    pipeline = pipeline_with(WorkerError(code, retryable=True))
    with pytest.raises(RetryableError, match=code):
        pipeline.run(job, SilentBoard())
    assert pipeline.pool.leased == ["media"] * TRIES


@pytest.mark.parametrize(
    ("code", "told"), [("media_timed_out", "media_timed_out"), ("detector_failed", "media_unreadable")]
)
def test_what_a_fresh_media_worker_would_not_mend_ends_the_job(pipeline_with, job: Job, code: str, told: str):
    pipeline = pipeline_with(WorkerError(code))
    with pytest.raises(PermanentError, match=told):
        pipeline.run(job, SilentBoard())
    assert pipeline.pool.leased == ["media"]


def judged(pipeline: Pipeline, job: Job) -> DetectorOutcome:
    """What becomes of one detector whose worker fails."""
    job.folder.mkdir()
    pack = write_pack(job.pack, [np.zeros((20, 20, 3), np.uint8)])
    return pipeline._detector(job, pipeline.catalog.card("mesonet"), pack, SilentBoard())


def test_a_detector_whose_worker_is_lost_twice_fails_alone(pipeline_with, job: Job):
    pipeline = pipeline_with(WorkerError("worker_died", retryable=True))
    outcome = judged(pipeline, job)
    assert (outcome.status, outcome.code) == ("failed", "worker_died")
    assert pipeline.pool.leased == ["mesonet"] * TRIES


def test_an_engine_that_is_away_is_not_reported_as_a_failure_of_the_detector(pipeline_with, job: Job):
    with pytest.raises(RetryableError, match="engine_unavailable"):
        judged(pipeline_with(WorkerError("engine_unavailable", retryable=True)), job)


def test_a_detector_that_cannot_run_because_the_engine_is_away_waits_for_it(settings: Settings, job: Job):
    catalog = DetectorCatalog(settings.detectors, availability=lambda card: "engine_unavailable")
    with pytest.raises(RetryableError, match="engine_unavailable"):
        judged(Pipeline(settings, FailingPool(WorkerError("unused")), catalog), job)
