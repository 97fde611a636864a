"""What back-end tests share: submissions in a real pair of folders."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend.job import Job
from shared.records import JobId, Submission, new_id
from shared.settings import Settings, read_settings
from shared.store import Store
from tests.dispatch.back_end import BackEnd


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings(data=tmp_path / "var", scan_s=0.05)


@pytest.fixture
def store(settings: Settings) -> Store:
    return Store(settings.submissions, settings.results).prepare(settings.backend_state)


@pytest.fixture
def submit(store: Store) -> Callable[..., JobId]:
    """Submit ``content``; further members of the record by name."""

    def submit(content: bytes = b"media", **members) -> JobId:
        job = new_id()
        (store.open_submission(job) / "media").write_bytes(content)
        record = {
            "id": job,
            "received": datetime.now(UTC),
            "email": "visitor@example.org",
            "pin_hash": "x",
            "detectors": ("mesonet",),
            "original_name": "clip.mp4",
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
        }
        store.submit(Submission(**record | members))
        return job

    return submit


@pytest.fixture
def dispatcher_for(settings: Settings, store: Store, tmp_path: Path) -> Iterator[Callable[..., BackEnd]]:
    """Start a dispatcher whose jobs run ``script`` and whose videos run ``draws``; further settings by name. All are stopped at the end."""
    started: list[BackEnd] = []

    def make(script: Callable[[Job], None] = lambda job: None, *, draws=None, retry_s=(0.0,), **changes) -> BackEnd:
        changed = settings.model_copy(update=changes)
        started.append(BackEnd(changed, store, tmp_path, script, draws=draws, retry_s=retry_s))
        return started[-1]

    yield make
    for back_end in started:
        back_end.end()
