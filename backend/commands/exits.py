"""How a command ends: its exit status, and our errors as one sentence instead of a traceback.

Imported by the composition root and by every command; starts nothing and imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from shared.errors import DfomError
from shared.names import shown

#: The work was done and something failed: a detector was not admitted, a weights file differs.
EXIT_FAILED: Final = 1
#: The command could not be carried out; the message says what to do.
EXIT_USAGE: Final = 2
#: Nothing got a score (``analyze``, ``detectors run``).
EXIT_NOTHING: Final = 3


@contextmanager
def errors_explained(status: int = EXIT_USAGE) -> Iterator[None]:
    """Turn one of our errors into its sentence on stderr and exit ``status``."""
    try:
        yield
    except DfomError as error:
        click.secho(shown(error.sentence), fg="red", err=True)
        raise SystemExit(status) from None
