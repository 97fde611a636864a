"""``analyze`` says beforehand what judging again costs, and its summary has the band."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.commands.analyze import Wish, cost_of_bands, summary
from backend.commands.console import print_summaries
from backend.commands.finding import Medium
from tests.scores.sets import card
from tests.told import told

FAST, SLOW = card("selfblend", seconds_per_face=0.01), card("xception", seconds_per_face=0.1)


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        (Wish(()), "Judged again after mild re-encoding by selfblend: about 2.0 s more a file; by the others, too, with --stability all: "
                   "about 11 s more."),
        (Wish((), stability="all"), "Judged again after mild re-encoding by selfblend and xception: about 12 s more a file."),
        (Wish((), mode="quick"), "Not judged again after mild re-encoding; by all, too, with --stability all: about 12 s more."),
        (Wish((), stability="off"), ""),
    ],
)  # fmt: skip
def test_the_cost_of_judging_again_is_said_beforehand(wish: Wish, sentence: str):
    assert cost_of_bands([FAST, SLOW], wish) == sentence


def test_the_table_says_from_where_to_where_the_score_moves(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    print_summaries([summary(Medium(tmp_path / "clip.mp4", "clip"), told("unstable"), folder=tmp_path / "clip")])
    assert "100 faces; 0.41 to 0.66 under mild re-encoding" in capsys.readouterr().out


def test_the_summary_of_a_file_has_the_band_and_a_finding_that_says_why(tmp_path: Path):
    found = summary(Medium(tmp_path / "clip.mp4", "clip"), told("unstable"), folder=tmp_path / "clip")
    answer = found["detectors"]["mesonet"]
    assert (answer["stability"]["low"], answer["stability"]["high"]) == (0.41, 0.66)
    assert answer["finding"]["code"] == "changes_under_reencoding"
    assert any("under mild re-encoding it is from 0.41 to 0.66" in sentence for sentence in found["statement"])
