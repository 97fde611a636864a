"""The detector that CONTRIBUTING.md builds works exactly as it stands there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the documented detector beside ours."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("backend", "shared"):  # copied: what is part of the platform is decided by where the back-end is
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("base_detector.py", "deepfake_o_meter.py"):
        shutil.copy(ROOT / name, root / name)
    (root / "detectors").mkdir()
    for path in (ROOT / "detectors").iterdir():
        (root / "detectors" / path.name).symlink_to(path)
    folder = root / "detectors" / "sharpness"
    folder.mkdir()
    blocks = re.findall(r"`detectors/sharpness/([\w.]+)`:\n\n```\w+\n(.*?)```", TEXT, re.DOTALL)
    assert [name for name, _ in blocks] == ["detector.toml", "detector.py"]
    for name, text in blocks:
        (folder / name).write_text(text, encoding="utf-8")
    return root


def in_checkout(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python there; what is there goes before what is installed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DFOM_")}
    environment |= {"PYTHONPATH": str(checkout), "DFOM_DATA": str(checkout / "var"), "DFOM_RUNNER": "process"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_judges_a_clip_and_then_its_pack_alone(checkout: Path, astronaut_clip: Path, tmp_path: Path):
    command = ("-m", "deepfake_o_meter", "detectors", "run", "sharpness", str(astronaut_clip))
    run = in_checkout(checkout, *command, "--json", "--keep-pack", str(tmp_path / "pack"))
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert (result["id"], result["status"], len(result["persons"])) == ("sharpness", "ok", 1)
    assert result["units_scored"] >= 10
    alone = in_checkout(checkout, "-m", "base_detector", "detectors.sharpness", str(tmp_path / "pack"))
    assert alone.returncode == 0, alone.stderr
    assert json.loads(alone.stdout)["fake_score"] == pytest.approx(result["scores"])


def test_the_commands_are_those_of_the_page():
    block = TEXT[TEXT.index("**4. Run it**") :].partition("**5.")[0]
    assert ".venv/bin/deepfake-o-meter detectors run sharpness clip.mp4 --keep-pack pack" in block
    assert ".venv/bin/python -m base_detector detectors.sharpness pack" in block


def test_it_does_what_it_says(checkout: Path, astronaut: np.ndarray):
    code = f"""
import base_detector, cv2, numpy
detector = base_detector.load_detector("detectors.sharpness")
assert detector.card.folder.parent.parent == __import__("pathlib").Path({str(checkout)!r})
picture = cv2.cvtColor(cv2.imread({str(ROOT / "tests" / "fixtures" / "astronaut.jpg")!r}), cv2.COLOR_BGR2RGB)
print(detector.run(picture), detector.run(cv2.GaussianBlur(picture, (0, 0), 8)))
"""
    run = in_checkout(checkout, "-c", code)
    assert run.returncode == 0, run.stderr
    sharp, blurred = map(float, run.stdout.split())
    assert sharp < 0.5 < blurred


def test_its_image_is_planned_without_another_step(checkout: Path):
    code = f"""
import sys; sys.path.append({str(ROOT / "docker")!r})
from pathlib import Path
from images import all_images
image = next(image for image in all_images(root=Path({str(checkout)!r})) if image.name == "sharpness")
print(image.parent, len(image.requirements), sorted(image.files))
"""
    run = in_checkout(checkout, "-c", code)
    assert run.returncode == 0, run.stderr
    assert (
        run.stdout.strip()
        == "base 0 ['base_detector.py', 'detectors/__init__.py', 'detectors/sharpness/detector.py', 'detectors/sharpness/detector.toml']"
    )


def test_every_folder_has_its_line():
    listed = set(re.findall(r"^\| `([\w./]+)` \|", TEXT, re.MULTILINE))
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    folders = {f"{name.partition('/')[0]}/" for name in tracked if "/" in name}
    assert folders <= listed
    assert all((ROOT / name).exists() for name in listed)
