"""The part of the store that keeps the site's own record: ``results/record/<id>.json``, truths that were noted later, with their scores.

A base class of ``shared.store.Store``, which says what its steps promise and which errors they raise; used through it only.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from shared import durable
from shared.guarding import reads, writes
from shared.reading import RecordInvalid
from shared.records import ID_PATTERN, JobId, checked_id

if TYPE_CHECKING:
    from shared.truths import Noted

_COARSE_NS = 2_000_000_000  # two changes so near to each other may have one time

Record = TypeVar("Record", bound=BaseModel)


class SiteRecord:
    """Steps on the record. ``results``: the shared folder of the back-end."""

    results: Path
    _noted: tuple[int, tuple[list[Noted], list[JobId]]] | None

    def check(self) -> None:
        """As ``Store.check``."""
        raise NotImplementedError

    def _read_or_none(self, path: Path, model: type[Record]) -> Record | None:
        raise NotImplementedError

    @writes
    def note_truth(self, noted: Noted) -> None:
        """Keep a submission's truth and scores; an earlier note of the same submission is replaced."""
        self._record.mkdir(exist_ok=True)
        durable.replace_json(self._truth(noted.id), noted.model_dump(mode="json"))

    @reads
    def read_truth(self, job: JobId) -> Noted | None:
        """What was noted of a submission, None for nothing; RecordInvalid when it is damaged."""
        from shared.truths import Noted  # numpy comes with it, and the command line's help must not wait for that

        noted = self._read_or_none(self._truth(job), Noted)
        if noted and noted.id != job:
            raise RecordInvalid(self._truth(job), "of another job")
        return noted

    @reads
    def noted(self) -> tuple[list[Noted], list[JobId]]:
        """All that was noted, and the ids of what is damaged. Read again when the folder changed."""
        self.check()
        if not durable.exists(self._record):
            return [], []
        stamp = self._record.lstat().st_mtime_ns
        just_now = abs(time.time_ns() - stamp) < _COARSE_NS
        if self._noted is None or self._noted[0] != stamp or just_now:
            kept: list[Noted] = []
            damaged: list[JobId] = []
            for path in sorted(self._record.glob("*.json")):
                if re.fullmatch(ID_PATTERN, path.stem):
                    try:
                        kept += filter(None, [self.read_truth(JobId(path.stem))])
                    except RecordInvalid:
                        damaged.append(JobId(path.stem))
            self._noted = stamp, (kept, damaged)
        return self._noted[1]

    @writes
    def forget_truth(self, job: JobId) -> bool:
        """Delete what was noted of a submission, whatever is under its name; False when there is nothing."""
        path = self._truth(job)
        if not durable.exists(path):
            return False
        durable.remove(path)
        durable.fsync_directory(path.parent)
        return True

    @property
    def _record(self) -> Path:
        return self.results / "record"

    def _truth(self, untrusted_id: str) -> Path:
        return self._record / f"{checked_id(untrusted_id)}.json"
