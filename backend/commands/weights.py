"""``deepfake-o-meter weights``: list, fetch, add and verify the published weights of the detectors.

Owns the words and the progress bars only; ``backend.weights.folder`` does the work. Exit status: 0 all fine, 1 something failed
(the message says what to do). Imported by the composition root.
"""

from __future__ import annotations

import json
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
from backend.commands.exits import EXIT_FAILED, EXIT_USAGE, errors_explained
from backend.weights.folder import Installed, WeightsFolder
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

_WORDS = {"installed": "installed", "missing": "not installed", "differs": "differs from the published file (sha256)"}


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


@weights.command()
@click.argument("ids", nargs=-1)
@click.option("--small", is_flag=True, help=f"only detectors whose files are known and together below {SMALL_MB} MB")
def fetch(ids: Sequence[str], small: bool) -> None:
    """Download the weights of the detectors IDS (default: all). An interrupted download continues where it stopped."""
    with errors_explained(EXIT_FAILED):
        settings, cards = _opened(ids)
    folder = WeightsFolder(settings.weights_folder)
    if small:
        cards = [card for card in cards if _is_small(card)]
    wanted = [
        (card, item)
        for card in cards
        for item in card.weights
        # optional, for another variant: fetched when the detector is named and the file can be downloaded automatically
        if not item.optional or (not item.manual and (ids or small))
    ]
    # on stderr, so that messages and bars do not mix with piped output
    with Progress(*_columns(), console=Console(stderr=True)) as bars:
        failed = [card.id for card, item in wanted if not _fetched(card, item, folder, bars)]
    if failed:
        raise SystemExit(EXIT_FAILED)
    which = "The small weights" if small else "All requested weights"
    click.echo(f"{which} are installed in {folder.folder}.")


def _columns() -> tuple[ProgressColumn, ...]:
    text = TextColumn("{task.description}", markup=False)
    return text, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()


def _fetched(card: Card, item: WeightsFile, folder: WeightsFolder, bars: Progress) -> bool:
    """Whether ``item`` could be fetched; a bar shows the progress, a message why it failed."""
    task = bars.add_task(f"{card.id} {item.file}", total=item.bytes or None)
    try:
        entry = folder.fetch(
            card, item, progress=lambda have, total: bars.update(task, completed=have, total=total or None)
        )
    except DfomError as error:
        sentence = Text.assemble((f"{card.id}:", "red"), f" {shown(error.sentence)}")
        bars.console.print(sentence, highlight=False, soft_wrap=True)
        return False
    size = entry.path.stat().st_size
    bars.update(task, completed=size, total=size)
    return True


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
    """Load a file without a known sha256 in a worker: names and shapes must fit, or it is removed again and an older one is back."""
    with closing(WorkerPool(settings)) as pool:
        spec = detector_spec(card, settings)
        try:
            if pool.available(spec) is None:
                with pool.lease(spec):
                    return
            raise WorkerError(str(pool.available(spec)))
        except WorkerError as error:
            if error.code in _NOT_THE_FILES:
                click.echo(f"Not checked yet: {error.sentence}", err=True)
                return
            back = WeightsFolder(settings.weights_folder).remove(card, entry.item.file)
            raise UserError(
                "weights_mismatch",
                f"{card.id} cannot load {entry.item.file}: {error.sentence} It was removed again"
                f"{', and the file it replaced is back' if back else ''}; the worker's log names the tensors that differ.",
            ) from None


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
    known = all(item.bytes and not item.manual for item in card.weights)
    return known and sum(item.bytes for item in card.weights) < SMALL_MB * 1_000_000


def _is_wrong(entry: Installed) -> bool:
    return entry.state == "differs" or (entry.state == "missing" and not entry.item.optional)


def _print(entries: Sequence[Installed]) -> None:
    table = Table("detector", "file", "bytes", "licence", "state", box=None, pad_edge=False)
    for entry in entries:
        size = f"{entry.item.bytes:,}" if entry.item.bytes else ""
        optional = " (optional)" if entry.item.optional and entry.state == "missing" else ""
        cells = (entry.detector, entry.item.file, size, entry.item.licence, _WORDS[entry.state] + optional)
        table.add_row(*map(Text, cells))  # as they are: a licence is no markup
    Console().print(table)


def _as_json(entry: Installed) -> dict[str, object]:
    return {"detector": entry.detector, "path": str(entry.path), "state": entry.state, **vars(entry.item)}
