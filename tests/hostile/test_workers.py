"""Containers that attack: what they try fails, is stopped, or is refused, and the next worker runs.

Each program below runs inside a worker container as an exploited detector would, with all that detector may do.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.harvest.media_pack import harvest_pack
from backend.harvest.scores import harvest_masks, harvest_scores
from backend.harvest.untrusted import harvest_file
from backend.workers.spec import WorkerError
from backend.workers.worker import Worker
from shared.errors import PermanentError

pytestmark = pytest.mark.docker
Start = Callable[..., Worker]


def runs(worker: Worker, code: str, **request: Any) -> Any:
    """Run ``code`` in the worker; what it leaves in ``value``."""
    return worker.call("run", timeout_s=60, code=code, **request)["value"]


def tried(worker: Worker, *attempts: str) -> list[str]:
    """The name of the error each attempt ends with, or what it gave."""
    code = """
value = []
modules = {name: __import__(name) for name in ("os", "socket", "ctypes", "subprocess")}
for attempt in request["attempts"]:
    try:
        value.append("done: " + str(eval(attempt, modules)))
    except BaseException as error:
        value.append(type(error).__name__ + " " + str(getattr(error, "errno", "")))
"""
    return list(runs(worker, code, attempts=attempts))


def container_is_gone(worker: Worker) -> bool:
    name = worker._running._container.name  # type: ignore[attr-defined]
    return not subprocess.run(
        ["docker", "ps", "-aq", "--filter", f"name=^{name}$"], capture_output=True, check=True
    ).stdout


# --------------------------------------------------------------------------- resources


def test_a_memory_bomb_is_killed_and_named(start_container: Start) -> None:
    worker, began = start_container(), time.monotonic()
    with pytest.raises(WorkerError) as caught:
        worker.call("hoard", timeout_s=60, bytes=1_000_000_000)
    assert (caught.value.code, caught.value.retryable) == ("out_of_memory", True)
    assert time.monotonic() - began < 10
    assert container_is_gone(worker)


def test_a_memory_bomb_in_tmp_and_shared_memory_counts_too(start_container: Start) -> None:
    worker = start_container()
    code = "for i in range(30): open(f'/tmp/{i}', 'wb').write(b'x' * 19_000_000)"
    with pytest.raises(WorkerError, match=r"out_of_memory|worker_died"):
        runs(worker, code)


def test_a_fork_bomb_ends_at_its_limit(start_container: Start) -> None:
    worker = start_container()
    code = """
import os, time
made = 0
try:
    while made < 5000:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
        made += 1
except OSError as error:
    made = -made
value = made
"""
    made = runs(worker, code)
    assert -256 < made < 0, "stopped by the kernel, not by us"
    assert worker.close() in ("terminated", "killed", "ended")
    assert container_is_gone(worker)
    assert start_container().call("echo", timeout_s=10)["status"] == "ok"


def test_a_hang_that_ignores_sigterm_ends_at_its_deadline(start_container: Start) -> None:
    worker = start_container()
    worker.call("deaf", timeout_s=10)
    began = time.monotonic()
    with pytest.raises(WorkerError, match="detector_timed_out"):
        worker.call("sleep", timeout_s=1, seconds=600)
    assert time.monotonic() - began < 6
    assert container_is_gone(worker)


def test_a_stopped_container_cannot_hold_us(start_container: Start) -> None:
    worker = start_container()
    code = "import os, signal\nfor pid in os.listdir('/proc'):\n  if pid.isdecimal() and pid != '1': os.kill(int(pid), signal.SIGSTOP)"
    with pytest.raises(WorkerError, match="detector_timed_out"):
        worker.call("run", timeout_s=1, code=code)
    assert container_is_gone(worker)


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param("for i in range(1000): open(f'{out}/{i}', 'wb').write(b'x' * 1_000_000)", id="bytes"),
        pytest.param("for i in range(10**6): open(f'{out}/{i}', 'w').close()", id="files"),
        pytest.param("for i in range(4000): os.mkdir('d'); os.chdir('d')", id="depth"),
        pytest.param(
            "os.chdir('/exchange')\nfor i in range(1000): open(f'{i}', 'wb').write(b'x' * 1_000_000)", id="beside"
        ),
    ],
)
def test_a_flood_of_output_is_stopped_and_removed(start_container: Start, flood: str, tmp_path: Path) -> None:
    worker, before = start_container(), os.statvfs("/").f_bfree
    began = time.monotonic()
    with worker.room("job") as room:
        code = f"import os, time\nout = {('/exchange/' + room.path('out'))!r}\nos.chdir(out)\n{flood}\ntime.sleep(60)"
        with pytest.raises(WorkerError, match="output_too_large"):
            runs(worker, code)
    assert time.monotonic() - began < 60
    assert container_is_gone(worker)
    worker.close()
    assert not (tmp_path / "workers/acting-0").exists()
    assert (before - os.statvfs("/").f_bfree) * os.statvfs("/").f_frsize < 1_000_000_000


def test_one_huge_file_ends_at_the_limit_of_its_size(start_container: Start) -> None:
    worker = start_container()
    with worker.room("job") as room:
        path = "/exchange/" + room.path("out/huge")
        code = f"""
import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
value = []
for step in (lambda f: f.truncate(2**40), lambda f: os.posix_fallocate(f.fileno(), 0, 10**11), lambda f: f.write(b"x" * 21_000_000)):
    try:
        with open({path!r}, "wb") as file:
            step(file)
        value.append("done")
    except OSError as error:
        value.append(error.errno)
"""
        assert runs(worker, code) == [27, 27, 27], "EFBIG"


def test_a_flood_of_log_lines_costs_little(start_container: Start, tmp_path: Path) -> None:
    worker = start_container()
    runs(worker, "import sys\nfor i in range(300): sys.stdout.write('\\x1b[2J\\x07' + 'y' * 100_000 + '\\r\\n')")
    worker.close()
    log = (tmp_path / "workers/acting-0.log").read_bytes()
    assert 0 < len(log) <= 1_000_000
    assert b"\x1b" not in log
    assert b"\r" not in log


# --------------------------------------------------------------------------- reaching out


def test_no_network_of_any_kind_can_be_reached(start_container: Start) -> None:
    worker = start_container()
    families = ("AF_INET", "AF_INET6", "AF_PACKET", "AF_NETLINK", "AF_VSOCK")
    answers = tried(
        worker,
        *(
            f"socket.socket(socket.{family}, socket.SOCK_RAW if {family!r} == 'AF_PACKET' else socket.SOCK_DGRAM)"
            for family in families
        ),
        "socket.create_connection(('169.254.169.254', 80), 1)",
        "socket.getaddrinfo('example.org', 80)",
    )
    assert [answer.split()[0] for answer in answers[:6]] == ["PermissionError"] * 6
    assert not answers[6].startswith("done")
    assert tried(worker, "sorted(os.listdir('/sys/class/net'))") == ["done: ['lo']"]


def test_an_abstract_socket_of_the_host_is_out_of_reach(start_container: Start) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        name = f"dfom-{os.getpid()}"
        listener.bind(f"\0{name}")
        listener.listen(1)
        answers = tried(start_container(), f"socket.socket(socket.AF_UNIX).connect('\\0{name}')")
    assert answers == ["ConnectionRefusedError 111"]


def test_nothing_outside_can_be_written(start_container: Start) -> None:
    paths = [
        "/file", "/etc/passwd", "/usr/file", "/app/acting.py", "/root/file", "/sys/file", "/dev/file", "/dev/kmsg", "/dev/sda", "/dev/vda",
        "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/kcore", "/run/docker.sock", "/var/run/docker.sock",
    ]  # fmt: skip
    answers = dict(
        zip(paths, tried(start_container(), *(f"open({path!r}, 'ab').write(b'x')" for path in paths)), strict=True)
    )
    refusals = ("PermissionError", "OSError", "FileNotFoundError", "IsADirectoryError")
    assert {path: answer for path, answer in answers.items() if answer.split()[0] not in refusals} == {}


def test_it_has_no_rights_and_can_gain_none(start_container: Start) -> None:
    worker = start_container()
    status = runs(
        worker,
        "value = dict(line.split(':\\t', 1) for line in open('/proc/self/status').read().splitlines() if ':\\t' in line)",
    )
    assert {
        name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    } == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    if os.geteuid() == 0:
        assert (status["Uid"].split(), status["Gid"].split(), status["Groups"].split()) == (
            ["65534"] * 4,
            ["65534"] * 4,
            ["65534"],
        )
    answers = tried(
        worker,
        "os.setuid(0)",
        "os.chroot('/tmp')",
        "os.mkfifo('/exchange/pipe')",
        "os.mknod('/tmp/disk', 0o60600, os.makedev(254, 0))",
        "os.kill(1, 9) or os.nice(-5)",
        "[1 / 0 for _ in [ctypes.CDLL(None).unshare(0x10000000)] if _ != 0]",
        "[1 / 0 for _ in [ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, None)] if _ != 0]",
        "[1 / 0 for _ in [ctypes.CDLL(None).ptrace(16, 1, 0, 0)] if _ != 0]",
    )
    assert not any(answer.startswith("done") for answer in answers), answers


def test_nothing_written_to_tmp_can_be_executed(start_container: Start) -> None:
    copied = "subprocess.run(['/bin/cp', '/bin/true', '/tmp/program']) and os.chmod('/tmp/program', 0o755)"
    program = f"{copied} or subprocess.run(['/tmp/program'])"
    assert tried(start_container(), program) == ["PermissionError 13"]


# --------------------------------------------------------------------------- the exchange folder


def test_a_pack_cannot_be_changed_and_is_gone_after_the_job(start_container: Start, pack: Path) -> None:
    worker = start_container()
    before = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in pack.iterdir()}
    with worker.room("job") as room:
        room.link(pack, "pack")
        inside = "/exchange/" + room.path("pack")
        assert set(worker.call("look", timeout_s=10, at="/exchange/job/pack")["found"]) == {
            f"{inside}/{name}" for name in before
        }
        answers = tried(
            worker,
            f"open('{inside}/crops.bin', 'r+b').write(b'x')",
            f"os.chmod('{inside}/crops.bin', 0o666)",
            f"os.unlink('{inside}/crops.bin')",
            f"os.rename('{inside}', '/exchange/mine')",
            "os.rename('/exchange/job', '/exchange/mine')",
            "os.symlink('/etc', '/exchange/job/link')",
            f"os.link('{inside}/crops.bin', '/exchange/kept')",
        )
        assert not any(answer.startswith("done") for answer in answers), answers
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in pack.iterdir()} == before
    assert [
        name for name in worker.call("look", timeout_s=10, at="/exchange")["found"] if name.endswith("crops.bin")
    ] == []


@pytest.mark.parametrize(
    "swap",
    [
        "os.symlink('/run/docker.sock', 'worker.sock')",
        "open('worker.sock', 'w')",
        "os.mkdir('worker.sock')",
    ],
)
def test_a_swapped_socket_is_not_dialled(start_container: Start, swap: str) -> None:
    worker = start_container()
    runs(worker, f"import os\nos.chdir('/exchange')\nos.unlink('worker.sock')\n{swap}\nvalue = 1")
    worker._connection.close()  # type: ignore[union-attr]
    began = time.monotonic()
    with pytest.raises(WorkerError, match="detector_bad_output"):
        worker.open(timeout_s=10)
    assert time.monotonic() - began < 5


LIES = {
    "link": "os.symlink('/etc/passwd', 'scores.json')",
    "link to the host's disk": "os.symlink('/dev/zero', 'scores.json')",
    "socket": "import socket; socket.socket(socket.AF_UNIX).bind('scores.json')",
    "folder": "os.mkdir('scores.json')",
    "nan": "open('scores.json', 'w').write(good.replace('0.5', 'NaN'))",
    "infinity": "open('scores.json', 'w').write(good.replace('0.5', '1e999'))",
    "deep": "open('scores.json', 'w').write('[' * 5_000_000)",
    "other detector": "open('scores.json', 'w').write(good.replace('acting', 'mesonet'))",
}


def test_lies_in_the_output_are_refused(start_container: Start) -> None:
    good = (
        '{"schema": 3, "unit": "face", "contract": "1", "detector": "acting", "version": "1", "index": [0], "fake_score": [0.5], '
        '"persons": [{"person": 0, "faces": 1, "fake_score": 0.5, "hard_label": "fake"}], "skipped": {}, "masks": [], "seconds": {}}'
    )
    worker, believed = start_container(), []
    for lie, program in LIES.items():
        with worker.room("job") as room:
            home = f"import os\nos.chdir('/exchange/{room.path('out')}')\ngood = {good!r}\n"
            runs(worker, home + "open('scores.json', 'w').write(good)")
            assert harvest_scores(room.out, card_id="acting", units=1).fake_score == (0.5,), "the honest one is taken"
            runs(worker, home + "os.unlink('scores.json')\n" + program)
            with contextlib.suppress(PermanentError):
                believed.append((lie, harvest_scores(room.out, card_id="acting", units=1)))
    assert believed == []


def test_evidence_and_files_that_are_links_are_refused(start_container: Start, tmp_path: Path) -> None:
    good = (
        '{"schema": 3, "unit": "face", "contract": "1", "detector": "acting", "version": "1", "index": [0], "fake_score": [0.5], '
        '"persons": '
        '[{"person": 0, "faces": 1, "fake_score": 0.5, "hard_label": "fake"}], "masks": [{"index": 0, "file": "masks/000000.npy"}]}'
    )
    worker = start_container()
    with worker.room("job") as room:
        code = f"""
import os
os.chdir('/exchange/{room.path("out")}')
open('scores.json', 'w').write({good!r})
os.symlink('/etc', 'masks')
os.symlink('/etc/passwd', 'result.mp4')
os.symlink('/exchange/{room.path("out")}', 'pack')
"""
        runs(worker, code)
        scores = harvest_scores(room.out, card_id="acting", units=1)
        with pytest.raises(PermanentError, match="detector_bad_output"):
            harvest_masks(room.out, scores, tmp_path)
        with pytest.raises(PermanentError, match="media_bad_output"):
            harvest_file(room.out, "result.mp4", tmp_path / "result.mp4", max_bytes=10**6)
        with pytest.raises(PermanentError, match="media_bad_output"):
            harvest_pack(room.out / "pack", tmp_path / "job" / "pack")
