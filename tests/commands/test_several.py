"""Several files in work at once: the same answers, names and order as one by one, and nothing left when a signal comes in the middle."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from backend.batch.at_once import clips_at_once, cores, shared_out
from backend.batch.side_by_side import in_order
from backend.commands.analyze import Wish, analyze_all
from backend.commands.finding import find_media
from backend.commands.out_folder import opened
from base_detector import Card
from shared.settings import Settings
from tests.compiled import share_compiled
from tests.report.conftest import make_result

ROOT = Path(__file__).resolve().parents[2]
SELFBLEND = Card.read(ROOT / "detectors/selfblend")


class FakePipeline:
    """Stands for the pipeline: its ``run`` calls ``work`` with the job, then leaves a report."""

    def __init__(self, folder: Path, work: Callable[[Any], None]) -> None:
        self.settings = Settings(data=folder)
        self.closed = threading.Event()
        self.pool = SimpleNamespace(close=self.closed.set)
        self._work = work

    def run(self, job: Any, board: Any) -> Any:
        board.step("media", done=1, total=2)
        job.folder.mkdir(parents=True)
        self._work(job)
        job.report.mkdir()
        (job.report / "result.json").write_text(job.name)
        return make_result(frames=2, name=job.name, detectors=lambda faces: [])


def _picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 8, 3), shade, np.uint8))


def _judged(
    folder: Path, work: Callable[[Any], None], *, at_once: int, said: Console | None = None
) -> list[dict[str, Any]]:
    """What ``analyze_all`` answers for the media in ``folder / in``; results in ``folder / out<at_once>``."""
    pipeline: Any = FakePipeline(folder / "var", work)
    with opened(folder / f"out{at_once}") as out:
        found = find_media([folder / "in"]).media
        console = said or Console(file=io.StringIO())
        return list(analyze_all(found, Wish(["x"]), pipeline=pipeline, out=out, console=console, at_once=at_once))


def test_answers_keep_the_order_of_the_files_whichever_is_done_first(tmp_path: Path):
    names = [f"{number}.png" for number in range(5)]
    for shade, name in enumerate(names):
        _picture(tmp_path / "in" / name, shade)
    last_is_done = threading.Event()

    def work(job: Any) -> None:
        if job.name == "0.png":
            assert last_is_done.wait(10), "the others go on while the first is in work"
        if job.name == "4.png":
            last_is_done.set()

    answers = _judged(tmp_path, work, at_once=2)
    assert [Path(item["file"]).name for item in answers] == names
    assert all("out" in item for item in answers)


def test_names_of_results_do_not_depend_on_which_file_is_done_first(tmp_path: Path):
    for shade, name in enumerate(["a/clip.png", "b/clip.png", "b/clip.png-2.png", "c/Clip.png", "d/other.png"]):
        _picture(tmp_path / "in" / name, shade)
    shutil.copy(tmp_path / "in/a/clip.png", tmp_path / "in/e_clip.png")  # the same media under another name
    begun: list[str] = []

    def late_first(job: Any) -> None:
        begun.append(job.id)
        time.sleep(0.2 / len(begun))

    one, several = (_judged(tmp_path, work, at_once=n) for work, n in ((lambda job: None, 1), (late_first, 6)))
    for before, after in zip(one, several, strict=True):
        assert before["file"] == after["file"]
        assert Path(before["out"]).name == Path(after["out"]).name
    assert len({item["out"] for item in several}) == 6


def test_a_file_that_fails_is_said_at_once_and_stops_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for shade in range(4):
        _picture(tmp_path / f"in/{shade}.png", shade)

    def work(job: Any) -> None:
        if job.name == "1.png":
            raise RuntimeError("a disk with a hole")

    console = Console(width=200, force_terminal=True, color_system=None)
    answers = _judged(tmp_path, work, at_once=2, said=console)
    assert ["code" in item for item in answers] == [False, True, False, False]
    said = capsys.readouterr().out
    assert "1.png: Something unexpected went wrong" in said
    assert "1 failed" in said
    assert "4/4" in said


def test_when_the_caller_stops_no_file_is_begun_and_those_in_work_are_cut_off(tmp_path: Path):
    for shade in range(6):
        _picture(tmp_path / f"in/{shade}.png", shade)
    begun: list[str] = []

    def work(job: Any) -> None:
        begun.append(job.name)
        if job.name != "0.png":
            assert pipeline.closed.wait(10), "the pool is closed, so that calls of workers return"
            assert job.cancelled()

    pipeline: Any = FakePipeline(tmp_path / "var", work)
    with opened(tmp_path / "out") as out:
        found = find_media([tmp_path / "in"]).media
        console = Console(file=io.StringIO())
        judged = analyze_all(found, Wish(["x"]), pipeline=pipeline, out=out, console=console, at_once=2)
        assert next(judged)["file"].endswith("0.png")
        judged.close()
    assert len(begun) <= 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0"]
    assert not list((tmp_path / "var/scratch/jobs").iterdir())


def test_an_error_of_a_piece_reaches_the_caller_and_ends_the_others():
    stopping, cut = threading.Event(), threading.Event()

    def work(number: int) -> int:
        if number == 1:
            raise KeyError("one")
        assert number == 0 or cut.wait(10)
        return number

    with pytest.raises(KeyError):
        list(in_order(work, pieces=4, at_once=3, stopping=stopping, cut_off=cut.set))
    assert stopping.is_set()


def test_the_number_at_once_follows_cores_and_memory_and_what_was_asked_for():
    roomy = Settings(worker_memory_mb=1_000_000)
    assert clips_at_once(roomy, [SELFBLEND], asked=None, files=100) == cores()
    assert clips_at_once(roomy, [SELFBLEND], asked=None, files=1) == 1
    assert clips_at_once(Settings(worker_memory_mb=4000), [SELFBLEND], asked=None, files=100) == 1
    assert clips_at_once(roomy.model_copy(update={"jobs": 5}), [SELFBLEND], asked=None, files=100) == 5
    assert clips_at_once(roomy, [SELFBLEND], asked=3, files=100) == 3
    assert shared_out(roomy, 1).threads == 0, "one file has all cores"
    assert shared_out(roomy, 2 * cores()).threads == 1


def _command(folder: Path, *arguments: object) -> tuple[list[str], dict[str, str]]:
    share_compiled(folder / "var")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DFOM_")}
    environment |= {
        "DFOM_DATA": str(folder / "var"),
        "DFOM_SCRATCH": str(folder / "scratch"),
        "DFOM_RUNNER": "process",
        "DFOM_WORKER_MEMORY_MB": "16000",
    }
    return [sys.executable, "-m", "deepfake_o_meter", "analyze", *map(str, arguments)], environment


def test_scores_of_several_at_once_are_those_of_one_by_one(tmp_path: Path, astronaut: np.ndarray):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):  # three faces of different sizes, a damaged picture between them
        picture = cv2.resize(astronaut[..., ::-1], None, fx=1 - 0.2 * number, fy=1 - 0.2 * number)
        cv2.imwrite(str(folder / f"{2 * number}.png"), picture)
    (folder / "1.png").write_bytes((folder / "0.png").read_bytes()[:3000])
    found = []
    for jobs in (1, 2):
        options = ["--detectors", "selfblend", "--out", tmp_path / f"out{jobs}", "--jobs", jobs, "--json"]
        command, environment = _command(tmp_path, folder, *options)
        said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        answers = json.loads(said.stdout)
        for band in (one["stability"] for item in answers for one in (item.get("detectors") or {}).values()):
            assert band.pop("seconds") > 0
        found.append([(item["file"], item.get("code"), item.get("detectors")) for item in answers])
    assert [code for _, code, _ in found[0]] == [None, "picture_cut_off", None, None]
    assert found[0] == found[1]


def test_a_signal_in_the_middle_of_several_leaves_nothing(tmp_path: Path, astronaut_clip: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(4):
        shutil.copy(astronaut_clip, folder / f"{number}.mp4")
    options = ["--detectors", "selfblend", "--out", tmp_path / "out", "--jobs", 2]
    command, environment = _command(tmp_path, folder, *options)
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 240
        while len(list((tmp_path / "scratch").glob("*/jobs/*/media"))) < 2:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 128 + signal.SIGTERM
    assert list((tmp_path / "scratch").iterdir()) == []
    assert not [path for path in (tmp_path / "out").glob(".*")]
