"""The building stones of the document: text, tables, pictures and rows of stones, each tagged as what it is.

Owns how reportlab's flowables get into the structure tree and the bookmarks. May be imported by ``backend.report.pdf``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from PIL import Image as Pillow
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.platypus import CondPageBreak, Flowable, Paragraph, Table

from backend.report.pdf.letters import BODY, CELL, HEAD, LINE, TINT

#: Dots an inch of pictures: as printers and screens show them.
_DPI: Final = 150


class Text(Paragraph):  # type: ignore[misc]
    """A paragraph of markup (``letters.safe``). Headings become bookmarks."""

    def __init__(self, markup: str | None, style: ParagraphStyle = BODY, **more: Any) -> None:
        super().__init__(markup, style, **more)

    def draw(self) -> None:
        """See ``Flowable``."""
        role = self.style.role
        if role in ("H1", "H2"):
            self.canv.bookmark(self.getPlainText(identify=True), level=int(role[1]) - 1, y=self.height + 6)
        with self.canv.marked(role):
            super().draw()


def headed(markup: str, style: ParagraphStyle, *, room: float = 28 * mm) -> Iterator[Flowable]:
    """A heading that is not left alone at the foot of a page: ``room`` points must be left for it and what follows."""
    yield CondPageBreak(room)
    yield Text(markup, style)


def _tag(table: Table, event: str, *where: Any) -> None:
    """What reportlab calls while it draws a table: its rows and cells become elements, its lines decoration."""
    canvas = table.canv
    if event == "startTable":
        canvas.begin_group("Table")
    elif event == "startRow":
        canvas.begin_group("TR")
    elif event == "startCell":
        canvas.begin_group("TH" if table.repeatRows and where[0] == 0 else "TD")
    elif event in ("endCell", "endRow", "endTable"):
        canvas.end_group()
    elif event in ("startBG", "startLines"):
        canvas.begin_artifact()
    elif event in ("endBG", "endLines"):
        canvas.end_artifact()


def grid(rows: Sequence[Sequence[Any]], widths: Sequence[float], *, head: bool = True) -> Table:
    """A table of ``rows``, cells of markup or flowables, columns ``widths`` points wide. ``head``: the first row is one, on every page."""
    cells = [
        [Text(cell, HEAD if head and not number else CELL) if isinstance(cell, str) else cell for cell in row]
        for number, row in enumerate(rows)
    ]
    padding = [("LEFTPADDING", 0), ("RIGHTPADDING", 6), ("TOPPADDING", 2.6), ("BOTTOMPADDING", 3)]
    look = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("LINEBELOW", (0, 0), (-1, -1), 0.4, LINE)]
    style = [*look, *((name, (0, 0), (-1, -1), points) for name, points in padding)]
    return Table(cells, colWidths=widths, repeatRows=int(head), style=style, hAlign="LEFT", renderCB=_tag)


class Boxed(Flowable):  # type: ignore[misc]
    """Stones in a tinted box with a coloured edge. Never split: for the finding."""

    def __init__(self, content: Sequence[Flowable], edge: Any) -> None:
        super().__init__()
        self._content, self._edge = content, edge

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        """See ``Flowable``."""
        inside = width - 10 * mm
        self._sizes = [item.wrapOn(self.canv, inside, height)[1] + item.getSpaceAfter() for item in self._content]
        self.width, self.height = width, sum(self._sizes) + 5 * mm
        return self.width, self.height

    def draw(self) -> None:
        """See ``Flowable``."""
        with self.canv.artifact():
            self.canv.setFillColor(TINT)
            self.canv.rect(0, 0, self.width, self.height, stroke=0, fill=1)
            self.canv.setFillColor(self._edge)
            self.canv.rect(0, 0, 1.4 * mm, self.height, stroke=0, fill=1)
        top = self.height - 2.8 * mm
        for item, size in zip(self._content, self._sizes, strict=True):
            item.drawOn(self.canv, 5 * mm, top - size + item.getSpaceAfter())
            top -= size


class Picture(Flowable):  # type: ignore[misc]
    """A picture file of the report, at most ``width`` and ``height`` points large, as few pixels as print needs; ``alt``: what it shows."""

    def __init__(self, path: Path, *, width: float, alt: str, height: float = 1e6) -> None:
        super().__init__()
        self._alt = alt
        with Pillow.open(path) as opened:
            picture = opened.convert("RGB")
        scale = min(width / picture.width, height / picture.height)
        self.width, self.height = scale * picture.width, scale * picture.height
        wide, high = (max(1, round(side / 72 * _DPI)) for side in (self.width, self.height))
        picture.thumbnail((wide, high), Pillow.Resampling.LANCZOS)
        self._bytes = io.BytesIO()
        picture.save(self._bytes, "JPEG", quality=80)

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        """See ``Flowable``."""
        return self.width, self.height

    def draw(self) -> None:
        """See ``Flowable``."""
        self._bytes.seek(0)
        with self.canv.marked("Figure", self._alt):
            self.canv.drawImage(ImageReader(self._bytes), 0, 0, self.width, self.height)


class Beside(Flowable):  # type: ignore[misc]
    """Pictures beside each other."""

    _GAP: Final = 3

    def __init__(self, pictures: Sequence[Picture]) -> None:
        super().__init__()
        self._pictures = pictures
        self.width = sum(one.width + self._GAP for one in pictures)
        self.height = max(one.height for one in pictures)

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        """See ``Flowable``."""
        return self.width, self.height

    def draw(self) -> None:
        """See ``Flowable``."""
        x = 0.0
        for one in self._pictures:
            one.drawOn(self.canv, x, self.height - one.height)
            x += one.width + self._GAP
