"""The command line as a user types it: in its own process, with real workers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shared.digest import sha256_of
from shared.results import Result
from tests.compiled import share_compiled

ROOT = Path(__file__).resolve().parents[2]
PORTRAIT = ROOT / "tests/fixtures/astronaut.jpg"


class CommandLine:
    """Runs ``deepfake-o-meter`` with data in ``folder``."""

    def __init__(self, folder: Path, weights: Path | None = None) -> None:
        self.folder = folder
        share_compiled(folder / "var")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("DFOM_")}
        self.environment |= {"DFOM_DATA": str(folder / "var"), "DFOM_RUNNER": "process"}
        if weights:
            self.environment["DFOM_WEIGHTS"] = str(weights)

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "deepfake_o_meter", *map(str, arguments)]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=240, check=False
        )


@pytest.fixture
def bare(tmp_path: Path) -> CommandLine:
    """Nothing installed."""
    return CommandLine(tmp_path)


@pytest.fixture
def cli(tmp_path: Path, weights_folder: Path) -> CommandLine:
    """Published weights installed."""
    return CommandLine(tmp_path, weights_folder)


def test_version(bare: CommandLine):
    said = bare("version")
    assert said.returncode == 0
    assert said.stdout.startswith("deepfake-o-meter ")


@pytest.mark.usefixtures("engine")
def test_images_that_are_not_built_are_spoken_of_once_and_only_for_what_was_asked(cli: CommandLine):
    """A machine with an engine and without images: one line, not one for every detector there is."""
    cli.environment |= {"DFOM_RUNNER": "docker", "DFOM_IMAGE_PREFIX": "nowhere"}
    said = cli("analyze", PORTRAIT, "--detectors", "mesonet", "--out", cli.folder / "out")
    assert said.returncode == 3
    assert (said.stdout + said.stderr).count("image is not built. The operator runs 'make images'.") == 1
    assert len((said.stdout + said.stderr).splitlines()) <= 4


def test_help_is_quick_because_it_loads_no_network_library(bare: CommandLine):
    heavy = ("torch", "openvino", "cv2", "av", "dlib", "flask", "numpy")
    code = f"import sys, deepfake_o_meter; print([m for m in {heavy} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_help_lists_the_groups_that_are_loaded_when_they_are_asked_for(bare: CommandLine):
    said = bare("--help")
    for line in (
        "detectors  List the detectors",
        "weights    Install the published weights",
        "serve      Start the portal",
    ):
        assert line in said.stdout
    assert "Detector NAME" not in said.stdout
    assert "fetch" in bare("weights", "--help").stdout


def test_the_back_end_starts_without_network_libraries(bare: CommandLine):
    code = (
        "import sys, deepfake_o_meter as d; from shared.settings import read_settings; d.build_backend(read_settings());"
        "print([m for m in ('torch', 'tensorflow', 'openvino', 'dlib', 'flask') if m in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=bare.environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["analyze"], "Missing argument"),
        (["analyze", "nowhere.mp4"], "neither a file nor a folder"),
        (["analyze", "tests/fixtures/astronaut.jpg", "--detectors", "nonsense"], "There is no detector 'nonsense'"),
        (["analyze", "tests/fixtures/astronaut.jpg", "--detectors", ","], "at least one detector"),
        (["analyze", "tests/crash"], "No media in"),
        (["weights", "fetch", "nonsense"], "nonsense"),
        (["frobnicate"], "No such command"),
    ],
)
def test_bad_usage_says_what_to_do_and_ends_with_2(bare: CommandLine, arguments: list[str], words: str):
    said = bare(*arguments)
    assert words in " ".join(said.stderr.split())
    assert said.returncode == 2
    assert "Traceback" not in said.stderr


def test_a_mistyped_setting_is_named(bare: CommandLine):
    bare.environment["DFOM_WIEGHTS"] = "x"
    said = bare("detectors")
    assert said.returncode == 2
    assert "DFOM_WIEGHTS" in said.stderr


def test_without_weights_detectors_are_listed_as_not_installed_and_nothing_is_judged(bare: CommandLine):
    listed = bare("detectors")
    assert listed.returncode == 0
    for name in ("mesonet", "classnseg", "va"):
        assert name in listed.stdout
    assert "weights not installed" in listed.stdout
    states = {item["id"]: item["unavailable"] for item in json.loads(bare("detectors", "--json").stdout)}
    assert states["mesonet"] == "weights_missing"


def test_asking_for_a_detector_without_weights_gives_no_number(bare: CommandLine, tmp_path: Path):
    said = bare(
        "analyze", ROOT / "tests/fixtures/astronaut.jpg", "--detectors", "mesonet", "--out", tmp_path / "o", "--json"
    )
    assert said.returncode == 3, said.stderr
    answer = json.loads(said.stdout)[0]["detectors"]["mesonet"]
    assert answer["code"] == "weights_missing"
    assert answer["fake_score"] is None


def test_an_image_and_a_clip_are_judged_and_leave_their_reports(cli: CommandLine, tmp_path: Path, astronaut_clip: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "portrait.jpg").write_bytes((ROOT / "tests/fixtures/astronaut.jpg").read_bytes())
    (folder / "clip.mp4").write_bytes(astronaut_clip.read_bytes())
    (folder / "notes.txt").write_text("no media")
    out = tmp_path / "out"
    said = cli("analyze", folder, "--detectors", "mesonet,classnseg", "--out", out, "--quick", "--json")
    assert said.returncode == 0, said.stderr
    summaries = {Path(item["file"]).name: item for item in json.loads(said.stdout)}
    assert set(summaries) == {"portrait.jpg", "clip.mp4"}
    for item in summaries.values():
        assert item["persons"] == len(item["seen"]) == 1
        assert item["sha256"] == sha256_of(folder / Path(item["file"]).name)
        for answer in item["detectors"].values():
            assert answer["status"] == "ok"
            assert 0 <= answer["fake_score"] <= 1
            assert 0 < answer["threshold"] < 1
            assert [one["person"] for one in answer["persons"]] == [0]
    for name in ("portrait", "clip"):
        assert json.loads((out / name / "result.json").read_text())["schema_version"] == 2
        assert {"report.pdf", "result.json", "scores.csv", "summary.html"} <= {
            path.name for path in (out / name).iterdir()
        }
    assert (out / "clip" / "video" / "side_by_side.mp4").stat().st_size > 10_000
    content = sum(
        path.stat().st_size for path in (out / "clip").rglob("*") if path.is_file() and path.parent.name != "video"
    )
    assert content < 2_000_000, "the video is there once"
    assert not (tmp_path / "var" / "scratch" / "jobs").exists(), "analyze leaves no scratch in the portal's folder"


def test_without_a_video_nothing_speaks_of_one_and_the_numbers_are_the_same(
    cli: CommandLine, tmp_path: Path, astronaut_clip: Path
):
    results = []
    for name, options in (("with", []), ("without", ["--no-video"])):
        said = cli("analyze", astronaut_clip, "--detectors", "mesonet", "--quick", "--out", tmp_path / name, *options)
        assert said.returncode == 0, said.stderr
        results.append(Result.model_validate_json((tmp_path / name / astronaut_clip.stem / "result.json").read_bytes()))
    drawn, bare = results
    assert (drawn.video, bare.video) == ("ready", "not_asked")
    assert [item.scores for item in drawn.detectors] == [item.scores for item in bare.detectors]
    assert set(drawn.files) - set(bare.files) == {"video/side_by_side.mp4"}
    folder = tmp_path / "without" / astronaut_clip.stem
    assert not (folder / "video").exists()
    assert "No result video was asked for." in (folder / "summary.html").read_text(encoding="utf-8")
    assert "video" not in (folder / "README.txt").read_text(encoding="utf-8")
    assert "--no-video" in cli("analyze", "--help").stdout


def test_one_detector_that_cannot_run_does_not_take_the_others_with_it(
    cli: CommandLine, tmp_path: Path, weights_folder: Path
):
    own = tmp_path / "weights"
    shutil.copytree(weights_folder, own)
    cli.environment["DFOM_WEIGHTS"] = str(own)
    (damaged,) = own.glob("classnseg/decoder_46.pt")
    damaged.write_bytes(b"?" + damaged.read_bytes()[1:])
    shutil.rmtree(own / "va")
    said = cli("analyze", PORTRAIT, "--detectors", "classnseg,mesonet,va", "--out", tmp_path / "out", "--json")
    assert said.returncode == 0, said.stderr
    answers = json.loads(said.stdout)[0]["detectors"]
    assert (answers["classnseg"]["status"], answers["classnseg"]["code"]) == ("failed", "weights_mismatch")
    assert (answers["va"]["status"], answers["va"]["code"]) == ("failed", "weights_missing")
    assert answers["classnseg"]["fake_score"] is answers["va"]["fake_score"] is None
    assert answers["mesonet"]["status"] == "ok"
    result = Result.model_validate_json((tmp_path / "out" / PORTRAIT.stem / "result.json").read_bytes())
    assert all(item.detectors == 1 for item in result.consensus), "only scores count in the consensus"


def test_a_damaged_file_does_not_stop_the_others(cli: CommandLine, tmp_path: Path):
    broken, good = tmp_path / "broken.mp4", tmp_path / "good.jpg"
    broken.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(5000))
    good.write_bytes((ROOT / "tests/fixtures/astronaut.jpg").read_bytes())
    said = cli("analyze", broken, good, "--detectors", "mesonet", "--out", tmp_path / "out", "--json")
    assert said.returncode == 0, said.stderr
    first, second = json.loads(said.stdout)
    assert first["code"] in ("media_unreadable", "unsupported_media")
    assert second["detectors"]["mesonet"]["status"] == "ok"


def test_nothing_analysed_ends_with_3(cli: CommandLine, tmp_path: Path):
    (tmp_path / "x.mp4").write_bytes(b"no video at all" * 100)
    said = cli("analyze", tmp_path / "x.mp4", "--out", tmp_path / "out")
    assert said.returncode == 3
    assert "Traceback" not in said.stderr


def test_an_answer_that_cannot_be_printed_is_no_traceback():
    code = "import click; from backend.commands.exits import printing\nwith printing(else_see='It is in out.'): click.echo('x')"
    with open("/dev/full", "w") as full:
        said = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert said.stderr == "The answer could not be printed (No space left on device). It is in out.\n"
    assert said.returncode == 1


def test_expire_says_what_it_removed(bare: CommandLine):
    said = bare("expire")
    assert said.returncode == 0
    assert "0 results" in said.stdout
