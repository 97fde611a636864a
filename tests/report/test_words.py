"""The summary and its readme say what the statement of a result says, and count no detector that judged too little."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest

from backend.report import words
from backend.report.build import build_report
from backend.report.page import write_page, write_readme
from backend.report.table import write_bands
from shared import how_sure
from shared.results import Result
from shared.statement import finding_words, statement_of
from tests.told import ANSWERS, told
from tests.units import as_sound_file


def pages_of(result: Result, out: Path) -> tuple[str, str]:
    """The text of summary.html, and README.txt."""
    out.mkdir()
    write_page(result, out, not_drawn="No video.")
    write_readme(result, out, not_drawn="No video.")
    page = re.sub(
        r"<style>.*?</style>|<[^>]*>", " ", (out / "summary.html").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    return re.sub(r"\s+", " ", unescape(page)), (out / "README.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", ANSWERS)
def test_summary_and_readme_lead_with_the_statement(case: str, tmp_path: Path) -> None:
    result = told(case)
    said = statement_of(result)
    assert said is not None
    page, readme = pages_of(result, tmp_path / "out")
    places = [page.index(sentence) for sentence in said.sentences if sentence in page]
    assert len(places) == len(said.sentences), "every sentence is there"
    assert places == sorted(places)
    assert places[-1] < page.index("What each detector says")
    assert all(f"\n{sentence}\n" in readme for sentence in said.sentences)
    for kind in said.kinds:
        assert f"{kind.words} {', '.join(kind.looked) or 'no detector'} " in page
    for old in ("threshold for “fake”", "mean fake score", "not a verdict"):
        assert old not in page + readme


@pytest.mark.parametrize("case", [case for case in ANSWERS if case != "nothing"])
def test_each_detector_has_its_score_label_finding_and_reason(case: str, tmp_path: Path) -> None:
    result = told(case)
    page, readme = pages_of(result, tmp_path / "out")
    rows = page[page.index("What each detector says") :]
    for item in result.detectors:
        assert item.finding
        known = how_sure.reason(item.finding.code)
        assert known
        assert f"{words.label_words(item)} {finding_words(item.finding)}" in rows
        assert f"Reason of the finding: {known.short}." in rows
        assert f"{known.when}" in rows, "the reasons that occur are explained"
        assert f", {words.label_words(item)}, finding: {finding_words(item.finding)}. " in readme


def test_a_label_of_too_little_is_in_brackets_with_its_sentence_and_in_no_count(tmp_path: Path) -> None:
    result = told("tiny faces")
    page, _ = pages_of(result, tmp_path / "out")
    assert "(at or above its threshold) inconclusive It could judge only 9 of 100 faces: too few to be counted." in page
    assert "A label in brackets is in no count." in page
    assert words.headline(result).startswith("The only kind of evidence counted points neither way")


def test_ratios_are_explained_only_where_there_are_some(tmp_path: Path) -> None:
    with_ratio, _ = pages_of(told("weak"), tmp_path / "weak")
    without, _ = pages_of(told("unmeasured"), tmp_path / "unmeasured")
    assert how_sure.RATIO in with_ratio
    assert how_sure.RATIO not in without


def test_the_band_is_a_bar_below_the_score_with_its_words(tmp_path: Path) -> None:
    page, readme = pages_of(told("unstable"), tmp_path / "out")
    words_of_it = "Under mild re-encoding it is from 0.41 to 0.66 (16 faces judged again after 2 mild changes; 1 more has no score)."
    assert words_of_it in page
    assert words_of_it in readme
    drawn = (tmp_path / "out" / "summary.html").read_text(encoding="utf-8")
    assert re.search(r'<rect x="72\.1\d*" y="18" width="44(\.0)?\d*"', drawn), "from 41 to 66 of 100, of 176 units"
    assert "threshold 0.50, under mild re-encoding it is from 0.41 to 0.66" in drawn
    without, _ = pages_of(told("strong"), tmp_path / "without")
    assert "re-encoding" not in without


def test_bands_are_a_table_with_a_row_for_each_change_and_no_number_where_there_is_none(tmp_path: Path) -> None:
    write_bands(told("unstable"), tmp_path / "bands.csv")
    assert (tmp_path / "bands.csv").read_text(encoding="utf-8").splitlines() == [
        "detector,threshold,fake_score,low,high,variant,variant_fake_score,units,code",
        "mesonet,0.5,0.6,0.41,0.66,jpeg_60,0.41,16,",
        "mesonet,0.5,0.6,0.41,0.66,half_size,0.66,16,",
        "mesonet,0.5,0.6,0.41,0.66,h264_28,,0,not_made",
    ]
    write_bands(told("strong"), tmp_path / "none.csv")
    assert not (tmp_path / "none.csv").exists()


def test_labels_of_too_little_are_not_counted_in_a_result_without_findings(
    made_result: Callable, made_detector: Callable
) -> None:
    result = made_result(
        frames=100,
        detectors=lambda faces: [
            made_detector("mesonet", faces=faces, level=0.9, title="MesoNet"),
            made_detector("va", faces=faces, level=0.9, title="VA").model_copy(update={"units_scored": 9}),
        ],
    )
    assert statement_of(result) is None
    assert (
        words.headline(result)
        == "The one detector that gave a score, MesoNet, is at or above its threshold for “fake”."
    )
    little = result.model_copy(update={"detectors": result.detectors[1:]})
    assert words.headline(little) == "No detector could judge enough of this file to be counted."


def test_a_result_without_findings_keeps_its_words(tmp_path: Path, made_result: Callable) -> None:
    """An old result keeps its words: nothing is made up for it."""
    result = as_sound_file(made_result())
    (tmp_path / "out").mkdir()
    build_report(result, out=tmp_path / "out", evidence={}, video=None, video_per_detector=False, keyframes={})
    page = (tmp_path / "out/summary.html").read_text(encoding="utf-8")
    assert "The one detector that gave a score, AASIST, is at or above its threshold" in unescape(page)
    assert "What was looked for" not in page
    assert "Finding</th>" not in page
