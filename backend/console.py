"""The board of the command line: progress bars on the terminal, one line a finished detector elsewhere.

Owns how ``analyze`` shows its work; talks to no folder. May be imported by the command line only.
"""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from shared.errors import sentence_for
from shared.records import DetectorState

#: What a step of the pipeline is called on the terminal.
_STEPS = {"media": "finding faces", "report": "drawing the report"}


class ConsoleBoard:
    """Progress of one file; a context manager."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.fields[file]}", style="bold"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=None, file=name)
        self._name = name

    def __enter__(self) -> ConsoleBoard:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def step(self, name: str, *, done: int = 0, total: int = 0) -> None:
        """Show a step of the pipeline and how far it is."""
        self._show(_STEPS.get(name, name), done=done, total=total)

    def detector(
        self,
        detector: str,
        *,
        state: DetectorState,
        done: int = 0,
        total: int = 0,
        code: str | None = None,
        seconds: float | None = None,
        cached: bool = False,
    ) -> None:
        """Show a detector at work; print a line when it gave no score."""
        self._show(detector, done=done, total=total)
        if code:
            self._console.print(f"{self._name}: {detector}: {sentence_for(code)}", highlight=False, markup=False)

    def _show(self, description: str, *, done: int, total: int) -> None:
        self._progress.update(self._task, description=description, completed=done, total=total or None)
