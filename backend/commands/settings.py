"""``deepfake-o-meter settings``: every setting with its value here and what it means, also when one of them is wrong.

Imported by the composition root.
"""

from __future__ import annotations

import json

import click
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backend.commands.exits import EXIT_USAGE
from shared.errors import UserError
from shared.settings import Settings, example, read_settings


@click.command()
def settings() -> None:
    """List the settings: their variables, values here, meanings and an example. A wrong one is named at the end."""
    trouble, here = None, None
    try:
        here = read_settings()
    except UserError as error:
        trouble = error
    table = Table("setting", "here" if here else "default", "meaning", "example", box=None, pad_edge=False)
    for name, field in Settings.model_fields.items():
        value = getattr(here, name) if here else field.get_default(call_default_factory=True)
        changed = here is not None and name in here.model_fields_set
        table.add_row(
            Text(f"DFOM_{name.upper()}", style="bold" if changed else ""),
            Text(_shown(value), style="bold" if changed else ""),
            Text(field.description or ""),
            Text(example(name)),
        )
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 240  # for grep: a row is a line
    console.print(table)
    click.echo(
        "\nEvery setting is an environment variable; bold ones are set. DFOM_SECRETS_DIR names a folder of files instead, one for each "
        "setting (dfom_smtp_password)."
    )
    if trouble:
        click.secho(f"\n{trouble.sentence}", fg="red", err=True)
        raise SystemExit(EXIT_USAGE)


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return "(set)"
    return json.dumps(value) if isinstance(value, (list, bool)) else str(value)
