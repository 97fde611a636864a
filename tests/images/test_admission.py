"""The admission check of a detector that comes as a container image only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.docker


def check(image: str, data: Path) -> subprocess.CompletedProcess[str]:
    """``detectors check IMAGE`` in a folder without any detector's sources."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DFOM_")}
    return subprocess.run(
        [sys.executable, "-m", "deepfake_o_meter", "detectors", "check", image],
        cwd=data,
        env=environment | {"DFOM_DATA": str(data), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_an_image_is_checked_by_the_card_it_carries(built: Callable[[str], Any], tmp_path: Path):
    built("selfblend")
    built("media")
    said = check("deepfake-o-meter/selfblend", tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "in a container" in said.stdout
    report = json.loads((tmp_path / "backend" / "admission" / "selfblend.json").read_text(encoding="utf-8"))
    outcomes = {line["name"]: line["outcome"] for line in report["checks"]}
    assert outcomes["no network wanted"] == "passed"  # a process leaves it open
    assert "failed" not in outcomes.values()


def test_an_image_without_a_card_is_refused_with_a_sentence(built: Callable[[str], Any], tmp_path: Path):
    built("media")
    said = check("deepfake-o-meter/media", tmp_path)
    assert said.returncode == 2
    assert "carries no card" in said.stdout + said.stderr
