"""How a command ends: its exit status, and our errors as one sentence instead of a traceback.

Imported by the composition root and by every command; starts nothing and imports nothing heavy.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

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


@contextmanager
def printing(else_see: str) -> Iterator[None]:
    """Say on stderr when standard output cannot be written, and where the answer is otherwise; exit 1. A closed pipe ends quietly."""
    try:
        yield
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        click.secho(f"The answer could not be printed ({error.strerror}). {shown(else_see)}", fg="red", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python fails again when it ends
        raise SystemExit(EXIT_FAILED) from None


class NamedPath(click.Path):
    """A path that is not empty: that would be the current folder, and is a variable of a script that was not set."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See ``click.Path``."""
        if value == "":
            self.fail("The name is empty. '.' is the current folder.", param, ctx)
        return super().convert(value, param, ctx)
