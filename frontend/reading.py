"""A published report as the result page reads it: the parsed result and which of its files are shown where.

Promises: only files named in ``result.json`` (and that file itself) are ever handed out, only regular files inside the report.
For the front-end only; never opens media.
"""

from __future__ import annotations

import os
import re
import stat
from functools import lru_cache
from pathlib import Path
from typing import Final

from shared.errors import PermanentError, StoreTrouble
from shared.reading import open_regular, read_record
from shared.results import Evidence, Person, Result

#: Always part of a report, though not listed in it: a file cannot hold its own digest.
UNLISTED: Final = "result.json"

#: What a browser shows inside the page; everything else is a download.
SHOWN: Final[dict[str, str]] = {
    ".mp4": "video/mp4",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}

#: Types of what is saved and not shown. A reader of PDF is no page of ours.
SAVED: Final = {".pdf": "application/pdf"}

#: Evidence pictures of one detector on the page; the bundle has them all.
MOST_EVIDENCE: Final = 12


class Reading:
    """One report, parsed."""

    def __init__(self, folder: Path, result: Result) -> None:
        self.folder = folder
        self.result = result

    def holds(self, untrusted_name: str) -> bool:
        """Whether a name is one of the report's files."""
        return untrusted_name in self.result.files or untrusted_name == UNLISTED

    def path(self, untrusted_name: str) -> Path:
        """The file of a listed name; PermanentError(not_found) for anything else, links included."""
        if not self.holds(untrusted_name):
            raise PermanentError("not_found")
        path = self.folder / untrusted_name
        if not _is_inside(self.folder, path) or not _is_file(path):
            raise PermanentError("not_found")
        return path

    @property
    def video(self) -> str | None:
        """The result video; None for a still image."""
        return _main(self._named(r"video/.*\.mp4"))

    @property
    def is_complete(self) -> bool:
        """Whether nothing of it is still to follow."""
        return self.result.video != "pending"

    @property
    def annotated(self) -> str | None:
        """The marked picture of a still image."""
        return _main(self._named(r"video/.*\.(png|jpe?g|webp)"))

    @property
    def of_single_detectors(self) -> list[str]:
        """Result videos, or marked pictures, of single detectors."""
        return [
            name
            for name in self._named(r"video/.*\.(mp4|webm|png|jpe?g|webp)")
            if name not in (self.video, self.annotated)
        ]

    @property
    def pictures_of_curves(self) -> list[str]:
        """Curves as pictures, for browsers without scripts: the one of all detectors, or those there are."""
        names = self._named(r"curves/.*\.png")
        return ["curves/all.png"] if "curves/all.png" in names else names

    def detector_pictures(self, detector: str) -> list[tuple[str, str]]:
        """(file, caption) of the report's own pictures of one detector: its sorted curve."""
        return [(name, "Scores, sorted") for name in self._named(rf"sorted/{re.escape(detector)}.*\.png")]

    def evidence(self, detector: str) -> list[Evidence]:
        """Evidence pictures of a detector that are there, the highest scores first."""
        found = next(item for item in self.result.detectors if item.id == detector)
        scores = found.scores

        def rank(item: Evidence) -> float:
            score = scores[item.face] if item.face < len(scores) else None
            return -(score if score is not None else -1.0)

        return sorted((item for item in found.evidence if self.holds(item.file)), key=rank)[:MOST_EVIDENCE]

    def keyframe(self, person: Person) -> str | None:
        """The picture of a person, when it is there."""
        return person.keyframe if person.keyframe and self.holds(person.keyframe) else None

    def _named(self, pattern: str) -> list[str]:
        return sorted(name for name in self.result.files if re.fullmatch(pattern, name))


def read_report(folder: Path) -> Reading:
    """Parse the report in ``folder``; PermanentError when it is missing or cannot be read, StoreTrouble when it does not answer."""
    try:
        handle = open_regular(folder / "result.json")
        try:
            changed = os.fstat(handle)
        finally:
            os.close(handle)
        return _read(folder, changed.st_mtime_ns, changed.st_size)
    except FileNotFoundError:
        raise PermanentError("record_invalid") from None
    except OSError as error:
        raise StoreTrouble(error) from error


@lru_cache(maxsize=8)  # a page and its chart are requested one after the other, and a long clip's result is large
def _read(folder: Path, _changed: int, _size: int) -> Reading:
    return Reading(folder, read_record(folder / "result.json", Result))


def _main(names: list[str]) -> str | None:
    """The one of all detectors among pictures or videos, else the first."""
    return next((name for name in names if "side_by_side" in name), names[0] if names else None)


def _is_inside(folder: Path, path: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a link to itself
        return False


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False
