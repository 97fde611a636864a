"""What the command line shows: progress bars while files are judged, tables afterwards.

Owns how the terminal looks; touches no files. May be imported by the command line only.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from backend.catalog.detectors import UnusableCard
from backend.commands.finding import Found
from base_detector import Card
from shared.errors import sentence_for
from shared.names import shown
from shared.records import DetectorProgress
from shared.results import Finding
from shared.rounding import score as rounded
from shared.statement import NOT_COUNTED, finding_words
from shared.words import UNIT_NOUNS, counted, judges_in_words, label_in_words

#: Names of the pipeline's steps on the terminal.
_STEPS = {"media": "reading the file", "report": "drawing the report", "video": "drawing the video"}

#: Persons whose scores are in a row of the table; the report has all.
_MOST_PERSONS = 4

#: The file is of a kind that this detector does not judge: a row of the table says so, and no line on the way.
_OTHER_KIND = ("no_picture", "no_sound")


class Shown:
    """A context manager that shows ``progress`` until the block ends: at a terminal only, and nothing of it stays there."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console, self._progress = console, progress

    @staticmethod
    def progress(console: Console, *columns: ProgressColumn, per_second: int) -> Progress:
        """Made of ``columns``, drawn anew so often."""
        here = console.is_terminal
        return Progress(*columns, console=console, transient=True, refresh_per_second=per_second, disable=not here)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class Bars(Shown):
    """Progress of a command: a bar for each file in work and, with more than one file, one for all. Threads may share it."""

    def __init__(self, console: Console, *, files: int = 1) -> None:
        self._files, self._done, self._failed = files, 0, 0
        self._began, self._lock = time.monotonic(), threading.Lock()
        columns = (
            TextColumn("{task.fields[file]}", style="bold", markup=False),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
        )
        super().__init__(console, self.progress(console, *columns, per_second=4))
        self._all = self._progress.add_task("", total=files, file="all files", left="") if files > 1 else None

    @contextlib.contextmanager
    def board(self, name: str) -> Iterator[ConsoleBoard]:
        """The bar of one file, shown until the block ends."""
        task = self._progress.add_task("starting", total=None, file=name, left="")
        try:
            yield ConsoleBoard(self._console, self._progress, task, name)
        finally:
            self._progress.remove_task(task)

    def over(self, name: str, *, trouble: str | None) -> None:
        """One file is done; ``trouble``: why it could not be judged, said at once when others follow."""
        with self._lock:
            self._done += 1
            self._failed += trouble is not None
            if self._all is not None:
                left = (time.monotonic() - self._began) / self._done * (self._files - self._done)
                words = f"about {timedelta(seconds=round(left))} left" if self._done < self._files else ""
                failed = f"{self._failed} failed" if self._failed else ""
                self._progress.update(self._all, completed=self._done, description=failed, left=words)
        if trouble is not None and self._files > 1:
            say(self._console, f"{name}: {trouble}")


class ConsoleBoard:
    """Progress of one file; ``Bars.board`` makes it."""

    def __init__(self, console: Console, progress: Progress, task: TaskID, name: str) -> None:
        self._console, self._progress, self._task, self._name = console, progress, task, name

    def step(self, name: str, *, done: int = 0, total: int = 0) -> None:
        """Show a step of the pipeline and how far it is."""
        self._show(_STEPS.get(name, name), done=done, total=total)

    def detector(self, progress: DetectorProgress) -> None:
        """Show a detector at work; print a line when it gave no score."""
        self._show(progress.detector, done=progress.done, total=progress.total)
        if progress.code and progress.code not in _OTHER_KIND:
            say(self._console, f"{self._name}: {progress.detector}: {sentence_for(progress.code)}")

    def _show(self, description: str, *, done: int, total: int) -> None:
        self._progress.update(self._task, description=description, completed=done, total=total or None)


def say(console: Console, words: str) -> None:
    """Print ``words`` as they are, as one line: a file's name is no markup, and moves no cursor."""
    console.print(shown(words), highlight=False, markup=False, soft_wrap=True)


def say_left_out(console: Console, found: Found, *, verbose: bool) -> None:
    """What a search through folders left out: how many and why, and each by its name when ``verbose``."""
    if found.left_out:
        say(console, f"Left out: {found.left_out_words()}.{'' if verbose else ' --verbose names them.'}")
    if verbose:
        for why, paths in found.left_out.items():
            for path in paths:
                say(console, f"  {shown(path)}: {why}")


def print_summaries(summaries: Iterable[dict[str, Any]]) -> None:
    """A table of what ``analyze`` found, on stdout."""
    table = Table(
        "file", "detector", "fake score", "threshold", "label", "persons", "finding", "remark", box=None, pad_edge=False
    )
    places, statements = [], list[str]()
    for item in summaries:
        name = Path(item["file"]).name
        for row in _rows(item.get("detectors", {})):
            table.add_row(*_cells(name, *row))
        for sentence in item.get("notes", ()):
            table.add_row(*_cells("", "", "", "", "", "", "", f"Note: {sentence}"))
        statements += [f"{name}: {sentence}" for sentence in item.get("statement", ())]
        if "detectors" in item:
            places.append(f"{name} -> {item['out']}")
        else:
            table.add_row(*_cells(name, "-", "-", "-", "-", "-", "-", item["message"]))
    console = stdout_console()
    for sentence in statements:  # what points where leads, the numbers follow
        say(console, sentence)
    if statements:
        console.print()
    console.print(table)
    for place in places:  # not in the table, which would break them into pieces that cannot be copied
        say(console, place)
    console.print("Fake score: 0 = real, 1 = fake. A score is an indication, not a proof.", style="dim")


def _rows(answers: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """Detector, score, threshold, label (in brackets where it does not count), the scores of persons where there are several,
    finding and remark of each answer.

    Detectors without a score for the same reason share a row.
    """
    rows, silent = [], dict[str, list[str]]()
    for detector, answer in answers.items():
        if answer["fake_score"] is None:
            silent.setdefault(answer["message"] or sentence_for(answer["code"]), []).append(detector)
            continue
        score = rounded(answer["fake_score"], threshold=answer["threshold"])
        judged = counted(answer["units_scored"], UNIT_NOUNS[answer["unit"]])
        band = answer.get("stability")
        if band and band["low"] is not None:
            low, high = (rounded(band[end], threshold=answer["threshold"]) for end in ("low", "high"))
            judged = f"{judged}; {low} to {high} under mild re-encoding"
        finding = Finding.model_validate(answer["finding"]) if answer["finding"] else None
        label = label_in_words(answer["hard_label"])
        if finding and finding.code in NOT_COUNTED:
            label = f"({label})"
        found = finding_words(finding) if finding else "-"
        rows.append((detector, score, f"{answer['threshold']:.2f}", label, _persons(answer), found, judged))
    return [*rows, *((", ".join(names), *("-" * 5), remark) for remark, names in silent.items())]


def _persons(answer: dict[str, Any]) -> str:
    """'1: 0.08, 2: 0.64', persons counted from 1 as in the report; a dash where there are no two. No maximum, which flags crowds."""
    persons = answer.get("persons", ())
    if len(persons) < 2:
        return "-"
    told = [
        f"{one['person'] + 1}: {rounded(one['fake_score'], threshold=answer['threshold'])}"
        for one in persons[:_MOST_PERSONS]
    ]
    more = len(persons) - _MOST_PERSONS
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")


def _cells(*texts: str) -> list[Text]:
    """Cells with exactly these texts: names are no markup."""
    return [Text(shown(text)) for text in texts]


def print_cards(rows: Iterable[tuple[Card, str, str | None]], unusable: Iterable[UnusableCard] = ()) -> None:
    """A table of the detectors: card, state, and the code that says why it cannot run here, or None. Bad cards come last."""
    table = Table("id", "title", "judges", "version", "state", "here", "summary", box=None, pad_edge=False)
    for card, state, code in rows:
        missing = "weights not installed" if code == "weights_missing" else code and sentence_for(code)
        judges = judges_in_words(card.input, lossless_only=card.lossless_only)
        table.add_row(*_cells(card.id, card.title, judges, card.version, state, missing or "ready", card.summary))
    for item in unusable:
        table.add_row(*_cells(item.name, "", "", "", "unusable", item.sentence, ""))
    stdout_console().print(table)


def stdout_console() -> Console:
    """When piped, do not wrap: readers expect one row per line."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=400, highlight=False)
