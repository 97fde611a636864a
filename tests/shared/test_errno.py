"""Every call to the file system may fail. Then a step of the store raises one of our errors and leaves the old or the new state behind,
or it succeeds all the same; it never claims success for what is not there, and done again it succeeds.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.errors import StoreTrouble
from shared.records import Catalog, JobId, Queue, Status, new_id
from shared.store import Store
from shared.truths import Noted
from tests.report.conftest import make_result
from tests.shared.test_store import submission

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CATALOG = Catalog(updated=NOW, runner="process", queued=0, working=0, detectors=())

ERRNOS = [getattr(errno, name) for name in ("EIO", "ESTALE", "ENOENT", "EDQUOT", "ENOTEMPTY", "EROFS", "ENOSPC")]

#: Calls of the operating system that the store, durable, pathlib and shutil make.
CALLS = (
    *("open", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "scandir", "lstat", "stat", "fstat", "utime"),
    *("sendfile", "statvfs"),
)


@dataclass
class Faults:
    """Lets the ``fail_at``-th call fail with ``number``; counts the calls."""

    number: int = 0
    fail_at: int = 0
    calls: list[str] = field(default_factory=list)

    def hit(self, name: str) -> None:
        self.calls.append(name)
        if len(self.calls) == self.fail_at:
            raise OSError(self.number, os.strerror(self.number))

    @contextmanager
    def injected(self) -> Iterator[None]:
        """Within the block, every call is one of ours."""
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self._wrapped(name, getattr(os, name)))
            patch.setattr(builtins, "open", self._wrapped("builtins.open", builtins.open))
            patch.setattr(io, "open", self._wrapped("io.open", io.open))
            real = os.fdopen
            patch.setattr(os, "fdopen", lambda *given, **named: _Stream(real(*given, **named), self))
            yield

    def _wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any, **named: Any) -> Any:
            self.hit(name)
            return call(*given, **named)

        return wrapped


class _Stream:
    """A file whose reads and writes are calls too."""

    def __init__(self, stream: Any, faults: Faults) -> None:
        self._stream, self._faults = stream, faults

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, count: int) -> bytes:
        self._faults.hit("read")
        return self._stream.read(count)

    def write(self, content: bytes) -> int:
        self._faults.hit("write")
        return self._stream.write(content)

    def flush(self) -> None:
        self._faults.hit("flush")
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()


def truth(job: JobId, *, fake: bool) -> Noted:
    """What is kept of a result whose truth became known."""
    return Noted.of(make_result(frames=2).model_copy(update={"id": job}), fake=fake, note="", now=NOW)


class World:
    """A store with a job in tmp, new, active and done each, and a finished report beside it."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "submissions", folder / "results").prepare(folder / "state")
        self.tmp, self.new, self.active, self.done = (new_id() for _ in range(4))
        for job in (self.tmp, self.new, self.active, self.done):
            (self.store.open_submission(job) / "media").write_bytes(b"abc")
            if job != self.tmp:
                self.store.submit(submission(job))
        for job in (self.active, self.done):
            self.store.move(job, "new", "active")
            self.store.count_attempt(job)
        self.finished = folder / "finished"
        (self.finished / "curves").mkdir(parents=True)
        (self.finished / "result.json").write_text("result")
        (self.finished / "curves" / "all.png").write_bytes(b"png")
        self.whole = folder / "whole"
        shutil.copytree(self.finished, self.whole)
        (self.whole / "result.json").write_text("whole")
        (self.whole / "video.mp4").write_bytes(b"video")
        self.copy = folder / "copy"
        self.store.publish(self.done, self.finished)
        self.store.move(self.done, "active", "done")
        self.store.write_status(Status(id=self.done, state="done", updated=NOW))
        self.store.write_model_card("mesonet", "# old")
        self.store.write_catalog(CATALOG)
        self.store.note_truth(truth(self.done, fake=False))

    def names(self, job: JobId, stage: str) -> set[str]:
        return {path.name for path in self.store.job(stage, job).glob("*")}  # type: ignore[arg-type]

    def published(self, job: JobId) -> bool:
        files = {str(path.relative_to(self.store.report(job))) for path in self.store.report(job).rglob("*")}
        assert files in (set(), {"result.json", "curves", "curves/all.png"}), "a report is whole or not there"
        return bool(files)

    def completed(self) -> bool:
        report = self.store.report(self.done)
        named = (report / "result.json").read_text() == "whole"
        assert (report / "video.mp4").is_file() or not named, "result.json names what is not there"
        return named


@dataclass(frozen=True)
class Step:
    """One step: what it does, and whether it is done."""

    do: Callable[[World], object]
    done: Callable[[World], object]


WRITES = {
    "open_submission": Step(
        lambda w: w.store.open_submission(JobId("a" * 26)), lambda w: w.store.job("tmp", "a" * 26).is_dir()
    ),
    "reuse_media": Step(
        lambda w: w.store.reuse_media("done", w.done, JobId("b" * 26)),
        lambda w: w.names(JobId("b" * 26), "tmp") == {"media"} and w.names(w.done, "done") >= {"media"},
    ),
    "submit": Step(
        lambda w: w.store.submit(submission(w.tmp)), lambda w: w.names(w.tmp, "new") == {"media", "submission.json"}
    ),
    "set_aside": Step(lambda w: w.store.set_aside("new", w.new), lambda w: not w.store.job("new", w.new).exists()),
    "move": Step(lambda w: w.store.move(w.new, "new", "active"), lambda w: w.store.stage_of(w.new) == "active"),
    "count_attempt": Step(lambda w: w.store.count_attempt(w.active), lambda w: w.store.attempts(w.active) == 2),
    "uncount_attempt": Step(lambda w: w.store.uncount_attempt(w.active), lambda w: w.store.attempts(w.active) == 0),
    "take_in": Step(
        lambda w: w.store.take_in(submission(w.active, sha256="1" * 64), w.finished / "result.json"),
        lambda w: (
            w.store.read_submission("active", w.active).sha256 == "1" * 64
            and (w.store.job("active", w.active) / "media").read_text() == "result"
        ),
    ),
    "write_status": Step(
        lambda w: w.store.write_status(Status(id=w.active, state="working", updated=NOW)),
        lambda w: (found := w.store.read_status(w.active)) and found.state == "working",
    ),
    "write_queue": Step(
        lambda w: w.store.write_queue(Queue(updated=NOW, waits={w.new: (0.0, None)})),
        lambda w: (w.store.results / "queue.json").is_file(),
    ),
    "ask_for_end": Step(lambda w: w.store.ask_for_end(w.active), lambda w: w.store.is_withdrawn(w.active)),
    "publish": Step(lambda w: w.store.publish(w.active, w.finished), lambda w: w.published(w.active)),
    "complete": Step(lambda w: w.store.complete(w.done, w.whole), lambda w: w.completed()),
    "write_catalog": Step(
        lambda w: w.store.write_catalog(CATALOG.model_copy(update={"queued": 7})),
        lambda w: w.store.read_catalog().queued == 7,
    ),
    "write_model_card": Step(
        lambda w: w.store.write_model_card("mesonet", "# new"), lambda w: w.store.read_model_card("mesonet") == "# new"
    ),
    "remove_media": Step(
        lambda w: w.store.remove_media("done", w.done),
        lambda w: w.names(w.done, "done") == {"submission.json", "attempts.json"},
    ),
    "forget_address": Step(
        lambda w: w.store.forget_address("done", w.store.read_submission("done", w.done)),
        lambda w: w.store.read_submission("done", w.done).email is None,
    ),
    "note_truth": Step(
        lambda w: w.store.note_truth(truth(w.done, fake=True)), lambda w: w.store.read_truth(w.done).fake
    ),
    "forget_truth": Step(lambda w: w.store.forget_truth(w.done), lambda w: w.store.read_truth(w.done) is None),
    "remove_report": Step(lambda w: w.store.remove_report(w.done), lambda w: not w.published(w.done)),
    "remove_submission": Step(
        lambda w: w.store.remove_submission("done", w.done), lambda w: w.store.stage_of(w.done) is None
    ),
    "remove_result": Step(lambda w: w.store.remove_result(w.done), lambda w: not w.store.result(w.done).exists()),
}

READS: dict[str, Callable[[World], object]] = {
    "ids": lambda w: w.store.ids("new"),
    "misfits": lambda w: w.store.misfits("new"),
    "stage_of": lambda w: w.store.stage_of(w.active),
    "read_submission": lambda w: w.store.read_submission("new", w.new),
    "attempts": lambda w: w.store.attempts(w.active),
    "begun": lambda w: w.store.begun(w.active),
    "read_status": lambda w: w.store.read_status(w.done),
    "owners_status": lambda w: w.store.owners_status(w.done, now=NOW),
    "is_withdrawn": lambda w: w.store.is_withdrawn(w.active),
    "read_catalog": lambda w: w.store.read_catalog(),
    "read_model_card": lambda w: w.store.read_model_card("mesonet"),
    "read_truth": lambda w: w.store.read_truth(w.done),
    "noted": lambda w: w.store.noted(),
    "result_ids": lambda w: w.store.result_ids(),
    "is_published": lambda w: w.store.is_published(w.done),
    "fetch_report": lambda w: w.store.fetch_report(w.done, w.copy.with_name(os.urandom(4).hex())),
    "changed": lambda w: w.store.changed("done", w.done),
    "dot_names": lambda w: w.store.dot_names(),
    "free_bytes": lambda w: w.store.free_bytes() > 0,
    "now": lambda w: w.store.now() > 0,
}

#: Errors that mean something at the very call (somebody moved the job just now) and are no trouble of the folder.
MEANT = (FileNotFoundError, FileExistsError)


def every_fault(make: Callable[[], World], do: Callable[[World], object]) -> Iterator[tuple[World, Faults]]:
    """A fresh world and a fault for each call of ``do`` and each errno; the calls are counted in a run without a fault."""
    counted = Faults()
    world = make()
    with counted.injected():
        do(world)
    assert counted.calls
    for number in ERRNOS:
        for index in range(1, len(counted.calls) + 1):
            yield make(), Faults(number=number, fail_at=index)


def check_trouble(error: StoreTrouble, faults: Faults) -> None:
    """The trouble is that of the failed call, or the folder seemed to be away."""
    assert error.errno in (faults.number, None)
    assert error.code == ("disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "store_unavailable")


@pytest.fixture
def make(tmp_path: Path) -> Callable[[], World]:
    def make() -> World:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: None)  # hundreds of worlds
            return World(tmp_path / os.urandom(4).hex())

    return make


def test_every_step_of_the_store_is_tried() -> None:
    paths = {"job", "result", "report", "check", "prepare", "discard"}
    assert set(WRITES) | set(READS) == {name for name in dir(Store) if not name.startswith("_")} - paths


@pytest.mark.parametrize("name", WRITES)
def test_a_write_never_claims_success_for_what_is_not_there(make: Callable[[], World], name: str) -> None:
    step = WRITES[name]
    for world, faults in every_fault(make, step.do):
        where = f"{errno.errorcode[faults.number]} at call {faults.fail_at}"
        try:
            with faults.injected():
                answer = step.do(world)
        except StoreTrouble as error:
            check_trouble(error, faults)
        except MEANT:
            assert faults.number in (errno.ENOENT, errno.ENOTEMPTY), where
        else:
            if answer is not False:  # "there is no such thing"
                assert step.done(world), f"{where} ({faults.calls[faults.fail_at - 1]}): success was claimed"
                continue
        try:
            done = step.done(world)  # the old state or the new one, and whole
        except AttributeError:
            done = False
        if not done and not (name == "submit" and world.store.stage_of(world.tmp) is None):  # it was taken back
            step.do(world)
            assert step.done(world), f"{where}: doing it again did not help"


@pytest.mark.parametrize("name", READS)
def test_a_read_gives_the_right_answer_or_says_that_it_has_none(make: Callable[[], World], name: str) -> None:
    world = make()
    right = READS[name](world)
    for _, faults in every_fault(lambda: world, READS[name]):
        where = f"{errno.errorcode[faults.number]} at call {faults.fail_at} ({name})"
        try:
            with faults.injected():
                found = READS[name](world)
        except StoreTrouble as error:
            check_trouble(error, faults)
        except FileNotFoundError:
            assert faults.number == errno.ENOENT, where
        else:
            # a name that is not there is an answer too: somebody may have removed it just now
            assert found == right or faults.number == errno.ENOENT, where


def test_a_submission_that_was_refused_is_never_worked_on(make: Callable[[], World]) -> None:
    """The visitor gets an error, so a folder that was renamed but may not be durable has to go."""
    step = WRITES["submit"]
    for world, faults in every_fault(make, step.do):
        try:
            with faults.injected():
                step.do(world)
        except OSError:
            assert world.tmp not in world.store.ids("new"), f"{errno.errorcode[faults.number]} at {faults.fail_at}"
