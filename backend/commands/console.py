"""What the command line shows: progress bars while files are judged, tables afterwards.

Owns how the terminal looks; touches no files. May be imported by the command line only.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from backend.catalog.detectors import UnusableCard
from base_detector import Card
from shared.errors import sentence_for
from shared.records import DetectorProgress

#: Names of the pipeline's steps on the terminal.
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

    def detector(self, progress: DetectorProgress) -> None:
        """Show a detector at work; print a line when it gave no score."""
        self._show(progress.detector, done=progress.done, total=progress.total)
        if progress.code:
            line = f"{self._name}: {progress.detector}: {sentence_for(progress.code)}"
            self._console.print(line, highlight=False, markup=False)

    def _show(self, description: str, *, done: int, total: int) -> None:
        self._progress.update(self._task, description=description, completed=done, total=total or None)


def print_summaries(summaries: Iterable[dict[str, Any]]) -> None:
    """A table of what ``analyze`` found, on stdout."""
    table = Table("file", "detector", "fake score", "label", "remark", box=None, pad_edge=False)
    for item in summaries:
        name = Path(item["file"]).name
        for detector, answer in item.get("detectors", {}).items():
            score = "-" if answer["fake_score"] is None else f"{answer['fake_score']:.3f}"
            remark = sentence_for(answer["code"]) if answer["code"] else f"{answer['faces_scored']} faces"
            table.add_row(name, detector, score, answer["hard_label"] or "-", remark)
        for sentence in item.get("notes", ()):
            table.add_row("", "", "", "", f"Note: {sentence}")
        if "detectors" in item:
            table.add_row("", "", "", "", f"-> {item['out']}")
        else:
            table.add_row(name, "-", "-", "-", item["message"])
    console = _stdout()
    console.print(table)
    console.print("Fake score: 0 = real, 1 = fake. A score is an indication, not a proof.", style="dim")


def print_cards(rows: Iterable[tuple[Card, str, str | None]], unusable: Iterable[UnusableCard] = ()) -> None:
    """A table of the detectors: card, state, and the code that says why it cannot run here, or None. Bad cards come last."""
    table = Table("id", "title", "version", "state", "here", "summary", box=None, pad_edge=False)
    for card, state, code in rows:
        missing = "weights not installed" if code == "weights_missing" else code and sentence_for(code)
        table.add_row(
            card.id, escape(card.title), escape(card.version), state, missing or "ready", escape(card.summary)
        )
    for item in unusable:
        table.add_row(escape(item.name), "", "", "unusable", escape(item.sentence), "")
    _stdout().print(table)


def _stdout() -> Console:
    """When piped, do not wrap: readers expect one row per line."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=400, highlight=False)
