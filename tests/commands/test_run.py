"""One detector on one file (``detectors run``), and on a face pack with the contract and numpy alone (``python -m base_detector``)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from backend.commands.detectors import detectors
from backend.commands.run import _in_words
from shared.results import DetectorResult
from tests.compiled import share_compiled
from tests.conftest import write_clip
from tests.scores.sets import answer, card

ROOT = Path(__file__).resolve().parents[2]
PORTRAIT = ROOT / "tests/fixtures/astronaut.jpg"
TOY = """
id = "toy"
version = "1.0"
title = "Toy"
summary = "An example."
paper = "none"
year = 2026
input = "face"
sampling = "fps:5"
margin = 1.3
threshold = 0.5
aggregation = "mean"
"""
TOY_CODE = """
import numpy as np
from base_detector import BaseDetector, Skip

class Toy(BaseDetector):
    def load(self, weights, device):
        pass

    def preproc(self, face):
        if face.mean() < 20:
            raise Skip("face_too_small")
        return np.array(face.mean() / 255)

    def get_softlabel(self, batch):
        return batch
"""


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [key for key in os.environ if key.startswith("DFOM_")]:
        monkeypatch.delenv(name)
    share_compiled(tmp_path / "data")
    monkeypatch.setenv("DFOM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DFOM_RUNNER", "process")


def run(*words: object) -> Result:
    return CliRunner().invoke(detectors, ["run", *map(str, words)], catch_exceptions=False)


def command(*words: object) -> subprocess.CompletedProcess[str]:
    """``deepfake-o-meter detectors run`` in a process of its own: its logs go to stderr."""
    line = [sys.executable, "-m", "deepfake_o_meter", "detectors", "run", *map(str, words)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


# --------------------------------------------------------------------------- detectors run


def test_a_detector_judges_a_file_and_its_pack_is_judged_again_with_numpy_alone(weights_folder: Path, tmp_path: Path):
    weights = weights_folder / "mesonet"
    options = ("--weights", weights, "--device", "cpu", "--json", "--keep-pack", tmp_path / "pack")
    said = command("mesonet", PORTRAIT, *options)
    assert said.returncode == 0, said.stderr
    result = DetectorResult.model_validate_json(said.stdout)
    assert (result.id, result.status, result.units_scored, len(result.persons)) == ("mesonet", "ok", 1, 1)
    assert result.provenance.runner == "process"
    assert "MesoInception_DF.h5" in result.provenance.weights

    again = alone("detectors.mesonet", tmp_path / "pack", "--weights", weights)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["fake_score"] == pytest.approx([result.scores[0]], abs=1e-6)


def test_without_json_it_says_the_score_in_words(weights_folder: Path):
    said = run("mesonet", PORTRAIT, "--weights", weights_folder / "mesonet")
    assert said.exit_code == 0, said.output
    assert "mesonet: fake score 0." in said.stdout
    assert "1 of 1 face scored, 1 person" in said.stdout
    assert "not a proof" in said.stdout


@pytest.mark.parametrize(("units", "is_clip", "grey"), [(19, True, True), (20, True, False), (19, False, False)])
def test_the_label_of_too_few_faces_is_in_brackets(units: int, is_clip: bool, grey: bool):
    told = _in_words(answer(card(), 0.9, units=units, of=units), is_clip=is_clip)
    assert ("((fake): judged too little to be counted, its threshold" in told) is grey


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["mesonet", "nowhere.mp4"], "nowhere.mp4 is not a file: name a video, a picture or a sound file."),
        (["mesonet", str(ROOT)], "is not a file"),
        (["nonsense", str(PORTRAIT)], "There is no detector 'nonsense'. Known: "),
        (["mesonet", str(PORTRAIT)], "mesonet cannot run: The weights of this detector are not installed."),
        (["mesonet", str(PORTRAIT), "--weights", "nowhere"], "nowhere is not a folder"),
        (["mesonet", str(PORTRAIT), "--weights", str(ROOT / "docs")], "The weights of this detector are not installed"),
        (["selfblend", str(PORTRAIT), "--keep-pack", str(ROOT)], "exists already: name a new folder"),
        (["selfblend", str(PORTRAIT), "--mode", "slow"], "'slow' is not one of"),
        (["selfblend"], "Missing argument 'MEDIA'"),
    ],
)
def test_what_cannot_be_started_is_one_sentence(words: list[str], sentence: str):
    said = run(*words)
    assert said.exit_code == 2
    assert sentence in " ".join(said.stderr.split())


def test_a_clip_without_a_face_gets_no_score_and_says_so(tmp_path: Path):
    clip = write_clip(tmp_path / "grey.mp4", [np.full((96, 128, 3), 90, np.uint8)] * 10)
    said = run("selfblend", clip)
    assert said.exit_code == 3
    assert "selfblend: no score. No face was found" in said.stdout
    answer = json.loads(command("selfblend", clip, "--json").stdout)
    assert (answer["status"], answer["code"], answer["fake_score"]) == ("not_applicable", "no_face", None)


def test_a_file_that_is_no_media_says_so(tmp_path: Path):
    (tmp_path / "clip.mp4").write_text("no video")
    said = run("selfblend", tmp_path / "clip.mp4")
    assert said.exit_code == 3
    assert "not accepted" in said.stderr or "could not be decoded" in said.stderr


# --------------------------------------------------------------------------- python -m base_detector


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A folder of a third party: the contract file, copied, and one detector. Nothing else of ours."""
    (tmp_path / "base_detector.py").write_text((ROOT / "base_detector.py").read_text())
    folder = tmp_path / "detectors" / "toy"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()  # else the installed package of this name goes before it
    (folder / "__init__.py").touch()
    (folder / "detector.toml").write_text(TOY)
    (folder / "detector.py").write_text(TOY_CODE)
    return tmp_path


def alone(*words: object, folder: Path = ROOT, blocked: str = "") -> subprocess.CompletedProcess[str]:
    """``python -m base_detector`` in ``folder``; importing a module named in ``blocked`` fails."""
    code = f"import sys, runpy\nfor name in {blocked.split()!r}: sys.modules[name] = None\nsys.path.insert(0, '.')\n"
    code += f"sys.argv[1:] = {[str(word) for word in words]!r}\nrunpy.run_module('base_detector', run_name='__main__', alter_sys=True)"
    return subprocess.run([sys.executable, "-P", "-c", code], cwd=folder, capture_output=True, text=True, check=False)


def make_pack(folder: Path, *, level: int = 100, faces: int = 3) -> Path:
    from tests.workers.conftest import write_pack

    pack = write_pack(folder, faces=faces)
    (pack / "crops.bin").write_bytes(bytes([level]) * (pack / "crops.bin").stat().st_size)
    return pack


def test_the_contract_file_judges_a_pack_with_numpy_and_nothing_of_ours(toy: Path, tmp_path: Path):
    pack = make_pack(tmp_path / "pack", level=102)
    said = alone("detectors.toy", pack, folder=toy, blocked="backend shared frontend cv2 av torch PIL pydantic scipy")
    assert said.returncode == 0, said.stderr
    scores = json.loads(said.stdout)
    assert (scores["detector"], scores["index"]) == ("toy", [0, 1, 2])
    assert scores["fake_score"] == pytest.approx([0.6] * 3)


def test_scores_go_to_a_folder_when_one_is_named(toy: Path, tmp_path: Path):
    said = alone("detectors.toy", make_pack(tmp_path / "pack"), "--out", tmp_path / "a" / "out", folder=toy)
    assert (said.returncode, said.stdout) == (0, f"{tmp_path / 'a' / 'out'}\n")
    assert json.loads((tmp_path / "a" / "out" / "scores.json").read_text())["detector"] == "toy"


@pytest.mark.parametrize(
    ("level", "faces", "line"),
    [
        (10, 3, {"status": "not_applicable", "code": "face_too_small"}),
        (100, 0, {"status": "not_applicable", "code": "no_face"}),
    ],
)
def test_a_pack_that_cannot_be_judged_gives_its_reason(toy: Path, tmp_path: Path, level: int, faces: int, line: dict):
    said = alone("detectors.toy", make_pack(tmp_path / "pack", level=level, faces=faces), folder=toy)
    assert said.returncode == 3, said.stderr
    assert json.loads(said.stdout) == line


def test_a_video_is_answered_with_the_command_to_use_instead(toy: Path):
    said = alone("detectors.toy", "clip.mp4", folder=toy)
    assert said.returncode == 2
    assert "clip.mp4 is not a face pack, a folder with pack.json." in " ".join(said.stderr.split())
    assert "use: deepfake-o-meter detectors run toy clip.mp4" in " ".join(said.stderr.split())


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda toy, pack: (toy / "detectors/toy/detector.toml").write_text(TOY.replace("1.3", "0")), "margin must be"),
        (lambda toy, pack: (toy / "detectors/toy/detector.py").unlink(), "no module 'detectors.toy.detector'"),
        (lambda toy, pack: (pack / "pack.json").write_text('{"schema": 1}'), "face pack schema 1 is not 3: update this worker"),
        (lambda toy, pack: (pack / "pack.json").write_text('{"schema": 3}'), "is not complete"),
        (lambda toy, pack: (toy / "detectors/toy/detector.py").write_text(TOY_CODE.replace('_too', " too")), "the reason is a code"),
    ],
    ids=["card", "class", "schema", "pack", "reason"],
)  # fmt: skip
def test_a_mistake_is_one_sentence_and_no_traceback(toy: Path, tmp_path: Path, spoil, sentence: str):
    pack = make_pack(tmp_path / "pack", level=10)
    spoil(toy, pack)
    said = alone("detectors.toy", pack, folder=toy)
    assert said.returncode == 2
    assert sentence in " ".join(said.stderr.split())
    assert "Traceback" not in said.stderr
