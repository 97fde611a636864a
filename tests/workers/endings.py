"""The six endings of a worker, as promises every runner keeps: inherited by the tests of processes and of containers."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from backend.workers import endings
from backend.workers.spec import WorkerError
from backend.workers.worker import Worker

Start = Callable[..., Worker]


class SixEndings:
    """A subclass gives the fixture ``start``, and ``still_there`` that looks past our own code for remains of a worker."""

    def still_there(self, worker: Worker) -> bool:
        raise NotImplementedError

    def test_asked_to_stop_it_ends(self, start: Start) -> None:
        worker = start()
        assert worker.close() == "ended"
        assert not self.still_there(worker)

    def test_lingering_it_is_ended_by_sigterm(self, start: Start) -> None:
        worker = start()
        worker.call("linger", timeout_s=5, seconds=600)
        began = time.monotonic()
        assert worker.close() == "terminated"
        assert time.monotonic() - began < endings.ASK_S + endings.TERMINATE_S + 2
        assert not self.still_there(worker)

    def test_deaf_to_sigterm_it_is_killed(self, start: Start) -> None:
        worker = start()
        worker.call("deaf", timeout_s=5)
        worker.call("linger", timeout_s=5, seconds=600)
        assert worker.close() == "killed"
        assert not self.still_there(worker)

    def test_what_cannot_be_killed_is_reported_and_tried_again(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worker = start()
        worker.broken = True
        monkeypatch.setattr(endings, "KILL_S", 0.2)
        with monkeypatch.context() as powerless:
            powerless.setattr(type(worker._running), "kill", lambda self: None)
            assert worker.close() == "stuck"
        assert not worker.alive()
        assert self.still_there(worker)
        assert worker.close() == "killed"
        assert not self.still_there(worker)

    def test_dead_by_itself_nothing_is_left(self, start: Start) -> None:
        worker = start()
        with pytest.raises(WorkerError, match="worker_died"):
            worker.call("die", timeout_s=30)
        assert worker.ending in ("ended", "killed")
        assert not self.still_there(worker)

    def test_dead_by_itself_its_children_die_too(self, start: Start) -> None:
        worker = start()
        worker.call("child", timeout_s=5)
        with pytest.raises(WorkerError, match="worker_died"):
            worker.call("die", timeout_s=30)
        assert not self.still_there(worker)
