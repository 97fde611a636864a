"""The check of GPUs says how far it went on a machine without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.gpu.__main__ import BOUND, Row

ROOT = Path(__file__).resolve().parents[2]


def test_without_a_gpu_the_check_ends_at_its_first_cuda_call_and_says_so() -> None:
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-m", "tests.gpu"], cwd=ROOT, env=hidden, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "The first CUDA call failed (" in done.stdout
    assert "went no further: nothing was measured on a GPU" in done.stdout


def test_a_score_that_is_further_from_the_cpus_than_the_bound_is_no_success() -> None:
    rows = [Row("mesonet", off, 1.0, 1.0, 1.0) for off in (0.0, BOUND, 1.01 * BOUND, float("inf"), float("nan"))]
    assert [row.met for row in rows] == [True, True, False, False, False]
