"""``detectors run``: one detector on one file, with the platform's own media pass and workers, without a portal.

Owns the command, and the steps from a file to one detector's result. Imported by the command line of detectors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click
from rich.console import Console

from backend.commands.exits import EXIT_NOTHING, NamedPath, errors_explained, printing
from backend.commands.rooms import PREFIX, room, stopped_by_signals
from backend.commands.rooms import scratch as scratch_room
from backend.commands.target import asked_for
from backend.harvest.scores import HarvestedScores, harvest_scores
from backend.scores.assemble import DetectorOutcome, detector_result, scores_of
from backend.workers import calls
from backend.workers.availability import unavailable
from backend.workers.calls import judge_pack, wanted_by
from backend.workers.pool import WorkerPool
from backend.workers.provenance import as_run_by, provenance
from backend.workers.spec import WorkerError, WorkerSpec, media_spec
from base_detector import Card, NotApplicable
from shared import durable
from shared.errors import PermanentError, UserError, sentence_for
from shared.findings import MediaPack
from shared.names import shown
from shared.records import Mode
from shared.results import DetectorResult
from shared.rounding import score as rounded
from shared.settings import Settings, read_settings
from shared.statement import enough
from shared.words import UNIT_NOUNS, counted, label_in_words


def make_pack(
    media: Path,
    target: Path,
    *,
    settings: Settings,
    pool: WorkerPool,
    wanted: Mapping[str, Any],
    mode: Mode,
) -> MediaPack:
    """Find what is ``wanted`` of ``media`` as for an upload; the pack is in ``target``, which must not exist. DfomError when that fails."""
    try:
        with pool.lease(media_spec(settings)) as worker:
            calls.make_pack(
                worker,
                media.resolve(),
                target,
                name="media",
                wanted=wanted,
                mode=mode,
                settings=settings,
            )
    except NotApplicable as reason:
        raise UserError(str(reason)) from None
    except WorkerError as error:
        raise PermanentError("media_unreadable" if error.code == "detector_failed" else error.code) from None
    return MediaPack(target)


@click.command()
@click.argument("what", metavar="ID|PATH|IMAGE")
@click.argument("media", type=NamedPath(path_type=Path))
@click.option("--mode", type=click.Choice(get_args(Mode)), default="standard", show_default=True)
@click.option("--weights", type=NamedPath(path_type=Path), help="folder with its weights (default: the installed ones)")
@click.option("--device", type=click.Choice(["cpu", "cuda:0"]), help="where the networks run (default: by DFOM_GPUS)")
@click.option("--keep-pack", type=NamedPath(path_type=Path), help="new folder for the face pack, to judge it again")
@click.option("--json", "as_json", is_flag=True, help="print the result as in result.json")
def run(
    what: str, media: Path, mode: Mode, weights: Path | None, device: str | None, keep_pack: Path | None, as_json: bool
) -> None:
    """Judge the file MEDIA with one detector: its ID, its folder or its image. It does not have to be enabled.

    Exit status: 0 it gave a score, 2 it could not be started, 3 it gave none. The message says why.
    """
    with errors_explained(), stopped_by_signals(), ExitStack() as rooms:
        _check_paths(media, weights, keep_pack)
        settings = read_settings()
        pack_folder = rooms.enter_context(_kept(keep_pack)) if keep_pack else None
        scratch = rooms.enter_context(scratch_room(settings.scratch))
        card, spec, settings = asked_for(what, settings)
        # a separate scratch: we must not use the workers of a running portal
        settings = settings.model_copy(update={"scratch": scratch, "hot": [], "cold": []})
        if weights:
            (scratch / "weights").mkdir()
            (scratch / "weights" / card.id).symlink_to(weights.resolve())
            settings = settings.model_copy(update={"weights": scratch / "weights"})
            spec = replace(spec, weights=weights.resolve() if card.weights else None)
        if device:
            spec = replace(spec, device=device)
            settings = settings.model_copy(update={"gpus": (settings.gpus or ["0"]) if device != "cpu" else []})
        with closing(WorkerPool(settings)) as pool:
            code = unavailable(card, settings=settings, pool=pool, spec=spec)
            if code:
                raise UserError(code, f"{card.id} cannot run: {sentence_for(code)}")
            with errors_explained(EXIT_NOTHING), Console(stderr=True).status("reading the file") as status:
                result = judge(
                    card, spec, media, settings=settings, pool=pool, mode=mode, pack_folder=pack_folder or scratch / "pack",
                    on_progress=lambda done, total: status.update(f"{card.id}: {done} of {counted(total, UNIT_NOUNS[card.unit])}"),
                )  # fmt: skip
                is_clip = not MediaPack(pack_folder or scratch / "pack").is_image
    with printing(else_see="Judge it again."):
        click.echo(result.model_dump_json(indent=1) if as_json else _in_words(result, is_clip=is_clip))
    if result.status != "ok":
        raise SystemExit(EXIT_NOTHING)


def judge(
    card: Card,
    spec: WorkerSpec,
    media: Path,
    *,
    settings: Settings,
    pool: WorkerPool,
    mode: Mode,
    pack_folder: Path,
    on_progress: Callable[[int, int], None],
) -> DetectorResult:
    """The result of ``card`` for ``media``, as in ``detectors`` of result.json. DfomError when there is no face pack to judge."""
    pack = make_pack(
        media,
        pack_folder,
        settings=settings,
        pool=pool,
        wanted=wanted_by([card]),
        mode=mode,
    )
    found = provenance(card, settings=settings, pool=pool, spec=spec)
    outcome = DetectorOutcome(card=card, provenance=found, folder=pack_folder)
    started = time.perf_counter()
    try:
        outcome.scores = scores_of(
            card,
            pack,
            lambda: _judged(outcome, spec, pack, settings=settings, pool=pool, on_progress=on_progress),
        )
    except NotApplicable as reason:
        outcome.status, outcome.code = "not_applicable", str(reason)
    except (WorkerError, PermanentError) as error:
        outcome.fail(error.code)
    outcome.wall_s = time.perf_counter() - started
    return detector_result(outcome, pack)


def _judged(
    outcome: DetectorOutcome,
    spec: WorkerSpec,
    pack: MediaPack,
    *,
    settings: Settings,
    pool: WorkerPool,
    on_progress: Callable[[int, int], None],
) -> HarvestedScores:
    card, units = outcome.card, len(pack.units(outcome.card))
    with pool.lease(spec) as worker:
        outcome.provenance = as_run_by(worker, outcome.provenance)
        return judge_pack(
            worker,
            pack.folder,
            name="run",
            timeout_s=settings.detector_timeout_s,
            take=lambda out: harvest_scores(out, card_id=card.id, units=units, unit=card.unit),
            on_progress=on_progress,
        )


@contextmanager
def _kept(keep_pack: Path) -> Iterator[Path]:
    """Where the face pack is made that is to become the new folder ``keep_pack``: beside it, in a room of our own.

    UserError(out_not_writable) before any work when nothing can be written there.
    """
    try:
        with room(keep_pack.absolute().parent, prefix=f".{PREFIX}") as beside:
            yield beside / "pack"
            if (beside / "pack").is_dir():
                durable.claim_name(beside / "pack", keep_pack)
    except OSError as error:
        sentence = f"{shown(keep_pack)} cannot be written ({error.strerror}). Choose another folder with --keep-pack."
        raise UserError("out_not_writable", sentence) from None


def _check_paths(media: Path, weights: Path | None, keep_pack: Path | None) -> None:
    if not media.is_file():
        raise UserError("no_such_file", f"{shown(media)} is not a file: name a video, a picture or a sound file.")
    if weights and not weights.is_dir():
        raise UserError(
            "no_such_file", f"{shown(weights)} is not a folder: name the one that holds the detector's files."
        )
    if keep_pack and durable.exists(keep_pack):
        raise UserError("no_such_file", f"{shown(keep_pack)} exists already: name a new folder.")


def _in_words(result: DetectorResult, *, is_clip: bool) -> str:
    if result.fake_score is None:
        return f"{result.id}: no score. {result.message}"
    scored = f"{result.units_scored} of {counted(len(result.scores), UNIT_NOUNS[result.unit])} scored"
    persons = f", {counted(len(result.persons), 'person')}" if result.unit == "face" else ""
    score = rounded(result.fake_score, threshold=result.threshold)
    label = label_in_words(str(result.hard_label))
    if not enough(result, is_clip=is_clip):
        label = f"({label}): judged too little to be counted"
    return (
        f"{result.id}: fake score {score} ({label}, its threshold is {result.threshold:g}), {scored}{persons}\n"
        "0 = real, 1 = fake. A score is an indication, not a proof."
    )
