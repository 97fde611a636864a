"""What is written: coverage beside the figures, nothing filled in, a schema, tables for papers, a page that reads offline."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import jsonschema
import pytest

from backend.benchmark import exports, output
from backend.benchmark.page import page
from backend.benchmark.records import Benchmark
from backend.benchmark.schema import SCHEMA_FILE, schema_text
from backend.scores.references import ReferenceSet
from tests.benchmark.rows import measured, row

SCORES = {"r1": 0.1, "r2": 0.2, "r3": 0.6, "f1": 0.5, "f2": 0.8, "f3": 0.9}


def whole(benchmark: Benchmark, **wanted: object) -> object:
    facts = {"level": "file", "subset": None, "condition": "untouched"} | wanted
    [table] = [one for one in benchmark.tables if all(getattr(one, name) == value for name, value in facts.items())]
    return table


@pytest.fixture
def benchmark() -> Benchmark:
    rows = [row(name, score) for name, score in SCORES.items()] + [
        row("r4", None),
        row("f4", None, code="face_too_small"),
    ]
    rows += [row(name, 0.5, condition="jpeg_30") for name in SCORES]
    return output.assemble(measured(rows, conditions=("untouched", "jpeg_30")))


def test_files_without_a_score_are_in_the_coverage_and_in_no_figure(benchmark: Benchmark):
    table = whole(benchmark)
    assert (table.items, table.coverage.all.judged, table.coverage.all.of) == (6, 6, 8)
    assert (table.coverage.real.of, table.coverage.fake.of) == (4, 4)
    assert table.coverage.why == {"face_too_small": 1, "no_face": 1}
    assert table.figures["roc_auc"].value == pytest.approx(8 / 9)  # one real above one fake, of nine pairs
    counts = table.at_threshold
    assert (counts.fakes_found, counts.fakes_missed, counts.reals_passed, counts.reals_flagged) == (3, 0, 2, 1)


def test_units_are_counted_with_the_label_of_their_file(benchmark: Benchmark):
    assert whole(benchmark, level="unit").items == 12


def test_a_damaged_set_is_compared_on_the_same_files(benchmark: Benchmark):
    [change] = benchmark.changes
    assert (change.common, change.roc_auc_untouched, change.roc_auc) == (6, pytest.approx(8 / 9), 0.5)
    assert change.difference.value == pytest.approx(0.5 - 8 / 9)
    assert change.crossed == 2  # r1 and r2 reach the threshold now
    assert change.shift_real == pytest.approx(0.3)


def test_pictures_of_one_video_are_joined_to_one_score():
    rows = [
        row("r1", 0.1, whole="v1"),
        row("r2", 0.3, whole="v1"),
        row("f1", 0.7, whole="v2"),
        row("f2", None, whole="v2"),
    ]
    table = whole(output.assemble(measured(rows)))
    assert (table.items, table.groups) == (2, 2)
    assert (table.coverage.all.judged, table.coverage.all.of) == (3, 4)


def test_subsets_are_fakes_of_one_kind_against_all_reals():
    rows = [row("r1", 0.1), row("r2", 0.2), row("f1", 0.9, subset="swap"), row("f2", 0.05, subset="lips")]
    found = output.assemble(measured(rows))
    aucs = {one.subset: one.figures["roc_auc"].value for one in found.tables if one.subset}
    assert aucs == {"swap": 1.0, "lips": 0.0}


def test_two_detectors_are_compared_on_the_files_both_judged():
    rows = [row(name, score) for name, score in SCORES.items()]
    rows += [row(name, score, detector="classnseg") for name, score in SCORES.items() if name != "r3"]
    [found] = output.assemble(measured(rows, detectors=("mesonet", "classnseg"))).comparisons
    assert (found.common, found.difference.value, found.p) == (5, 0.0, None)


def test_benchmark_json_is_valid_against_the_published_schema(benchmark: Benchmark):
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), "python -m backend.benchmark.schema writes it anew"
    jsonschema.validate(json.loads(benchmark.model_dump_json()), json.loads(schema_text()))


def test_the_digest_of_a_data_set_does_not_depend_on_the_order_and_does_on_labels():
    facts = [("a", "1" * 64, True), ("b", "2" * 64, False)]
    assert output.digest_of(facts) == output.digest_of(reversed(facts))
    assert output.digest_of(facts) != output.digest_of([("a", "1" * 64, False), facts[1]])


def test_the_page_needs_nothing_from_outside_and_escapes_what_a_data_set_says(benchmark: Benchmark):
    text = page(benchmark)
    assert "a &lt;b&gt;set&lt;/b&gt; &amp; more" in text
    assert "<script" not in text
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", text)) - {
        item.paper.rpartition(" ")[2] for item in benchmark.detectors
    }
    assert {address for address in addresses if "w3.org" not in address} == set()
    assert not re.search(r"(src|href)=\"(?!#)", text)
    assert text.count("<svg") == 4  # ROC, DET, reliability, robustness
    assert "gave no score for 2 of 8 files" in text


def test_the_same_rows_give_the_same_page(benchmark: Benchmark):
    assert page(benchmark) == page(benchmark)


def test_the_tables_have_a_line_for_each_and_empty_cells_where_there_is_nothing(benchmark: Benchmark):
    lines = list(csv.DictReader(io.StringIO(exports.tables_csv(benchmark))))
    assert [(line["condition"], line["level"]) for line in lines] == [
        ("untouched", "file"),
        ("untouched", "unit"),
        ("jpeg_30", "file"),
    ]
    assert (lines[0]["judged"], lines[0]["of"], lines[0]["roc_auc"]) == ("6", "8", "0.888889")
    scores = list(csv.DictReader(io.StringIO(exports.scores_csv([row("r4", None)]))))
    assert (scores[0]["fake_score"], scores[0]["code"], scores[0]["label"]) == ("", "no_face", "real")


def test_the_latex_tables_escape_names(benchmark: Benchmark):
    text = exports.tables_latex(benchmark)
    assert r"a <b>set</b> \& more" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert "6/8" in text


def test_a_reference_set_has_scores_with_their_truth_and_conditions(benchmark: Benchmark, tmp_path: Path):
    rows = [row("r1", 0.1), row("f1", 0.9), row("f2", None), row("f1", 0.8, condition="pgd_8")]
    [path] = output.keep_references(
        benchmark, rows, folder_of=lambda name: tmp_path / name, name="first.set", about="made up"
    )
    assert path == tmp_path / "mesonet" / "first.set.json"
    kept = ReferenceSet.model_validate_json(path.read_bytes())
    assert [(one.fake, one.fake_score) for one in kept.rows] == [(False, 0.1), (True, 0.9)]
    assert (kept.about, kept.data.missing) == ("made up", ())
    assert [one.group for one in kept.rows] == ["0002", "0000"]  # of f1, f2, r1: no file is named
    assert kept.rows[0].like is not None
    assert kept.rows[0].like.face_px == 50.0
    assert kept.detector.provenance.weights == {"a.h5": "ab" * 32}


def test_a_copy_under_another_name_is_in_a_reference_set_once_and_one_of_two_truths_is_not(
    benchmark: Benchmark, tmp_path: Path
):
    """Ten copies of a file would be ten witnesses."""
    copies = [row(f"f{number}", 0.9, sha256="a" * 64) for number in range(10)]
    both = [row("f-both", 0.7, sha256="b" * 64), row("r-both", 0.7, sha256="b" * 64)]
    changed = row("f3", 0.6, sha256="a" * 64, condition="jpeg_30")
    [path] = output.keep_references(
        benchmark, [row("r1", 0.1), *copies, *both, changed], folder_of=lambda name: tmp_path / name, name="copies"
    )
    kept = ReferenceSet.model_validate_json(path.read_bytes())
    assert [(one.fake, one.fake_score, one.condition) for one in kept.rows] == [
        (False, 0.1, "untouched"),
        (True, 0.9, "untouched"),
        (True, 0.6, "jpeg_30"),
    ]
