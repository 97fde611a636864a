"""A data set of labelled clips or pictures on disk: which files it has, whose they are, and in which part each person is.

Owns: the two layouts that are read, and the split. Layouts:

* ``real/`` and ``fake/`` with clips or pictures, in sub-folders or not. The identity is the sub-folder, or else the file's name up to its
  last underscore: ``real/000.mp4`` and ``fake/000_003.mp4`` belong together, and so do ``Ada_0001.jpg`` and ``Ada_0002.jpg``.
* folders with a ``metadata.json`` of the DFDC (``label``, ``original``), one or many. The identity is the original clip.

Promises: no identity is in two parts, and its part follows from its name alone, whatever other files there are.
May be imported by detectors.training and its tests.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

#: Part -> share of the identities.
PARTS = {"train": 0.7, "validation": 0.15, "test": 0.15}
PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
CLIPS = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"})


class DataError(Exception):
    """The data set cannot be used as it is; the message says what to change."""


@dataclass(frozen=True)
class Item:
    """One clip or picture. ``name`` is its path below the data set's folder, with slashes."""

    path: Path
    name: str
    fake: bool
    identity: str

    @property
    def is_picture(self) -> bool:
        """Whether the file is a single picture."""
        return self.path.suffix.lower() in PICTURES

    @property
    def part(self) -> str:
        """The part its identity is in."""
        return part_of(self.identity)


def part_of(identity: str) -> str:
    """Part of an identity, by a hash of its name: the same on every machine."""
    place = int.from_bytes(hashlib.sha256(f"part of {identity}".encode()).digest()[:8], "big") / 2**64
    for part, share in PARTS.items():
        if place < share:
            return part
        place -= share
    return "test"


def read_dataset(folder: Path) -> list[Item]:
    """All items of ``folder``, by name; DataError when there are none, or no real or no fake ones."""
    tables = sorted(folder.rglob("metadata.json"))
    items = sorted(_of_tables(folder, tables) if tables else _of_folders(folder), key=lambda item: item.name)
    kinds = Counter(item.fake for item in items)
    if not kinds[False] or not kinds[True]:
        raise DataError(
            f"{folder} has {kinds[False]} real and {kinds[True]} fake clips or pictures. Put them into {folder / 'real'} and "
            f"{folder / 'fake'}, or name a folder of the DFDC with its metadata.json."
        )
    return items


def _of_folders(folder: Path) -> Iterator[Item]:
    for label in ("real", "fake"):
        top = folder / label
        for path in top.rglob("*"):
            if path.suffix.lower() in PICTURES | CLIPS and path.is_file():
                inner = path.relative_to(top).parts
                identity = inner[0] if len(inner) > 1 else path.stem.rpartition("_")[0] or path.stem
                yield Item(path, path.relative_to(folder).as_posix(), label == "fake", identity)


def _of_tables(folder: Path, tables: Iterable[Path]) -> Iterator[Item]:
    """The clips of DFDC parts; a table also names clips that were left out of a smaller copy."""
    for table in tables:
        try:
            entries = json.loads(table.read_text(encoding="utf-8"))
            rows = [(name, entry["label"].upper(), entry.get("original")) for name, entry in entries.items()]
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise DataError(
                f"{table} is not a metadata.json of the DFDC ({error!r}): file name -> label, original"
            ) from None
        for name, label, original in rows:
            path = table.parent / Path(name).name
            if label not in ("REAL", "FAKE"):
                raise DataError(f"{table} labels {name} {label!r}: it must be REAL or FAKE")
            if path.is_file():
                # originals may be in another part of the DFDC; their names are unique over all of them
                identity = name if label == "REAL" else original or name
                yield Item(path, path.relative_to(folder).as_posix(), label == "FAKE", identity)


def counts(items: Iterable[Item]) -> dict[str, dict[str, int]]:
    """For each part: real and fake items, identities."""
    listed = list(items)
    found = {}
    for part in PARTS:
        own = [item for item in listed if item.part == part]
        fakes = sum(item.fake for item in own)
        found[part] = {"real": len(own) - fakes, "fake": fakes, "identities": len({item.identity for item in own})}
    return found
