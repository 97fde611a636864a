"""The result page leads with the statement of the result, and shows each finding with its reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

import pytest
from flask import Flask

from frontend.portal import portal
from shared.coverage import coverage_rows
from shared.how_sure import reason
from shared.records import JobId
from shared.results import Result
from shared.statement import NOT_COUNTED, finding_words, statement_of
from tests.frontend.stories import Uploader, finish
from tests.told import ANSWERS, told


def opened(app: Flask, uploader: Uploader, change: Callable[[Result], Result]) -> tuple[Result, str]:
    """A finished result and its page, as text without tags."""
    job = uploader.submit()
    result = finish(app, job, change=change)
    uploader.enter_pin(job)
    page = re.sub(r"<[^>]*>", " ", unescape(uploader.get(f"/r/{job}").get_data(as_text=True)))
    return result, re.sub(r"\s+", " ", page)


@pytest.mark.parametrize("case", ANSWERS)
def test_page_leads_with_the_statement_and_the_table_of_who_looked(app: Flask, uploader: Uploader, case: str) -> None:
    result, page = opened(app, uploader, lambda usual: told(case, id=usual.id, created=usual.created))
    said = statement_of(result)
    assert said is not None
    places = [page.index(f" {sentence} ") for sentence in said.sentences]
    assert places[0] == min(places), "the headline comes first"
    table = re.search(r" Detectors (?!there:)", page[places[0] :])
    assert table
    assert max(places) < places[0] + table.start(), "all of it stands above the detectors"
    for name, words in coverage_rows(result):
        assert f" {name} {words} " in page
    for kind in said.kinds:
        assert f" {kind.words} {', '.join(kind.looked) or 'no detector'} " in page
    assert "Consensus" not in page


def test_each_file_is_linked_once(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job)
    (portal(app).store.report(JobId(job)) / "report.pdf").write_bytes(b"%PDF-1.4")
    uploader.enter_pin(job)
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    files = re.findall(rf'href="/r/{job}/files/([\w.]+)"', page)
    assert {"report.pdf", "bundle.zip", "result.json"} <= set(files)
    assert len(files) == len(set(files)), "a file that is linked twice looks like two files"


@pytest.mark.parametrize("case", [case for case in ANSWERS if case != "nothing"])
def test_each_detector_shows_its_finding_and_why_with_a_link(app: Flask, uploader: Uploader, case: str) -> None:
    job = uploader.submit()
    result = finish(app, job, change=lambda usual: told(case, id=usual.id, created=usual.created))
    uploader.enter_pin(job)
    page = unescape(uploader.get(f"/r/{job}").get_data(as_text=True))
    rows = page.split('<ul class="scores">')[1].split("<details>")
    for item, row in zip(result.detectors, rows, strict=False):
        assert item.finding
        known = reason(item.finding.code)
        assert known
        assert f"Finding: {finding_words(item.finding)}." in row
        assert f'href="/how-sure#{item.finding.code}">Why: {known.short}</a>' in row
        assert f"<b>{item.fake_score:.2f}</b></div>" in row
        left_out = item.finding.code in NOT_COUNTED
        grey = left_out or item.finding.points == "inconclusive"
        assert ('class="chip none"' in row) is grey, "a label that points neither way is grey"
        assert ('class="bar none"' in row) is grey
        assert (item.finding.sentence in row) is left_out
    assert 'href="/how-sure"' in page


def test_the_band_is_a_bar_over_the_score_with_its_words_and_each_change(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job, change=lambda usual: told("unstable", id=usual.id, created=usual.created))
    uploader.enter_pin(job)
    page = unescape(uploader.get(f"/r/{job}").get_data(as_text=True))
    assert '<rect class="band" x="41.00" y="3.5" width="25.00" height="3"/>' in page
    assert (
        "Under mild re-encoding it is from 0.41 to 0.66 (16 faces judged again after 2 mild changes; 1 more has no score)."
        in page
    )
    assert "<dt>JPEG at quality 60</dt><dd>0.41</dd>" in page
    assert "<dt>H.264 at CRF 28</dt><dd>this change could not be made</dd>" in page


def test_a_label_that_does_not_count_is_in_no_count_of_the_page(app: Flask, uploader: Uploader) -> None:
    _, page = opened(app, uploader, lambda usual: told("tiny faces", id=usual.id, created=usual.created))
    assert "The only kind of evidence counted points neither way: inconclusive." in page
    assert not re.search(r"\d+ of \d+ detectors (is|are) at or above", page)


def test_a_result_without_findings_keeps_its_words_but_shows_no_mean(app: Flask, uploader: Uploader) -> None:
    _, page = opened(app, uploader, lambda usual: usual)
    assert "1 of 2 detectors is at or above its threshold: MesoInception4" in page
    assert "Consensus" not in page
    assert "Finding:" not in page
    assert "Looked for by" not in page
