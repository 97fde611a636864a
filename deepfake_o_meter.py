"""Composition root and command line: the only file that knows both sides.

Builds the portal and the back-end from one ``Settings`` and offers ``deepfake-o-meter`` with its commands. Holds no logic of its own.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import structlog
from rich.console import Console

from backend.commands.exits import EXIT_NOTHING, EXIT_USAGE, errors_explained
from shared.clock import utc_now
from shared.errors import DfomError, StoreTrouble, UserError
from shared.logs import log_to_stderr
from shared.records import Mode
from shared.settings import Settings, read_settings
from shared.store import Store

console = Console(stderr=True)


@dataclass(frozen=True)
class Backend:
    """The parts of the back-end, wired."""

    settings: Settings
    pool: Any
    catalog: Any
    durations: Any
    cache: Any
    pipeline: Any


def build_backend(settings: Settings, *, cached: bool = True) -> Backend:
    """Wire pool, catalog and pipeline; starts no worker yet."""
    from backend.catalog.detectors import DetectorCatalog
    from backend.catalog.durations import Durations
    from backend.catalog.states import DetectorStates
    from backend.pipeline import Pipeline
    from backend.scores.cache import ScoreCache
    from backend.workers.availability import unavailable
    from backend.workers.pool import WorkerPool

    states = DetectorStates(settings.backend_state)
    pool = WorkerPool(settings)
    catalog = DetectorCatalog(
        settings.detectors,
        availability=lambda card: unavailable(card, settings=settings, pool=pool),
        state=states.of,
    )
    durations = Durations(settings.backend_state / "durations.json")
    cache = ScoreCache(settings.backend_state / "scores")
    pipeline = Pipeline(
        settings,
        pool,
        catalog,
        cache=cache if cached else None,
        durations=durations if cached else None,
        states=states if cached else None,
    )
    return Backend(settings, pool, catalog, durations, cache, pipeline)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def main(context: click.Context) -> None:
    """DeepFake-o-meter: was this face manipulated? Scores, curves and a result video from several detectors."""
    # a person at a terminal wants results; an operator wants to know what the services did
    log_to_stderr(logging.INFO if context.invoked_subcommand in ("serve", "dispatch") else logging.WARNING)


# --------------------------------------------------------------------------- analyze


@main.command()
@click.argument("media", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--detectors", "names", help="comma-separated ids; default: all that are installed")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("out"), show_default=True)
@click.option("--quick", "mode", flag_value="quick", help="at most 32 frames")
@click.option("--thorough", "mode", flag_value="thorough", help="every frame")
@click.option("--video-per-detector", is_flag=True, help="one result video for each detector as well")
@click.option("--json", "as_json", is_flag=True, help="print a summary as JSON")
def analyze(
    media: Sequence[Path], names: str | None, out: Path, mode: Mode | None, video_per_detector: bool, as_json: bool
) -> None:
    """Judge files or folders; each result goes to OUT/<name>/ (result.json, bundle.zip and the rest).

    Exit status: 0 something was analysed, 2 bad usage, 3 nothing could be analysed.
    """
    from backend.commands import analyze as work

    with errors_explained():
        found = work.find_media(media)
        settings = read_settings()
        with tempfile.TemporaryDirectory(prefix="deepfake-o-meter-") as scratch:
            # a scratch of its own: the workers of a running portal are not ours to use
            own = settings.model_copy(update={"scratch": settings.scratch or Path(scratch)})
            backend = build_backend(own, cached=False)
            try:
                detectors = _chosen(backend, names)
                summaries = list(
                    _analyze_all(
                        work, found, backend, detectors, mode or "standard", out, video_per_detector=video_per_detector
                    )
                )
            finally:
                backend.pool.close()
    if as_json:
        click.echo(json.dumps(summaries, indent=1, allow_nan=False))
    else:
        from backend.commands.console import print_summaries

        print_summaries(summaries)
    if not any(
        "detectors" in item and any(d["status"] == "ok" for d in item["detectors"].values()) for item in summaries
    ):
        raise SystemExit(EXIT_NOTHING)


def _chosen(backend: Backend, names: str | None) -> list[str]:
    if names is not None:
        chosen = [name.strip() for name in names.split(",") if name.strip()]
        if not chosen:
            raise UserError("no_detector", "Name at least one detector after --detectors.")
        return list(dict.fromkeys(backend.catalog.card(name).id for name in chosen))
    offered = (card for card in backend.catalog if backend.catalog.state(card) == "enabled")
    installed = [card.id for card in offered if backend.catalog.unavailable(card) is None]
    if not installed:
        raise UserError(
            "weights_missing", "No detector is ready. Install weights with 'deepfake-o-meter weights fetch'."
        )
    return installed


def _analyze_all(
    work: Any,
    found: Sequence[Any],
    backend: Backend,
    detectors: list[str],
    mode: Mode,
    out: Path,
    *,
    video_per_detector: bool,
) -> Iterator[dict[str, Any]]:
    from backend.commands.console import ConsoleBoard

    for medium in found:
        with ConsoleBoard(console, medium.path.name) as board:
            try:
                result = work.analyze(
                    medium,
                    pipeline=backend.pipeline,
                    detectors=detectors,
                    mode=mode,
                    out=out,
                    video_per_detector=video_per_detector,
                    board=board,
                )
            except DfomError as error:
                yield {"file": str(medium.path), "code": error.code, "message": error.sentence}
                continue
        yield work.summary(medium, result, out=out)


# --------------------------------------------------------------------------- serve


@main.command()
@click.option("--host", help="address to listen on (DFOM_HOST)")
@click.option("--port", type=int, help="port to listen on (DFOM_PORT)")
def serve(host: str | None, port: int | None) -> None:
    """Start the portal and its back-end; Ctrl-C stops both. Settings come from DFOM_* variables (docs/operator.md)."""
    with errors_explained():
        overrides = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
        settings = read_settings(**overrides)
    from frontend import create_app
    from frontend.server import create_web_server

    settings.data.mkdir(parents=True, exist_ok=True)
    with errors_explained():
        app = create_app(settings)
    try:
        server = create_web_server(app, settings)
    except OSError as error:
        console.print(
            f"[red]Cannot listen on {settings.host}:{settings.port} ({error.strerror}). Choose another with --port.[/red]"
        )
        raise SystemExit(EXIT_USAGE) from None
    supervisor = _Supervisor([sys.executable, "-m", "deepfake_o_meter", "dispatch"])
    console.print(f"DeepFake-o-meter is at [bold]{settings.public_url}[/bold]  (Ctrl-C stops it)", highlight=False)
    _stop_on_signal(_interrupt)
    try:
        server.run()
    except KeyboardInterrupt:
        pass
    finally:
        console.print("Stopping ...")
        server.close()
        supervisor.close()


class _Supervisor:
    """Keeps the dispatcher's process running; pauses grow while it dies at once."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._closing = threading.Event()
        self._process = self._started()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="supervisor")
        self._thread.start()

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command)  # noqa: S603  our own interpreter and module

    def _watch(self) -> None:
        pause = 1.0
        while not self._closing.is_set():
            begun = time.monotonic()
            code = self._process.wait()
            if self._closing.is_set():
                return
            if code == EXIT_USAGE:  # it said why; starting it again would not help
                os.kill(os.getpid(), signal.SIGTERM)
                return
            pause = 1.0 if time.monotonic() - begun > 60 else min(60.0, pause * 2)
            console.print(f"The back-end ended (status {code}); it starts again in {pause:.0f} s.", highlight=False)
            if not self._closing.wait(pause):
                self._process = self._started()

    def close(self) -> None:
        """Ask the dispatcher to stop, wait for its running jobs to be put back, kill it after 40 s."""
        self._closing.set()
        self._process.terminate()
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@main.command(hidden=True)
def dispatch() -> None:
    """Run the back-end alone on the shared folders."""
    from backend.dispatch.dispatcher import Dispatcher

    with errors_explained():
        settings = read_settings()
        backend = build_backend(settings)
        dispatcher = Dispatcher(
            settings,
            store=_prepared(settings),
            catalog=backend.catalog,
            pipeline=backend.pipeline,
            durations=backend.durations,
            cache=backend.cache,
        )
        _stop_on_signal(dispatcher.stop)
        try:
            dispatcher.run()
        finally:
            backend.pool.close()


def _prepared(settings: Settings) -> Store:
    """The store, as soon as its folders are mounted: a file server that is away for a while must not end the back-end."""
    store = Store(settings.submissions, settings.results)
    pause = 1.0
    while True:
        try:
            return store.prepare(settings.backend_state)
        except StoreTrouble as error:
            structlog.get_logger().warning("store_unavailable", reason=error.sentence, again_in_s=pause)
        time.sleep(pause)
        pause = min(30.0, pause * 2)


def _interrupt() -> None:
    raise KeyboardInterrupt


def _stop_on_signal(stop: Callable[[], None]) -> None:
    # SIGINT too: a shell without job control starts background commands with it ignored, and Python then leaves it so
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop())


# --------------------------------------------------------------------------- expire, version; detectors and weights


@main.command()
@click.option("--results-days", type=float, help="keep results this long (default: DFOM_KEEP_RESULTS_DAYS)")
def expire(results_days: float | None) -> None:
    """Delete media, addresses and results that outlived their retention time."""
    from backend.dispatch.retention import expire as sweep
    from backend.scores.cache import ScoreCache

    with errors_explained():
        settings = read_settings(**({"keep_results_days": results_days} if results_days is not None else {}))
        store = Store(settings.submissions, settings.results).prepare(settings.backend_state)
    gone = sweep(store, settings, cache=ScoreCache(settings.backend_state / "scores"), now=utc_now())
    click.echo(
        f"removed: {gone.media} media, {gone.addresses} addresses, {gone.results} results, "
        f"{gone.uploads} broken-off uploads, {gone.cached} cached scores"
    )


@main.command(name="version")
def version_command() -> None:
    """Print the version."""
    click.echo(f"deepfake-o-meter {version('deepfake-o-meter')}")


from backend.commands.detectors import detectors  # noqa: E402  each group is defined beside what it does
from backend.commands.weights import weights  # noqa: E402

main.add_command(detectors)
main.add_command(weights)

__all__ = ["Backend", "build_backend", "main"]

if __name__ == "__main__":
    main()
