"""``analyze``: judge local files with the pipeline that the portal uses, without the shared folders.

Owns turning files into jobs and finished jobs into ``OUT/<name>/``; the command line draws the progress.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from backend.board import Board
from backend.catalog.detectors import DetectorCatalog
from backend.commands.console import ConsoleBoard
from backend.job import Job
from backend.pipeline import Pipeline
from shared import durable
from shared.digest import sha256_of
from shared.errors import DfomError, UserError
from shared.notes import note_sentences
from shared.records import Mode, new_id
from shared.results import Result

#: File name endings searched for in folders. A file named on the command line is tried whatever its name.
MEDIA_ENDINGS = frozenset(
    (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".jpg", ".jpeg", ".png", ".webp")
)


@dataclass(frozen=True)
class Medium:
    """One file to judge, and the folder below ``--out`` for its result."""

    path: Path
    name: str


def find_media(paths: Sequence[Path]) -> list[Medium]:
    """Files as they are, folders searched for media (sorted, sub-folders too); UserError when there are none."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(p for p in path.rglob("*") if p.suffix.lower() in MEDIA_ENDINGS and p.is_file())
        elif path.is_file():
            files.append(path)
        else:
            raise UserError("no_such_file", f"{path} is neither a file nor a folder.")
    if not files:
        raise UserError(
            "no_media",
            f"No media in {', '.join(map(str, paths))}; endings looked for: {' '.join(sorted(MEDIA_ENDINGS))}.",
        )
    return list(_named(files))


def _named(files: list[Path]) -> Iterator[Medium]:
    """Name each result after its file: the stem, the whole name where stems collide, a number where names do."""
    taken: set[str] = set()
    stems = [path.stem for path in files]
    for path in files:
        name = path.stem if stems.count(path.stem) == 1 else path.name
        unique, count = name, 1
        while unique in taken:
            count += 1
            unique = f"{name}-{count}"
        taken.add(unique)
        yield Medium(path, unique)


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
    out: Path,
    video_per_detector: bool,
    console: Console,
) -> Iterator[dict[str, Any]]:
    """Judge one file after the other; the summary of each, or the error that ended it. One bad file does not stop the others."""
    for medium in found:
        with ConsoleBoard(console, medium.path.name) as board:
            try:
                result = analyze(
                    medium,
                    pipeline=pipeline,
                    detectors=detectors,
                    mode=mode,
                    out=out,
                    video_per_detector=video_per_detector,
                    board=board,
                )
            except DfomError as error:
                yield {"file": str(medium.path), "code": error.code, "message": error.sentence}
                continue
        yield summary(medium, result, out=out)


def found_something(summaries: Sequence[dict[str, Any]]) -> bool:
    """Whether a detector gave a score for one of the files."""
    return any(answer["status"] == "ok" for item in summaries for answer in item.get("detectors", {}).values())


def analyze(
    medium: Medium,
    *,
    pipeline: Pipeline,
    detectors: Sequence[str],
    mode: Mode,
    out: Path,
    video_per_detector: bool,
    board: Board,
) -> Result:
    """Judge one file; its report is in ``out/<name>`` afterwards (an older one is replaced). Raises DfomError."""
    job_id = new_id()
    job = Job(
        id=job_id,
        source=medium.path.resolve(),  # a link of the user's own is followed
        sha256=sha256_of(medium.path),
        bytes=medium.path.stat().st_size,
        name=medium.path.name[:120],
        detectors=tuple(detectors),
        mode=mode,
        video_per_detector=video_per_detector,
        folder=(pipeline.settings.scratch_folder / "jobs" / job_id).absolute(),
    )
    try:
        result = pipeline.run(job, board)
        target = out / medium.name
        if target.exists():
            durable.remove_directory(target)
        out.mkdir(parents=True, exist_ok=True)
        shutil.copytree(job.report, target)
        return result
    finally:
        job.remove()


def summary(medium: Medium, result: Result, *, out: Path) -> dict[str, Any]:
    """What ``--json`` prints of one analysed file."""
    return {
        "file": str(medium.path),
        "out": str(out / medium.name),
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
