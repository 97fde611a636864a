"""The finished parts of a job, as a later attempt or another job (through the cache) finds them: intact, or removed and made again.

A part appears by one rename when it is complete, so it is intact after ``kill -9``. After a power cut, on a full or failing disk, or
after a manual change it may be damaged; then it must not fail every later attempt. Imported by the pipeline.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

from backend.harvest.media_pack import check_pack
from backend.harvest.scores import HarvestedScores, harvest_masks, harvest_scores
from shared import durable
from shared.errors import PermanentError
from shared.reading import RecordInvalid, read_record
from shared.results import Result, Unit

log = structlog.get_logger()

Part = TypeVar("Part")


def finished_report(folder: Path) -> Result | None:
    """The result of the report in ``folder``, None when it is missing or damaged."""
    return _whole(folder, _read_report)


def has_pack(folder: Path) -> bool:
    """Whether the face pack in ``folder`` exists and matches its schema."""
    return _whole(folder, _read_pack) is not None


def finished_scores(folder: Path, *, card_id: str, units: int, unit: Unit = "face") -> HarvestedScores | None:
    """The scores in ``folder``, None when they are missing or damaged."""
    return _whole(folder, lambda part: read_scores(part, card_id=card_id, units=units, unit=unit))


def take_scores(untrusted_out: Path, target: Path, *, card_id: str, units: int, unit: Unit = "face") -> HarvestedScores:
    """Check a worker's scores, then write our own copy to ``target``, which appears whole: none of the worker's own files is kept."""
    scores = harvest_scores(untrusted_out, card_id=card_id, units=units, unit=unit)
    with durable.staging(target) as staging:
        staging.mkdir()
        harvest_masks(untrusted_out, scores, staging)
        (staging / "scores.json").write_text(scores.model_dump_json(), encoding="utf-8")
    return scores


def read_scores(folder: Path, *, card_id: str, units: int, unit: Unit = "face") -> HarvestedScores:
    """Scores that we stored before, with all of their masks; PermanentError(detector_bad_output) when something is wrong with them."""
    scores = harvest_scores(folder, card_id=card_id, units=units, unit=unit)
    if scores.masks:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".masks-") as checked:
            harvest_masks(folder, scores, Path(checked))
    return scores


def _whole(folder: Path, read: Callable[[Path], Part]) -> Part | None:
    if not durable.exists(folder):
        return None
    try:
        return read(folder)
    except (PermanentError, FileNotFoundError) as error:
        reason = error.reason if isinstance(error, RecordInvalid) else str(error)
        log.warning("finished_part_removed", part=folder.name, reason=reason)
        durable.remove(folder)
        return None


def _read_report(folder: Path) -> Result:
    result = read_record(folder / "result.json", Result)
    for name in result.files:
        if not (folder / name).is_file():
            raise RecordInvalid(folder, "a file of the report is missing")
    return result


def _read_pack(folder: Path) -> bool:
    check_pack(folder)
    return True
