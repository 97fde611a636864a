"""What people really type: the ``(command)`` rows of ``../shared/field/cases.csv``, with generated files, each in its own process."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compiled import share_compiled
from tests.field.test_cases import FIELD, ROOT

PORTRAIT = ROOT / "tests/fixtures/astronaut.jpg"

#: Row -> the test that holds it: a function of this module, or a test elsewhere as pytest names it. None: not written yet.
HELD: dict[str, str | None] = {
    "a folder of the file's name lies in --out": "test_a_folder_of_the_files_name_is_left_as_it_is",
    "same name from two phones, two runs": "test_two_files_of_one_name_keep_both_results",
    "file name in Latin-1": "test_a_name_that_is_not_utf8_and_one_with_brackets_are_shown",
    "'[...]' in a name, as download tools write": "test_a_name_that_is_not_utf8_and_one_with_brackets_are_shown",
    "folder with GIF, 3GP, FLV, TS, HEIC": "test_all_that_can_be_read_is_judged_and_the_second_run_judges_no_results",
    "analyze . twice in one folder": "test_all_that_can_be_read_is_judged_and_the_second_run_judges_no_results",
    "--out cannot be written": "test_an_out_that_cannot_be_written_is_said_at_once",
    "DFOM_MAX_UPLAOD_MB; DFOM_PORT=80a; DFOM_GPUS=0": "test_a_wrong_setting_is_named_with_a_right_example",
    "70 MB without JavaScript (a phone's clip)": "tests/browser/test_journey.py::"
    "test_without_scripts_a_file_beyond_the_limit_gets_the_page_that_names_the_limit",
    "delete with a wrong PIN": "tests/frontend/test_stories.py::test_waiting_submission_is_deleted_with_the_pin_only",
}


def test_every_command_people_typed_is_held_by_a_test(research: Path):
    with (FIELD / "cases.csv").open(newline="", encoding="utf-8") as stream:
        rows = {row["file"].removeprefix("(command) ") for row in csv.DictReader(stream) if "(command)" in row["file"]}
    assert rows == set(HELD)
    for held in filter(None, HELD.values()):
        path, _, name = held.rpartition("::")
        text = (ROOT / path if path else Path(__file__)).read_text(encoding="utf-8")
        assert f"def {name}(" in text, held


class Typed:
    """``deepfake-o-meter`` as typed in ``here``, with MesoNet installed and temporary files in ``temporary``."""

    def __init__(self, folder: Path, weights: Path) -> None:
        self.here, self.temporary = folder / "here", folder / "temporary"
        self.here.mkdir()
        share_compiled(folder / "var")
        self.temporary.mkdir()
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("DFOM_")}
        self.environment |= {
            "DFOM_DATA": str(folder / "var"),
            "DFOM_RUNNER": "process",
            "DFOM_WEIGHTS": str(weights),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(ROOT),
        }

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "deepfake_o_meter", *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=self.here, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments) as process:
            answer, said = process.communicate(timeout=240)
        return subprocess.CompletedProcess(arguments, process.returncode, answer, said)

    def analyze(self, *arguments: object) -> tuple[list[dict], str]:
        """The rows of ``analyze --json``, and what it said meanwhile. Without weights: faces are found and reported, which is quicker."""
        self.environment["DFOM_WEIGHTS"] = str(self.here / "none")
        done = self("analyze", *arguments, "--detectors", "mesonet", "--quick", "--json")
        assert done.returncode == 3, done.stderr
        return json.loads(done.stdout), done.stderr


@pytest.fixture
def typed(tmp_path: Path, weights_folder: Path) -> Typed:
    return Typed(tmp_path, weights_folder)


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory, weights_folder: Path) -> tuple[Path, list[str], str]:
    """Two runs into the folder of the input: the folder, where the results are, and what the first run said."""
    typed = Typed(tmp_path_factory.mktemp("two_runs"), weights_folder)
    for name in ("interview.jpg", "..jpg", "input without suffix", "phoneA/IMG_0001.png", "phoneB/IMG_0001.jpg"):
        (typed.here / name).parent.mkdir(exist_ok=True)
        shutil.copy(PORTRAIT.with_name("astronaut_face.png") if name.endswith("png") else PORTRAIT, typed.here / name)
    (typed.here / "interview").mkdir()
    (typed.here / "interview" / "notes.txt").write_text("mine")
    first, said = typed.analyze("interview.jpg", "..jpg", "input without suffix", "phoneA/IMG_0001.png", "--out", ".")
    second, _ = typed.analyze("phoneB/IMG_0001.jpg", "--out", ".")
    return typed.here, [row["out"] for row in first + second], said


def test_a_folder_of_the_files_name_is_left_as_it_is(two_runs: tuple[Path, list[str], str]):
    here, out, said = two_runs
    assert out[:3] == ["interview-2", "media", "input without suffix-2"]
    assert [path.name for path in (here / "interview").iterdir()] == ["notes.txt"]
    assert (here / "input without suffix").read_bytes() == PORTRAIT.read_bytes()
    assert "interview is taken by something else, which was left as it is" in said
    assert all((here / place / "result.json").is_file() for place in out)


def test_two_files_of_one_name_keep_both_results(two_runs: tuple[Path, list[str], str]):
    here, out, _ = two_runs
    assert out[3:] == ["IMG_0001", "IMG_0001-2"]
    names = [json.loads((here / place / "result.json").read_text())["media"]["name"] for place in out[3:]]
    assert names == ["IMG_0001.png", "IMG_0001.jpg"]


def test_a_name_that_is_not_utf8_and_one_with_brackets_are_shown(typed: Typed):
    folder = typed.here / "in"
    folder.mkdir()
    names = [
        b"caf\xe9.jpg",
        b"Press talk [dQw4w9WgXcQ].jpg",
        b"line\nbreak \x1b[31m.jpg",
        'emoji 👩‍👧 "q".jpg'.encode(),
    ]
    for name in names:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(PORTRAIT.read_bytes())
    (folder / "vanished.jpg").symlink_to("nowhere")
    done = typed("analyze", "in", "--detectors", "mesonet", "--quick")
    assert done.returncode == 0, done.stderr
    for words in (
        "café.jpg",
        "-> out/café",
        "Press talk [dQw4w9WgXcQ].jpg",
        "-> out/Press talk [dQw4w9WgXcQ]",
        "line�break �[31m.jpg",
        'emoji 👩‍👧 "q".jpg',
        "in/vanished.jpg cannot be read (No such file or directory)",
    ):
        assert words in done.stdout
    assert "\x1b" not in done.stdout
    assert len(list(typed.here.glob("out/*/summary.html"))) == len(names)
    results = [json.loads(path.read_text(encoding="utf-8")) for path in typed.here.glob("out/*/result.json")]
    assert "café.jpg" in {result["media"]["name"] for result in results}


def test_all_that_can_be_read_is_judged_and_the_second_run_judges_no_results(typed: Typed, research: Path):
    files = ("two_frames.mp4", "old_phone.3gp", "meme_zero_delay.gif", "heic_named.jpg")
    for name in files:
        shutil.copy(FIELD / name, typed.here / name)
    (typed.here / "letter.txt").write_text("words")
    first, said = typed.analyze(".")
    assert {row["file"]: row.get("persons", row.get("code")) for row in first} == dict.fromkeys(files, 1)
    assert "Left out: files without video, picture or sound: 1 (1 .txt)" in said
    second, said = typed.analyze(".")
    assert [row["file"] for row in second] == [row["file"] for row in first]
    assert "results and data folders of this program: 4" in said
    assert len(list((typed.here / "out").iterdir())) == 4, "each replaced its own result"


def test_an_out_that_cannot_be_written_is_said_at_once(typed: Typed):
    shutil.copy(PORTRAIT, typed.here / "a.jpg")
    (typed.here / "file").write_text("mine")
    for out in ("/sys/kernel/out", "/proc/out", "file/below"):
        done = typed("analyze", "a.jpg", "--detectors", "mesonet", "--out", out)
        assert done.returncode == 2
        assert f"{out} cannot be written" in done.stderr
        assert "Choose another folder with --out." in done.stderr
    kept = typed("detectors", "run", "mesonet", "a.jpg", "--keep-pack", "/proc/pack")
    assert kept.returncode == 2
    assert "Choose another folder with --keep-pack." in kept.stderr


def test_an_empty_name_is_not_the_current_folder(typed: Typed):
    """A variable of a script that was not set."""
    for arguments in (("analyze", ""), ("analyze", "a.jpg", "--out", ""), ("detectors", "run", "mesonet", "")):
        done = typed(*arguments)
        assert done.returncode == 2
        assert "The name is empty." in " ".join(done.stderr.split())


def test_a_wrong_setting_is_named_with_a_right_example(typed: Typed):
    for name, value, words in (
        ("MAX_UPLAOD_MB", "20", "DFOM_MAX_UPLOAD_MB"),
        ("PORT", "80a", "8080"),
        ("GPUS", "0", '["0"]'),
    ):
        typed.environment[f"DFOM_{name}"] = value
        done = typed("analyze", "x.mp4")
        del typed.environment[f"DFOM_{name}"]
        assert done.returncode == 2
        assert f"DFOM_{name}" in done.stderr
        assert words in done.stderr


@pytest.mark.parametrize(
    "arguments", [("analyze",), ("detectors", "run", "mesonet")], ids=lambda arguments: " ".join(arguments)
)
def test_a_signal_during_the_work_leaves_nothing(arguments: tuple[str, ...], typed: Typed, astronaut_clip: Path):
    with typed.start(*arguments, astronaut_clip) as process:
        _until(lambda: list(typed.temporary.glob("deepfake-o-meter-*/workers/main/media-*/worker.sock")))
        workers = _children(process.pid)
        assert workers
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
    assert list(typed.temporary.iterdir()) == []
    assert [path.name for path in typed.here.rglob("*")] == []
    _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def _children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in listed.stdout.split()]


def _until(true: Callable[[], object], *, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
