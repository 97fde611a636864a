"""The operator's list of signers of content credentials, as one file for the media worker. Imported by ``backend.workers.calls``."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

from shared.settings import Settings

log = structlog.get_logger()

#: Bytes of all lists together; the published ones have some hundred thousand.
MOST_BYTES: Final = 16_000_000


@contextlib.contextmanager
def signers(settings: Settings) -> Iterator[Path | None]:
    """All ``*.pem`` of ``settings.signers`` in one file, which is gone afterwards; None where there is none."""
    joined = b"".join(_lists(settings.signers))
    if not joined:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="signers-") as folder:
        path = Path(folder) / "signers.pem"
        path.write_bytes(joined)
        path.chmod(0o444)
        yield path


def _lists(folder: Path) -> Iterator[bytes]:
    left = MOST_BYTES
    try:
        for path in sorted(folder.glob("*.pem")):
            content = path.read_bytes()
            left -= len(content)
            if left < 0:
                log.warning("signers_left_out", file=path.name, most_bytes=MOST_BYTES)
                return
            yield content.rstrip() + b"\n"
    except OSError as error:
        log.warning("signers_unreadable", reason=str(error))
