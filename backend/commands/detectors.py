"""``deepfake-o-meter detectors``: list, show, new, run, check, state.

Exit status: 0 all fine, 1 not admitted, 2 it could not be done (the sentence says what to do). Imported by the
composition root.
"""

from __future__ import annotations

import json
import os
import platform
import re
from contextlib import closing
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from backend.admission.check import Admission, Check, measured_part, report_of
from backend.admission.practice_units import practice_packs
from backend.admission.template import SAMPLES, TEMPLATES, write_detector
from backend.catalog.cards import STATES
from backend.catalog.detectors import find_cards
from backend.catalog.states import MEANINGS, DetectorStates
from backend.commands.console import print_cards, say
from backend.commands.exits import EXIT_FAILED, errors_explained
from backend.commands.rooms import scratch as scratch_room
from backend.commands.rooms import stopped_by_signals
from backend.commands.run import make_pack, run
from backend.commands.target import asked_for
from backend.workers.availability import unavailable
from backend.workers.pool import WorkerPool
from backend.workers.spec import WorkerSpec
from base_detector import Card
from shared import durable
from shared.clock import utc_now
from shared.errors import UserError, sentence_for
from shared.names import shown
from shared.settings import Settings, read_settings

_MARKS = {
    "passed": "[green]passed   [/green]",
    "failed": "[red]FAILED   [/red]",
    "not_tried": "[yellow]not tried[/yellow]",
}
_MEASURED = re.compile(r"(<!-- measured: begin -->\n).*?(<!-- measured: end -->)", re.DOTALL)


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="print the cards as JSON")
@click.pass_context
def detectors(context: click.Context, as_json: bool) -> None:
    """List the detectors and whether each can run here; make new ones and check them."""
    if context.invoked_subcommand is None:
        _list(as_json=as_json)


def _list(*, as_json: bool) -> None:
    with errors_explained():
        settings = read_settings()
        cards, states = find_cards(settings.detectors), DetectorStates(settings.backend_state)
        with closing(WorkerPool(settings)) as pool:
            rows = [
                (card, states.of(card), unavailable(card, settings=settings, pool=pool))
                for card in cards.usable.values()
            ]
    if as_json:
        known = [card.as_json() | {"state": state, "unavailable": code} for card, state, code in rows]
        bad = [{"id": item.name, "unavailable": "bad_card", "message": item.sentence} for item in cards.unusable]
        click.echo(json.dumps(known + bad, indent=1))
        return
    print_cards(rows, cards.unusable)


@detectors.command()
@click.argument("name")
def show(name: str) -> None:
    """Print the model card of detector NAME."""
    with errors_explained():
        card = find_cards(read_settings().detectors).named(name)
        readme = card.folder / "README.md"
        if not readme.is_file():
            raise UserError("no_such_file", f"{name} has no README.md.")
    # another's text: nothing in it may move the cursor
    click.echo("\n".join(shown(line.expandtabs()) for line in readme.read_text(encoding="utf-8").splitlines()))


@detectors.command()
@click.argument("name")
@click.option(
    "--input", "unit", type=click.Choice(sorted(TEMPLATES)), default="face", show_default=True, help="what it judges"
)
def new(name: str, unit: str) -> None:
    """Write a working folder for a new detector NAME: class, card, test, model card."""
    with errors_explained():
        folder = write_detector(name, read_settings().detectors, unit=unit)
    click.echo(
        f"{folder} is ready and works. Next:\n"
        f"  1. write your detector in {folder / 'detector.py'} and its card in detector.toml\n"
        f"  2. put a real {TEMPLATES[unit].noun} and a fake of what you claim to see in {folder / 'check'}\n"
        f"  3. pytest {folder}\n"
        f"  4. make images            (its container; without Docker the check runs it as a process)\n"
        f"  5. deepfake-o-meter detectors check {folder}\n"
        f"  6. deepfake-o-meter detectors state {name} quarantine"
    )


@detectors.command()
@click.argument("what", metavar="ID|PATH|IMAGE")
@click.option(
    "--media",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="a portrait of your own for the test clip",
)
def check(what: str, media: Path | None) -> None:
    """Run the admission check on a detector: its ID, its folder PATH, or its container image PREFIX/ID."""
    with errors_explained(), stopped_by_signals():
        settings = read_settings()
        card, spec, settings = asked_for(what, settings)
        console = Console(highlight=False)
        say(console, f"{card.title} ({card.id} {card.version})")
        checks = _checked(card, spec, settings, media or SAMPLES / "portrait.jpg", console)
        report = report_of(card, checks)
        kept = DetectorStates(settings.backend_state).keep_report(card, report)
        if _write_measured(card, report):
            say(console, f"The measured part of {card.folder / 'README.md'} was updated.")
    say(console, f"Report: {kept}")
    if not report["passed"]:
        console.print("[red]Not admitted.[/red] Correct what failed, then run the check again.")
        raise SystemExit(EXIT_FAILED)
    console.print(f"[green]Admitted.[/green] Next: deepfake-o-meter detectors state {card.id} quarantine")


@detectors.command()
@click.argument("name")
@click.argument("to", metavar="STATE", type=click.Choice(STATES))
def state(name: str, to: str) -> None:
    """Put detector NAME into STATE: draft, quarantine, shadow, enabled or disabled."""
    with errors_explained():
        settings = read_settings()
        before = DetectorStates(settings.backend_state).move(find_cards(settings.detectors).named(name), to)
    click.echo(f"{name}: {before} -> {to} ({MEANINGS[to]}). A running portal uses it within seconds.")


# --------------------------------------------------------------------------- inside


def _checked(card: Card, spec: WorkerSpec, settings: Settings, media: Path, console: Console) -> list[Check]:
    def show(line: Check) -> None:
        console.print(f"  {_MARKS[line.outcome]}  {line.name:<22} {escape(shown(line.words))}", soft_wrap=True)

    with scratch_room(settings.scratch) as scratch:
        own = settings.model_copy(update={"scratch": scratch, "hot": [], "cold": []})
        with closing(WorkerPool(own)) as pool:
            code = unavailable(card, settings=own, pool=pool, spec=spec)
            if code:
                raise UserError(code, f"{card.id} cannot be checked: {sentence_for(code)}")
            portrait = make_pack(
                media,
                scratch / "portrait",
                settings=own,
                pool=pool,
                wanted={"samplings": ["every_frame"], "context": 3.0},
                mode="quick",
            )
            packs = practice_packs(scratch / "packs", portrait=portrait.folder, card=card)
            pictures = card.folder / "check"
            admission = Admission(
                card,
                spec,
                lease=lambda: pool.lease(spec),
                packs=packs,
                pictures=pictures if pictures.is_dir() else None,
                on_check=show,
            )
            return admission.run()


def _write_measured(card: Card, report: dict[str, object]) -> bool:
    readme = card.folder / "README.md"
    if not readme.is_file() or not _MEASURED.search(text := readme.read_text(encoding="utf-8")):
        return False
    machine = f"{os.cpu_count()} CPU cores ({platform.machine()})"
    words = measured_part(report, day=utc_now().date().isoformat(), machine=machine)
    # whole or not at all: the rest of the page is the author's work
    whole = _MEASURED.sub(lambda found: found[1] + words + found[2], text).encode()
    durable.replace_bytes(readme.resolve(), whole, mode=readme.stat().st_mode & 0o777)
    return True


detectors.add_command(run)
