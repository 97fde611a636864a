"""The flags of a worker's container, as pure functions. Knows docker-py's names for them, but does not import Docker.

Promises: what a container may do is exactly what ``container_options`` returns; a test compares it, key by key, with what the
engine reports of a running one. Imported by ``backend.workers.docker_runner``.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

from backend.workers.compiled import HANDED, VARIABLE, VARIABLE_NEW
from backend.workers.spec import WorkerSpec

#: Docker's profile allows some 350 system calls; this one only those a worker needs, and only sockets of the family AF_UNIX.
SECCOMP: Final = Path(__file__).resolve().parents[2] / "docker" / "seccomp.json"

#: nobody:nogroup. Where the back-end is not root it uses its own ids, because it could not remove another user's files.
NOBODY: Final = "65534:65534"

LABEL: Final = "org.deepfake-o-meter"
LABEL_FOLDER: Final = f"{LABEL}.folder"
LABEL_FLAGS: Final = f"{LABEL}.flags"
LABEL_PLACE: Final = f"{LABEL}.place"
LABEL_MEMORY: Final = f"{LABEL}.memory-mb"


def container_user() -> str:
    """The user that worker containers run as."""
    return NOBODY if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}"


def container_name(exchange: Path) -> str:
    """The name is derived from the exchange folder, so that the worker is found again."""
    return f"dfom-{exchange.name}-{hashlib.sha256(str(exchange).encode()).hexdigest()[:12]}"


def worker_environment(*, threads: int) -> dict[str, str]:
    """The complete environment of a worker: nothing of ours is inherited."""
    return {
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "THP_MEM_ALLOC_ENABLE": "1",  # torch asks for huge pages: fewer page faults with large nets
    }


def container_options(
    spec: WorkerSpec, *, image: str, exchange: Path, user: str, threads: int, seccomp: str, gpu: str | None = None
) -> dict[str, Any]:
    """Arguments of docker-py's ``containers.create``.

    image            an image id: a tag moves
    entrypoint,      ours for bundled workers; a third party's image brings its own (any language: protocol v1)
    command
    network_mode     none: no LAN, no metadata service, no other container
    read_only, tmpfs the root cannot be written; /tmp is memory, 512 MB, nothing in it can be executed
    cap_drop,        no capabilities, none to be gained by set-uid programs, and a short list of system calls
    security_opt
    user             nobody
    ipc_mode,        own shared memory and own view of the control groups
    cgroupns
    init             PID 1 passes signals on and reaps children
    mem_limit =      no swap beside the memory; the worker is what the kernel kills first
    memswap_limit,
    oom_score_adj
    pids_limit       a fork bomb ends at 256
    nano_cpus        as many cores as the worker has threads
    ulimits          open files; no core dumps, which would hold faces; the size of one file (compiled networks, while it loads). The
                     sum of all is polled
    mounts           the exchange folder; weights and compiled networks, read-only. Never the shared folders, never the engine's socket
    log_config       2 MB at most
    healthcheck      none, whatever the image says: it would run commands
    device_requests  one GPU, not all
    """
    bundled = spec.bundled
    environment = worker_environment(threads=threads) | {"HOME": "/tmp"}  # noqa: S108  inside the container
    mounts = [_bind(exchange, "/exchange", read_only=False)]
    if spec.weights is not None:
        mounts.append(_bind(spec.weights, "/weights", read_only=True))
    if bundled and spec.compiled is not None:
        mounts.append(_bind(spec.compiled, "/compiled", read_only=True))
        environment |= {VARIABLE: "/compiled", VARIABLE_NEW: f"/exchange/{HANDED}"}
    options: dict[str, Any] = {
        "image": image,
        "name": container_name(exchange),
        "hostname": "worker",
        "entrypoint": ["/opt/worker/bin/python"] if bundled else None,
        "command": ["-m", *spec.arguments("/exchange", weights="/weights")] if bundled else None,
        "working_dir": "/app" if bundled else None,
        "stop_signal": "SIGTERM",
        "user": user,
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true", f"seccomp={seccomp}"],
        "ipc_mode": "private",
        "cgroupns": "private",
        "shm_size": 64 * 2**20,
        "init": True,
        "mem_limit": spec.memory_mb * 1_000_000,
        "memswap_limit": spec.memory_mb * 1_000_000,
        "oom_score_adj": 500,
        "pids_limit": 256,
        "nano_cpus": threads * 1_000_000_000,
        "ulimits": [
            {"name": "nofile", "soft": 1024, "hard": 1024},
            {"name": "core", "soft": 0, "hard": 0},
            {"name": "fsize", "soft": spec.loading_mb * 1_000_000, "hard": spec.loading_mb * 1_000_000},
        ],
        "tmpfs": {"/tmp": "rw,noexec,nosuid,nodev,size=512m,mode=1777"},  # noqa: S108
        "mounts": mounts,
        "log_config": {"type": "json-file", "config": {"max-size": "1m", "max-file": "2"}},
        "environment": environment,
        "healthcheck": {"test": ["NONE"]},
        "use_config_proxy": False,
    }
    if gpu is not None:
        options["environment"] = environment | {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
        options["device_requests"] = [{"driver": "nvidia", "device_ids": [gpu], "capabilities": [["gpu"]]}]
    flags = hashlib.sha256(json.dumps([options, spec.files], sort_keys=True).encode()).hexdigest()
    options["labels"] = {
        LABEL_FOLDER: str(exchange.parent),
        LABEL_PLACE: exchange.name,
        LABEL_MEMORY: str(spec.memory_mb),
        LABEL_FLAGS: flags,
    }
    return options


def _bind(source: Path, target: str, *, read_only: bool) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": str(source),
        "Target": target,
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }
