"""``batch``: judge many files, resumable, with rows in shards instead of a report each; ``--dry-run`` says what that will take.

Owns what is asked on the command line and what is printed. The work is ``backend.batch``. Called by the composition root, which builds the
back-end.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import click
from rich.console import Console

from backend.batch.arriving import Source
from backend.batch.at_once import NICE, clips_at_once, memory_of_a_file, shared_out
from backend.batch.entries import Entries, Entry, of_folder, part_of, read_list
from backend.batch.estimate import Estimate, Measured, estimate, measure_until_sure, most_sampled, sample_of
from backend.batch.hands import Hands, Here, Wish
from backend.batch.judging import Visitors, rehearse
from backend.batch.meter import Meter
from backend.batch.rows import NOT_JUDGED
from backend.batch.run import BatchRecord, Order, open_batch, record_of
from backend.batch.summary import write_summary
from backend.commands import rooms
from backend.commands.analyze import choose
from backend.commands.back_end import BackEnd
from backend.commands.batch_line import Line
from backend.commands.console import say, say_left_out
from backend.commands.exits import EXIT_NOTHING
from backend.commands.finding import Found, find_media
from shared.errors import UserError
from shared.names import shown
from shared.records import Mode
from shared.settings import Settings
from shared.signatures import MEDIA_HEAD_BYTES, is_media
from shared.stability import Again
from shared.words import counted, duration


class Machines(Hands, Protocol):
    """Those of a cluster."""

    def places(self) -> int:
        """How many files they judge at once."""


#: Joins the cluster for a batch; where this machine's own files come from.
Cluster = Callable[[Order, Source], AbstractContextManager[Machines]]


@dataclass(frozen=True)
class Asked:
    """The options of one call."""

    source: str
    out: Path
    names: str | None = None
    mode: Mode = "standard"
    column: str | None = None
    report: bool = False
    units: bool = False
    stability: Again = "off"
    jobs: int | None = None
    part: tuple[int, int] = (1, 1)
    resume: bool = True
    retry: bool = False
    dry_run: bool = False
    price: float | None = None
    nodes: int = 1
    as_json: bool = False
    verbose: bool = False

    def wish(self, detectors: Sequence[str]) -> Wish:
        """What is wanted of each file."""
        return Wish(tuple(detectors), self.mode, report=self.report, units=self.units, stability=self.stability)


def gather(asked: Asked, *, ours: Sequence[Path]) -> tuple[Entries, Found]:
    """The entries that ``asked.source`` names, and what a search through a folder left out. UserError when there are none."""
    found, path = Found(), Path(asked.source)
    if asked.source == "-":
        entries = read_list(sys.stdin.buffer.read(), name="standard input", base=Path(), column=asked.column)
    elif path.is_dir():
        found = find_media([path], ours=[*ours, asked.out])
        entries = Entries(of_folder([(item.path, item.trouble) for item in found.media], top=path))
    elif path.is_file():
        try:
            with path.open("rb") as stream:
                untrusted = stream.read(MEDIA_HEAD_BYTES)
                media = is_media(untrusted)
                untrusted += b"" if media else stream.read()
        except OSError as error:
            raise UserError("no_such_file", f"{shown(path)} cannot be read ({error.strerror}).") from None
        one = Entries([Entry(shown(path.name), path)])
        entries = one if media else read_list(untrusted, name=path.name, base=path.parent, column=asked.column)
    else:
        raise UserError("no_such_file", f"{shown(path)} is neither a folder nor a list of files.")
    if not entries.entries:
        raise UserError("no_media", f"{shown(asked.source)} names no file.")
    return entries, found


def run(
    asked: Asked,
    settings: Settings,
    *,
    build: Callable[[Settings], BackEnd],
    visitors: Visitors | None,
    console: Console,
    cluster: Cluster | None = None,
) -> None:
    """Judge what was asked for, or say what it would take. ``visitors`` of a portal that runs on the same data; None when none runs.

    With a ``cluster`` its machines judge. A dry run is always of this machine: what several take follows from one.
    """
    jobs = settings.jobs if "jobs" in settings.model_fields_set else None
    ours = [settings.data, settings.scratch_folder, settings.weights_folder]
    entries, found = gather(asked, ours=ours)
    say_left_out(console, found, verbose=asked.verbose)
    share = part_of(entries.entries, part=asked.part[0], parts=asked.part[1])
    if visitors is not None:
        os.nice(NICE)
        if "worker_memory_mb" not in settings.model_fields_set:  # the portal's workers have the other half
            settings = settings.model_copy(update={"worker_memory_mb": settings.worker_memory_mb // 2})
    with rooms.scratch(settings.scratch) as scratch:
        settings = settings.model_copy(update={"scratch": scratch})
        first = build(settings)
        with contextlib.closing(first.pool):
            detectors = choose(first.catalog, asked.names)
            cards = [first.catalog.card(name) for name in detectors]
            if asked.dry_run:  # what a first call compiles is no part of the start of the next one
                for picked in sample_of(share, most=1):
                    rehearse(_here(asked.wish(detectors), first, scratch, out=scratch), picked.entry)
        at_once = clips_at_once(settings, cards, asked=asked.jobs, files=max(1, len(share)))
        backend = build(shared_out(settings, at_once))
        with contextlib.closing(backend.pool):
            work = _Work(
                asked,
                entries,
                share,
                asked.wish(detectors),
                backend,
                scratch,
                at_once,
                visitors,
                console,
                cluster,
                jobs,
            )
            work.rehearse() if asked.dry_run else work.judge()


@dataclass
class _Work:
    """One call, when all parts of it are known."""

    asked: Asked
    entries: Entries
    share: Sequence[Entry]
    wish: Wish
    backend: BackEnd
    scratch: Path
    at_once: int
    visitors: Visitors | None
    console: Console
    cluster: Cluster | None = None
    #: DFOM_JOBS, where it is set
    jobs: int | None = None

    def judge(self) -> None:
        """Judge what is left, complete the shards and write the summary."""
        asked = self.asked
        source = asked.source if asked.source == "-" else str(Path(asked.source).resolve())
        record = record_of(
            self.backend.pipeline, self.wish, source=shown(source), columns=self.entries.columns, parts=asked.part[1]
        )
        visitors = self.visitors or Visitors()
        with open_batch(asked.out, record, self.share, part=asked.part[0], retry=asked.retry) as batch:
            if batch.rows and not asked.resume:
                raise UserError(
                    "out_not_writable", f"{shown(asked.out)} holds rows already. Choose another folder with --out."
                )
            meter = Meter(batch.rows + len(batch.left), batch.rows, batch.failed)
            if batch.rows:
                say(self.console, f"Going on: {counted(batch.rows, 'file')} done before, {len(batch.left):,} left.")
            with self._hands(batch.record) as (hands, at_once):
                judged = batch.run(hands, at_once=at_once, visitors=visitors)
                with contextlib.closing(judged), Line(self.console, meter, visitors, here=self.cluster is None):
                    for row in (row for rows in judged for row in rows):
                        meter.add(failed=row["status"] == NOT_JUDGED)
                        if row["status"] == NOT_JUDGED:
                            say(self.console, f"{row['file']}: {row['reason']}")
            page = write_summary(asked.out, batch.record)
        self._print(meter, page)
        if meter.done == meter.failed:
            raise SystemExit(EXIT_NOTHING)

    @contextlib.contextmanager
    def _hands(self, record: BatchRecord) -> Iterator[tuple[Hands, int]]:
        """Who judges, and how many files at once: this machine, or those of a cluster."""
        if self.cluster is None:
            yield _here(self.wish, self.backend, self.scratch, out=self.asked.out, at_once=self.at_once), self.at_once
            return
        settings = self.backend.pipeline.settings
        cards = [self.backend.catalog.card(name) for name in self.wish.detectors]
        memory_mb = memory_of_a_file(settings, cards)
        halved = self.visitors is not None
        order = Order(self.wish, self.asked.out.resolve(), record, memory_mb, halved=halved)
        with self.cluster(order, Source(self.scratch / "fetched", settings, at_once=1)) as machines:
            yield machines, self.asked.jobs or self.jobs or machines.places()

    def _print(self, meter: Meter, page: Path) -> None:
        out = self.asked.out
        if self.asked.as_json:
            answer = {"files": meter.done, "judged": meter.done - meter.failed, "not_judged": meter.failed}
            click.echo(json.dumps(answer | {"rows": str(out / "rows"), "summary": str(page)}))
            return
        click.echo(f"{counted(meter.done, 'file')}: {meter.done - meter.failed:,} judged, {meter.failed:,} not.")
        click.echo(f"Rows: {shown(out / 'rows')}   Summary: {shown(page)}")

    def rehearse(self) -> None:
        """Judge a sample and print what the whole will take."""
        files = len(self.share)
        sample = sample_of(self.share, most=most_sampled(files, at_once=self.at_once))
        if not sample:
            raise UserError("no_media", "No file of this list can be read, so there is nothing to estimate from.")
        here = _here(self.wish, self.backend, self.scratch, out=self.scratch, at_once=self.at_once)
        say(self.console, f"Judging up to {counted(len(sample), 'file')}, {self.at_once} at once. No row is kept.")
        measured = measure_until_sure(
            sample, partial(rehearse, here), files=files, at_once=self.at_once, cut_off=here.cut_off
        )
        alone = estimate(measured, files=files)
        several = estimate(measured, files=files, nodes=self.asked.nodes)
        if self.asked.as_json:
            click.echo(json.dumps(_numbers(several, measured, self.asked.price), allow_nan=False))
            return
        each = sum(measured.seconds) / len(measured.seconds)
        click.echo(f"{counted(files, 'file')}, {each:.2f} s in work each, {self.at_once} at once.")
        click.echo(f"On this machine:    {_time_words(alone)}")
        if self.asked.nodes > 1:
            click.echo(f"On {self.asked.nodes} like this one: {_time_words(several)}")
        if self.asked.price is not None:
            middle, low, high = several.cost(self.asked.price)
            click.echo(
                f"Cost:               {middle:,.2f} ({low:,.2f} to {high:,.2f}), at {self.asked.price:g} an hour each"
            )
        if measured.failed:
            click.echo(f"{measured.failed} of the sample could not be judged.")
        click.echo(
            "95 % intervals, for files like the sample and a machine as busy as now. Contents judged before take less."
        )


def _here(wish: Wish, backend: BackEnd, scratch: Path, *, out: Path, at_once: int = 1) -> Here:
    """This machine; reports lie below ``out``."""
    source = Source(scratch / "fetched", backend.pipeline.settings, at_once=at_once)
    return Here(backend.pipeline, wish, source, reports=out / "reports")


def _time_words(value: Estimate) -> str:
    return f"{duration(value.seconds)} ({duration(value.low_s)} to {duration(value.high_s)})"


def _numbers(value: Estimate, measured: Measured, price: float | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "files": value.files,
        "nodes": value.nodes,
        "sample": value.sample,
        "seconds": round(value.seconds, 1),
        "start_s": round(measured.start_s, 1),
        "at_once": measured.at_once,
        "interval_s": [round(value.low_s, 1), round(value.high_s, 1)],
    }
    if price is not None:
        middle, low, high = value.cost(price)
        found |= {"cost": round(middle, 2), "cost_interval": [round(low, 2), round(high, 2)]}
    return found
