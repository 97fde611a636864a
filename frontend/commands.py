"""Commands of the portal: ``deepfake-o-meter keys issue | list | revoke``. They work while the portal runs.

Imported by the composition root. The secret of a key is printed once and nowhere else.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from frontend.keys import LARGEST_QUOTA, QUOTA, SCOPES, Key, Keys, Scope, Used
from frontend.pins import read_secret
from shared.clock import utc_now
from shared.errors import DfomError
from shared.names import shown
from shared.settings import read_settings
from shared.words import date

#: The command could not be carried out; the message says what to do (as with the other commands).
EXIT_USAGE: Final = 2


class _Explained(click.Group):
    """Ends with the sentence of one of our errors instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """See ``click.Group``."""
        try:
            return super().invoke(ctx)
        except DfomError as error:
            click.secho(shown(error.sentence), fg="red", err=True)
            raise SystemExit(EXIT_USAGE) from None
        except OSError as error:
            where = error.filename or "The folder of the portal's data"
            click.secho(f"{shown(where)} cannot be used ({error.strerror}). Check DFOM_DATA.", fg="red", err=True)
            raise SystemExit(EXIT_USAGE) from None


@click.group(cls=_Explained)
def keys() -> None:
    """API keys for programs (docs/api.md): issue, list, revoke. There are no accounts."""


def open_keys() -> Keys:
    """The keys of the portal on DFOM_DATA."""
    state = read_settings().frontend_state
    state.mkdir(parents=True, exist_ok=True)
    return Keys(state, secret=read_secret(state / "webhook_key"))


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    help="what it may do, given once for each; default: all",
)
@click.option(
    "--quota", type=click.IntRange(1, LARGEST_QUOTA), default=QUOTA, show_default=True, help="submissions a day (UTC)"
)
@click.option("--days", type=click.IntRange(1, 36_500), help="days until it expires; default: never")
@click.option("--json", "as_json", is_flag=True, help="print it as JSON")
def issue(name: str, scopes: tuple[Scope, ...], quota: int, days: int | None, as_json: bool) -> None:
    """Issue a key. NAME says for whom or what it is; the key itself is shown this once and cannot be shown again."""
    label = " ".join(name.split())
    if not 1 <= len(label) <= 80 or not label.isprintable():
        raise click.BadParameter("A name has 1 to 80 characters that can be printed.", param_hint="NAME")
    now, made = utc_now(), open_keys()
    expires = now + timedelta(days=days) if days else None
    key, token = made.issue(label, scopes=scopes or SCOPES, quota=quota, now=now, expires=expires)
    secret = made.webhook_secret(key.id)
    if as_json:
        click.echo(json.dumps(_as_json(key, None) | {"key": token, "webhook_secret": secret}))
        return
    click.echo(f"key             {token}\nwebhook secret  {secret}")
    click.echo(
        f"id              {key.id}\nscopes          {', '.join(key.scopes)}\nquota           {quota} submissions a day\n"
        f"expires         {date(expires) if expires else 'never'}"
    )
    click.secho("Keep the first two now: they are not stored, so they cannot be shown again.", err=True)


@keys.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="print them as JSON")
def list_keys(as_json: bool) -> None:
    """List all keys: who has them, what they may do, and the last day on which they were used."""
    found = open_keys().all()
    if as_json:
        click.echo(json.dumps([_as_json(key, used) for key, used in found], indent=1))
        return
    table = Table("id", "name", "scopes", "a day", "state", "issued", "last used", box=None, pad_edge=False)
    for key, used in found:
        row = (key.id, key.name, ", ".join(key.scopes), str(key.quota), _state(key), date(key.created))
        table.add_row(*map(Text, (*row, f"{used.day} ({used.submissions} submissions)" if used else "never")))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 240  # for grep: a row is a line
    console.print(table)


@keys.command()
@click.argument("key_id", metavar="ID")
def revoke(key_id: str) -> None:
    """Stop a key for good, at once. What it submitted stays until its retention time is over."""
    key = open_keys().revoke(key_id, now=utc_now())
    click.echo(f"{key.id} ({key.name}) is revoked.")


def _state(key: Key) -> str:
    if key.revoked:
        return f"revoked on {date(key.revoked)}"
    if not key.works(utc_now()):
        return "expired"
    return f"works until {date(key.expires)}" if key.expires else "works"


def _as_json(key: Key, used: Used | None) -> dict[str, Any]:
    return key.model_dump(mode="json", exclude={"sha256"}) | {
        "works": key.works(utc_now()),
        "used": used.model_dump(mode="json") if used else None,
    }
