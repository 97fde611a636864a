"""One job in work: the request, and the scratch folder whose finished parts survive a crash.

Layout of the scratch folder (local disk): ``media`` (verified copy), ``pack/`` and ``media_worker.json``, ``scores/<detector>/``,
``bands/<detector>/`` and ``report/``; ``again/`` holds packs of what is judged again. Each other part appears by a rename when it is
complete, so after ``kill -9`` the pipeline continues after the last one. A part that is nevertheless damaged is removed and made again
(``backend.harvest.stored``).
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from shared import durable
from shared.digest import sha256_of
from shared.errors import NO_SPACE, PermanentError, StoreTrouble
from shared.names import shortened, shown
from shared.reading import RecordInvalid, open_regular
from shared.records import JobId, Mode, Submission, new_id
from shared.stability import Again

#: Without space on the local scratch every job would fail.
SCRATCH_FULL = (*NO_SPACE, errno.EROFS)


class Cancelled(BaseException):
    """The job must stop now and will be taken up later. A BaseException, so that handlers of failures do not catch it."""


def new_folder(scratch: Path) -> Path:
    """A scratch folder for one more job below a back-end's ``scratch``; not made yet."""
    return (scratch / "jobs" / new_id()).absolute()


@dataclass(frozen=True)
class Job:
    """A request to the pipeline. ``source`` is the submitted file, ``folder`` the job's scratch."""

    id: JobId
    source: Path
    sha256: str
    bytes: int
    name: str
    detectors: tuple[str, ...]
    mode: Mode
    video_per_detector: bool
    folder: Path
    cancelled: Callable[[], bool] = lambda: False
    #: which detectors judge again after mild changes (``shared.stability``)
    stability: Again = "off"
    #: whether later copies of the file are recognised by it (``shared.seen``): files of visitors only
    recognise: bool = False
    #: False: no result video of a clip (a still's marked picture costs nothing and is drawn in any case)
    video: bool = True

    @classmethod
    def of(cls, submission: Submission, *, source: Path, folder: Path, cancelled: Callable[[], bool]) -> Job:
        """The job of a submission whose media is there."""
        assert submission.sha256 is not None and submission.bytes is not None  # noqa: PT018
        return cls(
            id=submission.id,
            source=source,
            sha256=submission.sha256,
            bytes=submission.bytes,
            name=submission.original_name,
            detectors=submission.detectors,
            mode=submission.mode,
            video_per_detector=submission.video_per_detector,
            stability=submission.stability,
            recognise=submission.recognise,
            folder=folder,
            cancelled=cancelled,
        )

    @classmethod
    def of_file(
        cls,
        source: Path,
        *,
        sha256: str,
        size: int,
        name: str,
        detectors: Iterable[str],
        mode: Mode,
        folder: Path,
        cancelled: Callable[[], bool],
        video: bool = True,
        video_per_detector: bool = False,
        stability: Again = "off",
    ) -> Job:
        """The job of a file of this machine that nobody submitted; ``name``: as it is shown, ``folder``: of ``new_folder``, or below it."""
        return cls(
            id=new_id(),
            source=source,
            sha256=sha256,
            bytes=size,
            name=shortened(shown(name)),
            detectors=tuple(detectors),
            mode=mode,
            video_per_detector=video_per_detector,
            video=video,
            stability=stability,
            folder=folder,
            cancelled=cancelled,
        )

    @property
    def media(self) -> Path:
        """The verified copy of the media."""
        return self.folder / "media"

    @property
    def pack(self) -> Path:
        """The face pack; complete when it exists."""
        return self.folder / "pack"

    @property
    def media_worker(self) -> Path:
        """What made the face pack; missing for one of an earlier version."""
        return self.folder / "media_worker.json"

    @property
    def report(self) -> Path:
        """The report; complete when it exists."""
        return self.folder / "report"

    def scores(self, detector: str) -> Path:
        """Scores of one detector; complete when it exists."""
        return self.folder / "scores" / detector

    def band(self, detector: str) -> Path:
        """The stability band of one detector; complete when it exists."""
        return self.folder / "bands" / detector

    def stage_in(self) -> None:
        """Copy the media to the scratch; PermanentError(media_changed) when it is missing or differs from the upload.

        StoreTrouble when the shared folder does not answer or the scratch is full, FileNotFoundError when the whole job is gone from it.
        """
        try:
            self._stage()
        except StoreTrouble:
            raise
        except OSError as error:
            if error.errno in SCRATCH_FULL:  # every job would fail: wait for space
                raise StoreTrouble(error) from error
            raise

    def _stage(self) -> None:
        (self.folder / "scores").mkdir(parents=True, exist_ok=True)
        if self._is_staged():
            return
        with durable.staging(self.media) as partial:
            self._copy_media(partial)
            if sha256_of(partial) != self.sha256:
                raise PermanentError("media_changed")
            os.chmod(partial, 0o444)

    def _is_staged(self) -> bool:
        if not durable.exists(self.media):
            return False
        info = os.lstat(self.media)
        if stat.S_ISREG(info.st_mode) and info.st_size == self.bytes:
            return True
        durable.remove(self.media)
        return False

    def _copy_media(self, target: Path) -> None:
        left = self.bytes + 1  # one more, to notice a file that is too long
        with self._open_source() as source, target.open("wb") as copy:
            while left and (block := _read(source, min(left, 1 << 20))):
                copy.write(block)
                left -= len(block)

    def _open_source(self) -> BinaryIO:
        try:
            return os.fdopen(open_regular(self.source), "rb", buffering=0)
        except RecordInvalid:
            raise PermanentError("media_changed") from None
        except FileNotFoundError:
            if durable.exists(self.source.parent):
                raise PermanentError("media_changed") from None
            raise
        except OSError as error:
            raise StoreTrouble(error) from error

    def remove(self) -> None:
        """Delete the scratch."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _read(source: BinaryIO, count: int) -> bytes:
    try:
        return source.read(count)
    except OSError as error:
        raise StoreTrouble(error) from error
