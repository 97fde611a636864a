"""``summary.html`` on paper: Chromium prints it, and every sheet says which report and file it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from backend.report.build import build_report
from tests.told import told

pytestmark = pytest.mark.browser


def test_every_printed_sheet_has_its_number_and_what_it_belongs_to(chromium: Any, tmp_path: Path) -> None:
    result = told("splice")
    folder = tmp_path / "report"
    folder.mkdir()
    build_report(result, out=folder, evidence={}, video=None, video_per_detector=False, keyframes={})
    page = chromium.new_page()
    page.goto((folder / "summary.html").as_uri())
    page.pdf(path=tmp_path / "printed.pdf", prefer_css_page_size=True)
    page.close()
    sheets = [sheet.extract_text() for sheet in PdfReader(tmp_path / "printed.pdf").pages]
    assert len(sheets) > 1
    for number, words in enumerate(sheets, 1):
        assert f"{number} of {len(sheets)}" in words
        assert f"file sha256 {result.media.sha256}" in words
        assert f"report {result.id}" in words
    # no sheet is left nearly empty because a table or picture did not fit, but the last one
    assert min(len(words.split()) for words in sheets[:-1]) > 40
