"""A whole site in its own processes: ``deepfake-o-meter serve`` with its dispatcher and its workers, and what a test does to them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from shared.records import JobId, Submission, new_id
from shared.settings import read_settings
from shared.store import Store
from tests.compiled import share_compiled

ROOT = Path(__file__).resolve().parents[2]
PORTRAIT = ROOT / "tests/fixtures/astronaut.jpg"


class Serving:
    """One ``deepfake-o-meter serve`` on ``data``; several may share it."""

    def __init__(self, data: Path, weights: Path, *, name: str = "site") -> None:
        self.settings = read_settings(data=data, weights=weights)
        self.store = Store(self.settings.submissions, self.settings.results)
        self.port = free_port()
        share_compiled(data)
        self.portal: subprocess.Popen[bytes] | None = None
        self._log = data.parent / f"{name}.log"
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("DFOM_")} | {
            "DFOM_DATA": str(data),
            "DFOM_WEIGHTS": str(weights),
            "DFOM_RUNNER": "process",
            "DFOM_SCAN_S": "0.2",
            "DFOM_PORT": str(self.port),
        }

    # -- life

    def start(self, *, log_to: Path | None = None, within_s: float = 120, options: Sequence[str] = ()) -> None:
        """Start it, and expect it to work: a start always does."""
        with (log_to or self._log).open("ab") as log:
            self.portal = subprocess.Popen(
                [sys.executable, "-m", "deepfake_o_meter", "serve", *options],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        self.wait(self.answers, within_s=within_s)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it as an operator would; its exit status."""
        assert self.portal is not None
        self.portal.send_signal(number)
        return self.portal.wait(90)

    def answers(self) -> bool:
        """Whether the portal answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    # -- its processes

    def dispatcher(self) -> int | None:
        """Process id of the dispatcher this portal started, None while there is none."""
        assert self.portal is not None
        return next((pid for pid in children(self.portal.pid) if "dispatch" in command_of(pid)), None)

    def media_worker(self) -> int | None:
        """Process id of the media worker, None while there is none."""
        dispatcher = self.dispatcher()
        found = children(dispatcher) if dispatcher else []
        return next((pid for pid in found if "backend.media.worker" in command_of(pid)), None)

    def all(self) -> dict[str, int]:
        """The three, as far as they live."""
        assert self.portal is not None
        found = {"portal": self.portal.pid, "dispatcher": self.dispatcher(), "media worker": self.media_worker()}
        return {name: pid for name, pid in found.items() if pid is not None}

    # -- jobs

    def submit(self) -> JobId:
        """What the portal does with an upload."""
        job, content = new_id(), PORTRAIT.read_bytes() + os.urandom(8)  # no score comes from the cache
        (self.store.open_submission(job) / "media").write_bytes(content)
        self.store.submit(
            Submission(
                id=job, received=datetime.now(UTC), email=None, pin_hash=None, detectors=("mesonet",), mode="quick",
                original_name="a.jpg", sha256=hashlib.sha256(content).hexdigest(), bytes=len(content),
            )
        )  # fmt: skip
        return job

    def attempts(self, job: JobId) -> int:
        """How often work on a finished job was begun."""
        return int(json.loads((self.store.job("done", job) / "attempts.json").read_text())["attempts"])

    def is_done(self, job: JobId) -> bool:
        """Whether a job has ended well, with a report."""
        status = self.store.read_status(job)
        return (
            status is not None
            and status.state == "done"
            and self.store.stage_of(job) == "done"
            and (self.store.report(job) / "result.json").is_file()
        )

    def wait(self, condition: Callable[[], object], *, within_s: float = 120) -> None:
        """Wait until ``condition``; show the log when it does not come true."""
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def log(self) -> str:
        """The end of the log."""
        if not self._log.exists():
            return "no log"
        return self._log.read_text(encoding="utf-8", errors="replace")[-6000:]

    def published(self, job: JobId) -> int:
        """How often the log says that the job was done."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return sum('"ending": "done"' in line and job[:8] in line for line in lines)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command_of(pid: int) -> str:
    """Command line of a process; empty when it is gone or a zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def children(parent: int) -> list[int]:
    """Process ids of the living children of a process."""
    return [pid for pid, fields in _processes() if int(fields[1]) == parent and fields[0] not in "ZX"]


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Id and the fields from the state on, of every process."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            yield int(entry.name), (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()


def left_of(data: Path) -> list[str]:
    """Command lines of living processes that belong to the site on ``data``: by their environment or their arguments."""
    found = []
    for pid, fields in _processes():
        if fields[0] in "ZX":
            continue
        with contextlib.suppress(OSError):
            ours = f"DFOM_DATA={data}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if ours or str(data) in command_of(pid):
                found.append(f"{pid} {command_of(pid)}")
    return found
