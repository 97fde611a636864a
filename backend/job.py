"""One job in work: what is asked, and the scratch folder whose finished parts survive a crash.

Layout of the scratch folder (local disk): ``media`` (verified copy), ``pack/``, ``scores/<detector>/`` and ``report/``. Each
part appears by a rename when it is complete, so after ``kill -9`` the pipeline goes on behind the last one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shared import durable
from shared.digest import sha256_of
from shared.errors import PermanentError
from shared.records import Mode, Submission


class Cancelled(BaseException):
    """The job is to stop now and be taken up later. A BaseException, so no handler of failures takes it for one."""


@dataclass(frozen=True)
class Job:
    """What the pipeline is asked to do. ``source`` is the submitted file, ``folder`` the job's scratch."""

    id: str
    source: Path
    sha256: str
    bytes: int
    name: str
    detectors: tuple[str, ...]
    mode: Mode
    video_per_detector: bool
    folder: Path
    cancelled: Callable[[], bool] = lambda: False

    @classmethod
    def of(cls, submission: Submission, *, source: Path, folder: Path, cancelled: Callable[[], bool]) -> Job:
        """The job of a submission."""
        return cls(
            id=submission.id,
            source=source,
            sha256=submission.sha256,
            bytes=submission.bytes,
            name=submission.original_name,
            detectors=submission.detectors,
            mode=submission.mode,
            video_per_detector=submission.video_per_detector,
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
    def report(self) -> Path:
        """The report; complete when it exists."""
        return self.folder / "report"

    def scores(self, detector: str) -> Path:
        """Scores of one detector; complete when it exists."""
        return self.folder / "scores" / detector

    def stage_in(self) -> None:
        """Copy the media to the scratch; PermanentError(media_changed) when it is not what was uploaded."""
        if self.media.exists():
            return
        (self.folder / "scores").mkdir(parents=True, exist_ok=True)
        partial = self.folder / ".media.part"
        shutil.copyfile(self.source, partial)
        if sha256_of(partial) != self.sha256:
            partial.unlink()
            raise PermanentError("media_changed")
        os.chmod(partial, 0o444)
        durable.move_file(partial, self.media)

    def remove(self) -> None:
        """Drop the scratch."""
        shutil.rmtree(self.folder, ignore_errors=True)
