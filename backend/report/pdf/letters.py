"""Fonts, styles of text, and words made safe for them.

Owns the way from untrusted words to reportlab's markup: ``safe``. Promises: embedded fonts for Latin, Greek and Cyrillic (DejaVu, which
comes with matplotlib); a letter that they do not have is a box, never an error, and never another letter. May be imported by
``backend.report.pdf``.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

import matplotlib
from reportlab.lib.colors import Color, HexColor
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

from backend.report.words import plain
from shared.curve_colours import RGB

PLAIN: Final = "DejaVuSans"
BOLD: Final = "DejaVuSans-Bold"
MONO: Final = "DejaVuSansMono"
#: What stands for a letter that the fonts do not have.
BOX: Final = "\u25a1"

_MOST_IN_CELL: Final = 700

INK: Final = HexColor(0x212529)
SOFT: Final = HexColor(0x5F666E)
LINE: Final = HexColor(0xCED4DA)
TINT: Final = HexColor(0xF1F4F7)
ACCENT: Final = HexColor(0x1C5D99)

_loading = threading.Lock()


def load() -> None:
    """Read the fonts, once a process. RuntimeError when matplotlib came without them."""
    _known()


@lru_cache(maxsize=1)
def _known() -> frozenset[int]:
    """The letters that all text can have, as numbers."""
    folder = Path(matplotlib.get_data_path()) / "fonts/ttf"
    with _loading:
        fonts = {name: TTFont(name, str(folder / f"{name}.ttf")) for name in (PLAIN, BOLD, MONO)}
        for font in fonts.values():
            pdfmetrics.registerFont(font)
        # <b> in the text of a paragraph
        pdfmetrics.registerFontFamily(PLAIN, normal=PLAIN, bold=BOLD, italic=PLAIN, boldItalic=BOLD)
    shared = set(fonts[PLAIN].face.charToGlyph) & set(fonts[BOLD].face.charToGlyph)
    return frozenset(number for number in shared if number < 0x10000)  # reportlab names others wrongly


def readable(untrusted_words: str) -> str:
    """One line that can be drawn: letters without a picture are boxes, control characters and marks of direction question marks."""
    line = plain(untrusted_words)
    if line.isascii():
        return line
    known = _known()
    return "".join(letter if ord(letter) in known else BOX for letter in line)


def safe(untrusted_words: str, *, most: int = 4000) -> str:
    """At most ``most`` letters of words as reportlab's markup: nothing in them is a command."""
    words = readable(untrusted_words)
    return escape(words if len(words) <= most else f"{words[:most]}…")


def brief(untrusted_words: str) -> str:
    """As ``safe``, for a cell: a row that is higher than a page could not be drawn."""
    return safe(untrusted_words, most=_MOST_IN_CELL)


def bold(untrusted_words: str) -> str:
    """As ``safe``, in bold."""
    return f"<b>{safe(untrusted_words)}</b>"


def mono(untrusted_words: str) -> str:
    """As ``safe``, in letters of one width, for digests."""
    return f'<font name="{MONO}">{safe(untrusted_words)}</font>'


def soft(untrusted_words: str) -> str:
    """As ``safe``, in grey."""
    return f'<font color="#5f666e">{safe(untrusted_words)}</font>'


def colour(rgb: RGB) -> Color:
    """A colour of the palette."""
    return Color(*(part / 255 for part in rgb))


def _style(name: str, size: float, role: str, **more: Any) -> ParagraphStyle:
    options = {
        "fontName": PLAIN,
        "textColor": INK,
        "leading": 1.32 * size,
        "spaceAfter": 0.35 * size,
        "splitLongWords": 1,
    }
    return ParagraphStyle(name, fontSize=size, role=role, **(options | more))


#: ``role`` is what a paragraph is in the structure tree.
TITLE: Final = _style("title", 14.5, "H1", fontName=BOLD, leading=17.5)
HEADING: Final = _style("heading", 11.5, "H2", fontName=BOLD, textColor=ACCENT, spaceBefore=11, spaceAfter=4)
SUBHEADING: Final = _style("subheading", 9, "H3", fontName=BOLD, spaceBefore=6, spaceAfter=2)
#: a heading of the first page, which has its sections, too
SECTION: Final = _style("section", 9, "H2", fontName=BOLD, textColor=ACCENT, spaceBefore=6, spaceAfter=2)
LEAD: Final = _style("lead", 10.5, "P", fontName=BOLD)
BODY: Final = _style("body", 8.6, "P")
SMALL: Final = _style("small", 7.4, "P", spaceAfter=2)
NOTE: Final = _style("note", 7.2, "P", textColor=SOFT, spaceBefore=2.5)
CELL: Final = _style("cell", 7.2, "P", spaceAfter=0)
HEAD: Final = _style("head", 7, "P", fontName=BOLD, textColor=SOFT, spaceAfter=0)
