"""The language in which words for people are made, the catalogues of translations, and numbers and dates as that language writes them.

Sentences are written in English where they are used, and marked: ``_("...")``. The portal says for each request which language its visitor
reads (``speaking``); command line, workers and files of a report stay with English, which needs neither a catalogue nor Babel. The
catalogues are ``shared/translations/<language>/LC_MESSAGES/messages.po``, read as they are; ``make translations`` brings them up to date
(docs/translations.md). Values have names: ``_("{name} is above its threshold", name=...)``. May be imported by all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path
from typing import Final, Literal, TypeVar

#: The language in which the sentences are written.
ENGLISH: Final = "en"
#: Folder of the catalogues.
CATALOGUES: Final = Path(__file__).parent / "translations"

T = TypeVar("T")


@dataclass(frozen=True)
class Language:
    """A language that the pages speak. ``code`` as in ``lang=""``, ``name`` in itself, ``locale`` of its dates and numbers (CLDR)."""

    code: str
    name: str
    locale: str

    @property
    def direction(self) -> Literal["ltr", "rtl"]:
        """In which direction it is written."""
        if self.code == ENGLISH:
            return "ltr"
        from babel import Locale

        return "rtl" if Locale.parse(self.locale).text_direction == "rtl" else "ltr"


#: What a visitor may choose.
OFFERED: Final[dict[str, Language]] = {
    "en": Language("en", "English", "en_GB"),
    "de": Language("de", "Deutsch", "de"),
}

_current: Final[ContextVar[str]] = ContextVar("language", default=ENGLISH)


def language() -> Language:
    """The language in which words are made now."""
    return OFFERED[_current.get()]


@contextmanager
def speaking(code: str) -> Iterator[None]:
    """Make words in this language, if it is offered, else in English."""
    token = _current.set(code if code in OFFERED else ENGLISH)
    try:
        yield
    finally:
        _current.reset(token)


def use(code: str) -> None:
    """As ``speaking``, until it is called again: for what has no block, such as a request."""
    _current.set(code if code in OFFERED else ENGLISH)


# --------------------------------------------------------------------------- sentences


@lru_cache(maxsize=16)
def catalogue(code: str) -> NullTranslations:
    """The translations into a language; without a catalogue, every text stays as it is."""
    path = CATALOGUES / code / "LC_MESSAGES" / "messages.po"
    if not path.is_file():
        return NullTranslations()
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    compiled = BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=code))
    compiled.seek(0)
    return GNUTranslations(compiled)


def _(text: str, /, **values: object) -> str:
    """``text`` in the current language, with its ``{named}`` values; a text without values may hold any character."""
    code = _current.get()
    found = text if code == ENGLISH or not text else catalogue(code).gettext(text)
    return found.format(**values) if values else found


def ngettext(singular: str, plural: str, number: int, /, **values: object) -> str:
    """The form of a sentence that the current language has for ``number``, which is ``{n}`` in it, written as that language does."""
    code = _current.get()
    english = singular if number == 1 else plural
    found = english if code == ENGLISH else catalogue(code).ngettext(singular, plural, number)
    return found.format(n=digits(number, ","), **values)


def pgettext(context: str, text: str, /, **values: object) -> str:
    """As ``_``, for a short text that means different things in different places: ``context`` tells the translator which."""
    code = _current.get()
    found = text if code == ENGLISH else catalogue(code).pgettext(context, text)
    return found.format(**values) if values else found


def inside(sentence: str) -> str:
    """A sentence as a part of another one: English begins it with a small letter, other languages keep it as it is."""
    return f"{sentence[0].lower()}{sentence[1:]}" if _current.get() == ENGLISH else sentence


def marked(table: T) -> T:
    """Mark the texts of a table (its strings, but no keys of dictionaries) for translation; they are translated where they are used."""
    return table


# --------------------------------------------------------------------------- numbers and dates


@lru_cache(maxsize=16)
def signs_of(code: str) -> dict[int, str]:
    """For ``str.translate``: the decimal point and the comma between thousands, as a language writes them."""
    from babel.numbers import get_decimal_symbol, get_group_symbol

    locale = OFFERED[code].locale
    return str.maketrans({".": get_decimal_symbol(locale), ",": get_group_symbol(locale)})


@lru_cache(maxsize=16)
def plural_samples(code: str) -> dict[str, int]:
    """CLDR's plural categories of a language, each with the least number that has it: {'one': 1, 'other': 0}."""
    from babel import Locale

    form = Locale.parse(OFFERED[code].locale).plural_form
    return {form(number): number for number in range(200, -1, -1)}


def digits(value: float, form: str) -> str:
    """A number in a form of ``format()``, with the signs of the current language: ``digits(1234.5, ",.1f")`` is '1,234.5' or '1.234,5'."""
    return signs(format(value, form))


def signs(number: str) -> str:
    """A number as Python writes it, with the signs of the current language: '0.85' or '0,85'."""
    code = _current.get()
    return number if code == ENGLISH else number.translate(signs_of(code))


def day(moment: datetime) -> str:
    """'28 December 2026', '28 décembre 2026'."""
    if _current.get() == ENGLISH:
        return f"{moment.day} {moment:%B %Y}"
    from babel.dates import format_date

    return format_date(moment, "long", locale=language().locale)


def day_and_time(moment: datetime) -> str:
    """'28 December 2026, 21:45 UTC'."""
    return _("{day}, {time} UTC", day=day(moment), time=moment.strftime("%H:%M"))


def with_unit(value: float, unit: str) -> str:
    """A number and its unit as the current language shortens it; ``unit`` is CLDR's name: ('duration-second') '40 Sek.', '2,5 Sek.'."""
    from babel.units import format_unit

    return format_unit(value, unit, length="short", locale=language().locale)
