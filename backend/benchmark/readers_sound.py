"""Readers of data sets of speech: the protocols of ASVspoof, and In-the-Wild. Imported by ``readers``.

Protocol lines (asvspoof.org, README of each year's data):
2019 ``SPEAKER UTTERANCE - SYSTEM KEY``; 2021 ``SPEAKER UTTERANCE CODEC TRANSMISSION SYSTEM KEY TRIM SUBSET``; ASVspoof 5 has more columns.
In all of them the first column is the speaker, the second the utterance, and one column is ``spoof`` or ``bonafide``.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Final

from backend.benchmark.items import DataSet, Item
from backend.benchmark.words import is_fake

_KEYS: Final = frozenset({"spoof", "bonafide"})
#: Where the sound is, as seen from the protocol's folder or the data set's.
_SOUND: Final = ("flac", "wav")


def protocol_of(place: Path) -> Path | None:
    """The protocol at ``place``: itself, or the one protocol of its folder; None where there is none, or several."""
    if place.is_file():
        return place if _looks_like_protocol(place) else None
    found = [path for path in sorted(place.rglob("*.txt")) + sorted(place.rglob("*.tsv")) if _looks_like_protocol(path)]
    return found[0] if len(found) == 1 else None


def is_protocol(place: Path) -> bool:
    """Whether ``place`` is a protocol, or a folder with one."""
    return protocol_of(place) is not None


def asvspoof(place: Path, _: str) -> DataSet:
    """The utterances of a protocol; the attack (A07 ...) is the subset, the speaker the group."""
    listed = protocol_of(place) or place
    top = place if place.is_dir() else listed.parent
    found = DataSet(listed.stem, "asvspoof")
    sounds = {path.stem: path for ending in _SOUND for path in _around(top).rglob(f"*.{ending}")}
    for line in listed.read_text(encoding="utf-8").splitlines():
        columns = line.split()
        key = next((column for column in columns if column in _KEYS), None)
        if key is None or len(columns) < 3:
            found.unlabelled += bool(columns)
            continue
        attack = next((column for column in columns[2:] if re.fullmatch(r"A\d+", column)), "")
        path = sounds.get(columns[1])
        if path is None:
            found.missing.append(columns[1])
            continue
        found.items.append(Item(path, columns[1], key == "spoof", subset=attack, group=columns[0]))
    return found


def is_in_the_wild(place: Path) -> bool:
    """Whether there is a ``meta.csv`` with file, speaker and label."""
    listed = place / "meta.csv" if place.is_dir() else place
    if listed.name != "meta.csv" or not listed.is_file():
        return False
    with listed.open(encoding="utf-8-sig", errors="replace") as stream:
        return {"file", "speaker", "label"} <= {name.strip() for name in stream.readline().split(",")}


def in_the_wild(place: Path, _: str) -> DataSet:
    """In-the-Wild (Müller et al., Interspeech 2022): ``meta.csv``: file, speaker, label (spoof, bona-fide); the speaker is the group."""
    listed = place / "meta.csv" if place.is_dir() else place
    found = DataSet(listed.parent.name, "inthewild")
    with listed.open(newline="", encoding="utf-8-sig") as stream:
        for row in csv.DictReader(stream, skipinitialspace=True):
            fake, name = is_fake(row["label"] or ""), str(row["file"])
            if fake is None:
                found.unlabelled += 1
            elif (path := listed.parent / name).is_file():
                found.items.append(Item(path, name, fake, group=(row["speaker"] or "").strip()))
            else:
                found.missing.append(name)
    return found


def _looks_like_protocol(path: Path) -> bool:
    if path.suffix.lower() not in (".txt", ".tsv") or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as stream:
        first = stream.readline().split()
    return len(first) >= 4 and bool(_KEYS & set(first))


def _around(folder: Path) -> Path:
    """Where the sound of a protocol in ``folder`` is: there, or above, since ASVspoof puts protocols in folders of their own."""
    has_sound = any(next(folder.rglob(f"*.{ending}"), None) for ending in _SOUND)
    return folder if has_sound else folder.parent
