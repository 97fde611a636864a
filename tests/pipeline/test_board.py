"""Progress is one record from the pipeline to the page."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend.board import PAUSE_S, StatusBoard
from shared.records import DetectorProgress, new_id
from shared.store import Store

NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "submissions", tmp_path / "results").prepare(tmp_path / "state")


def test_what_a_detector_reports_is_what_the_status_shows(store: Store) -> None:
    job, now = new_id(), [0.0]
    board = StatusBoard(
        store, job, detectors=[("va", "VA"), ("selim", "Selim")], received=NOW, attempt=1, clock=lambda: now[0]
    )
    working = DetectorProgress(detector="selim", title="Selim", state="working", done=3, total=12)
    board.detector(working)
    status = store.read_status(job)
    assert status is not None
    assert status.detectors == (DetectorProgress(detector="va", title="VA"), working)
    assert (status.step, status.progress) == ("detectors", pytest.approx(0.3 + 0.5 * 0.25 / 2))
    board.detector(working.model_copy(update={"done": 4}))
    assert store.read_status(job) == status  # too soon for another write
    now[0] += PAUSE_S
    late = working.model_copy(update={"done": 5})
    board.detector(late)
    done = DetectorProgress(detector="va", title="VA", state="failed", code="worker_died", seconds=1.5, cached=True)
    board.detector(done)
    status = store.read_status(job)
    assert status is not None
    assert status.detectors == (done, late)
