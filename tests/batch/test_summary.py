"""The page of a batch says what the rows say: each content once, no score where there is none, every reason with its count."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

from backend.batch.entries import Entry
from backend.batch.rows import Row, judged, not_judged
from backend.batch.run import open_batch
from backend.batch.summary import write_summary
from shared.errors import sentence_for
from shared.results import Finding
from tests.batch.stand_in import record
from tests.report.conftest import detector, make_result, silent


def row(digest: str, level: float | None, *, code: str | None = None) -> Row:
    """What a row says of a clip with this score, or of one without a face. ``code``: of its finding."""
    finding = Finding(points="inconclusive", code=code, sentence="Too few.") if code else None
    result = make_result(
        frames=4,
        detectors=lambda faces: [
            silent("mesonet", status="not_applicable", code="no_face")
            if level is None
            else detector("mesonet", faces=faces, level=level, finding=finding)
        ],
    )
    return judged(replace_sha(result, digest), seconds=0.4)


def replace_sha(result, digest: str):
    return result.model_copy(update={"media": replace(result.media, sha256=digest * 64)})


def test_the_page_counts_contents_once_and_names_every_reason(tmp_path: Path):
    with open_batch(tmp_path / "out", record(), []) as batch:
        columns = batch.shards.columns
        found = [row("a", 0.9), row("b", 0.2), row("c", None), row("d", 0.95, code="few_units")]
        found += [not_judged("file_empty", sentence_for("file_empty"), seconds=0.0)] * 5
        for number, one in enumerate(found):
            batch.shards.add(columns.row(Entry(f"{number}.mp4", None), one))
        first = columns.row(Entry("0.mp4", None), found[0])
        batch.shards.add(columns.row(Entry("copy.mp4", None), columns.same_content(first, seconds=0.0)))
        batch.finish()
    page = write_summary(tmp_path / "out", batch.record)
    text = re.sub(r"<style.*?</style>|<[^>]+>", " ", page.read_text(), flags=re.DOTALL)
    text = re.sub(r"\s+", " ", unescape(text))
    assert "10 files: 5 judged, 5 not. 1 file has the content of another one" in text
    assert re.search(r"MesoNet 1\.0 faces 3 1 0 0\.9\d 0\.50 1 \(50%\)", text), text
    assert f"1 ×: {sentence_for('no_face')}" in text
    assert f"{sentence_for('file_empty')} 5 4.mp4, 5.mp4, 6.mp4, …" in text
    assert re.search(r" 3\.mp4 1 (>0\.99|0\.9\d|1\.00) \(fake\) ", text), "in no count, so in brackets"
    assert "same content as 0.mp4" in text
    assert "It is not the number of fakes" in text
