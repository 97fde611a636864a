"""One run of ``weights fetch``: each file from whichever of its addresses has it, each archive once.

Promises: an archive is downloaded once, however many files are in it and wherever the card names it; an address that failed is not tried
again in the same run; a file whose sha256 nobody published is remembered, and another one under its address is refused. May be imported
by ``backend.weights`` and ``backend.commands``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import httpx

from backend.weights.archives import is_archive, unpack_member
from backend.weights.download import TIMEOUT, Progress, Stated, Transfer, size_at
from backend.weights.known import Known
from backend.weights.part import Part, Wanted, part_of
from backend.weights.places import Places, drive_folder
from backend.weights.state import Installed, installed
from base_detector import WeightsFile
from shared import durable
from shared.digest import remembered_sha256
from shared.errors import UserError

#: After these errors, the card's alternative addresses are tried.
_TRY_ELSEWHERE: Final = (
    "weights_busy", "weights_changed", "weights_link_dead", "weights_manual", "weights_mismatch", "weights_unreachable",
)  # fmt: skip


@dataclass(frozen=True)
class Fetching:
    """A run that fetches ``wanted`` (several files of several detectors). ``accept_changed``: another file than the first one is right."""

    wanted: tuple[Wanted, ...]
    known: Known
    places: Places
    pause: Callable[[float], None] = time.sleep
    accept_changed: bool = False
    #: all files of all detectors: two may need the same one
    all_files: tuple[Wanted, ...] = ()
    _failed: dict[str, UserError] = field(default_factory=dict)

    def fetch(self, wanted: Wanted, *, progress: Progress | None = None) -> Installed:
        """Get one of the files, unless it is installed; UserError names each address that failed, and what to do."""
        before = installed(wanted, self.known)
        if before.state != "installed":
            if not self._from_another_detector(wanted):
                self._from_somewhere(wanted, progress)
        elif (
            not wanted.item.sha256 and before.seen is None
        ):  # installed by an earlier version, which remembered nothing
            digest = remembered_sha256(wanted.path)
            with contextlib.suppress(OSError):  # a folder that may only be read
                self.known.remember(wanted.key, wanted.path, sha256=digest, origin="installed before")
        return installed(wanted, self.known)

    def state(self, wanted: Wanted) -> Installed:
        """The file as it is now."""
        return installed(wanted, self.known)

    def source(self, wanted: Wanted) -> str:
        """What the file shares its download with: the address of its archive, or its sha256; "" where neither is known."""
        first = addresses(wanted.item)[:1]
        return first[0] if first and _is_inside(first[0], wanted.item) else wanted.item.sha256

    def bytes_of(self, wanted: Wanted) -> int:
        """Bytes that fetching it downloads, by the card, else as its host states; 0: not known. Of an archive, those of the archive."""
        item = wanted.item
        for address in addresses(item):
            inside = _is_inside(address, item)
            if item.bytes and not inside:
                return item.bytes
            if size := size_at(address, name=_name_of(item), places=self.places):
                return size
        return item.bytes

    def _from_another_detector(self, wanted: Wanted) -> bool:
        """Whether another detector has the very file: then it gets a second name, or is copied where the disk knows no such names."""
        same = (
            other for other in self.all_files if other.path != wanted.path and other.item.sha256 == wanted.item.sha256
        )
        for other in same if wanted.item.sha256 else ():
            if installed(other, self.known).state == "installed":
                with part_of(wanted) as part, durable.staging(wanted.path, tag=".same") as staged:
                    try:
                        os.link(other.path, staged)
                    except OSError:
                        shutil.copyfile(other.path, staged)
                    part.restart()
                return installed(wanted, self.known).state == "installed"
        return False

    def _from_somewhere(self, wanted: Wanted, progress: Progress | None) -> None:
        item, failures = wanted.item, []
        for address in addresses(item):
            try:
                if _is_inside(address, item):
                    self._unpack(address, wanted, progress)
                else:
                    self._download(address, wanted, progress)
                return
            except UserError as error:
                if error.code not in _TRY_ELSEWHERE:
                    raise
                failures.append(error)
        if item.manual:
            more = "".join(f" ({error.sentence})" for error in failures)
            raise UserError(
                "weights_manual",
                f"{item.file} cannot be downloaded automatically: get it from {item.url}. {wanted.by_hand}{more}",
            )
        if len(failures) == 1:
            raise failures[0]
        raise UserError(failures[-1].code, " ".join(error.sentence for error in failures))

    def _download(self, address: str, wanted: Wanted, progress: Progress | None) -> None:
        with part_of(wanted) as part:
            if installed(wanted, self.known).state == "installed":
                return  # another fetch finished while this one waited
            stated = Transfer(part, address, progress, self.places, self.pause).run()
            self._install(part, origin=address, stated=stated)

    def _install(self, part: Part, *, origin: str, stated: Stated) -> None:
        """Give the part its name, and remember it where nobody published its sha256."""
        wanted = part.wanted
        if not wanted.item.sha256:
            self._refuse_change(part, origin)
        digest = part.install(origin=origin, stated=stated.sha256)
        if not wanted.item.sha256:
            self.known.remember(wanted.key, wanted.path, sha256=digest, origin=origin, revision=stated.revision)

    def _refuse_change(self, part: Part, origin: str) -> None:
        wanted, seen, digest = part.wanted, self.known.of(part.wanted.key), part.sha256()
        if seen is None or seen.sha256 == digest or self.accept_changed:
            return
        part.restart()
        raise UserError(
            "weights_changed",
            f"{origin} gives another {wanted.item.file} than the one first installed here on {seen.first_seen[:10]} (sha256 {digest} now, "
            f"{seen.sha256} then), so it was not installed. Find out whether the authors replaced it. If they did, run 'deepfake-o-meter "
            f"weights fetch {wanted.card.id} --accept-changed'.",
        )

    # -- archives

    def _unpack(self, address: str, wanted: Wanted, progress: Progress | None) -> None:
        """Take the file out of the archive at ``address``, and with it all others of this run that are in there."""
        if address in self._failed:
            raise self._failed[address]
        archive = _archive_of(address, wanted)
        with self._archive_failures(address, archive):
            if not archive.path.is_file():
                with part_of(archive) as part:
                    if not archive.path.is_file():  # another fetch may have finished while this one waited
                        Transfer(part, address, progress, self.places, self.pause).run()
                        part.install(origin=address)
            self._take_out(archive, address, wanted)
        for other in self.wanted:
            if other.path != wanted.path and _leads_to(other, wanted, address):
                with contextlib.suppress(UserError):  # it is said when its own turn comes
                    self._take_out(archive, address, other)

    @contextlib.contextmanager
    def _archive_failures(self, address: str, archive: Wanted) -> Iterator[None]:
        """What holds for the archive as a whole holds for each file in it: it is not fetched again in this run."""
        try:
            yield
        except UserError as error:
            if not archive.path.is_file():
                self._failed[address] = error
            raise

    def _take_out(self, archive: Wanted, address: str, wanted: Wanted) -> None:
        item = wanted.item
        with part_of(wanted) as part:
            if installed(wanted, self.known).state == "installed":
                return
            part.restart()
            try:
                unpack_member(archive.path, item.member or _name_of(item), part.stream, most=item.bytes)
            except BaseException:
                part.restart()
                raise
            self._install(part, origin=f"{item.member or item.file} in {address}", stated=Stated())

    def tidy(self) -> None:
        """Delete the archives whose files are all installed."""
        for wanted in self.wanted:
            siblings = [other for other in self.wanted if other.card.id == wanted.card.id]
            for address in addresses(wanted.item):
                archive = _archive_of(address, wanted)
                if archive.path.is_file() and all(
                    installed(other, self.known).state == "installed"
                    for other in siblings
                    if _leads_to(other, wanted, address)
                ):
                    archive.path.unlink(missing_ok=True)


def addresses(item: WeightsFile) -> list[str]:
    """Where the file can be fetched from, in order."""
    return ([] if item.manual else [item.url]) + list(item.alternatives)


def client() -> httpx.Client:
    """A client that reads the operator's proxy and certificates from the environment."""
    return httpx.Client(follow_redirects=True, timeout=TIMEOUT)


def _name_of(item: WeightsFile) -> str:
    return item.member or Path(item.file).name


def _is_inside(address: str, item: WeightsFile) -> bool:
    """Whether the file is in an archive there. A folder of Google Drive is none: its files come one by one."""
    return not drive_folder(address) and (bool(item.member) or is_archive(address, item.file))


def _leads_to(other: Wanted, wanted: Wanted, address: str) -> bool:
    """Whether ``other`` is in the same archive."""
    same = other.path.parents[other.item.file.count("/")] == wanted.path.parents[wanted.item.file.count("/")]
    return same and address in addresses(other.item) and _is_inside(address, other.item)


def _archive_of(address: str, wanted: Wanted) -> Wanted:
    """The archive itself, beside the files of its detector until the last one is taken out."""
    name = f"{hashlib.sha256(address.encode()).hexdigest()[:16]}.archive"
    whole = replace(wanted.item, file=name, sha256="", bytes=0, member="")
    return Wanted(wanted.card, whole, wanted.path.parents[wanted.item.file.count("/")] / name, inside=wanted.item.file)
