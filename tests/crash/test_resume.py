"""``kill -9`` of the real back-end in its own process: nothing is lost, nothing is done twice, nothing is left running."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.records import JobId, Submission, new_id
from shared.results import Result
from shared.settings import read_settings
from shared.store import Store
from tests.compiled import share_compiled

ROOT = Path(__file__).resolve().parents[2]


class BackEnd:
    """The dispatcher's process on one data folder."""

    def __init__(self, data: Path, weights: Path) -> None:
        self.settings = read_settings(data=data, weights=weights)
        self.store = Store(self.settings.submissions, self.settings.results).prepare(self.settings.frontend_state)
        share_compiled(data)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; process workers, so that this runs without a container engine."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DFOM_")} | {
            "DFOM_DATA": str(self.settings.data),
            "DFOM_WEIGHTS": str(self.settings.weights_folder),
            "DFOM_RUNNER": "process",
            "DFOM_SCAN_S": "0.1",
        }
        command = [sys.executable, "-m", "deepfake_o_meter", "dispatch"]
        with (self.settings.data / "backend.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log)

    def kill(self) -> None:
        """kill -9, as a power cut or the kernel's memory killer would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def submit(self, clip: Path) -> JobId:
        """What the portal does with an upload."""
        job, content = new_id(), clip.read_bytes()
        (self.store.open_submission(job) / "media").write_bytes(content)
        self.store.submit(
            Submission(
                id=job,
                received=datetime.now(UTC),
                email=None,
                pin_hash=None,
                detectors=("mesonet", "classnseg"),
                mode="quick",
                original_name=clip.name,
                sha256=hashlib.sha256(content).hexdigest(),
                bytes=len(content),
            )
        )
        return job

    def scratch(self, job: JobId) -> Path:
        """The job's scratch folder."""
        return self.settings.scratch_folder / "jobs" / "main" / job

    def wait(self, condition: Callable[[], object], *, within_s: float = 120, every_s: float = 0.01) -> None:
        """Wait until ``condition``; show the log when it does not come true."""
        deadline = time.monotonic() + within_s
        while not condition():
            assert self.process is None or self.process.poll() is None, self.told()
            assert time.monotonic() < deadline, self.told()
            time.sleep(every_s)

    def told(self) -> str:
        """The end of the log."""
        return (self.settings.data / "backend.log").read_text(encoding="utf-8")[-4000:]

    def result(self, job: JobId) -> Result:
        """The published result."""
        return Result.model_validate_json((self.store.report(job) / "result.json").read_bytes())


@pytest.fixture
def back_end(tmp_path: Path, weights_folder: Path) -> Iterator[BackEnd]:
    (tmp_path / "var").mkdir()
    made = BackEnd(tmp_path / "var", weights_folder)
    yield made
    if made.process and made.process.poll() is None:
        made.process.send_signal(signal.SIGTERM)
        made.process.wait(60)


def processes_below(folder: Path) -> list[str]:
    """Command lines of processes that mention ``folder``, or work in it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder) in line or str(folder) in os.readlink(entry / "cwd"):
                found.append(line)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


@pytest.mark.parametrize(
    ("finished", "not_again"),
    [
        ("media", set()),
        ("pack", {"media"}),
        ("scores/mesonet", {"media", "detector.mesonet"}),
        ("scores/classnseg", {"media", "detector.mesonet", "detector.classnseg"}),
    ],
)
def test_a_killed_back_end_goes_on_behind_the_last_finished_step(
    back_end: BackEnd, astronaut_clip: Path, finished: str, not_again: set[str]
):
    back_end.start()
    job = back_end.submit(astronaut_clip)
    back_end.wait(lambda: (back_end.scratch(job) / finished).exists())
    back_end.kill()
    assert back_end.store.stage_of(job) == "active"
    assert not back_end.store.report(job).exists()
    back_end.start()
    back_end.wait(lambda: back_end.store.stage_of(job) == "done")
    status = back_end.store.read_status(job)
    assert (status.state, status.attempt) == ("done", 2)
    result = back_end.result(job)
    assert [item.status for item in result.detectors] == ["ok", "ok"]
    again = {name for name in ("media", "detector.mesonet", "detector.classnseg") if result.seconds[name] > 0.25}
    assert not again & not_again, f"done twice: {again & not_again} ({result.seconds})"


@pytest.mark.parametrize("scratch_is_lost", [False, True])
def test_a_back_end_killed_between_numbers_and_video_goes_on_at_the_video(
    back_end: BackEnd, astronaut_clip: Path, scratch_is_lost: bool
):
    back_end.start()
    job = back_end.submit(astronaut_clip)
    back_end.wait(lambda: (status := back_end.store.read_status(job)) and status.video == "pending", every_s=0.002)
    back_end.kill()
    numbers = back_end.result(job)
    before = back_end.store.read_status(job)
    assert (before.state, numbers.video, back_end.store.stage_of(job)) == ("done", "pending", "active")
    if scratch_is_lost:
        shutil.rmtree(back_end.scratch(job))
    back_end.start()
    seen = set()

    def complete() -> bool:
        seen.add(back_end.store.read_status(job).state)
        return back_end.store.stage_of(job) == "done"

    back_end.wait(complete)
    assert seen == {"done"}, "the visitor's page never goes back"
    after, result = back_end.store.read_status(job), back_end.result(job)
    assert (after.video, after.finished, result.video) == (None, before.finished, "ready")
    assert result.detectors == numbers.detectors
    assert {name: result.seconds[name] for name in numbers.seconds} == numbers.seconds, "nothing was done twice"
    video = back_end.store.report(job) / "video" / "side_by_side.mp4"
    assert hashlib.sha256(video.read_bytes()).hexdigest() == result.files["video/side_by_side.mp4"]
    assert not list(back_end.store.report(job).rglob(".*")), "nothing half-made is left"


def test_three_kills_in_the_same_job_end_it(back_end: BackEnd, astronaut_clip: Path):
    job = None
    for attempt in (1, 2, 3):
        back_end.start()
        job = job or back_end.submit(astronaut_clip)
        record = back_end.store.job("active", job) / "attempts.json"
        back_end.wait(lambda: record.exists() and json.loads(record.read_text())["attempts"] == attempt)  # noqa: B023
        back_end.kill()
    back_end.start()
    back_end.wait(lambda: back_end.store.stage_of(job) == "failed")
    assert back_end.store.read_status(job).code == "too_many_attempts"
    assert not back_end.scratch(job).exists()


def test_workers_do_not_outlive_a_killed_back_end(back_end: BackEnd, astronaut_clip: Path):
    back_end.start()
    job = back_end.submit(astronaut_clip)
    back_end.wait(lambda: (back_end.scratch(job) / "scores" / "mesonet").exists())
    assert processes_below(back_end.settings.scratch_folder)
    back_end.kill()
    back_end.process = None
    back_end.wait(lambda: not processes_below(back_end.settings.scratch_folder), within_s=10)


def test_a_stopped_back_end_ends_in_good_order_and_loses_no_attempt(back_end: BackEnd, astronaut_clip: Path):
    back_end.start()
    job = back_end.submit(astronaut_clip)
    back_end.wait(lambda: (back_end.scratch(job) / "media").exists())
    back_end.process.send_signal(signal.SIGTERM)
    assert back_end.process.wait(60) == 0
    if back_end.store.stage_of(job) == "active":  # it may have been quicker than the signal
        assert back_end.store.attempts(job) == 0
    assert not processes_below(back_end.settings.scratch_folder)


def test_the_same_upload_again_takes_its_scores_from_the_cache(back_end: BackEnd, astronaut_clip: Path):
    back_end.start()
    jobs = []
    for _ in range(2):
        jobs.append(back_end.submit(astronaut_clip))
        back_end.wait(lambda: back_end.store.stage_of(jobs[-1]) == "done")
    first, second = (back_end.result(job).detectors for job in jobs)
    assert [item.cached for item in first] == [False, False]
    assert [item.cached for item in second] == [True, True]
    assert [item.scores for item in first] == [item.scores for item in second]
    assert all(item.evidence for item in second if item.id == "classnseg"), "masks come from the cache as well"


def test_parts_that_are_not_whole_after_a_crash_are_made_again_in_the_next_attempt(
    back_end: BackEnd, astronaut_clip: Path
):
    """Each of these failed all three attempts before, or answered detector_bad_output until the cache expired."""
    back_end.start()
    first = back_end.submit(astronaut_clip)
    back_end.wait(lambda: back_end.store.stage_of(first) == "done")
    second = back_end.submit(astronaut_clip)
    back_end.wait(lambda: (back_end.scratch(second) / "scores" / "mesonet").exists())
    back_end.kill()
    scratch, cache = back_end.scratch(second), back_end.settings.backend_state / "scores"
    for entry in cache.iterdir():
        (entry / "scores.json").write_text("{}")
        (cache / f".{entry.name}.part" / "masks").mkdir(parents=True)
    for name in ("pack", "scores/mesonet", "scores/classnseg", "report"):
        shutil.rmtree(scratch / name, ignore_errors=True)
        (scratch / name).mkdir()
    for leftover in (".media.part", ".pack.part", ".report.part", "scores/.mesonet.part", "scores/.classnseg.part"):
        (scratch / leftover / "stray").mkdir(parents=True)
    (scratch / "media").unlink()
    (scratch / "media").write_bytes(b"cut")
    back_end.start()
    back_end.wait(lambda: back_end.store.stage_of(second) in ("done", "failed"))
    status = back_end.store.read_status(second)
    assert (status.state, status.attempt) == ("done", 2)
    one, two = (back_end.result(job).detectors for job in (first, second))
    assert [item.cached for item in two] == [False, False]
    assert [item.scores for item in one] == [item.scores for item in two]
