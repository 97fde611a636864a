"""``analyze``: judge local files with the pipeline that the portal uses, without the shared folders.

Owns turning files into jobs and finished jobs into ``OUT/<name>/``; ``finding`` says which files, ``out_folder`` where a result goes,
``console`` draws the progress. How many are in work at once, and running them, is shared with batches (``backend.batch``). Whatever
happens to one file, the others are judged.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from rich.console import Console

from backend.batch.side_by_side import Turns, in_order
from backend.board import Board
from backend.catalog.detectors import DetectorCatalog
from backend.commands.console import Bars, say
from backend.commands.finding import Medium
from backend.commands.out_folder import OutFolder, claimants
from backend.job import Cancelled, Job, new_folder
from backend.pipeline import Pipeline
from base_detector import Card
from shared.digest import sha256_of
from shared.errors import DfomError, UserError, sentence_for
from shared.names import readable, shown
from shared.notes import note_sentences
from shared.records import Mode
from shared.results import Result
from shared.stability import SECONDS_OF_CHANGES, Again, is_judged_again, seconds_for
from shared.statement import statement_of
from shared.words import duration, joined

log = structlog.get_logger()


def choose(catalog: DetectorCatalog, names: str | None) -> list[str]:
    """Ids in ``names``, separated by commas; None: all that are offered and can run here. UserError when none is left."""
    if names is not None:
        chosen = [name.strip() for name in names.split(",") if name.strip()]
        if not chosen:
            raise UserError("no_detector", "Name at least one detector after --detectors.")
        return list(dict.fromkeys(catalog.card(name).id for name in chosen))
    offered = {card.id: catalog.unavailable(card) for card in catalog if catalog.state(card) == "enabled"}
    ready = [name for name, code in offered.items() if code is None]
    if not ready:
        raise _none_ready({name: code for name, code in offered.items() if code})
    return ready


def _none_ready(offered: dict[str, str]) -> UserError:
    """Why no detector can run: what keeps those whose weights are installed, else that none are."""
    kept = {name: code for name, code in offered.items() if code not in ("weights_missing", "weights_mismatch")}
    if not kept:
        return UserError(
            "weights_missing", "No detector is ready. Install weights with 'deepfake-o-meter weights fetch'."
        )
    code = next(iter(kept.values()))
    names = ", ".join(name for name in kept if kept[name] == code)
    return UserError(code, f"No detector is ready. {names}: {sentence_for(code)}")


@dataclass(frozen=True)
class Wish:
    """What is wanted of each file."""

    detectors: Sequence[str]
    mode: Mode = "standard"
    video_per_detector: bool = False
    video: bool = True
    stability: Again = "fast"

    @classmethod
    def of(
        cls, catalog: DetectorCatalog, *, names: str | None, mode: Mode | None, video: str | None, stability: Again
    ) -> Wish:
        """What the options of the command ask for; UserError when no detector is left."""
        return cls(
            choose(catalog, names),
            mode or "standard",
            video_per_detector=video == "each",
            video=video != "none",
            stability=stability,
        )


def cost_of_bands(cards: Sequence[Card], wish: Wish) -> str:
    """What judging again after mild re-encoding costs, in a sentence; empty where nobody does it and nobody was left out."""
    again = [card for card in cards if is_judged_again(card, wish.stability, mode=wish.mode)]
    left = [card for card in cards if card not in again] if wish.stability == "fast" else []
    said = f"judged again after mild re-encoding by {joined([card.id for card in again])}: about {_seconds(again)} more a file"
    more = f"by {'the others' if again else 'all'}, too, with --stability all: about {_seconds(left)} more"
    words = [said] if again else []
    words += [more if again else f"Not judged again after mild re-encoding; {more}"] if left else []
    sentence = "; ".join(words)
    return f"{sentence[0].upper()}{sentence[1:]}." if sentence else ""


def _seconds(cards: Sequence[Card]) -> str:
    return duration(sum(map(seconds_for, cards)) + SECONDS_OF_CHANGES)


def analyze_all(
    found: Sequence[Medium], wish: Wish, *, pipeline: Pipeline, out: OutFolder, console: Console, at_once: int = 1
) -> Generator[dict[str, Any], None, None]:
    """Judge all files, ``at_once`` of them at a time; in their order the summary of each, or the error that ended it.

    One bad file does not stop the others. The name of a result does not depend on which file is done first. When the caller stops early,
    the pool is closed.
    """
    stopping = threading.Event()
    turns = Turns([claimants(medium.name) for medium in found], stopping)

    def judged(number: int) -> dict[str, Any]:
        medium = found[number]
        name = shown(medium.path.name)
        try:
            with bars.board(name) as board:
                answer = _judged(
                    medium,
                    wish,
                    pipeline=pipeline,
                    out=out,
                    board=board,
                    turn=lambda: turns.wait(number),
                    cancelled=stopping.is_set,
                )
        finally:
            turns.over(number)
        bars.over(name, trouble=answer.get("message"))
        if "remark" in answer:
            say(console, answer["remark"])
        return answer

    with Bars(console, files=len(found)) as bars:
        yield from in_order(judged, pieces=len(found), at_once=at_once, stopping=stopping, cut_off=pipeline.pool.close)


def _judged(
    medium: Medium,
    wish: Wish,
    *,
    pipeline: Pipeline,
    out: OutFolder,
    board: Board,
    turn: Callable[[], None],
    cancelled: Callable[[], bool],
) -> dict[str, Any]:
    """The summary of one file, or the row that says why there is none."""
    try:
        if medium.trouble:
            raise medium.trouble
        out.check()  # before the work, which may take long
        result, folder = analyze(medium, wish, pipeline=pipeline, out=out, board=board, turn=turn, cancelled=cancelled)
    except Exception as error:
        if cancelled():  # it was cut off: nobody waits for its row
            raise Cancelled from None
        return _failed(medium, error)
    return summary(medium, result, folder=folder)


def found_something(summaries: Sequence[dict[str, Any]]) -> bool:
    """Whether a detector gave a score for one of the files."""
    return any(answer["status"] == "ok" for item in summaries for answer in item.get("detectors", {}).values())


def analyze(
    medium: Medium,
    wish: Wish,
    *,
    pipeline: Pipeline,
    out: OutFolder,
    board: Board,
    turn: Callable[[], None] = lambda: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[Result, Path]:
    """Judge one file; its result, and the folder below ``out`` that has its report, named when ``turn`` returns. Raises DfomError."""
    try:
        sha256, size = sha256_of(medium.path), medium.path.stat().st_size
    except OSError as error:
        raise UserError("no_such_file", f"{shown(medium.path)} cannot be read ({error.strerror}).") from None
    job = Job.of_file(
        medium.path.resolve(),  # a link of the user's own is followed
        sha256=sha256,
        size=size,
        name=medium.path.name,
        detectors=wish.detectors,
        mode=wish.mode,
        video_per_detector=wish.video_per_detector,
        video=wish.video,
        stability=wish.stability,
        folder=new_folder(pipeline.settings.scratch_folder),
        cancelled=cancelled,
    )
    try:
        result = pipeline.run(job, board)
        turn()
        if cancelled():
            raise Cancelled
        return result, out.publish(job.report, name=medium.name, media_sha256=sha256, sums=result.files)
    finally:
        job.remove()


def summary(medium: Medium, result: Result, *, folder: Path) -> dict[str, Any]:
    """What ``--json`` prints of one analysed file. ``remark``: only where the result has another name than its file."""
    answer = {
        "file": readable(medium.path),
        "out": readable(folder),
        "sha256": result.media.sha256,
        "detectors": {
            item.id: {
                "status": item.status,
                "fake_score": item.fake_score,
                "threshold": item.threshold,
                "hard_label": item.hard_label,
                "code": item.code,
                "message": item.message,
                "unit": item.unit,
                "units_scored": item.units_scored,
                "persons": [one.model_dump(mode="json") for one in item.persons],
                "stability": item.stability.model_dump(mode="json") if item.stability else None,
                "finding": item.finding.model_dump(mode="json") if item.finding else None,
                "worth": item.worth.model_dump(mode="json") if item.worth else None,
                "stretches": [one.model_dump(mode="json") for one in item.stretches],
            }
            for item in result.detectors
        },
        "statement": list(said.sentences) if (said := statement_of(result)) else [],
        "joint_stretches": [one.model_dump(mode="json") for one in result.joint_stretches],
        "not_looked_for": [kind.code for kind in said.kinds if not kind.looked] if said else [],
        "conditions": result.conditions.model_dump(mode="json") if result.conditions else None,
        "persons": len(result.persons),
        "seen": [
            {"person": one.person, "faces": one.faces, "first_s": one.first_s, "last_s": one.last_s}
            for one in result.persons
        ],
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
