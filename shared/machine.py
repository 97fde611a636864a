"""What this machine has for our work: memory and cores, as the kernel and its control groups allow; and the defaults that follow.

Promises: never raises; what cannot be read counts as absent. Imported by ``shared.settings``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: Default budget of workers: this share of the memory. The rest is for the portal, the page cache that face packs go through, and an
#: ``analyze`` beside the portal.
SHARE: Final = 2 / 3
#: The least default budget, MB: the media worker and the light detectors that the platform ships fit together.
LEAST_BUDGET_MB: Final = 6144
#: Cores of one job: decoding and the networks use about four well, rendering and finding faces fewer.
CORES_OF_A_JOB: Final = 4
#: Memory of the workers of one job, MB: each job in work has its own.
MEMORY_OF_A_JOB_MB: Final = 6144
#: Most jobs at once by default.
MOST_JOBS: Final = 8


def memory_mb(root: Path = Path("/")) -> int | None:
    """Memory this process may use, MB of 10^6 bytes: the machine's, or less where a control group (v2, v1) limits it. None: unknown."""
    limits = [_total_bytes(root / "proc/meminfo"), *_cgroup_bytes(root)]
    known = [limit for limit in limits if limit is not None and limit > 0]
    return min(known) // 1_000_000 if known else None


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def gpus(root: Path = Path("/")) -> list[str]:
    """NVIDIA's GPUs of this machine as its driver lists them, by UUID; none without the driver."""
    folders = sorted(root.glob("proc/driver/nvidia/gpus/*/information"))
    lines = [line.partition(":") for path in folders for line in _read(path).splitlines()]
    return [uuid.strip() for name, _, uuid in lines if name.strip() == "GPU UUID" and uuid.strip().startswith("GPU-")]


def default_budget_mb(memory: int | None = None) -> int:
    """Memory budget of the workers, MB, on a machine with ``memory`` MB (None: this one)."""
    memory = memory_mb() if memory is None else memory
    return max(LEAST_BUDGET_MB, int((memory or 0) * SHARE) // 256 * 256)


def default_jobs(core_count: int | None = None, *, budget_mb: int | None = None) -> int:
    """Jobs in work at once: one for each four cores, as many as have their workers in memory together, at least one."""
    by_cores = (core_count or cores()) // CORES_OF_A_JOB
    by_memory = (budget_mb or default_budget_mb()) // MEMORY_OF_A_JOB_MB
    return max(1, min(by_cores, by_memory, MOST_JOBS))


def _total_bytes(meminfo: Path) -> int | None:
    for line in _read(meminfo).splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal":
            return _number(rest.removesuffix("kB"), times=1024)
    return None


def _cgroup_bytes(root: Path) -> list[int | None]:
    """The limits of our control group and of those above it."""
    found: list[int | None] = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        hierarchy, controllers, path = [*line.split(":", 2), "", ""][:3]
        if hierarchy == "0":
            top, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        # in a container the path is that of the host, and the group's files are at the top
        found += [_number(_read(top.joinpath(*parts[:depth], name))) for depth in range(len(parts) + 1)]
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _number(text: str, *, times: int = 1) -> int | None:
    """A whole number; None for ``max`` and for anything else."""
    text = text.strip()
    return int(text) * times if text.isdecimal() else None
