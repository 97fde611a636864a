"""``benchmark``: how good detectors are on a labelled data set, with the pipeline that serves visitors.

Owns the steps from DATASET to the files in OUT: what is chosen, what is pinned in ``run.json`` so that a later run may go on, and the words
on the terminal. Imported by the composition root.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from backend.batch.at_once import clips_at_once, shared_out
from backend.benchmark import attacks, judging, output, readers
from backend.benchmark.items import DataSet, Item
from backend.benchmark.page import figure_words
from backend.benchmark.records import Benchmark, Row
from backend.commands import rooms
from backend.commands.analyze import choose
from backend.commands.back_end import BackEnd
from backend.commands.console import say, stdout_console
from backend.commands.exits import EXIT_NOTHING
from backend.job import Cancelled
from backend.scores.references import SHIPPED, UNTOUCHED, checked_name
from backend.workers.pool import WorkerPool
from backend.workers.provenance import provenance
from backend.workers.spec import media_spec
from base_detector import Card
from shared import durable
from shared.errors import UserError
from shared.names import shown
from shared.reading import RecordInvalid, read_record
from shared.records import Mode, Record
from shared.results import Provenance
from shared.settings import Settings

RUN: Final = "run.json"


@dataclass(frozen=True)
class Asked:
    """The arguments of the command."""

    dataset: Path
    out: Path
    names: str | None = None
    mode: Mode = "standard"
    format_name: str | None = None
    subset_by: str = "subset"
    corruptions: str | None = None
    pgd: bool = False
    most: int | None = None
    draws: int = 1000
    seed: int = 0
    jobs: int | None = None
    reference: str | None = None
    #: what the material is, in a sentence; whether its fakes were made for measuring; whether the set goes beside the detector, to be
    #: shipped with it
    about: str = ""
    made: bool = False
    ship: bool = False
    as_json: bool = False


class Run(Record):
    """``OUT/run.json``: what the rows in OUT were made with."""

    mode: Mode
    seed: int
    detectors: dict[str, Provenance]


def run(asked: Asked, settings: Settings, *, build: Callable[[Settings], BackEnd], console: Console) -> None:
    """Measure, and write the results into ``asked.out``. UserError when it cannot begin; exit 3 when no file got a score."""
    if asked.reference is not None:
        checked_name(asked.reference)
    data = _chosen(readers.read_dataset(asked.dataset, format_name=asked.format_name, subset_by=asked.subset_by), asked)
    _say_data(console, data)
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            "out_not_writable", f"{shown(asked.out)} cannot be written ({error.strerror}). Choose another --out."
        ) from None
    with rooms.scratch(settings.scratch) as scratch:
        settings = settings.model_copy(update={"scratch": scratch})
        backend = build(settings)
        with contextlib.closing(backend.pool):
            cards = [backend.catalog.card(name) for name in choose(backend.catalog, asked.names)]
        plan = judging.Plan(
            data.items,
            cards,
            mode=asked.mode,
            corruptions=_corruptions(asked.corruptions, cards),
            pgd=asked.pgd,
            seed=asked.seed,
        )
        at_once = clips_at_once(settings, cards, asked=asked.jobs, files=len(data.items))
        settings = shared_out(settings, at_once)
        backend = build(settings)
        with contextlib.closing(backend.pool):
            measured = _measure(plan, asked, data, settings, backend, at_once=at_once, console=console)
    benchmark = output.assemble(measured)
    output.write(benchmark, measured.rows, asked.out)
    if asked.reference:
        folders = {card.id: card.folder / SHIPPED if asked.ship else settings.references / card.id for card in cards}
        for path in output.keep_references(
            benchmark,
            measured.rows,
            folder_of=folders.__getitem__,
            name=asked.reference,
            about=asked.about,
            made=asked.made,
        ):
            say(console, f"Reference set: {path}")
    _print(benchmark, asked)
    if not any(row.status == "ok" for row in measured.rows):
        raise SystemExit(EXIT_NOTHING)


# --------------------------------------------------------------------------- what is chosen


def _chosen(data: DataSet, asked: Asked) -> DataSet:
    """All items, or ``--most`` of them: drawn by the seed, half of each kind where there are enough."""
    if asked.most is None or asked.most >= len(data.items):
        return data
    rng, kept = np.random.default_rng(asked.seed), list[Item]()
    kinds = sorted(([item for item in data.items if item.fake == fake] for fake in (False, True)), key=len)
    for number, kind in enumerate(kinds):
        share = min(len(kind), (asked.most - len(kept)) // (2 - number))
        kept += [kind[place] for place in sorted(rng.choice(len(kind), share, replace=False).tolist())]
    return replace(data, items=sorted(kept, key=lambda item: item.name))


def _corruptions(names: str | None, cards: Sequence[Card]) -> list[str]:
    """The corruptions named, or ``all`` that fit the detectors."""
    fitting = judging.corruptions_for(cards)
    if names is None:
        return []
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if wanted == ["all"]:
        return fitting
    for name in wanted:
        if name not in fitting:
            raise UserError(
                "unknown_setting",
                f"There is no corruption {shown(name)!r} for these detectors. Choose from: all, {', '.join(fitting)}.",
            )
    return wanted


def _say_data(console: Console, data: DataSet) -> None:
    real, fake = data.counts()
    subsets = f", {len(data.subsets())} subsets" if data.subsets() else ""
    say(console, f"{data.name} (read as {data.format}): {real} real, {fake} fake{subsets}")
    if data.missing:
        say(console, f"Listed but not there: {len(data.missing)}, the first one is {data.missing[0]}")
    if data.unlabelled:
        say(console, f"Without a label that is known: {data.unlabelled}")
    if not (real and fake):
        say(console, "There is one kind only, so no figure can compare the two.")


# --------------------------------------------------------------------------- the work


def _measure(
    plan: judging.Plan,
    asked: Asked,
    data: DataSet,
    settings: Settings,
    backend: BackEnd,
    *,
    at_once: int,
    console: Console,
) -> output.Measured:
    ran = {card.id: provenance(card, settings=settings, pool=backend.pool) for card in plan.cards}
    _pin(asked, ran)
    rows, stopping = judging.Rows(asked.out), threading.Event()
    attackers = (
        WorkerPool(settings.model_copy(update={"runner": "process", "scratch": settings.scratch_folder / "pgd"}))
        if asked.pgd
        else None
    )
    bench = judging.Bench(backend.pipeline, rows, attackers, cancelled=stopping.is_set)
    with contextlib.ExitStack() as closing:
        if attackers is not None:
            closing.callback(attackers.close)
        _work(plan, bench, stopping, at_once=at_once, console=console)
    conditions = [UNTOUCHED, *plan.corruptions]
    if asked.pgd:
        conditions += [judging.condition_of(eps) for eps in (0.0, *attacks.EPS)]
    found = rows.of(plan.items, conditions, [card.id for card in plan.cards])
    media = media_spec(settings)
    return output.Measured(
        data=data,
        cards=plan.cards,
        provenance=ran,
        rows=found,
        conditions=conditions,
        mode=asked.mode,
        seed=asked.seed,
        draws=asked.draws,
        pgd=asked.pgd,
        refused=bench.refused,
        media_runner=backend.pool.runner_kind(media),
        media_image=backend.pool.image_digest(media),
    )


def _pin(asked: Asked, ran: dict[str, Provenance]) -> None:
    """Refuse to mix rows of other versions, modes or seeds in one folder; else note what runs now."""
    path = asked.out / RUN
    before: Run | None = None
    with contextlib.suppress(FileNotFoundError, RecordInvalid):
        before = read_record(path, Run)
    detectors = dict(ran)
    if before is not None:
        other = [name for name, one in before.detectors.items() if name in ran and one != ran[name]]
        if (before.mode, before.seed) != (asked.mode, asked.seed) or other:
            what = f"other versions of {', '.join(other)}" if other else f"mode {before.mode} and seed {before.seed}"
            raise UserError(
                "out_not_writable", f"{shown(asked.out)} has a benchmark with {what}. Choose another folder with --out."
            )
        detectors = before.detectors | ran
    durable.replace_json(path, Run(mode=asked.mode, seed=asked.seed, detectors=detectors).model_dump(mode="json"))


def _work(
    plan: judging.Plan, bench: judging.Bench, stopping: threading.Event, *, at_once: int, console: Console
) -> None:
    """Judge all items, ``at_once`` of them at a time. When it is stopped, those in work are cut off; the rows so far stay."""

    def one(item: Item) -> list[Row]:
        return [] if stopping.is_set() else list(bench.judge(plan, item))

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("files", total=len(plan.items))
        with ThreadPoolExecutor(at_once, thread_name_prefix="benchmark") as threads:
            futures: list[Future[Any]] = [threads.submit(one, item) for item in plan.items]
            try:
                for future in as_completed(futures):
                    future.result()
                    bar.advance(task)
            except BaseException:
                stopping.set()
                for future in futures:
                    future.cancel()
                bench.pipeline.pool.close()
                if bench.attackers is not None:
                    bench.attackers.close()
                with contextlib.suppress(Cancelled):
                    threads.shutdown(wait=True)
                raise


# --------------------------------------------------------------------------- the answer


def _print(benchmark: Benchmark, asked: Asked) -> None:
    if asked.as_json:
        click.echo(benchmark.model_dump_json(indent=1))
        return
    table = Table(
        "detector",
        "subset",
        "judged",
        "ROC-AUC [95 %]",
        "EER",
        "balanced accuracy",
        "min Cllr",
        box=None,
        pad_edge=False,
    )
    for one in benchmark.tables:
        if one.level == "file" and one.condition == UNTOUCHED:
            part = one.coverage.all
            names = ("roc_auc", "eer", "balanced_accuracy", "min_cllr")
            table.add_row(
                one.detector,
                one.subset or "all",
                f"{part.judged}/{part.of}",
                *(figure_words(one.figures[name]) for name in names),
            )
    console = stdout_console()
    console.print(table, markup=False)
    say(
        console,
        f"{asked.out / 'benchmark.html'} has the plots, benchmark.json everything, tables.csv, scores.csv and tables.tex the numbers.",
    )
    console.print("A detector's figures are about the files it judged, and about data like these.", style="dim")
