"""What CI promises: a test that is skipped there fails, by name, and the scripts are sound."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SKIPPING = """
import pytest

def test_good():
    pass

def test_bare():
    pytest.skip("no engine answers")

@pytest.mark.skipif(True, reason="wrong machine")
def test_marked():
    pass

@pytest.mark.xfail(strict=True)
def test_expected():
    assert False
"""


def run_pytest(folder: Path, *, config: str = os.devnull, **environment: str) -> subprocess.CompletedProcess[str]:
    options = f"-m pytest -c {config} --rootdir {folder} -p tests.conftest -p no:cacheprovider {folder}".split()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, *options], cwd=ROOT, env=inherited | environment, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip


def test_skips_pass_on_a_laptop_and_fail_by_name_in_ci(tmp_path: Path):
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    laptop = run_pytest(tmp_path)
    assert (laptop.returncode, "2 skipped" in laptop.stdout) == (0, True), laptop.stdout
    ci = run_pytest(tmp_path, DFOM_CI="1")
    assert ci.returncode == 1
    assert "1 failed, 1 passed, 1 xfailed, 1 error" in ci.stdout
    assert "test_skipping.py::test_bare may not be skipped in CI: Skipped: no engine answers" in ci.stdout
    assert "test_skipping.py::test_marked may not be skipped in CI: Skipped: wrong machine" in ci.stdout


def test_a_module_that_skips_as_a_whole_fails_in_ci(tmp_path: Path):
    (tmp_path / "test_module.py").write_text(
        "import pytest\npytest.importorskip('no_such_library')\ndef test_x(): pass\n"
    )
    assert run_pytest(tmp_path).returncode == 5  # no test at all
    ci = run_pytest(tmp_path, DFOM_CI="1")
    assert ci.returncode not in (0, 5)
    assert "test_module.py may not be skipped in CI" in ci.stdout


@pytest.mark.parametrize("name", ["run", "engine.sh"])
def test_the_scripts_stop_at_the_first_failure(name: str):
    script = ROOT / ".ci" / name
    assert os.access(script, os.X_OK)
    assert "\nset -euo pipefail\n" in script.read_text()
    assert subprocess.run(["/bin/bash", "-n", str(script)], check=False).returncode == 0


def test_ci_runs_the_steps_a_developer_runs_in_order():
    steps = re.findall(
        r"^step \"make (\w+)\";\s+(?:DFOM_CI=1 )?(?:PYTEST_ADDOPTS=\"[^\"]*\" )?make \1$",
        (ROOT / ".ci" / "run").read_text(),
        re.MULTILINE,
    )
    assert steps == ["setup", "cluster", "check", "images", "test"]


def test_slow_gpu_and_soak_tests_are_deselected_not_skipped(tmp_path: Path):
    (tmp_path / "test_slow.py").write_text(
        "import pytest\n@pytest.mark.slow\ndef test_x(): pass\n@pytest.mark.gpu\ndef test_z(): pass\n"
        "@pytest.mark.soak\ndef test_s(): pass\ndef test_y(): pass\n"
    )
    run = run_pytest(tmp_path, config=str(ROOT / "pyproject.toml"), DFOM_CI="1")
    assert "1 passed, 3 deselected" in run.stdout, run.stdout
