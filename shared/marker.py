"""The marker of a shared folder: it tells the folder from the empty mount point that remains when a file server goes away.

Each of the two shared folders holds one file, ``.deepfake-o-meter``. It is made once, when a process starts on a folder that this side
never used before; a small record on the local disk remembers which folders those were. Without its marker a folder is away: nothing is
read from it, written to it or made in it. For ``shared.store`` only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from shared import durable
from shared.errors import StoreTrouble
from shared.reading import RecordInvalid, read_record
from shared.records import Record

MARKER: Final = ".deepfake-o-meter"

_TEXT: Final = b"""This folder belongs to DeepFake-o-meter. While this file is missing,
the folder counts as not mounted, and nothing is written to it.
"""


class KnownFolders(Record):
    """``shared_folders.json`` in the state of one side: absolute paths of the shared folders it has used."""

    folders: tuple[str, ...]


def check(folder: Path) -> None:
    """StoreTrouble when ``folder`` is away."""
    if not _is_marked(folder):
        raise StoreTrouble(sentence=f"The shared folder {folder} is away: it lacks its file {MARKER}. Is it mounted?")


def set_up(folders: Sequence[Path], *, memory: Path) -> None:
    """Mark folders that this side uses for the first time, and make those that are missing; at the start of a process only.

    ``memory`` is the record of the folders used before. StoreTrouble when one of them has lost its marker: then it is not mounted, and
    submissions in a new folder in its place would be lost.
    """
    known = _known(memory)
    fresh = [folder for folder in folders if not _is_marked(folder)]
    for folder in fresh:
        if known is None or str(folder) in known:
            raise StoreTrouble(
                sentence=f"{folder} was in use before, and now its file {MARKER} is missing: is the folder mounted? Mount it and start "
                f"again. If it was emptied on purpose, remove {memory} and start again."
            )
    for folder in fresh:
        folder.mkdir(parents=True, exist_ok=True)
        durable.replace_bytes(folder / MARKER, _TEXT)
    used = tuple(dict.fromkeys([*(known or ()), *map(str, folders)]))
    if used != known:
        memory.parent.mkdir(parents=True, exist_ok=True)
        durable.replace_json(memory, KnownFolders(folders=used).model_dump(mode="json"))


def _is_marked(folder: Path) -> bool:
    try:
        os.lstat(folder / MARKER)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _known(memory: Path) -> tuple[str, ...] | None:
    """The folders used before; None when the record of them is damaged, so that any may have been."""
    try:
        return read_record(memory, KnownFolders).folders
    except FileNotFoundError:
        return ()
    except RecordInvalid:
        return None
