"""Steps on the shared folders whose trouble is told as such: ``reads`` and ``writes`` wrap the methods of a class that can ``check`` them.

For ``shared.store`` only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from shared.errors import StoreTrouble


class Checked(Protocol):
    """Folders that may be away."""

    def check(self) -> None:
        """StoreTrouble when a folder is away."""


Folders = TypeVar("Folders", bound=Checked)
Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def reads(step: Callable[Concatenate[Folders, Given], Answer]) -> Callable[Concatenate[Folders, Given], Answer]:
    """A step that reads: trouble is StoreTrouble, and "not there" is believed only while the folders are there."""

    @functools.wraps(step)
    def guarded(folders: Folders, /, *given: Given.args, **named: Given.kwargs) -> Answer:
        try:
            return step(folders, *given, **named)
        except (StoreTrouble, FileExistsError):
            raise
        except FileNotFoundError:
            folders.check()
            raise
        except OSError as error:
            raise StoreTrouble(error) from error

    return guarded


def writes(step: Callable[Concatenate[Folders, Given], Answer]) -> Callable[Concatenate[Folders, Given], Answer]:
    """A step that changes something: the same, and it is not begun while a folder is away."""

    @functools.wraps(step)
    @reads
    def guarded(folders: Folders, /, *given: Given.args, **named: Given.kwargs) -> Answer:
        folders.check()
        return step(folders, *given, **named)

    return guarded
