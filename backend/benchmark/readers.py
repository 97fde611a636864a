"""Readers of labelled data sets: they know names and files only, the data are the user's.

Owns: which reader fits a folder or a list, and the readers of folders, tables and face data sets; those of sound are in ``readers_sound``.
Promises: an item's truth is what the set says, never a guess from something else; what cannot be used is counted, not dropped silently.
Layouts are those the authors published; DeepfakeBench's ``preprocessing/rearrange.py`` (2023) reads the same lists.
Imported by the command.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from backend.benchmark import readers_sound
from backend.benchmark.items import DataSet, Item
from backend.benchmark.words import is_fake
from shared.errors import UserError
from shared.names import shown

#: Files that the folder readers take for media; others are not looked at.
_ENDINGS: Final = frozenset({
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".gif", ".jpg",
    ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".avif", ".wav", ".flac",
    ".mp3", ".m4a", ".aac", ".ogg", ".opus",
})  # fmt: skip
Reader = Callable[[Path, str], DataSet]


def read_dataset(place: Path, *, format_name: str | None = None, subset_by: str = "subset") -> DataSet:
    """The data set at ``place`` (a folder or a list); ``format_name`` when it is not to be recognised. UserError when nothing fits.

    ``subset_by``: the column of a table that says what is counted apart.
    """
    if not place.exists():
        raise UserError("no_such_file", f"{shown(place)} does not exist: name the folder or the list of a data set.")
    if format_name is None:
        format_name = next((name for name, (fits, _) in FORMATS.items() if fits(place)), None)
    if format_name is None:
        raise UserError(
            "no_media",
            f"{shown(place)} is no data set that is recognised. Name its format with --format ({', '.join(FORMATS)}), put the files "
            "into folders real/ and fake/, or write a CSV with the columns file,label,subset,identity.",
        )
    found = FORMATS[format_name][1](place, subset_by)
    found.items = _once_each(found.items)
    if not found.items:
        raise UserError(
            "no_media",
            f"{shown(place)} read as {format_name} has no labelled file that is there ({len(found.missing)} listed files are missing).",
        )
    return found


def _once_each(items: list[Item]) -> list[Item]:
    """The items in the order of their names, each once; UserError when a list says two things of one file."""
    kept: dict[str, Item] = {}
    for item in items:
        if kept.setdefault(item.name, item).fake != item.fake:
            raise UserError("no_media", f"{shown(item.name)} is listed as real and as fake: correct the list.")
    return [kept[name] for name in sorted(kept)]


# --------------------------------------------------------------------------- folders real/ and fake/, tables


def _folders(place: Path, _: str) -> DataSet:
    """``real/`` and ``fake/`` (or ``0_real``, ``1_fake``), anywhere below; the first folder around or below them is the subset."""
    found = DataSet(place.name, "folders")
    for path in _media_below(place):
        parts = path.relative_to(place).parts
        at = next((number for number, part in enumerate(parts[:-1]) if _kind_of_folder(part) is not None), None)
        if at is None:
            found.unlabelled += 1
            continue
        around = [*parts[:at], *parts[at + 1 : -1]]
        found.items.append(
            _item(place, path, fake=bool(_kind_of_folder(parts[at])), subset=around[0] if around else "")
        )
    return found


def _kind_of_folder(name: str) -> bool | None:
    """True for a folder of fakes, False for one of reals, None for another."""
    return {"fake": True, "1_fake": True, "real": False, "0_real": False}.get(name.lower())


def _table(place: Path, subset_by: str) -> DataSet:
    """A CSV with the columns file and label, and, where it has them, the subset's, identity and pair (that of its original)."""
    listed = place / "labels.csv" if place.is_dir() else place
    found = DataSet(listed.parent.name if place.is_dir() else place.stem, "csv")
    with listed.open(newline="", encoding="utf-8-sig") as stream:
        rows = csv.DictReader(stream)
        columns = rows.fieldnames or []
        if not {"file", "label"} <= set(columns):
            raise UserError(
                "no_media", f"{shown(listed)} needs the columns file and label; it has {', '.join(columns) or 'none'}."
            )
        if subset_by != "subset" and subset_by not in columns:
            raise UserError("no_media", f"{shown(listed)} has no column {subset_by!r}; it has {', '.join(columns)}.")
        for row in rows:
            name, fake = str(row["file"]), is_fake(row["label"] or "")
            if fake is None:
                found.unlabelled += 1
                continue
            group = (row.get("pair") or row.get("identity") or "").strip()
            _add(found, listed.parent, name, fake=fake, subset=(row.get(subset_by) or "").strip(), group=group)
    return found


# --------------------------------------------------------------------------- data sets of faces


def _dfdc(place: Path, _: str) -> DataSet:
    """DFDC: ``metadata.json`` in each part, file -> {label: FAKE | REAL, original, split}; a fake goes with its original."""
    found = DataSet(place.name, "dfdc")
    for listed in sorted(place.rglob("metadata.json")):
        for name, facts in _json(listed).items():
            fake = is_fake(str(facts.get("label", "")))
            if fake is None:
                found.unlabelled += 1
                continue
            part = listed.parent.relative_to(place).as_posix()
            _add(found, place, _joined(part, name), fake=fake, group=str(facts.get("original") or name))
    return found


def _faceforensics(place: Path, _: str) -> DataSet:
    """FaceForensics++: ``original_sequences/SOURCE/COMPRESSION/videos`` and ``manipulated_sequences/METHOD/COMPRESSION/videos``.

    A fake ``000_003`` is made of 000 and 003, and there is 003_000, too: the four are one group, as the pairs of the official splits.
    """
    found = DataSet(place.name, "faceforensics")
    kinds = {"original_sequences": False, "manipulated_sequences": True}
    paths = [
        (fake, path)
        for top, fake in kinds.items()
        for path in _media_below(place / top)
        if path.parent.name == "videos"
    ]
    twins = [path.stem.split("_") for fake, path in paths if fake and re.fullmatch(r"\d{3}_\d{3}", path.stem)]
    pairs = {number: "_".join(sorted(twin)) for twin in twins for number in twin}
    for fake, path in paths:
        method, compression = path.relative_to(place).parts[1:3]
        first = path.stem.split("_")[0]
        subset = f"{method} {compression}"
        found.items.append(_item(place, path, fake=fake, subset=subset, group=pairs.get(first, first)))
    return found


def _celebdf(place: Path, _: str) -> DataSet:
    """Celeb-DF-v2: ``List_of_testing_videos.txt``, ``1 YouTube-real/00170.mp4`` (1 = real); the name's first identity is the group."""
    found = DataSet(place.name, "celebdf")
    for line in (place / "List_of_testing_videos.txt").read_text(encoding="utf-8").splitlines():
        label, _, name = line.strip().partition(" ")
        if label not in ("0", "1"):
            found.unlabelled += bool(line.strip())
            continue
        name = name.strip()
        folder, _, file = name.rpartition("/")
        identity = re.match(r"id\d+", file)
        group = identity[0] if identity else name
        _add(found, place, name, fake=label == "0", subset=folder, group=group)
    return found


def _dfdcp(place: Path, _: str) -> DataSet:
    """DFDC preview: ``dataset.json``, file -> {label: fake | real, set, target_id}; the test set, or all where none is named."""
    found, listed = DataSet(place.name, "dfdcp"), _json(place / "dataset.json")
    chosen = {name: facts for name, facts in listed.items() if facts.get("set") == "test"} or listed
    for name, facts in chosen.items():
        fake = is_fake(str(facts.get("label", "")))
        if fake is None:
            found.unlabelled += 1
            continue
        target = facts.get("target_id")
        _add(found, place, name, fake=fake, subset=name.partition("/")[0], group="" if target is None else str(target))
    return found


def _wilddeepfake(place: Path, _: str) -> DataSet:
    """WildDeepfake, unpacked: ``real_test``, ``fake_test`` (and ``_train``), pictures of a face below; those of a folder are one sequence.

    The test part, or the training part where there is no other.
    """
    found = DataSet(place.name, "wilddeepfake")
    for part in ("test", "train"):
        for kind, fake in (("real", False), ("fake", True)):
            for top in (place / f"{kind}_{part}", place / "deepfake_in_the_wild" / f"{kind}_{part}"):
                for path in _media_below(top):
                    whole = path.parent.relative_to(place).as_posix()
                    found.items.append(_item(place, path, fake=fake, subset="", group=whole, whole=whole))
        if found.items:
            return found
    return found


# --------------------------------------------------------------------------- what the readers share


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda place: place.is_dir() and any((place / name).exists() for name in names)


def _is_list(columns: frozenset[str]) -> Callable[[Path], bool]:
    """Whether a CSV with these columns is named, or is ``labels.csv`` of the folder that is."""

    def fits(place: Path) -> bool:
        listed = place / "labels.csv" if place.is_dir() else place
        if listed.suffix.lower() != ".csv" or not listed.is_file():
            return False
        with listed.open(encoding="utf-8-sig", errors="replace") as stream:
            return columns <= {name.strip() for name in stream.readline().split(",")}

    return fits


def _has_kinds(place: Path) -> bool:
    """Whether folders of both kinds are below."""
    if not place.is_dir():
        return False
    kinds = {_kind_of_folder(path.name) for path in place.rglob("*") if path.is_dir()}
    return {True, False} <= kinds


def _media_below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.suffix.lower() in _ENDINGS and path.is_file() and not path.name.startswith("."):
            yield path


def _item(place: Path, path: Path, *, fake: bool, subset: str = "", group: str = "", whole: str = "") -> Item:
    return Item(path, path.relative_to(place).as_posix(), fake, subset=subset, group=group, whole=whole)


def _add(found: DataSet, folder: Path, name: str, *, fake: bool, subset: str = "", group: str = "") -> None:
    """An item by its name in a list; a file that is not there is noted."""
    path = folder / name
    if path.is_file():
        found.items.append(Item(path, name, fake, subset=subset, group=group))
    else:
        found.missing.append(name)


def _joined(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def _json(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and all(isinstance(facts, dict) for facts in content.values()):
            return content
    except ValueError:
        pass
    raise UserError(
        "no_media", f"{shown(path)} is not a list of this data set: JSON with an entry for each file was expected."
    )


#: name -> (whether it fits a place, its reader); the first that fits is taken
FORMATS: Final[dict[str, tuple[Callable[[Path], bool], Reader]]] = {
    "dfdcp": (_has("dataset.json"), _dfdcp),
    "celebdf": (_has("List_of_testing_videos.txt"), _celebdf),
    "faceforensics": (_has("manipulated_sequences", "original_sequences"), _faceforensics),
    "wilddeepfake": (_has("real_test", "real_train", "deepfake_in_the_wild"), _wilddeepfake),
    "inthewild": (readers_sound.is_in_the_wild, readers_sound.in_the_wild),
    "asvspoof": (readers_sound.is_protocol, readers_sound.asvspoof),
    "csv": (_is_list(frozenset({"file", "label"})), _table),
    "dfdc": (lambda place: place.is_dir() and next(place.rglob("metadata.json"), None) is not None, _dfdc),
    "folders": (_has_kinds, _folders),
}  # fmt: skip
