"""The web server in front of the portal: waitress as it is used, beside gunicorn, while many senders are slow or many streams are open.

Each server runs the same application in a process of its own. A visitor fetches the front page again and again, each time on a new
connection: alone, while 50 senders upload at 20 kB/s, and while 50 readers keep event streams open. Servers take turns,
so that a busy machine slows all of them; compare the columns of one run, not seconds of two.

    uv pip install --target /tmp/gunicorn gunicorn
    python -m tests.bench.servers --gunicorn /tmp/gunicorn [--seconds 8] [--rounds 3]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from flask import Flask
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
CROWD = 50
#: Bytes a second of a slow sender: above the least rate, so that it is served and not cut off.
SLOW_RATE = 20_000
#: Longer than this a visitor does not wait.
PATIENCE_S = 10.0

#: name -> what starts it, and whether streams are limited as they are in the portal.
SERVERS = {
    "waitress, 8 threads": ("waitress", 8, True),
    "gunicorn gthread, 8 threads": ("gunicorn", 8, True),
    "waitress, 8 threads, streams unlimited": ("waitress", 8, False),
    "gunicorn gthread, 8 threads, streams unlimited": ("gunicorn", 8, False),
    "waitress, 64 threads, streams unlimited": ("waitress", 64, False),
    "gunicorn gthread, 64 threads, streams unlimited": ("gunicorn", 64, False),
}


def application(folder: str, *, threads: int, limited: bool) -> Flask:
    """The portal on a fresh folder, with a job that waits. ``limited``: few event streams at once, as shipped."""
    from frontend import create_app
    from frontend.portal import portal
    from shared.clock import utc_now
    from shared.settings import Settings
    from tests.frontend.stories import Uploader, catalog

    app = create_app(Settings(data=Path(folder), portal_threads=threads, access_log=False), background=False)
    site = portal(app)
    site.store.write_catalog(catalog(utc_now()))
    if not limited:
        site.streams._free = threading.Semaphore(10_000)
    job = Uploader(app.test_client()).submit()
    (Path(folder) / "job").write_text(job)
    return app


def gunicorn_application() -> Flask:
    """For gunicorn, which takes no arguments: they are in the environment."""
    given = os.environ
    return application(given["FOLDER"], threads=int(given["THREADS"]), limited=given["LIMITED"] == "1")


def run_waitress(folder: str, port: int, threads: int, limited: bool) -> None:
    """Serve until the process is ended."""
    from frontend.server import create_web_server
    from shared.settings import Settings

    app = application(folder, threads=threads, limited=limited)
    create_web_server(app, Settings(data=Path(folder), port=port, portal_threads=threads)).run()


@contextlib.contextmanager
def served(kind: str, threads: int, limited: bool, *, gunicorn: Path) -> Iterator[tuple[int, str, int]]:
    """(port, job, process id) of a running server."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        environment = dict(os.environ, FOLDER=folder, THREADS=str(threads), LIMITED=str(int(limited)))
        environment["PYTHONPATH"] = f"{ROOT}:{gunicorn}"
        if kind == "waitress":
            call = (
                f"from tests.bench.servers import run_waitress; run_waitress({folder!r}, {port}, {threads}, {limited})"
            )
            command = [sys.executable, "-c", call]
        else:
            command = [
                sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "1", "--worker-class", "gthread",
                "--threads", str(threads), "--timeout", "120", "--log-level", "error", "tests.bench.servers:gunicorn_application()",
            ]  # fmt: skip
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + 60
            while True:
                assert time.monotonic() < deadline, f"{kind} did not start"
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=1).status_code == 200:
                        break
                time.sleep(0.1)
            yield port, (Path(folder) / "job").read_text(), process.pid
        finally:
            process.terminate()
            process.wait(30)


def visit(port: int, seconds: float) -> list[float]:
    """Seconds of each front page within ``seconds``; PATIENCE_S for one that did not come."""
    took: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            httpx.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE_S).raise_for_status()
            took.append(time.monotonic() - began)
        except httpx.HTTPError:
            took.append(PATIENCE_S)
        time.sleep(0.05)
    return took


def _from(number: int, port: int) -> socket.socket:
    """A connection from an address of its own: a server may limit those of one."""
    return socket.create_connection(
        ("127.0.0.1", port), timeout=30, source_address=(f"127.0.{1 + number // 200}.{1 + number % 200}", 0)
    )


@contextlib.contextmanager
def slow_uploads(port: int, job: str) -> Iterator[None]:
    """``CROWD`` senders, each in the middle of 40 MB."""
    over = threading.Event()
    head = (
        b"POST /submit HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 40000000\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="media"; filename="a.mp4"\r\n\r\n'
    )

    def send(number: int) -> None:
        with contextlib.suppress(OSError), _from(number, port) as connection:
            connection.sendall(head)
            while not over.wait(0.2):
                connection.sendall(bytes(int(SLOW_RATE * 0.2)))

    with _crowd(send, over):
        yield


@contextlib.contextmanager
def open_streams(port: int, job: str) -> Iterator[None]:
    """``CROWD`` readers of a waiting job's events; who gets none, or whose stream is over, asks again after a second."""
    over = threading.Event()
    ask = f"GET /r/{job}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n".encode()

    def read(number: int) -> None:
        while not over.is_set():
            with contextlib.suppress(OSError), _from(number, port) as connection:
                connection.settimeout(0.5)
                connection.sendall(ask)
                while not over.is_set():
                    with contextlib.suppress(TimeoutError):
                        if not connection.recv(4096):
                            break
            over.wait(1.0)

    with _crowd(read, over):
        yield


@contextlib.contextmanager
def _crowd(act, over: threading.Event) -> Iterator[None]:
    threads = [threading.Thread(target=act, args=(number,), daemon=True) for number in range(CROWD)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(35)


def memory_mb(pid: int) -> int:
    """Resident memory of a process and its children."""
    pids = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                pids.append(int(path.parent.name))
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) * page for one in pids) // 1_000_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gunicorn", type=Path, required=True, help="folder gunicorn was installed into")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    took: dict[tuple[str, str], list[float]] = {}
    memory: dict[str, int] = {}
    for _ in range(args.rounds):
        for name, (kind, threads, limited) in SERVERS.items():
            with served(kind, threads, limited, gunicorn=args.gunicorn) as (port, job, pid):
                for what, crowd in (("alone", None), ("uploads", slow_uploads), ("streams", open_streams)):
                    if what != "streams" and threads == 8 and not limited:  # measured with the limit already
                        continue
                    with crowd(port, job) if crowd else contextlib.nullcontext():
                        took.setdefault((name, what), []).extend(visit(port, args.seconds))
                        memory[name] = max(memory.get(name, 0), memory_mb(pid))
    show(took, memory)


def show(took: dict[tuple[str, str], list[float]], memory: dict[str, int]) -> None:
    """Milliseconds of the front page: median / 95 % (pages, those that did not come)."""
    table = Table("server", "alone", f"{CROWD} slow uploads", f"{CROWD} event streams", "memory")
    for name in SERVERS:
        cells = []
        for what in ("alone", "uploads", "streams"):
            times = sorted(took.get((name, what), []))
            if not times:
                cells.append("")
                continue
            late = times[min(len(times) - 1, int(0.95 * len(times)))]
            failed = sum(time_s >= PATIENCE_S for time_s in times)
            cells.append(f"{1000 * statistics.median(times):.0f} / {1000 * late:.0f} ({len(times)}, {failed})")
        table.add_row(name, *cells, f"{memory.get(name, 0)} MB")
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
