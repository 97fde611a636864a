"""Worker processes: the six endings, and what a process is given and what not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.workers.exchange import Exchange
from backend.workers.process_runner import ProcessRunner, _group_runs
from backend.workers.spec import WorkerSpec
from backend.workers.worker import Worker
from tests.workers.endings import SixEndings

Start = Callable[..., Worker]


class TestEndingsOfProcesses(SixEndings):
    def still_there(self, worker: Worker) -> bool:
        return _group_runs(worker._running.pid)  # type: ignore[attr-defined]


def test_it_inherits_neither_environment_nor_files(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFOM_SMTP_PASSWORD", "secret")
    leaky = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(leaky, True)
    try:
        answer = start().call("environment", timeout_s=5)
    finally:
        os.close(leaky)
    assert set(answer["environment"]) <= {
        "PATH", "HOME", "TMPDIR", "LANG", "LC_CTYPE", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE",
        "PYTHONNOUSERSITE", "THP_MEM_ALLOC_ENABLE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
    }  # fmt: skip
    assert len(answer["files"]) <= 6, "stdin, stdout, stderr, listener, caller, and the listing itself"


def test_it_has_limits_on_memory_file_size_and_core_dumps(start: Start) -> None:
    limits = {
        line[:26].strip(): line[26:].split()[:2]
        for line in start().call("environment", timeout_s=5)["limits"].splitlines()
    }
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max file size"] == ["5000000", "5000000"]
    assert limits["Max data size"] == ["2400000000", "2400000000"]


def test_it_has_a_process_group_of_its_own(start: Start) -> None:
    pid = start().call("echo", timeout_s=5)["pid"]
    assert os.getpgid(pid) == pid != os.getpgid(0)


def test_it_outlives_the_thread_that_asked_for_it(start: Start) -> None:
    workers: list[Worker] = []
    thread = threading.Thread(target=lambda: workers.append(start()))
    thread.start()
    thread.join()
    time.sleep(0.05)
    assert workers[0].call("echo", timeout_s=5)["status"] == "ok"


def test_it_dies_with_the_back_end(tmp_path: Path) -> None:
    exchange = tmp_path / "exchange"
    program = f"""
import os, signal, sys
from pathlib import Path
from backend.workers import process_runner as processes
from backend.workers.exchange import Exchange
from backend.workers.spec import WorkerSpec
from backend.workers.worker import Worker
processes.ROOT = {str(Path(__file__).parent)!r}
WorkerSpec.arguments = lambda self, exchange, *, weights: [self.module, exchange]
spec = WorkerSpec("acting", "acting", None, "none", 200, True)
folder = Exchange(Path({str(exchange)!r}), shared=False, linked=True)
worker = Worker(spec, processes.ProcessRunner(threads=1).start(spec, folder), folder)
worker.open()
print(worker.call("echo", timeout_s=5)["pid"], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=Path.cwd())
    group = int(done.stdout)
    deadline = time.monotonic() + 5
    while _group_runs(group) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _group_runs(group)


def test_a_third_partys_detector_is_refused(spec: WorkerSpec) -> None:
    from dataclasses import replace

    runner = ProcessRunner(threads=1)
    assert runner.available(spec) is None
    assert runner.available(replace(spec, bundled=False)) == "container_required"
    runner.close()


def test_no_descriptors_or_threads_are_left_after_many_workers(start: Start) -> None:
    start().close()
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(10):
        start().close()
    assert len(os.listdir("/proc/self/fd")) <= files
    assert threading.active_count() <= threads


def test_a_path_longer_than_a_socket_name_may_be_does_not_matter(
    spec: WorkerSpec, acting: None, tmp_path: Path
) -> None:
    folder = tmp_path / ("a" * 100) / ("b" * 100)
    folder.mkdir(parents=True)
    runner = ProcessRunner(threads=1)
    exchange = Exchange(folder / "acting-0", shared=False, linked=True)
    worker = Worker(spec, runner.start(spec, exchange), exchange)
    worker.open(timeout_s=20)
    assert worker.call("echo", timeout_s=5)["status"] == "ok"
    worker.close()
    runner.close()
