"""Finds what ``analyze`` judges: files as they are named, folders by the content of what is in them.

Promises: a file is known by its first bytes, whatever its name; our own results, temporary folders and stores are passed over, and so
are hidden files, traces of other systems and linked folders; what was left out can be listed. Imported by ``analyze``.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from backend.commands.out_folder import MARKER, TRACES, ResultMarker
from backend.commands.rooms import LOCK, PREFIX
from shared.errors import DfomError, PermanentError, UserError, sentence_for
from shared.marker import MARKER as STORE_MARKER
from shared.names import folder_name, name_key, shown
from shared.reading import read_bytes, read_record
from shared.signatures import HEAD_BYTES, MEDIA_HEAD_BYTES, is_media, refusal

#: Names that promise a video, picture or sound: such a file gets a line in the answer even when its content is of no kind we know.
_ENDINGS: Final = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".heic", ".heif", ".avif", ".bmp", ".tif", ".tiff",
    ".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".divx", ".flv", ".f4v", ".ogv",
    ".mpg", ".mpeg", ".mpe", ".m2v", ".m2ts", ".vob", ".wmv", ".asf", ".rm", ".mxf",
    ".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".weba", ".amr", ".aif", ".aiff", ".caf", ".wma",
})  # fmt: skip
#: Pictures, sound and pieces of videos that we do not read: named, with what to do. Other kinds that are not accepted are counted only.
_PICTURES: Final = frozenset(
    [
        "heif_picture",
        "avif_picture",
        "jpeg_xl_picture",
        "jpeg_2000_picture",
        "raw_photo",
        "photoshop_file",
        "video_piece",
        "sound_file",
        "changed_as_text",
    ]
)
#: Folders that a system makes for itself: deleted files, thumbnails (Synology), the other half of files (macOS).
_SYSTEM: Final = frozenset({"$RECYCLE.BIN", "System Volume Information", "@eaDir", "__MACOSX", "lost+found"})
#: Files of a report beside those that its ``files`` name (docs/report.md); earlier versions wrote a bundle, too.
_REPORT: Final = ("result.json", "bundle.zip")
#: A larger result.json is not read to tell which files are ours; one without a marker comes from an unpacked bundle.
_MOST_RESULT_BYTES: Final = 64_000_000

#: Why something was left out.
HIDDEN: Final = "hidden or system files and folders"
OWN: Final = "results and data folders of this program"
LINKED: Final = "linked folders (not followed)"
BROKEN: Final = "links to nothing"
AGAIN: Final = "files named twice (judged once)"
OTHER: Final = "files without video, picture or sound"


@dataclass(frozen=True)
class Medium:
    """One file to judge, and the wanted name of its result. ``trouble``: why it cannot be judged, known without trying."""

    path: Path
    name: str
    trouble: DfomError | None = None


@dataclass
class Found:
    """What is to be judged, and what was left out: why -> paths."""

    media: list[Medium] = field(default_factory=list)
    left_out: dict[str, list[Path]] = field(default_factory=dict)

    def leave_out(self, why: str, path: Path) -> None:
        """Note that ``path`` is not judged."""
        self.left_out.setdefault(why, []).append(path)

    def left_out_words(self) -> str:
        """How many were left out and why; '' for none."""
        return "; ".join(
            f"{why}: {len(paths)}{_endings(paths) if why == OTHER else ''}" for why, paths in self.left_out.items()
        )


def _endings(paths: Sequence[Path]) -> str:
    """The most frequent suffixes, with how often each is there."""
    counted = Counter(path.suffix.lower() or "no suffix" for path in paths)
    first = sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:5]
    return f" ({', '.join(f'{number} {shown(ending)}' for ending, number in first)})"


def find_media(paths: Sequence[Path], *, ours: Iterable[Path] = ()) -> Found:
    """Files as they are, folders searched (sorted, sub-folders too); UserError when there is nothing to judge.

    ``ours``: folders of the platform, passed over in a search.
    """
    found = Found()
    search = _Search(found, ours={os.path.realpath(path) for path in ours})
    files: list[tuple[Path, DfomError | None]] = []
    for path in paths:
        if path.is_dir():
            files += sorted(search.below(path), key=lambda item: item[0])
        elif path.is_file():
            files.append((path, None))
        else:
            raise _no_file(path)
    found.media = list(_named(_each_once(files, found)))
    if not found.media:
        left_out = f" Left out: {found.left_out_words()}." if found.left_out else ""
        raise UserError(
            "no_media",
            f"No media in {', '.join(map(shown, paths))}: no video, picture or sound that can be read.{left_out}",
        )
    return found


def _no_file(path: Path) -> UserError:
    name, what = shown(path), "is neither a file nor a folder"
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", name):
        name = name.replace(":/", "://", 1)  # Path has taken one of the two
        what = "is a web address. Download the file first; only the portal fetches from the web"
    elif path.exists():
        what = "is a pipe or a device, which can be read only once. Save it as a file first"
    return UserError("no_such_file", f"{name} {what}.")


def _each_once(files: Iterable[tuple[Path, DfomError | None]], found: Found) -> Iterator[tuple[Path, DfomError | None]]:
    """Without a path that was named before, directly, in a folder or by a link."""
    seen: set[str] = set()
    for path, trouble in files:
        real = os.path.realpath(path)
        if real in seen:
            found.leave_out(AGAIN, path)
        else:
            seen.add(real)
            yield path, trouble


def _named(files: Iterable[tuple[Path, DfomError | None]]) -> Iterator[Medium]:
    """Name each result after its file: the stem, or the whole name where stems collide."""
    files = list(files)
    stems = [name_key(folder_name(path.stem, otherwise="media")) for path, _ in files]
    for (path, trouble), stem in zip(files, stems, strict=True):
        yield Medium(path, folder_name(path.stem if stems.count(stem) == 1 else path.name, otherwise="media"), trouble)


@dataclass
class _Search:
    """One search through folders."""

    found: Found
    ours: set[str]

    def below(self, top: Path) -> Iterator[tuple[Path, DfomError | None]]:
        """Files below ``top`` to judge, or to name with their trouble. Folders that cannot be listed are named as well."""
        folders: list[Path] = [top]
        own: set[str] = set()
        while folders:
            folder = folders.pop()
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                yield folder, _unreadable(folder, error)
                continue
            names = {entry.name for entry in entries}
            if self._is_ours(folder, names):
                self.found.leave_out(OWN, folder)
                continue
            report = _own_files(folder, names)
            if report:
                self.found.leave_out(OWN, folder)
            own |= report
            for entry in entries:
                path = Path(entry.path)
                if entry.path in own or entry.name == MARKER:
                    continue
                if _is_hidden(entry.name):
                    self.found.leave_out(HIDDEN, path)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                else:
                    yield from self._file(path)

    def _is_ours(self, folder: Path, names: set[str]) -> bool:
        """Whether all of a folder is ours: a store, a folder of the settings, a temporary folder, a kept face pack."""
        temporary = folder.name.startswith(PREFIX) and LOCK in names
        pack = {"pack.json", "faces.npy"} <= names
        return STORE_MARKER in names or temporary or pack or os.path.realpath(folder) in self.ours

    def _file(self, path: Path) -> Iterator[tuple[Path, DfomError | None]]:
        promised = path.suffix.lower() in _ENDINGS
        try:
            untrusted_head = _head(path)
        except IsADirectoryError:
            self.found.leave_out(LINKED, path)
            return
        except OSError as error:
            if promised or not path.is_symlink():
                yield path, _unreadable(path, error)
            else:
                self.found.leave_out(BROKEN, path)
            return
        code = refusal(untrusted_head[:HEAD_BYTES]) if untrusted_head is not None else None
        if untrusted_head is None:  # a pipe, socket or device
            self.found.leave_out(OTHER, path)
        elif is_media(untrusted_head):
            yield path, None
        elif code in _PICTURES or (promised and code and code != "apple_double"):
            yield path, UserError(code, sentence_for(code))
        elif promised or (path.suffix.lower() in (".ts", ".mts") and b"\0" in untrusted_head):
            yield path, None
        else:
            self.found.leave_out(OTHER, path)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _SYSTEM or name in TRACES


def _head(path: Path) -> bytes | None:
    """The first bytes of a regular file; None for what is none. IsADirectoryError for a link to a folder."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(path)
        return os.read(handle, MEDIA_HEAD_BYTES) if stat.S_ISREG(mode) else None
    finally:
        os.close(handle)


def _own_files(folder: Path, names: set[str]) -> set[str]:
    """Paths of the files of a result of ours that is in ``folder``, perhaps beside files of the user's."""
    files: Iterable[str] = ()
    if MARKER in names:
        try:
            files = read_record(folder / MARKER, ResultMarker).files
        except (OSError, PermanentError):
            files = ()
    elif "result.json" in names:
        files = _files_of_result(folder / "result.json")
    return {str(folder / name) for name in files}


def _files_of_result(path: Path) -> list[str]:
    """Files of a report without a marker, as an unpacked bundle has; none when it is another program's result.json."""
    try:
        untrusted: Any = json.loads(read_bytes(path, max_bytes=_MOST_RESULT_BYTES))
        if untrusted["schema_version"] in (1, 2) and untrusted["platform_version"] and untrusted["media"]["sha256"]:
            return [*_REPORT, *map(str, untrusted["files"])]
    except (OSError, PermanentError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return []


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError("no_such_file", f"{shown(path)} cannot be read ({error.strerror or type(error).__name__}).")
