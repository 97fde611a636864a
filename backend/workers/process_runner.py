"""Workers as plain processes, for machines without a container engine. For detectors that are part of the platform only.

Promises: a worker has its own process group, dies with the back-end, inherits no environment and no open files, and has limits
on memory and file size. That guards against mistakes, not against malice: third parties' detectors are refused.
Imported by ``backend.workers.runner``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from backend.workers.compiled import VARIABLE, prepare
from backend.workers.container_flags import worker_environment
from backend.workers.exchange import Exchange
from backend.workers.logbook import Logbook
from backend.workers.spec import WorkerSpec
from shared.records import RunnerKind

ROOT: Final = Path(__file__).resolve().parents[2]
#: Private memory a worker may map beyond twice its promise: unused stacks of threads and allocators' reserves count as well.
SPARE_BYTES: Final = 2_000_000_000


class ProcessRunner:
    """Starts ``python -m <module> --serve <exchange>``."""

    kind: RunnerKind = "process"

    def __init__(self, *, threads: int) -> None:
        self._threads = threads
        # The kernel sends the parent-death signal when the *thread* that forked ends, and jobs run in threads that come and go.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="worker-starter")

    def available(self, spec: WorkerSpec) -> str | None:
        """None, or ``container_required``: this worker cannot run as a process."""
        return None if spec.bundled else "container_required"

    def image_digest(self, spec: WorkerSpec) -> str | None:
        """None: a process has no image."""
        return None

    def exchange(self, folder: Path, spec: WorkerSpec) -> Exchange:
        """The exchange folder of a worker: same user, trusted, so files are linked in."""
        return Exchange(folder, shared=False, linked=True)

    def start(self, spec: WorkerSpec, exchange: Exchange, *, gpu: str | None = None) -> RunningProcess:
        """Start a worker; it is ready when its socket is there."""
        exchange.wipe()
        logbook = Logbook(exchange.folder.with_suffix(".log"))
        module, *arguments = spec.arguments(str(exchange.folder), weights=str(spec.weights))
        data_bytes = 0 if spec.device != "cpu" else 2 * spec.memory_mb * 1_000_000 + SPARE_BYTES
        compiled = spec.compiled if spec.compiled is not None and prepare(spec.compiled) else None
        # a compiled network is one file; a worker's output as a whole is polled
        file_mb = max(spec.output_mb, spec.nets_mb) if compiled else spec.output_mb
        confinement = [str(os.getpid()), str(data_bytes), str(file_mb * 1_000_000)]
        # -P: modules come from PYTHONPATH and the installation, never from the folder the back-end was started in
        command = [sys.executable, "-P", "-m", "backend.workers.confinement", *confinement, module, *arguments]
        environment = worker_environment(threads=self._threads) | {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(exchange.folder),
            "TMPDIR": str(exchange.folder),
            "PYTHONPATH": str(ROOT),
        }
        if compiled is not None:
            environment[VARIABLE] = str(compiled)
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu

        def popen() -> subprocess.Popen[bytes]:
            return subprocess.Popen(  # noqa: S603  our own interpreter and module
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment,
                cwd="/",
                start_new_session=True,
            )

        return RunningProcess(self._starter.submit(popen).result(), logbook)

    def sweep(self, folder: Path) -> dict[str, int]:
        """Processes die with their back-end, so none is left."""
        return {}

    def remove(self, exchange: Path) -> None:
        """Nothing to remove: see ``sweep``."""

    def close(self) -> None:
        """Let the starter's thread end. Workers that still run are killed by the kernel then."""
        self._starter.shutdown()


class RunningProcess:
    """A worker's process and its group."""

    started_by: RunnerKind = "process"
    image_digest: str | None = None
    adopted: bool = False

    def __init__(self, process: subprocess.Popen[bytes], logbook: Logbook) -> None:
        self._process = process
        self._logbook = logbook
        assert process.stderr is not None
        logbook.follow(process.stderr)

    @property
    def pid(self) -> int:
        """Process id, which is the id of the group too."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether the worker itself runs."""
        return self._process.poll() is None

    def gone(self) -> bool:
        """Whether no process of the group runs; zombies do not count."""
        return not self.alive() and not _group_runs(self.pid)

    def cause(self) -> str:
        """``worker_died``: only the kernel's log would say whether memory was the reason."""
        return "worker_died"

    def used_mb(self) -> int | None:
        """Resident memory of the process, MB; None where there is no /proc, or it has ended."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, IndexError, ValueError):
            return None
        return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000

    def terminate(self) -> None:
        """SIGTERM to the group."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the group."""
        self._signal(signal.SIGKILL)

    def clear(self) -> None:
        """Reap the process and take the last lines of its log."""
        self._process.wait(1)
        self._logbook.finish()

    def last_words(self) -> list[str]:
        """The last lines of its log."""
        return self._logbook.tail()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


def _group_runs(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS answers so for zombies
        return False
    if not Path("/proc/self/stat").exists():
        return True
    return any(_runs_in(Path("/proc", pid, "stat"), group) for pid in os.listdir("/proc") if pid.isdecimal())


def _runs_in(stat: Path, group: int) -> bool:
    try:
        # pid (name) state ppid pgrp ...: the name may contain anything, so take what follows the last bracket
        state, _, pgrp = stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
    except (OSError, ValueError):
        return False
    return int(pgrp) == group and state not in "ZX"
