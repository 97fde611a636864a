"""What people and authors wrote is shown as it is on a terminal: it is no markup, and moves no cursor."""

from __future__ import annotations

import re
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


def _answer(score: float | None, message: str | None = None, *, unit: str = "face") -> dict[str, object]:
    code = None if message is None else "no_picture"
    label = None if score is None else "real" if score < 0.5 else "fake"
    return {
        "fake_score": score, "threshold": 0.5, "hard_label": label, "code": code, "message": message, "unit": unit, "units_scored": 3,
        "finding": None if score is None else {"points": "inconclusive", "code": "near_threshold", "sentence": "Near.", "level": None},
    }  # fmt: skip


def test_detectors_without_a_score_for_one_reason_share_a_row(capsys: pytest.CaptureFixture[str]):
    why = "The file has no pictures to look at."
    answers = {"a": _answer(None, why), "listens": _answer(0.49999, unit="sound"), "b": _answer(None, why)}
    said = ["The only kind of evidence counted points neither way: inconclusive.", "Not looked for: face swap."]
    print_summaries([{"file": "voice.mp3", "out": "out/voice", "detectors": answers, "statement": said}])
    lines = capsys.readouterr().out.splitlines()
    rows = [re.split(r"  +", line.strip()) for line in lines]
    assert ["voice.mp3", "listens", "<0.50", "0.50", "real", "-", "inconclusive", "3 pieces of sound"] in rows
    assert ["voice.mp3", "a, b", *"-----", why] in rows
    assert [f"voice.mp3: {sentence}" for sentence in said] == lines[:2], "what points where leads"


def test_the_list_of_detectors_says_what_each_judges():
    lines = {line.split()[0]: line for line in CliRunner().invoke(detectors, []).output.splitlines()}
    assert "judges" in lines["id"]
    assert "  whole pictures, lossless files only  " in lines["ferretnet"]
    assert "  sound  " in lines["aasist"]
    assert "  faces over time  " in lines["ntech"]


def test_the_label_of_a_detector_that_judged_too_little_is_in_brackets(capsys: pytest.CaptureFixture[str]):
    few = _answer(0.9) | {
        "finding": {"points": "inconclusive", "code": "few_units", "sentence": "Too few.", "level": None}
    }
    print_summaries([{"file": "clip.mp4", "out": "out/clip", "detectors": {"weak": few, "sure": _answer(0.9)}}])
    rows = [re.split(r"  +", line.strip()) for line in capsys.readouterr().out.splitlines()]
    assert ["clip.mp4", "weak", "0.90", "0.50", "(fake)", "-", "inconclusive", "3 faces"] in rows
    assert ["clip.mp4", "sure", "0.90", "0.50", "fake", "-", "inconclusive", "3 faces"] in rows


def test_scores_of_several_persons_are_in_their_order_and_no_maximum_of_them(capsys: pytest.CaptureFixture[str]):
    persons = [
        {"person": n, "faces": 9, "fake_score": score} for n, score in enumerate((0.08, 0.64, 0.49999, 0.2, 0.9, 0.1))
    ]
    print_summaries(
        [{"file": "crowd.mp4", "out": "out/crowd", "detectors": {"one": _answer(0.3) | {"persons": persons}}}]
    )
    assert "  1: 0.08, 2: 0.64, 3: <0.50, 4: 0.20 and 2 more  " in capsys.readouterr().out
