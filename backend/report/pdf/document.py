"""Puts ``report.pdf`` together: a first page that can be handed on alone, and an annex with everything that it rests on.

Owns the file's bounds, metadata, head and foot of each page. Promises: the same result gives the same bytes; a crowd, many detectors or a
hostile name make it no larger than a few MB, and it says what it leaves out. May be imported by ``backend.report``.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from reportlab import rl_config
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.lib.utils import TimeStamp
from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate

from backend.report.pdf import letters
from backend.report.pdf.annex import annex
from backend.report.pdf.first_page import first_page
from backend.report.pdf.subject import Subject
from backend.report.pdf.tags import TaggedCanvas
from base_detector import Array
from shared import durable
from shared.results import DetectorResult, Result
from shared.words import date_and_time

AUTHOR: Final = "DeepFake-o-meter"
_MARGIN: Final = 16 * mm
#: the width that text, tables and drawings have
WIDTH: Final = A4[0] - 2 * _MARGIN
# plain bytes: streams in letters are a quarter larger, and a third of the time goes into writing them
rl_config.useA85 = 0
#: reportlab keeps fonts and a parser for the whole process
_one_at_a_time = threading.Lock()


def load() -> None:
    """Read the fonts now: half the time that the first document takes."""
    letters.load()


def write_pdf(result: Result, scored: Sequence[tuple[DetectorResult, Array]], out: Path) -> None:
    """Write ``out/report.pdf`` from ``result`` and the pictures already in ``out``.

    ``scored``: the detectors with scores, and their scores (units,) with NaN.
    """
    with _one_at_a_time:
        _write(Subject.of(result, scored, out), out / "report.pdf")


def _write(subject: Subject, target: Path) -> None:
    result = subject.result
    letters.load()
    written = io.BytesIO()
    document = BaseDocTemplate(
        written,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        title=letters.readable(f"DeepFake-o-meter report: {subject.name}"),
        author=AUTHOR,
        subject=f"Analysis of the file with sha256 {result.media.sha256}, report {result.id}",
        creator=f"DeepFake-o-meter {letters.readable(result.platform_version)}",
        keywords="",
        lang="en",
        invariant=1,
    )
    frame = Frame(_MARGIN, 17 * mm, WIDTH, A4[1] - 17 * mm - 25 * mm, 0, 0, 0, 0)
    document.addPageTemplates(PageTemplate(frames=[frame]))

    def canvas(*args: Any, **more: Any) -> TaggedCanvas:
        made = TaggedCanvas(*args, **(more | {"initialFontName": letters.PLAIN}))
        made.on_page = lambda page, number, count: _frame_of_page(page, result, number=number, count=count)
        made._doc._timeStamp = _stamp(result)
        made.setViewerPreference("DisplayDocTitle", "true")
        made.showOutline()
        return made

    document.build([*first_page(subject, width=WIDTH), *annex(subject, width=WIDTH)], canvasmaker=canvas)
    durable.replace_bytes(target, written.getvalue())


def _stamp(result: Result) -> TimeStamp:
    """The moment of the result as the moment in which the document was made: it would not have the same bytes otherwise."""
    stamp = TimeStamp(1)
    stamp.YMDhms = result.created.utctimetuple()[:6]
    return stamp


def _frame_of_page(page: TaggedCanvas, result: Result, *, number: int, count: int) -> None:
    """Head and foot: what the page belongs to, should it be handed on alone."""
    left, right, top = _MARGIN, A4[0] - _MARGIN, A4[1] - 12 * mm
    page.setFillColor(letters.ACCENT)
    page.setFont(letters.BOLD, 9)
    page.drawString(left, top, "DeepFake-o-meter report")
    page.setFillColor(letters.SOFT)
    page.setFont(letters.MONO, 6.8)
    page.drawRightString(right, top, f"report {letters.readable(result.id)}")
    page.drawString(left, top - 9.5, f"file sha256 {letters.readable(result.media.sha256)}")
    page.setStrokeColor(letters.ACCENT)
    page.setLineWidth(1)
    page.line(left, top - 14, right, top - 14)
    page.setStrokeColor(letters.LINE)
    page.setLineWidth(0.5)
    page.line(left, 13.5 * mm, right, 13.5 * mm)
    page.setFont(letters.PLAIN, 7)
    made = f"{date_and_time(result.created)}, DeepFake-o-meter {letters.readable(result.platform_version)}"
    page.drawString(left, 10 * mm, made)
    page.drawRightString(right, 10 * mm, f"{number} of {count}")
