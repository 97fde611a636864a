"""Names of files as people and programs may see them, whatever bytes a file system holds.

A name can have bytes that are not UTF-8 (Python keeps them as lone surrogates, which no JSON, page or terminal takes), line breaks, escape
characters that a terminal obeys, and marks that turn the direction of writing. Pure functions. May be imported by all.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Final

#: Marks that change the order in which a line is shown (Unicode 15, chapter 23.2): "gpj.exe" could be shown as "exe.jpg".
_DIRECTIONS: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NOT_SHOWN: Final = ("Cc", "Cs", "Zl", "Zp")
#: What is shown for a character that is not: U+FFFD REPLACEMENT CHARACTER.
_INSTEAD: Final = "\ufffd"


def readable(untrusted_name: str | Path) -> str:
    """A name or path as text: other bytes than UTF-8 are read as Windows does in Western Europe (code page 1252, then Latin-1)."""
    text = str(untrusted_name)
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        pass
    try:
        return "/".join(_decoded(os.fsencode(part)) for part in text.split("/"))
    except UnicodeEncodeError:  # halves of pairs that no file system gave us
        return "".join(_INSTEAD if unicodedata.category(char) == "Cs" else char for char in text)


def shown(untrusted_name: str | Path) -> str:
    """A name, path or sentence for one line of a terminal or page: ``readable``, and nothing in it moves the cursor or the line."""
    text = readable(untrusted_name)
    if text.isprintable():
        return text
    return "".join(
        _INSTEAD if char in _DIRECTIONS or unicodedata.category(char) in _NOT_SHOWN else char for char in text
    )


def shortened(name: str, *, length: int = 120) -> str:
    """``name`` with at most ``length`` characters; its end stays, where its suffix is."""
    return name if len(name) <= length else name[: length - 13] + "…" + name[-12:]


def folder_name(untrusted_name: str, *, otherwise: str, most_bytes: int = 120) -> str:
    """A visible, plain name for a new folder, after a file's: never empty, hidden, ``.`` or ``..``, no longer than file systems take.

    120 bytes: 255 is what most take, 143 what encrypted homes do (eCryptfs), and we add some of our own.
    """
    plain = unicodedata.normalize("NFC", shown(untrusted_name)).replace("/", "_").replace("\0", "_")
    plain = plain.replace(_INSTEAD, "_").strip().lstrip(".").rstrip(". ").strip()
    cut = plain.encode()[:most_bytes].decode(errors="ignore").rstrip(". ")
    return cut or otherwise


def name_key(name: str) -> str:
    """Equal for names that are one on some file system: case (Windows, macOS) and Unicode form (macOS) do not count there."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _decoded(name: bytes) -> str:
    for encoding in ("utf-8", "cp1252"):
        try:
            return name.decode(encoding)
        except UnicodeDecodeError:
            continue
    return name.decode("latin-1")
