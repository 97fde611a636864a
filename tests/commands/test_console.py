"""What people and authors wrote is shown as it is on a terminal: it is no markup, and moves no cursor."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from backend.commands.console import Bars, print_summaries, say
from backend.commands.detectors import detectors

ROOT = Path(__file__).resolve().parents[2]
NAME = "Press talk [bold]x [red] [dQw4w9WgXcQ].jpg"


def test_brackets_of_a_name_are_in_the_progress_and_in_every_line(capsys: pytest.CaptureFixture[str]):
    console = Console(width=200, force_terminal=True, color_system=None, record=True)
    with Bars(console) as bars, bars.board(NAME) as board:
        board.step("media", done=1, total=2)
        say(console, f"{NAME} \x1b[31m")
    print_summaries(
        [
            {"file": f"in/{NAME}", "code": "file_empty", "message": f"{NAME} is empty."},
            {"file": f"in/{NAME}", "out": f"out/{NAME}", "detectors": {}},
        ]
    )
    said = capsys.readouterr().out
    assert said.count(NAME) >= 5
    assert "\x1b[31m" not in said


def test_a_model_card_does_not_move_the_cursor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(ROOT / "detectors" / "mesonet", tmp_path / "mesonet")
    (tmp_path / "mesonet" / "README.md").write_text("# Mine\n\x1b[2J\ttext\n")
    monkeypatch.setenv("DFOM_DETECTORS", str(tmp_path))
    monkeypatch.setenv("DFOM_DATA", str(tmp_path / "var"))
    assert CliRunner().invoke(detectors, ["show", "mesonet"]).output == "# Mine\n�[2J    text\n"
