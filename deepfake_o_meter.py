"""Composition root and command line: the only file that knows both sides.

Builds the portal and the back-end from one ``Settings`` and offers ``deepfake-o-meter`` with its commands. Holds no logic of its own.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import click
from rich.console import Console
from rich.markup import escape

from backend.commands.exits import EXIT_NOTHING, EXIT_USAGE, NamedPath, errors_explained, printing
from backend.dispatch.supervisor import SUPERSEDED, Supervisor
from shared.clock import utc_now
from shared.errors import StoreTrouble, UserError
from shared.logs import log_to_stderr
from shared.records import Mode
from shared.settings import Settings, read_settings
from shared.stability import Again
from shared.store import Store

if TYPE_CHECKING:  # a command loads what it needs, so that help and version are fast
    from backend.batch.judging import Visitors
    from backend.catalog.detectors import DetectorCatalog
    from backend.catalog.durations import Durations
    from backend.catalog.states import DetectorStates
    from backend.commands.batch import Cluster as ClusterOfBatch
    from backend.dispatch.ray_engine import RayEngine
    from backend.pipeline import Pipeline
    from backend.scores.cache import ScoreCache
    from backend.workers.pool import WorkerPool
    from base_detector import Card
    from shared.records import RunnerKind

console = Console(stderr=True)

#: Layouts of data sets, as ``backend.benchmark.readers.FORMATS`` has them; a test compares.
FORMATS = ("dfdcp", "celebdf", "faceforensics", "wilddeepfake", "inthewild", "asvspoof", "csv", "dfdc", "folders")


@dataclass(frozen=True)
class Backend:
    """The parts of the back-end, wired."""

    settings: Settings
    pool: WorkerPool
    catalog: DetectorCatalog
    durations: Durations
    cache: ScoreCache
    pipeline: Pipeline
    states: DetectorStates


def build_backend(settings: Settings, *, cached: bool = True, cluster: RayEngine | None = None) -> Backend:
    """Wire pool, catalog and pipeline; starts no worker yet. ``cluster``: its machines decide which detectors can run."""
    from backend.catalog.detectors import DetectorCatalog
    from backend.catalog.durations import Durations
    from backend.catalog.states import DetectorStates
    from backend.pipeline import Pipeline
    from backend.scores.cache import ScoreCache
    from backend.scores.references import References
    from backend.workers.availability import unavailable, way_of
    from backend.workers.pool import WorkerPool

    states = DetectorStates(settings.backend_state)
    pool = WorkerPool(settings)

    def lacks(card: Card) -> str | None:
        return unavailable(card, settings=settings, pool=pool)

    def way(card: Card) -> RunnerKind | None:
        return way_of(card, settings=settings, pool=pool)

    catalog = DetectorCatalog(
        settings.detectors,
        availability=lambda card: (
            cluster.unavailable(card.id, otherwise=lambda: lacks(card)) if cluster else lacks(card)
        ),
        state=states.of,
        way=lambda card: cluster.way(card.id, otherwise=lambda: way(card)) if cluster else way(card),
        counted=References(settings.references).counted,
    )
    durations = cluster.durations if cluster else Durations(settings.backend_state / "durations.json")
    cache = ScoreCache(settings.backend_state / "scores")
    pipeline = Pipeline(
        settings,
        pool,
        catalog,
        cache=cache if cached else None,
        durations=durations if cached else None,
        states=states if cached else None,
    )
    return Backend(settings, pool, catalog, durations, cache, pipeline, states)


def node_backend() -> Backend:
    """The back-end of one machine of a cluster, from the environment of that machine."""
    log_to_stderr(logging.INFO)
    return build_backend(read_settings())


class _Commands(click.Group):
    """Loads the groups of commands when they are asked for: the portal's process needs none of what they import."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*super().list_commands(context), "detectors", "keys", "node", "settings", "signers", "weights"])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name == "detectors":
            from backend.commands.detectors import detectors

            return detectors
        if name == "keys":
            from frontend.commands import keys

            return keys
        if name == "node":
            from backend.commands.node import node

            return node
        if name == "settings":
            from backend.commands.settings import settings

            return settings
        if name == "signers":
            from backend.commands.signers import signers

            return signers
        if name == "weights":
            from backend.commands.weights import weights

            return weights
        return super().get_command(context, name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def main(context: click.Context) -> None:
    """DeepFake-o-meter: was this video, picture or voice manipulated? Scores, curves and a result video from several detectors."""
    # at a terminal, results are wanted; an operator wants to know what the services did
    log_to_stderr(logging.INFO if context.invoked_subcommand in ("serve", "dispatch") else logging.WARNING)


#: of ``analyze`` and ``batch``
STABILITY_HELP: Final = (
    "who judges a part of each file again after mild re-encoding: detectors of 10 ms a face, all, or none"
)


# --------------------------------------------------------------------------- analyze


@main.command()
@click.argument("media", nargs=-1, required=True, type=NamedPath(path_type=Path))
@click.option("--detectors", "names", help="comma-separated ids; default: all that are enabled and can run here")
@click.option("--out", type=NamedPath(path_type=Path), default=Path("out"), show_default=True)
@click.option("--quick", "mode", flag_value="quick", help="at most 32 frames")
@click.option("--thorough", "mode", flag_value="thorough", help="every frame")
@click.option("--video-per-detector", "video", flag_value="each", help="also a result video for each detector")
@click.option(
    "--no-video", "video", flag_value="none", help="numbers, curves and pictures only: no result video is drawn"
)
@click.option(
    "--jobs", type=click.IntRange(1), help="files in work at once; default: DFOM_JOBS, or by cores and memory"
)
@click.option("--stability", type=click.Choice(get_args(Again)), default="fast", show_default=True, help=STABILITY_HELP)
@click.option("--json", "as_json", is_flag=True, help="print a summary as JSON")
@click.option("--verbose", is_flag=True, help="name what is left out of folders")
def analyze(media: Sequence[Path], out: Path, jobs: int | None, as_json: bool, verbose: bool, **wished: Any) -> None:
    """Judge files or folders; each result goes to OUT/<name>/ (report.pdf to hand on, result.json, and the rest).

    What is in OUT stays: only the earlier result of the same file is replaced. Several are judged at once; answers keep their order.

    Exit status: 0 something was analysed, 2 bad usage, 3 nothing could be analysed, 130 and the like: stopped by a signal.
    """
    from backend.batch.at_once import clips_at_once, shared_out
    from backend.commands import analyze as work
    from backend.commands import out_folder, rooms
    from backend.commands.console import print_summaries, say_left_out
    from backend.commands.finding import find_media

    with errors_explained(), rooms.stopped_by_signals():
        settings = read_settings()
        found = find_media(media, ours=[settings.data, settings.scratch_folder, settings.weights_folder])
        say_left_out(console, found, verbose=verbose)
        # a separate scratch: we must not use the workers of a running portal
        with out_folder.opened(out) as place, rooms.scratch(settings.scratch) as scratch:
            settings = settings.model_copy(update={"scratch": scratch})
            backend = build_backend(settings, cached=False)
            with contextlib.closing(backend.pool):
                wish = work.Wish.of(backend.catalog, **wished)
                cards = [backend.catalog.card(name) for name in wish.detectors]
                _say_beforehand(backend, cards, work.cost_of_bands(cards, wish))
            at_once = clips_at_once(settings, cards, asked=jobs, files=len(found.media))
            backend = build_backend(shared_out(settings, at_once), cached=False)
            with contextlib.closing(backend.pool):
                judged = work.analyze_all(
                    found.media, wish, pipeline=backend.pipeline, out=place, console=console, at_once=at_once
                )
                with contextlib.closing(judged):
                    summaries = list(judged)
    with printing(else_see=f"The results are in {out}."):
        if as_json:
            click.echo(json.dumps(summaries, indent=1, allow_nan=False))
        else:
            print_summaries(summaries)
    if not work.found_something(summaries):
        raise SystemExit(EXIT_NOTHING)


def _say_beforehand(backend: Backend, cards: Sequence[Card], cost: str) -> None:
    """One line when some of the workers run in containers and others do not, and what judging again costs."""
    from backend.workers.availability import mixed_ways

    ways = mixed_ways(cards, settings=backend.settings, pool=backend.pool)
    for sentence in filter(None, (ways, cost)):
        console.print(sentence, style="dim", highlight=False, markup=False)


# --------------------------------------------------------------------------- batch


class _Part(click.ParamType[tuple[int, int]]):
    """``3/8``: the third of eight shares of a list."""

    name = "K/N"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """See ``click.ParamType``."""
        if isinstance(value, tuple):
            return value
        part, slash, parts = str(value).partition("/")
        if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts) <= 999):
            self.fail("Write the number of this machine and of all machines, as in 3/8.", param, ctx)
        return int(part), int(parts)


@main.command()
@click.argument("source", metavar="INPUT")
@click.option("--out", type=NamedPath(path_type=Path), required=True, help="folder of the rows and the summary")
@click.option("--detectors", "names", help="comma-separated ids; default: all that are enabled and can run here")
@click.option("--quick", "mode", flag_value="quick", help="at most 32 frames")
@click.option("--thorough", "mode", flag_value="thorough", help="every frame")
@click.option("--column", help="the column of a CSV list that names the files; default: file, path, url and the like")
@click.option("--report", is_flag=True, help="also a full report of each file, with its video")
@click.option("--units", is_flag=True, help="also a row of each face, picture and window of sound")
@click.option("--stability", type=click.Choice(get_args(Again)), default="off", show_default=True, help=STABILITY_HELP)
@click.option(
    "--jobs", type=click.IntRange(1), help="files in work at once; default: DFOM_JOBS, or by cores and memory"
)
@click.option(
    "--part", type=_Part(), default=(1, 1), help="judge the K-th of N shares: one for each machine on the same OUT"
)
@click.option("--dry-run", is_flag=True, help="judge a sample, and say how long the whole takes and what it costs")
@click.option("--price-per-hour", "price", type=click.FloatRange(0), help="price of one machine, for --dry-run")
@click.option("--nodes", type=click.IntRange(1), default=1, help="number of machines, for --dry-run")
@click.option("--resume/--no-resume", default=True, show_default=True, help="go on with the batch that is in OUT")
@click.option("--retry", is_flag=True, help="try files again that were not judged, such as failed downloads")
@click.option("--json", "as_json", is_flag=True, help="print the numbers as JSON")
@click.option("--verbose", is_flag=True, help="name what is left out of folders")
def batch(source: str, mode: Mode | None, resume: bool, **options: Any) -> None:
    """Judge many files: INPUT is a folder, a list of paths or web addresses (text or CSV), or - for a list on standard input.

    OUT gets rows/*.parquet with one row a file, and summary.html. The same command goes on where the last one ended, however that was.

    Exit status: 0 something was judged, 2 bad usage, 3 nothing could be judged, 130 and the like: stopped by a signal.
    """
    from backend.commands import batch as work
    from backend.commands import rooms

    with errors_explained(), rooms.stopped_by_signals():
        settings = read_settings()
        asked = work.Asked(source, mode=mode or "standard", resume=resume, **options)

        build = partial(batch_backend, cached=not asked.dry_run)  # a dry run measures
        cluster = _batch_cluster(settings) if settings.engine == "ray" and not asked.dry_run else None
        work.run(asked, settings, build=build, visitors=_visitors(settings), console=console, cluster=cluster)


def batch_backend(settings: Settings, *, cached: bool = True) -> Backend:
    """The back-end of a batch, also on each machine of a cluster: the cache of scores is shared with the portal, durations are those of
    its own jobs."""
    backend = build_backend(settings)
    pipeline = replace(backend.pipeline, cache=backend.cache if cached else None, durations=None, states=None)
    return replace(backend, pipeline=pipeline)


def _batch_cluster(settings: Settings) -> ClusterOfBatch:
    import deepfake_o_meter  # this module may be __main__, which the machines do not have
    from backend.dispatch.batch_cluster import ClusterHands

    try:
        from backend.dispatch.ray_engine import Cluster
    except ModuleNotFoundError:
        raise UserError("cluster_missing") from None
    cluster = Cluster(settings)
    return lambda order, source: ClusterHands(
        settings, cluster=cluster, build=deepfake_o_meter.batch_backend, order=order, source=source
    )


def _visitors(settings: Settings) -> Visitors | None:
    """The visitors of a portal that runs on the same data, for whom a batch makes way; None when none runs."""
    from backend.batch.judging import Visitors
    from backend.dispatch.heartbeat import is_claimed

    store = Store(settings.submissions, settings.results)

    def count() -> int:
        return len(store.ids("new")) + len(store.ids("active")) if is_claimed(settings.results) else 0

    return Visitors(count) if is_claimed(settings.results) else None


# --------------------------------------------------------------------------- benchmark


@main.command()
@click.argument("dataset", type=NamedPath(path_type=Path))
@click.option("--detectors", "names", help="comma-separated ids; default: all that are enabled and can run here")
@click.option("--out", type=NamedPath(path_type=Path), default=Path("benchmark"), show_default=True)
@click.option(
    "--format", "format_name", type=click.Choice(FORMATS), help="how DATASET is laid out; default: it is recognised"
)
@click.option("--subset-by", default="subset", show_default=True, help="column of a CSV that is counted apart")
@click.option("--corruptions", help="'all', or names: also judge damaged copies (docs/benchmark.md lists them)")
@click.option("--pgd", is_flag=True, help="also attack detectors whose network has a gradient")
@click.option("--most", type=click.IntRange(2), help="this many files only, drawn by the seed, half of each kind")
@click.option("--draws", type=click.IntRange(100, 100_000), default=1000, show_default=True, help="of the intervals")
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True)
@click.option("--quick", "mode", flag_value="quick", help="at most 32 frames")
@click.option("--thorough", "mode", flag_value="thorough", help="every frame")
@click.option(
    "--jobs", type=click.IntRange(1), help="files in work at once; default: DFOM_JOBS, or by cores and memory"
)
@click.option("--reference", metavar="NAME", help="keep the scores as the reference set NAME of each detector")
@click.option("--about", default="", help="with --reference: what the material is, in a sentence")
@click.option(
    "--made",
    is_flag=True,
    help="with --reference: its fakes were made for measuring only (blends, damage): no visitor's file is weighed by the set",
)
@click.option("--ship", is_flag=True, help="with --reference: beside the detectors, not in DATA/references")
@click.option("--json", "as_json", is_flag=True, help="print benchmark.json")
def benchmark(mode: Mode | None, **options: Any) -> None:
    """Measure detectors on a labelled data set: folders real/ and fake/, a CSV (file,label,subset,identity), or a known set.

    OUT gets benchmark.html to read, benchmark.json with everything, and tables. The same command goes on where the last one ended.

    Exit status: 0 something was judged, 2 bad usage, 3 nothing got a score, 130 and the like: stopped by a signal.
    """
    from backend.commands import benchmark as work
    from backend.commands import rooms

    with errors_explained(), rooms.stopped_by_signals():
        asked = work.Asked(mode=mode or "standard", **options)
        work.run(asked, read_settings(), build=lambda settings: build_backend(settings, cached=False), console=console)


# --------------------------------------------------------------------------- truth


@main.command()
@click.argument("job", metavar="[ID]", required=False)
@click.argument("truth", metavar="[real|fake]", required=False, type=click.Choice(["real", "fake"]))
@click.option("--note", default="", help="a remark of yours, for --list only; no names of persons, please")
@click.option("--undo", is_flag=True, help="remove what was noted of a submission")
@click.option("--list", "listing", is_flag=True, help="show what was noted, and how often each detector was wrong")
@click.option(
    "--reference", metavar="NAME", help="make a reference set of the record, of each detector that it holds enough of"
)
@click.option("--about", default="", help="with --reference: what the files are, in a sentence")
@click.option("--quick", "mode", flag_value="quick", help="with --reference: of the clips judged in quick mode")
@click.option(
    "--thorough", "mode", flag_value="thorough", help="with --reference: of the clips judged in thorough mode"
)
@click.option("--json", "as_json", is_flag=True, help="print the list as JSON")
def truth(mode: Mode | None, **options: Any) -> None:
    """Note what a submission turned out to be: ID (or the address of its page) and real or fake; without both, show the record.

    Its scores are kept after the result is deleted, its media are not. The page /record shows how often detectors were wrong here.
    """
    from backend.commands import truth as work

    with errors_explained():
        asked = work.Asked(mode=mode or "standard", **options)
        work.run(asked, read_settings(), build=lambda settings: build_backend(settings, cached=False), console=console)


# --------------------------------------------------------------------------- serve


@main.command()
@click.option("--host", help="address to listen on (DFOM_HOST)")
@click.option("--port", type=int, help="port to listen on (DFOM_PORT)")
@click.option("--portal-only", is_flag=True, help="without the back-end: 'deepfake-o-meter dispatch' runs elsewhere")
def serve(host: str | None, port: int | None, portal_only: bool) -> None:
    """Start the portal and its back-end; Ctrl-C stops both. Settings are variables: 'deepfake-o-meter settings' lists them."""
    _stop_on_signal(_interrupt)
    with contextlib.suppress(KeyboardInterrupt), errors_explained():
        given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
        _serve(read_settings(**given), portal_only=portal_only)


def _serve(settings: Settings, *, portal_only: bool) -> None:
    from frontend import create_app
    from frontend.server import create_web_server

    try:
        settings.data.mkdir(parents=True, exist_ok=True)
        app = create_app(settings)
    except StoreTrouble:
        raise
    except OSError as error:
        where = error.filename or settings.data
        raise StoreTrouble(sentence=f"{where} cannot be written ({error.strerror}). Check DFOM_DATA.") from None
    try:
        server = create_web_server(app, settings)
    except OSError as error:
        where = f"{settings.host}:{settings.port} ({error.strerror})"
        raise UserError("cannot_listen", f"Cannot listen on {where}. Choose another with --port.") from None
    dispatch = [sys.executable, "-m", "deepfake_o_meter", "dispatch"]
    supervisor = None
    if not portal_only:
        supervisor = Supervisor(dispatch, on_refusal=lambda: os.kill(os.getpid(), signal.SIGTERM), say=_say)
    try:
        # escaped: an IPv6 address has brackets
        _say(f"DeepFake-o-meter is at [bold]{escape(settings.public_url)}[/bold]  (Ctrl-C stops it)")
        server.run()
    except KeyboardInterrupt:
        pass
    finally:
        if supervisor:
            _stop_on_signal(supervisor.kill)  # a second signal does not wait for the jobs
        _say("Stopping ...")
        server.close()
        if supervisor:
            supervisor.close()
    if supervisor and supervisor.refused:
        raise SystemExit(EXIT_USAGE)


def _say(words: str) -> None:
    with contextlib.suppress(OSError):  # it is not read, or goes to a full disk
        console.print(words, highlight=False)


@main.command()
@click.option("--child-of", type=int, hidden=True, help="end at once when this process ends")
@click.option("--stand-by", is_flag=True, help="wait while another dispatcher works on the folder")
def dispatch(child_of: int | None, stand_by: bool) -> None:
    """Run the back-end alone on the shared folders; 'serve --portal-only' is the other half."""
    from backend.dispatch.dispatcher import Dispatcher
    from backend.dispatch.heartbeat import Superseded
    from backend.workers.confinement import die_with

    if child_of is not None:
        die_with(child_of)
    with errors_explained():
        settings = read_settings()
        cluster = _cluster(settings) if settings.engine == "ray" else None
        backend = build_backend(settings, cluster=cluster)
        dispatcher = Dispatcher(
            backend,
            store=Store(settings.submissions, settings.results),
            engine=cluster.connected if cluster else None,
        )
        _stop_on_signal(_in_a_thread(dispatcher.stop))
        with contextlib.closing(backend.pool):
            try:
                dispatcher.run(stand_by=stand_by)
            except Superseded:
                raise SystemExit(SUPERSEDED) from None


def _cluster(settings: Settings) -> RayEngine:
    import deepfake_o_meter  # this module may be __main__, which the machines do not have
    from backend.catalog.durations import Durations

    try:
        from backend.dispatch.ray_engine import RayEngine
    except ModuleNotFoundError:
        raise UserError("cluster_missing") from None
    return RayEngine(
        settings,
        build=deepfake_o_meter.node_backend,
        durations=Durations(settings.backend_state / "durations.json"),
        jobs=settings.jobs if "jobs" in settings.model_fields_set else None,
    )


def _interrupt() -> None:
    raise KeyboardInterrupt


def _in_a_thread(stop: Callable[[], None]) -> Callable[[], None]:
    """``stop`` for a signal handler: it takes locks, and the handler may have interrupted the code that holds them."""
    asked: queue.SimpleQueue[None] = queue.SimpleQueue()  # a handler may put into it

    def wait() -> None:
        while True:
            asked.get()
            stop()

    threading.Thread(target=wait, name="stop-on-signal", daemon=True).start()
    return lambda: asked.put(None)


def _stop_on_signal(stop: Callable[[], None]) -> None:
    # SIGINT too: a shell without job control starts background commands with it ignored, and Python keeps that
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop())


# --------------------------------------------------------------------------- expire, version


@main.command()
@click.option("--results-days", type=float, help="keep results this long (default: DFOM_KEEP_RESULTS_DAYS)")
def expire(results_days: float | None) -> None:
    """Delete media, addresses and results older than their retention time."""
    from backend.dispatch.retention import expire as sweep
    from backend.scores.cache import ScoreCache

    with errors_explained():
        settings = read_settings(**({"keep_results_days": results_days} if results_days is not None else {}))
        store = Store(settings.submissions, settings.results).prepare(settings.backend_state)
    gone = sweep(store, settings, cache=ScoreCache(settings.backend_state / "scores"), now=utc_now())
    click.echo(
        f"removed: {gone.media} media, {gone.addresses} addresses, {gone.results} results, "
        f"{gone.uploads} interrupted uploads, {gone.cached} cached scores"
    )


@main.command(name="version")
def version_command() -> None:
    """Print the version."""
    click.echo(f"deepfake-o-meter {version('deepfake-o-meter')}")


__all__ = ["Backend", "build_backend", "main"]

if __name__ == "__main__":
    main()
