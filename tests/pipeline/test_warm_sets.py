"""The detectors of one job stay warm together: the light ones within the least budget, twice, through real workers; and what is
loaded at the start; without a report the scores are the same."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from backend.board import SilentBoard
from backend.catalog.detectors import DetectorCatalog
from backend.job import Job
from backend.pipeline import Pipeline
from backend.workers.pool import WorkerPool
from backend.workers.spec import WorkerError
from shared.digest import sha256_of
from shared.machine import LEAST_BUDGET_MB
from shared.settings import Settings, read_settings
from tests.compiled import share_compiled

LIGHT = ("mesonet", "classnseg", "va", "selfblend")


def job(number: int, clip: Path, folder: Path) -> Job:
    return Job(
        id=str(number) * 26, source=clip, sha256=sha256_of(clip), bytes=clip.stat().st_size, name="clip.mp4",
        detectors=LIGHT, mode="quick", video_per_detector=False, folder=folder / f"job{number}",
    )  # fmt: skip


@pytest.mark.timeout(300)
def test_the_light_detectors_judge_two_clips_and_no_worker_is_ended(
    tmp_path: Path, astronaut_clip: Path, weights_folder: Path
):
    share_compiled(tmp_path)
    settings = read_settings(
        data=tmp_path, weights=weights_folder, runner="process", jobs=1, worker_memory_mb=LEAST_BUDGET_MB
    )
    catalog = DetectorCatalog(settings.detectors, availability=lambda card: None)
    with structlog.testing.capture_logs() as logs, contextlib.closing(WorkerPool(settings)) as pool:
        pipeline = Pipeline(settings, pool, catalog)
        for number in (1, 2):
            result = pipeline.run(job(number, astronaut_clip, tmp_path), SilentBoard())
            assert [item.status for item in result.detectors] == ["ok"] * len(LIGHT)
        third = job(3, astronaut_clip, tmp_path)
        bare = pipeline.judge(third, SilentBoard())
        assert [item.scores for item in bare.detectors] == [item.scores for item in result.detectors]
        assert (third.report.exists(), third.pack.exists(), bare.files) == (False, True, {})
        assert pool.ended == {}
    started = [line["worker"] for line in logs if line["event"] == "worker_started"]
    assert sorted(started) == sorted(["media", *LIGHT])


def test_a_command_starts_its_workers_before_it_loads_what_draws_reports():
    code = "import sys, backend.pipeline, backend.commands.analyze; print(sorted({'matplotlib', 'scipy', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


class Loading:
    """A pool that notes what it is asked to load ahead."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[str] = []
        self._error = error

    def load_ahead(self, specs: Any) -> list[str]:
        self.asked = [spec.name for spec in specs]
        if self._error:
            raise self._error
        return self.asked


def loaded(tmp_path: Path, pool: Loading, **changes: Any) -> list[str]:
    settings: Settings = read_settings(data=tmp_path, **changes)
    catalog = DetectorCatalog(
        settings.detectors, availability=lambda card: None if card.id in (*LIGHT, "selim") else "weights_missing"
    )
    Pipeline(settings, pool, catalog, states=SimpleNamespace()).load_ahead()  # type: ignore[arg-type]
    return pool.asked


def test_the_media_worker_and_what_can_run_here_are_loaded_at_the_start_small_ones_first(tmp_path: Path):
    asked = loaded(tmp_path, Loading())
    assert (asked[0], asked[-1]) == ("media", "selim")
    assert sorted(asked) == sorted(["media", "selim", *LIGHT])


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [({"cold": ["va", "media"]}, {"va", "media"}), ({"warm_s": 0}, {"media", "selim", *LIGHT})],
    ids=["cold", "nothing is kept warm"],
)
def test_what_is_started_for_each_job_is_not_loaded_at_the_start(tmp_path: Path, changes: Any, left_out: set[str]):
    assert {"media", "selim", *LIGHT} - set(loaded(tmp_path, Loading(), **changes)) == left_out


@pytest.mark.parametrize("error", [WorkerError("engine_unavailable", retryable=True), OSError("full")], ids=repr)
def test_a_failure_to_load_at_the_start_is_only_logged(tmp_path: Path, error: Exception):
    with structlog.testing.capture_logs() as logs:
        loaded(tmp_path, Loading(error))
    assert [line["event"] for line in logs] == ["loading_ahead_failed"]
