"""``summary.html`` of a batch: what was judged, what was not and why, how the scores of each detector are spread.

Promises: one file without script or outside address; every untrusted word escaped; scores of a content that is there twice count once.
Numbers come from the shards alone, of all parts that are there. May be imported by the commands.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from backend.batch import plots
from backend.batch.rows import JUDGED, NOT_JUDGED
from backend.batch.run import BatchRecord, JudgedBy
from base_detector import Array
from shared import durable
from shared.clock import utc_now
from shared.errors import StoreTrouble, sentence_for
from shared.names import shown
from shared.rounding import score as score_words
from shared.statement import NOT_COUNTED
from shared.words import UNITS_OF, counted, date_and_time, duration, label_in_words, size

#: Files listed on the page; the shards have all.
MOST_FILES: Final = 200
#: Names given as examples of a reason.
_EXAMPLES: Final = 3
_KINDS: Final = {"video": "video", "image": "picture", "sound": "sound file"}


def write_summary(folder: Path, record: BatchRecord) -> Path:
    """Write ``<folder>/summary.html`` from the shards; where it is. StoreTrouble when it cannot be written."""
    table = ds.dataset(sorted((folder / "rows").glob("*.parquet")), format="parquet").to_table()
    target = folder / "summary.html"
    try:
        durable.replace_bytes(target, _page(table, record).encode())
    except OSError as error:
        raise StoreTrouble(error, sentence=f"{shown(target)} cannot be written ({error.strerror}).") from error
    return target


def _page(table: pa.Table, record: BatchRecord) -> str:
    status, same = _column(table, "status"), _column(table, "same_as")
    judged = status == JUDGED
    once = judged & (same == None)  # noqa: E711 - elementwise
    detectors = [
        _detector(table, once, name, facts, place) for place, (name, facts) in enumerate(record.detectors.items())
    ]
    seconds = _numbers(table, "seconds")[once]
    return _template().render(
        source="standard input" if record.source == "-" else record.source,
        created=date_and_time(utc_now()),
        version=record.platform_version,
        headline=_headline(len(status), int(judged.sum()), int((judged & ~once).sum())),
        facts=_facts(table, record, once, seconds),
        detectors=detectors,
        outcomes=plots.outcomes([item["title"] for item in detectors], [item["counts"] for item in detectors])
        if once.any()
        else None,
        seconds=plots.durations(seconds) if len(seconds) else None,
        reasons=_reasons(table),
        files=_files(table, record),
        listed=min(MOST_FILES, len(status)),
        rows=len(status),
        limits=[shown(item["title"]) for item in detectors if item["counts"][0] == 0],
    )


def _headline(rows: int, judged: int, again: int) -> str:
    words = f"{counted(rows, 'file')}: {judged:,} judged, {rows - judged:,} not."
    same = (
        f"{counted(again, 'file')} {'has' if again == 1 else 'have'} the content of another one, which was judged once."
    )
    return f"{words} {same}" if again else words


def _facts(table: pa.Table, record: BatchRecord, once: Array, seconds: Array) -> list[tuple[str, str]]:
    """What is said of the batch as a whole."""
    length, nbytes = _numbers(table, "duration_s")[once], _numbers(table, "bytes")[once]
    kinds = Counter(_column(table, "kind")[once].tolist())
    facts = [
        ("Kinds", ", ".join(counted(kinds[kind], noun) for kind, noun in _KINDS.items() if kinds[kind])),
        ("Length of all", duration(float(np.nansum(length))) if len(length) else ""),
        ("Size of all", size(int(np.nansum(nbytes))) if len(nbytes) else ""),
        ("Mode", record.mode),
        (
            "In work",
            f"{duration(float(seconds.sum()))}, median of a file {np.median(seconds):.2f} s" if len(seconds) else "",
        ),
    ]
    return [(name, words) for name, words in facts if words]


def _detector(table: pa.Table, once: Array, name: str, facts: JudgedBy, place: int) -> dict[str, Any]:
    """The row and the plot of one detector, over judged contents."""
    status = _column(table, f"{name}_status")[once]
    scores = _numbers(table, f"{name}_score")[once]
    scores = scores[~np.isnan(scores)]
    codes = Counter(code for code in _column(table, f"{name}_code")[once].tolist() if code)
    counts = _numbers(table, f"{name}_score")[once & ~_left_out(table, name)]
    counts = counts[~np.isnan(counts)]
    above = int((counts >= facts.threshold).sum())
    none = int((status == "not_applicable").sum())
    return {
        "title": facts.title,
        "version": facts.version,
        "judges": UNITS_OF[facts.unit],
        "threshold": score_words(facts.threshold),
        "counts": (len(scores), none, len(status) - len(scores) - none),
        "median": score_words(float(np.median(scores))) if len(scores) else "",
        "above": f"{above} ({above / len(counts):.0%})" if len(counts) else "",
        "codes": [(sentence_for(code), times) for code, times in codes.most_common()],
        "plot": plots.histogram(scores, title=facts.title, threshold=facts.threshold, colour=place)
        if len(scores)
        else None,
    }


def _left_out(table: pa.Table, name: str) -> Array:
    """(rows,) bool: whether a detector judged too little of the file to be counted."""
    return np.isin(_column(table, f"{name}_finding_code"), NOT_COUNTED)


def _reasons(table: pa.Table) -> list[tuple[str, int, str]]:
    """Why files were not judged: reason, how many, some of their names."""
    at = np.flatnonzero(_column(table, "status") == NOT_JUDGED)
    found = table.select(["file", "code", "reason"]).take(pa.array(at)).to_pylist()
    codes = Counter(row["code"] for row in found)
    answers = []
    for code, times in codes.most_common():
        rows = [row for row in found if row["code"] == code]
        several = len({row["reason"] for row in rows}) > 1
        reason = sentence_for(code) if several else rows[0]["reason"]
        names = ", ".join(shown(row["file"]) for row in rows[:_EXAMPLES])
        answers.append((reason, times, names + (", …" if times > _EXAMPLES else "")))
    return answers


def _files(table: pa.Table, record: BatchRecord) -> list[dict[str, Any]]:
    """The first files by name, with a score of each detector or the reason."""
    order = (
        table.select(["file"]).append_column("place", pa.array(range(len(table)))).sort_by("file")["place"][:MOST_FILES]
    )
    answers = []
    for row in table.take(order).to_pylist():
        cells = []
        for name in record.detectors:
            score, label = row[f"{name}_score"], row[f"{name}_label"]
            words = label_in_words(label) if label else ""
            if row[f"{name}_finding_code"] in NOT_COUNTED:
                words = f"({words})"
            cells.append((score_words(score) if score is not None else "–", words))
        remark = row["reason"] or (f"same content as {shown(row['same_as'])}" if row["same_as"] else "")
        report = f"{row['report']}/summary.html" if row["report"] else None
        answers.append(
            {"file": shown(row["file"]), "persons": row["persons"], "cells": cells, "remark": remark, "report": report}
            | {"judged": row["status"] == JUDGED}
        )
    return answers


def _column(table: pa.Table, name: str) -> Array:
    return np.array(table[name].to_pylist(), dtype=object)


def _numbers(table: pa.Table, name: str) -> Array:
    """A column as float64, NaN for null."""
    return np.array([np.nan if value is None else value for value in table[name].to_pylist()], dtype=float)


@lru_cache(maxsize=1)
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("summary.html.j2")
