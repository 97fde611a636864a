"""A new researcher's way: a folder, its test, the admission check, the states; and detectors that must not pass."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of our own, so that new folders do not land among the bundled ones."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("backend", "shared"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "detectors/selfblend", root / "detectors/selfblend")
    for name in ("nets", "kept.py", "probes.py", "runtime.py", "__init__.py"):
        (root / "detectors" / name).symlink_to(ROOT / "detectors" / name)
    for name in ("base_detector.py", "deepfake_o_meter.py"):
        shutil.copy(ROOT / name, root / name)
    return root


@pytest.fixture(scope="module")
def run(checkout: Path) -> Run:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DFOM_")}
    environment |= {
        "PYTHONPATH": str(checkout),
        "DFOM_DATA": str(checkout / "var"),
        "DFOM_RUNNER": "process",
        "COLUMNS": "200",
    }

    def command(*arguments: str, module: str = "deepfake_o_meter") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return command


@pytest.fixture(scope="module")
def newcomer(checkout: Path, run: Run) -> Path:
    said = run("detectors", "new", "newcomer")
    assert said.returncode == 0, said.stderr
    return checkout / "detectors" / "newcomer"


@pytest.fixture(scope="module")
def checked(newcomer: Path, run: Run) -> subprocess.CompletedProcess[str]:
    return run("detectors", "check", str(newcomer))


def outcomes(said: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """check -> outcome, from the lines of the list."""
    lines = re.findall(r"^  (passed|FAILED|not tried)\s+(\S.*?)(?:  |$)", said.stdout, re.MULTILINE)
    return {name.strip(): outcome for outcome, name in lines}


def changed(newcomer: Path, name: str, *changes: tuple[str, str], card: tuple[tuple[str, str], ...] = ()) -> Path:
    """The new detector again under another name, with words of its class or card replaced."""
    folder = newcomer.with_name(name)
    shutil.copytree(newcomer, folder)
    for file, pairs in (("detector.py", changes), ("detector.toml", (("newcomer", name), *card))):
        text = (folder / file).read_text()
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new)
        (folder / file).write_text(text)
    return folder


def test_the_new_folder_passes_its_own_test(newcomer: Path, run: Run):
    said = run("-q", "-p", "no:cacheprovider", str(newcomer), module="pytest")
    assert said.returncode == 0, said.stdout + said.stderr
    assert "2 passed" in said.stdout


def test_it_passes_the_admission_check_and_its_card_tells_the_figures(newcomer: Path, checked):
    assert checked.returncode == 0, checked.stdout + checked.stderr
    found = outcomes(checked)
    assert len(found) == 12
    assert {name for name, outcome in found.items() if outcome != "passed"} == {"golden pictures", "no network wanted"}
    readme = (newcomer / "README.md").read_text()
    assert re.search(r"\| time per face \| passed \| [\d.]+ ms a face", readme)
    assert re.search(
        r"\| memory on a long pack \| passed \| \d+ MB after loading, \d+ MB at the peak of 600 faces, card 1000 MB",
        readme,
    )
    assert "writes this part" not in readme
    assert "Traceback" not in checked.stderr, "what the broken pack brings about is expected"


@pytest.mark.parametrize("unit", ["picture", "sound"])
def test_a_new_detector_of_pictures_or_sound_passes_its_own_test_and_the_check(checkout: Path, run: Run, unit: str):
    assert run("detectors", "new", f"my_{unit}", "--input", unit).returncode == 0
    folder = checkout / "detectors" / f"my_{unit}"
    own = run("-q", "-p", "no:cacheprovider", str(folder), module="pytest")
    assert "2 passed" in own.stdout, own.stdout + own.stderr
    said = run("detectors", "check", str(folder))
    found = outcomes(said)
    assert said.returncode == 0, said.stdout + said.stderr
    assert {name for name, outcome in found.items() if outcome != "passed"} == {"golden pictures", "no network wanted"}
    assert {f"no {unit}", "direction", "batch equals single", "broken pack"} <= set(found)


def test_a_name_that_is_taken_or_none_is_refused(newcomer: Path, run: Run):
    for name, words in (
        ("newcomer", "exists already"),
        ("../evil", "is not a name for a detector"),
        ("Über", "is not a name"),
    ):
        said = run("detectors", "new", name)
        assert (said.returncode, words in said.stderr) == (2, True), said.stderr


def test_it_goes_up_one_state_at_a_time_and_only_when_admitted(newcomer: Path, checked, run: Run):
    fresh = changed(newcomer, "fresh")
    for arguments, status, words in (
        (("fresh", "quarantine"), 2, "has not passed the admission check"),
        (("newcomer", "enabled"), 2, "its next one is quarantine"),
        (("newcomer", "quarantine"), 0, "draft -> quarantine"),
        (("newcomer", "shadow"), 0, "quarantine -> shadow"),
        (("newcomer", "enabled"), 0, "shadow -> enabled"),
        (("newcomer", "disabled"), 0, "enabled -> disabled"),
    ):
        said = run("detectors", "state", *arguments)
        assert said.returncode == status, said.stderr
        assert words in said.stdout + said.stderr
    states = {item["id"]: item["state"] for item in json.loads(run("detectors", "--json").stdout)}
    assert (states["newcomer"], states["fresh"], states["selfblend"]) == ("disabled", "draft", "enabled")
    shutil.rmtree(fresh)


def test_a_new_version_has_to_be_checked_again(newcomer: Path, checked, run: Run):
    text = (newcomer / "detector.toml").read_text()
    (newcomer / "detector.toml").write_text(text.replace('version = "0.1"', 'version = "0.2"'))
    run("detectors", "state", "newcomer", "draft")
    said = run("detectors", "state", "newcomer", "quarantine")
    (newcomer / "detector.toml").write_text(text)
    assert said.returncode == 2
    assert "newcomer 0.2 has not passed" in said.stderr


BODY = "return edges / (edges + 100)"


@pytest.mark.parametrize(
    ("name", "check", "change", "card"),
    [
        ("turned", "direction", (BODY, "return 100 / (edges + 100)"), ()),
        ("restless", "same input twice", (BODY, "return np.random.default_rng().random(len(batch))"), ()),
        ("crowded", "batch equals single", (BODY, "return edges / (edges + 100) / len(batch)"), ()),
        (
            "greedy",
            "memory on a long pack",
            (BODY, "self.kept = [*getattr(self, 'kept', []), np.ones((len(batch), 10**6))]; " + BODY),
            (),
        ),
        ("modest", "memory on a long pack", ("", ""), (("memory_mb = 1000", "memory_mb = 60"),)),
        (
            "broken",
            "starts and loads",
            ('"""Read the weights', 'raise RuntimeError("no")\n        """Read the weights'),
            (),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_with_a_detector_is_named(
    newcomer: Path, run: Run, name: str, check: str, change: tuple[str, str], card: tuple[tuple[str, str], ...]
):
    folder = changed(newcomer, name, change, card=card)
    said = run("detectors", "check", str(folder))
    shutil.rmtree(folder)
    assert said.returncode == 1, said.stdout + said.stderr
    assert outcomes(said)[check] == "FAILED"
    assert "Not admitted" in said.stdout
    if name == "modest":
        words = re.search(
            r"(\d+) MB at the peak of 600 faces; the card promises 60: set resources.memory_mb to (\d+)", said.stdout
        )
        assert words
        assert 32 <= int(words[2]) - int(words[1]) <= 96


def test_golden_pictures_are_compared(newcomer: Path, run: Run):
    folder = changed(newcomer, "golden")
    (folder / "check" / "golden.json").write_text('{"real.png": 0.9}')
    said = run("detectors", "check", str(folder))
    shutil.rmtree(folder)
    assert said.returncode == 1
    assert outcomes(said)["golden pictures"] == "FAILED"


def test_the_model_card_can_be_read_on_the_command_line(run: Run):
    said = run("detectors", "show", "selfblend")
    assert said.returncode == 0
    assert said.stdout.startswith("# Self-blend traces")
