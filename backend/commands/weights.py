"""``deepfake-o-meter weights``: list, fetch, add and verify the published weights of the detectors.

Owns the words and the progress bars only; ``backend.weights.folder`` does the work. Exit status: 0 all fine, 1 something failed
(the message says what to do). Imported by the composition root.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from backend.catalog.detectors import find_cards
from backend.catalog.recommended import Choice, read_recommended
from backend.commands.console import stdout_console
from backend.commands.exits import EXIT_FAILED, EXIT_USAGE, errors_explained
from backend.weights.fetching import Fetching, addresses
from backend.weights.folder import WeightsFolder, before
from backend.weights.part import Wanted
from backend.weights.state import Installed, installed
from backend.workers.pool import WorkerPool
from backend.workers.spec import WorkerError, detector_spec
from base_detector import Card, WeightsFile
from shared.errors import DfomError, UserError
from shared.names import shown
from shared.settings import Settings, read_settings

#: What `make run` fetches: files below this. The ensemble that won the DFDC takes gigabytes; that is the operator's decision.
SMALL_MB = 50

#: Why a detector does not start although its files may be right.
_NOT_THE_FILES = ("container_required", "image_missing", "image_outdated", "engine_unavailable", "needs_tensorflow")
#: The worker read the file, and it is not one of this detector.
_THE_FILE = ("weights_do_not_fit", "weights_not_converted")

_WORDS = {"installed": "installed", "missing": "not installed", "differs": "differs from the published file (sha256)"}
_CHANGED = "changed since it was installed (sha256)"


@click.group()
def weights() -> None:
    """Install the published weights of the detectors, each checked by its sha256."""


@weights.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def list_command(as_json: bool) -> None:
    """Show every weights file, its licence and whether it is installed."""
    with errors_explained(EXIT_FAILED):
        settings, cards = _opened(())
        entries = WeightsFolder(settings.weights_folder).entries(cards)
    if as_json:
        click.echo(json.dumps([_as_json(entry) for entry in entries], indent=1))
    else:
        _print(entries)


# --------------------------------------------------------------------------- fetch


@weights.command()
@click.argument("ids", nargs=-1)
@click.option("--small", is_flag=True, help=f"only detectors whose files are known and together below {SMALL_MB} MB")
@click.option(
    "--recommended", is_flag=True, help="a few detectors that generalise and run on a laptop (docs/weights.md)"
)
@click.option("--dry-run", is_flag=True, help="only list what would be downloaded: bytes, licences, seconds a clip")
@click.option(
    "--accept-licence", is_flag=True, help="agree to licences that forbid some uses; needed once, and recorded"
)
@click.option(
    "--accept-changed", is_flag=True, help="take files that their authors replaced since they were first fetched"
)
def fetch(
    ids: Sequence[str], small: bool, recommended: bool, dry_run: bool, accept_licence: bool, accept_changed: bool
) -> None:
    """Download the weights of the detectors IDS (default: all). An interrupted download continues where it stopped."""
    with errors_explained(EXIT_FAILED):
        settings, cards = _opened(ids)
        choices = read_recommended(settings.detectors)
        files = _chosen(cards, named=bool(ids), small=small, choices=choices if recommended else None)
        folder = WeightsFolder(settings.weights_folder)
        others = _opened(())[1] if ids else cards
        with folder.fetching(files, cards=others, accept_changed=accept_changed) as run:
            if dry_run:
                _announce(run, folder, choices=choices)
                return
            refused = _without_consent(run.wanted, folder, accept=accept_licence)
            # on stderr, so that messages and bars do not mix with piped output
            with Progress(*_columns(), console=Console(stderr=True)) as bars:
                for sentence in refused.values():
                    bars.console.print(Text(sentence, style="red"), highlight=False, soft_wrap=True)
                fetched = [_fetched(run, item, bars) for item in run.wanted if item.card.id not in refused]
    if refused or not all(fetched):
        raise SystemExit(EXIT_FAILED)
    which = "The small weights" if small else "The recommended weights" if recommended else "All requested weights"
    click.echo(f"{which} are installed in {folder.folder}.")
    if small and choices:
        click.echo(
            "Stronger detectors for a laptop: 'deepfake-o-meter weights fetch --recommended --dry-run' lists them."
        )


def _chosen(
    cards: Sequence[Card], *, named: bool, small: bool, choices: Sequence[Choice] | None
) -> list[tuple[Card, WeightsFile]]:
    """The files to fetch. ``choices``: only those of the recommended detectors, and of them only the files that are recommended."""
    if choices is not None:
        by_id = {card.id: card for card in cards}
        mine = [(by_id[choice.card], choice) for choice in choices if choice.card in by_id]
        return [(card, item) for card, choice in mine for item in card.weights if choice.wants(item)]
    if small:
        return [(card, item) for card in cards if _is_small(card) for item in card.weights if item.bytes]
    return [(card, item) for card in cards for item in card.weights if _is_usual(card, item, named=named)]


def _is_usual(card: Card, item: WeightsFile, *, named: bool) -> bool:
    """Whether fetching ``card`` fetches ``item``: optional files are for another variant, unless there are no others."""
    if not item.optional:
        return True
    return not item.manual and (named or all(other.optional for other in card.weights))


def _without_consent(wanted: Sequence[Wanted], folder: WeightsFolder, *, accept: bool) -> dict[str, str]:
    """Detector -> what to do, for each whose licence was not agreed to. At a terminal the operator is asked."""
    refused: dict[str, str] = {}
    for item in wanted:
        detector, licence = item.card.id, item.item.licence
        nothing_to_get = not addresses(item.item) or installed(item, folder.known).state == "installed"
        if not item.item.consent or nothing_to_get or folder.known.agreed(detector, licence) or detector in refused:
            continue
        question = f"{detector}: the licence of {item.item.file} is: {shown(licence)}. Do you agree?"
        asked = not accept and sys.stdin.isatty() and sys.stderr.isatty()
        if accept or (asked and click.confirm(question, err=True)):
            folder.known.agree(detector, licence)
        else:
            refused[detector] = (
                f"{detector}: nothing was downloaded, since the licence of {item.item.file} forbids some uses: {shown(licence)}. If your "
                f"use is allowed, agree once with 'deepfake-o-meter weights fetch {detector} --accept-licence'."
            )
    return refused


def _announce(run: Fetching, folder: WeightsFolder, *, choices: Sequence[Choice]) -> None:
    """What ``run`` would download, file by file, and the sum."""
    table = Table("detector", "file", "bytes", "licence", "s a clip*", "state", box=None, pad_edge=False)
    chosen, total, unknown, shared = {choice.card: choice for choice in choices}, 0, 0, set[str]()
    for wanted in run.wanted:
        card, item = wanted.card, wanted.item
        is_there = run.state(wanted).state == "installed"
        source = run.source(wanted)
        comes_along = not is_there and source in shared
        size = 0 if is_there or comes_along else run.bytes_of(wanted)
        total, unknown = total + size, unknown + (not size and not is_there and not comes_along)
        amount = "" if is_there else "as above" if comes_along else f"{size:,}" if size else "not known"
        shared |= {source} if source else set()
        agreed = not item.consent or folder.known.agreed(card.id, item.licence)
        licence = item.licence if agreed else f"{item.licence} (asks for your consent)"
        choice = chosen.get(card.id) or Choice(card.id)
        by_hand = "by hand" if item.manual and not item.alternatives else "to download"
        cells = (
            card.id,
            item.file,
            amount,
            licence,
            f"{choice.seconds(card):.0f}",
            "installed" if is_there else by_hand,
        )
        table.add_row(*map(Text, cells))
    stdout_console().print(table)
    sums = [f"{total:,} bytes"] * bool(total or not unknown) + [f"{unknown} files whose size is not known"] * bool(
        unknown
    )
    click.echo(f"To download: {', and '.join(sums)}. Nothing was downloaded.")
    click.echo("* on one core, for a clip of 10 s with one face (sound: 10 s of speech), by the detector's card.")


def _columns() -> tuple[ProgressColumn, ...]:
    text = TextColumn("{task.description}", markup=False)
    return text, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()


def _fetched(run: Fetching, wanted: Wanted, bars: Progress) -> bool:
    """Whether the file could be fetched; a bar shows the progress, a message why it failed, or what is remembered of it."""
    task = bars.add_task(wanted.key.replace("/", " ", 1), total=wanted.item.bytes or None)
    is_new = run.state(wanted).state != "installed"
    try:
        entry = run.fetch(wanted, progress=lambda have, total: bars.update(task, completed=have, total=total or None))
    except DfomError as error:
        sentence = Text.assemble((f"{wanted.card.id}:", "red"), f" {shown(error.sentence)}")
        bars.console.print(sentence, highlight=False, soft_wrap=True)
        return False
    size = entry.path.stat().st_size
    bars.update(task, completed=size, total=size)
    if is_new and entry.seen:
        note = (
            f"{wanted.card.id}: {entry.item.file} is {size:,} bytes, sha256 {entry.seen.sha256}. Its authors published no sha256, so this "
            "one is remembered: another file under that address will be refused."
        )
        bars.console.print(Text(note), highlight=False, soft_wrap=True)
    return True


# --------------------------------------------------------------------------- add


@weights.command()
@click.argument("detector")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--as", "name", help="which of the detector's files it is, where its sha256 is not known and its name differs"
)
def add(detector: str, file: Path, name: str | None) -> None:
    """Install FILE, your own copy of one of DETECTOR's files. Its sha256 says which one, or its name where none is known."""
    with errors_explained(EXIT_FAILED):
        settings, (card,) = _opened((detector,))
        folder = WeightsFolder(settings.weights_folder)
        entry = folder.add(card, file, name=name)
        if not entry.item.sha256 and folder.unavailable(card) is None:
            _load_once(card, entry, settings=settings)
        folder.keep(card, entry.item.file)
    click.echo(f"{entry.item.file} of {card.id} is installed ({entry.item.licence}).")


def _load_once(card: Card, entry: Installed, *, settings: Settings) -> None:
    """Load a file without a known sha256 in a worker. When it does not fit, it is removed again and an older one is back.

    UserError says so; and when loading failed for another reason, which says nothing of the file: then it stays.
    """
    with closing(WorkerPool(settings)) as pool:
        spec = detector_spec(card, settings)
        try:
            code = pool.available(spec)
            if code is None:
                with pool.lease(spec):
                    return
            error = WorkerError(code)
        except WorkerError as failed:
            error = failed
    if error.code in _NOT_THE_FILES:
        click.echo(f"Not checked yet: {error.sentence}", err=True)
        return
    told = [line for line in error.log if line.strip() and not line.startswith(f"load: {error.code}")]
    words = f" Its last words: {shown(told[-1])}" if told else ""
    file = entry.item.file
    if error.code in _THE_FILE and not _blames_another(error, card, file):
        back = WeightsFolder(settings.weights_folder).remove(card, file)
        raise UserError(
            "weights_mismatch",
            f"{card.id} cannot load {file}: {error.sentence}{_said(error)} It was removed again"
            f"{', and the file it replaced is back' if back else ''}.",
        )
    kept = f" The file it replaced is kept as {before(entry.path)}." if before(entry.path).is_file() else ""
    why = f"{error.sentence}{_said(error) or words}"
    raise UserError(
        error.code,
        f"{file} is installed, but could not be tried: {why} That says nothing about {file}, so it stays.{kept} Once the cause is "
        f"removed, run 'deepfake-o-meter weights add {card.id}' with it again.",
    )


def _blames_another(error: WorkerError, card: Card, file: str) -> bool:
    """Whether the worker says that another of the detector's files does not fit."""
    return any(_said(error).startswith(f" ({item.file}: ") for item in card.weights if item.file != file)


def _said(error: WorkerError) -> str:
    """What the worker's log says after the code, which names the tensors that differ."""
    lines = [line.partition(f"{error.code}: ")[2] for line in error.log if f"{error.code}: " in line]
    return f" ({shown(lines[-1])[:600]})" if lines else ""


@weights.command()
@click.argument("ids", nargs=-1)
def verify(ids: Sequence[str]) -> None:
    """Read every installed file again and compare it with its card; exit status 1 when one is missing or differs."""
    with errors_explained(EXIT_FAILED):
        settings, cards = _opened(ids)
        entries = WeightsFolder(settings.weights_folder).verify(cards)
    _print(entries)
    wrong = sorted({entry.detector for entry in entries if _is_wrong(entry)})
    if wrong:
        click.echo(f"Run 'deepfake-o-meter weights fetch {' '.join(wrong)}'.", err=True)
        raise SystemExit(EXIT_FAILED)


# --------------------------------------------------------------------------- inside


def _opened(ids: Sequence[str]) -> tuple[Settings, list[Card]]:
    """Settings and the cards of ``ids`` (of all detectors when empty); an unknown one ends the command."""
    with errors_explained(EXIT_USAGE):
        settings = read_settings()
        cards = find_cards(settings.detectors)
        return settings, [cards.named(name) for name in dict.fromkeys(ids)] or list(cards.usable.values())


def _is_small(card: Card) -> bool:
    """Whether what the detector needs is known, free to get, and small; optional files of unknown size do not count."""
    counted = [item for item in card.weights if not item.optional or item.bytes]
    free = all(item.bytes and not item.manual and not item.consent for item in counted)
    enough = not card.lacks([item for item in card.weights if item not in counted])
    return free and enough and sum(item.bytes for item in counted) < SMALL_MB * 1_000_000


def _is_wrong(entry: Installed) -> bool:
    return entry.state == "differs" or (entry.state == "missing" and not entry.item.optional)


def _print(entries: Sequence[Installed]) -> None:
    table = Table("detector", "file", "bytes", "licence", "state", box=None, pad_edge=False)
    for entry in entries:
        bytes_ = entry.item.bytes or (entry.seen.bytes if entry.seen else 0)
        state = _CHANGED if entry.state == "differs" and entry.seen else _WORDS[entry.state]
        optional = " (optional)" if entry.item.optional and entry.state == "missing" else ""
        cells = (entry.detector, entry.item.file, f"{bytes_:,}" if bytes_ else "", entry.item.licence, state + optional)
        table.add_row(*map(Text, cells))  # as they are: a licence is no markup
    stdout_console().print(table)


def _as_json(entry: Installed) -> dict[str, object]:
    seen = (
        {"sha256": entry.seen.sha256, "from": entry.seen.origin, "first_seen": entry.seen.first_seen}
        if entry.seen
        else None
    )
    return {"detector": entry.detector, "path": str(entry.path), "state": entry.state, **vars(entry.item), "seen": seen}
