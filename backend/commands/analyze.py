"""``analyze``: judge local files with the pipeline that the portal uses, without the shared folders.

Owns turning files into jobs and finished jobs into ``OUT/<name>/``; ``finding`` says which files, ``out_folder`` where a result goes, and
the command line draws the progress. Whatever happens to one file, the others are judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import structlog
from rich.console import Console

from backend.board import Board
from backend.catalog.detectors import DetectorCatalog
from backend.commands.console import ConsoleBoard, say
from backend.commands.finding import Medium
from backend.commands.out_folder import OutFolder
from backend.job import Job
from backend.pipeline import Pipeline
from shared.digest import sha256_of
from shared.errors import DfomError, UserError
from shared.names import readable, shortened, shown
from shared.notes import note_sentences
from shared.records import Mode, new_id
from shared.results import Result

log = structlog.get_logger()


def choose(catalog: DetectorCatalog, names: str | None) -> list[str]:
    """Ids in ``names``, separated by commas; None: all that are offered and can run here. UserError when none is left."""
    if names is not None:
        chosen = [name.strip() for name in names.split(",") if name.strip()]
        if not chosen:
            raise UserError("no_detector", "Name at least one detector after --detectors.")
        return list(dict.fromkeys(catalog.card(name).id for name in chosen))
    offered = (card for card in catalog if catalog.state(card) == "enabled")
    installed = [card.id for card in offered if catalog.unavailable(card) is None]
    if not installed:
        raise UserError(
            "weights_missing", "No detector is ready. Install weights with 'deepfake-o-meter weights fetch'."
        )
    return installed


def analyze_all(
    found: Sequence[Medium],
    *,
    pipeline: Pipeline,
    detectors: Sequence[str],
    mode: Mode,
    out: OutFolder,
    video_per_detector: bool,
    video: bool = True,
    console: Console,
) -> Iterator[dict[str, Any]]:
    """Judge one file after the other; the summary of each, or the error that ended it. One bad file does not stop the others."""
    for medium in found:
        with ConsoleBoard(console, shown(medium.path.name)) as board:
            try:
                if medium.trouble:
                    raise medium.trouble
                out.check()  # before the work, which may take long
                result, folder = analyze(
                    medium,
                    pipeline=pipeline,
                    detectors=detectors,
                    mode=mode,
                    out=out,
                    video_per_detector=video_per_detector,
                    video=video,
                    board=board,
                )
            except Exception as error:
                yield _failed(medium, error)
                continue
        answer = summary(medium, result, folder=folder)
        if "remark" in answer:
            say(console, answer["remark"])
        yield answer


def found_something(summaries: Sequence[dict[str, Any]]) -> bool:
    """Whether a detector gave a score for one of the files."""
    return any(answer["status"] == "ok" for item in summaries for answer in item.get("detectors", {}).values())


def analyze(
    medium: Medium,
    *,
    pipeline: Pipeline,
    detectors: Sequence[str],
    mode: Mode,
    out: OutFolder,
    video_per_detector: bool,
    video: bool = True,
    board: Board,
) -> tuple[Result, Path]:
    """Judge one file; its result, and the folder below ``out`` that has its report. Raises DfomError."""
    job_id = new_id()
    try:
        sha256, size = sha256_of(medium.path), medium.path.stat().st_size
    except OSError as error:
        raise UserError("no_such_file", f"{shown(medium.path)} cannot be read ({error.strerror}).") from None
    job = Job(
        id=job_id,
        source=medium.path.resolve(),  # a link of the user's own is followed
        sha256=sha256,
        bytes=size,
        name=shortened(shown(medium.path.name)),
        detectors=tuple(detectors),
        mode=mode,
        video_per_detector=video_per_detector,
        video=video,
        folder=(pipeline.settings.scratch_folder / "jobs" / job_id).absolute(),
    )
    try:
        result = pipeline.run(job, board)
        return result, out.publish(job.report, name=medium.name, media_sha256=sha256)
    finally:
        job.remove()


def summary(medium: Medium, result: Result, *, folder: Path) -> dict[str, Any]:
    """What ``--json`` prints of one analysed file. ``remark``: only where the result has another name than its file."""
    answer = {
        "file": readable(medium.path),
        "out": readable(folder),
        "detectors": {
            item.id: {
                "status": item.status,
                "fake_score": item.fake_score,
                "hard_label": item.hard_label,
                "code": item.code,
                "faces_scored": item.faces_scored,
            }
            for item in result.detectors
        },
        "persons": len(result.persons),
        "notes": note_sentences(result.notes),
        "seconds": result.seconds,
    }
    if folder.name != medium.name:
        wanted = shown(folder.with_name(medium.name))
        answer["remark"] = (
            f"{wanted} is taken by something else, which was left as it is. The result of {shown(medium.path)} is in {shown(folder)}."
        )
    return answer


def _failed(medium: Medium, error: Exception) -> dict[str, Any]:
    """The row of a file that could not be judged."""
    if isinstance(error, DfomError):
        code, sentence = error.code, error.sentence
    else:
        log.error("file_failed", file=shown(medium.path), exc_info=error)
        code = "internal"
        sentence = (
            f"Something unexpected went wrong with this file ({type(error).__name__}: {shown(str(error))[:200]})."
        )
    return {"file": readable(medium.path), "code": code, "message": sentence}
