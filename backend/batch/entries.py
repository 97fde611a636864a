"""What a batch is to judge: the files of a folder, or a list of paths and web addresses, with the columns of the list.

Promises: nothing is opened but the list; an entry's name (``file``) does not depend on where the command was called, so that the same
command finds its rows again; lists are read whole, in UTF-8 (other bytes of paths are kept). Raises UserError for a list that cannot be
read. May be imported by ``backend.batch`` and the commands.
"""

from __future__ import annotations

import csv
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shared.errors import DfomError, UserError
from shared.names import readable, shown

#: Names of a column that says where the file is, in the order in which they are looked for.
PLACES: Final = ("file", "path", "filename", "url", "media", "video", "source")
_DELIMITERS: Final = ",;\t"
_TABLES: Final = (".csv", ".tsv")
#: A longer cell is no path, address or label (csv's own limit is 131072).
_MOST_CHARACTERS: Final = 100_000


@dataclass(frozen=True)
class Entry:
    """One file to judge: ``path`` or ``url``. ``file``: its name in the rows. ``mention``: 1 for the first entry of that name, then 2.

    ``cells``: the values of the list's columns. ``trouble``: why it cannot be judged, known without trying.
    """

    file: str
    path: Path | None
    url: str | None = None
    mention: int = 1
    cells: tuple[str, ...] = ()
    trouble: DfomError | None = None


@dataclass(frozen=True)
class Entries:
    """All entries, and the names of the list's columns; none for a folder or a plain list. ``left_out``: what a search passed over."""

    entries: Sequence[Entry]
    columns: tuple[str, ...] = ()
    left_out: dict[str, list[Path]] = field(default_factory=dict)


def read_list(untrusted: bytes, *, name: str, base: Path, column: str | None = None) -> Entries:
    """The entries of a list: one path or address a line, or a table (CSV) with a heading.

    It is a table when it is named so (.csv, .tsv), when ``column`` is given, or when its first line has several cells and one of them is
    in ``PLACES``. Paths are relative to ``base``, the folder of the list; where there is no such file, to the current folder.
    """
    text = untrusted.decode("utf-8", errors="surrogateescape").removeprefix("\ufeff")
    lines = text.splitlines()
    if "\0" in text[:1000]:
        raise UserError("bad_list", f"{shown(name)} is neither a list of files nor a video, picture or sound.")
    if column or name.lower().endswith(_TABLES) or _looks_like_a_table(lines[0] if lines else ""):
        return _of_table(text, name=name, base=base, column=column)
    wanted = [(line.strip(), ()) for line in lines if line.strip()]
    return Entries(_numbered(wanted, base))


def of_folder(files: Iterable[tuple[Path, DfomError | None]], *, top: Path) -> list[Entry]:
    """The entries of the files found below ``top``, named relative to it."""
    return [
        Entry(readable(path.relative_to(top) if path.is_relative_to(top) else path), path, trouble=trouble)
        for path, trouble in files
    ]


def part_of(entries: Sequence[Entry], *, part: int, parts: int) -> list[Entry]:
    """The share of machine ``part`` (1 to ``parts``) of the entries: by their names, so that a list that grows is shared out as before."""
    if parts == 1:
        return list(entries)
    return [entry for entry in entries if zlib.crc32(entry.file.encode(errors="surrogateescape")) % parts == part - 1]


def is_address(text: str) -> bool:
    """Whether an entry is a web address; a path may hold a colon, but no scheme."""
    return re.match(r"https?://", text, re.IGNORECASE) is not None


def _looks_like_a_table(heading: str) -> bool:
    cells = next(csv.reader([heading], delimiter=_delimiter(heading)), []) if heading else []
    return len(cells) > 1 and any(cell.strip().lower() in PLACES for cell in cells)


def _delimiter(heading: str) -> str:
    return max(_DELIMITERS, key=heading.count)


def _of_table(text: str, *, name: str, base: Path, column: str | None) -> Entries:
    csv.field_size_limit(_MOST_CHARACTERS)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text.partition("\n")[0])))
    except csv.Error as error:
        raise UserError("bad_list", f"{shown(name)} cannot be read as a table ({error}).") from None
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    columns = tuple(cell.strip() for cell in rows[0]) if rows else ()
    twice = [cell for cell, times in Counter(columns).items() if times > 1]
    if twice or "" in columns:
        what = f"two columns named {shown(twice[0])!r}" if twice and twice[0] else "a column without a name"
        raise UserError("bad_list", f"{shown(name)} has {what}. Give each column a name of its own in the first line.")
    at = _place(columns, name=name, column=column)
    wanted = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) > len(columns):
            raise UserError(
                "bad_list",
                f"Row {number} of {shown(name)} has {len(row)} cells, the heading {len(columns)}. Put cells with a comma into quotes.",
            )
        cells = (*row, *[""] * (len(columns) - len(row)))
        if not cells[at].strip():
            raise UserError(
                "bad_list", f"Row {number} of {shown(name)} names no file in its column {shown(columns[at])!r}."
            )
        wanted.append((cells[at].strip(), tuple(map(readable, _others(cells, at, columns)))))
    return Entries(_numbered(wanted, base), tuple(map(readable, _others(columns, at, columns))))


def _others(cells: Sequence[str], at: int, columns: Sequence[str]) -> Sequence[str]:
    """Without the column of the files where it is called as ours, which says the same."""
    return [*cells[:at], *cells[at + 1 :]] if columns[at] == "file" else cells


def _place(columns: tuple[str, ...], *, name: str, column: str | None) -> int:
    """Which column names the file."""
    lowered = [cell.lower() for cell in columns]
    for place in [column.lower()] if column else PLACES:
        if place in lowered:
            return lowered.index(place)
    asked = f"no column {shown(column)!r}" if column else f"no column named {', '.join(PLACES[:-1])} or {PLACES[-1]}"
    there = ", ".join(map(shown, columns)) or "none"
    raise UserError(
        "bad_list", f"{shown(name)} has {asked}. Its columns: {there}. Name the one with the files: --column NAME."
    )


def _numbered(wanted: Iterable[tuple[str, tuple[str, ...]]], base: Path) -> list[Entry]:
    """Entries of the texts in a list, each with the number of its mention."""
    mentions: Counter[str] = Counter()
    entries = []
    for text, cells in wanted:
        mentions[text] += 1
        url = text if is_address(text) else None
        path = None if url else _found(text, base)
        entries.append(Entry(readable(text), path, url, mentions[text], cells))
    return entries


def _found(text: str, base: Path) -> Path:
    beside = base / text
    return beside if beside.exists() or not Path(text).exists() else Path(text)
