"""``deepfake-o-meter signers``: the list of signers that content credentials are compared with, and how it gets here.

Owns the folder ``DATA/signers``. Promises: a list is installed only with the sha256 that the operator gives; what is not a list of
certificates is refused. Imported by the composition root.
"""

from __future__ import annotations

import hashlib
import re
import ssl
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import click
import httpx

from backend.commands.exits import errors_explained
from backend.workers.signers import MOST_BYTES
from shared import durable
from shared.errors import UserError
from shared.names import shown
from shared.settings import Settings, read_settings
from shared.words import counted

#: Where the C2PA publishes its list; the same folder has the list of time stamp authorities.
PUBLISHED = (
    "https://raw.githubusercontent.com/c2pa-org/conformance-public/refs/heads/main/trust-list/C2PA-TRUST-LIST.pem"
)
_SECONDS = 60.0
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@click.command()
@click.option(
    "--fetch",
    "url",
    metavar="URL",
    is_flag=False,
    flag_value=PUBLISHED,
    help="fetch a list: the C2PA's, or that of URL",
)
@click.option(
    "--add", "file", metavar="FILE", type=click.Path(path_type=Path), help="add a list from a file of this machine"
)
@click.option(
    "--sha256",
    metavar="HEX",
    help="what the list must be; without it the list's sha256 is shown, and nothing is installed",
)
def signers(url: str | None, file: Path | None, sha256: str | None) -> None:
    """Show, fetch or add lists of signers of content credentials (C2PA). Without a list a signer is never said to be known."""
    with errors_explained():
        settings = read_settings()
        if url is None and file is None:
            _list(settings)
            return
        content = _read(file) if file else _fetched(str(url))
        name = PurePosixPath(urlsplit(url).path).name if url and not file else (file or Path()).name
        _install(content, name=name, sha256=sha256, settings=settings)


def _list(settings: Settings) -> None:
    lists = sorted(settings.signers.glob("*.pem")) if settings.signers.is_dir() else []
    for path in lists:
        content = path.read_bytes()
        click.echo(
            f"{path.name}  {counted(len(_CERTIFICATE.findall(content)), 'certificate')}  sha256 {_digest(content)}"
        )
    if not lists:
        click.echo(
            "There is no list: results say that a signature is intact and that its signer was not checked. "
            "'deepfake-o-meter signers --fetch' shows the sha256 of the C2PA's list."
        )


def _fetched(url: str) -> bytes:
    content = bytearray()
    try:
        with httpx.stream("GET", url, timeout=_SECONDS, follow_redirects=True) as answer:
            if answer.status_code != httpx.codes.OK:
                raise UserError("fetch_failed", f"{url} answers with status {answer.status_code}.")
            for block in answer.iter_bytes():
                content += block
                if len(content) > MOST_BYTES:
                    raise UserError(
                        "fetch_failed", f"{url} is larger than {MOST_BYTES // 1_000_000} MB, which no list is."
                    )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UserError("fetch_failed", f"{url} cannot be fetched: {error}.") from None
    return bytes(content)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError("no_such_file", f"{shown(file)} cannot be read ({error.strerror}).") from None


def _install(content: bytes, *, name: str, sha256: str | None, settings: Settings) -> None:
    certificates = _CERTIFICATE.findall(content)
    try:
        for certificate in certificates:
            ssl.PEM_cert_to_DER_cert(certificate.decode("ascii"))
    except ValueError:
        certificates = []
    if not certificates:
        raise UserError("no_such_file", "That is not a list of certificates (PEM).")
    digest = _digest(content)
    if sha256 is None:
        click.echo(
            f"{counted(len(certificates), 'certificate')}, sha256 {digest}\n"
            f"Nothing is installed yet. Compare that with the publisher, then repeat the command with --sha256 {digest}"
        )
        return
    if digest != sha256.strip().lower():
        raise UserError(
            "fetch_failed", f"The list has sha256 {digest}, not the one that you gave. Nothing was installed."
        )
    stem = re.sub(r"[^A-Za-z0-9_-]", "-", PurePosixPath(name).stem)[:60] or "list"
    settings.signers.mkdir(parents=True, exist_ok=True)
    durable.replace_bytes(settings.signers / f"{stem}.pem", content)
    click.echo(f"Installed {stem}.pem with {counted(len(certificates), 'certificate')}. New results use it.")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
