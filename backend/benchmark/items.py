"""One labelled data set: its items, what its reader could not use, and the digest that pins it.

Owns ``Item`` and ``DataSet``. Imported by the readers and by everything that judges or counts.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Item:
    """One file with its truth. ``name`` is unique in the set.

    ``subset``: what it is counted apart by (a method of manipulation, a source); "" for none. ``group``: what is drawn as one for
    intervals, an identity or a video; "" means the item alone. ``whole``: pictures of one video share it and are joined to one score; "" is
    the item alone.
    """

    path: Path
    name: str
    fake: bool
    subset: str = ""
    group: str = ""
    whole: str = ""


@dataclass
class DataSet:
    """What a reader found. ``missing``: names that the set lists and that are not there; ``unlabelled``: files without a truth."""

    name: str
    format: str
    items: list[Item] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unlabelled: int = 0

    def subsets(self) -> list[str]:
        """The names of the subsets, sorted."""
        return sorted({item.subset for item in self.items if item.subset})

    def counts(self) -> tuple[int, int]:
        """(real, fake) items."""
        kinds = Counter(item.fake for item in self.items)
        return kinds[False], kinds[True]


def digest_of(facts: Iterable[tuple[str, str, bool]]) -> str:
    """sha256 of a data set: of the sorted lines ``sha256 of the file, label, name``; the same set gives the same digest anywhere."""
    lines = sorted(f"{sha256} {'fake' if fake else 'real'} {name}\n" for name, sha256, fake in facts)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
