"""Which GPU a new worker gets: the one that will have most memory free.

Promises: a worker sees one GPU; what other workers were promised but have not taken yet counts as taken; where the driver's tool does
not answer, the GPU with the fewest workers is chosen. Imported by ``backend.workers.pool``.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

#: NVIDIA's tool, which comes with the driver; a GPU goes by its number, its UUID or the beginning of that.
QUESTION: Final = ("nvidia-smi", "--query-gpu=index,uuid,memory.free", "--format=csv,noheader,nounits")
_MIB_IN_MB: Final = 1024**2 / 1e6


@dataclass(frozen=True)
class Tenant:
    """A worker on a GPU; ``promised_mb`` counts while it has not taken its memory."""

    gpu: str
    promised_mb: int = 0


def choose(gpus: Sequence[str], *, free_mb: Mapping[str, int], tenants: Iterable[Tenant] = ()) -> str:
    """The GPU of ``gpus`` with most memory left, MB; of equal ones the one with the fewest workers, then the first.

    ``free_mb`` names only GPUs that answered: one that does not is taken only when none does.
    """
    there = list(tenants)

    def order(gpu: str) -> tuple[int, int]:
        own = [tenant for tenant in there if tenant.gpu == gpu]
        left = free_mb[gpu] - sum(tenant.promised_mb for tenant in own) if gpu in free_mb else 0
        return -left, len(own)

    return min([gpu for gpu in gpus if gpu in free_mb] or gpus, key=order)


def read_free_mb(gpus: Sequence[str], *, question: Sequence[str] = QUESTION) -> dict[str, int]:
    """Free memory in MB of those of ``gpus`` that NVIDIA's tool knows; empty where it is not there or does not answer in time."""
    try:
        done = subprocess.run(question, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603  fixed words
    except (OSError, subprocess.SubprocessError):
        return {}
    return parse_free(done.stdout, gpus)


def parse_free(listing: str, gpus: Sequence[str]) -> dict[str, int]:
    """Free memory in MB by the names of ``gpus``, from lines like ``0, GPU-5a1c..., 81000`` (MiB)."""
    found: dict[str, int] = {}
    for line in listing.splitlines():
        number, uuid, mib = [*(part.strip() for part in line.split(",")), "", "", ""][:3]
        if mib.isdecimal():
            names = [gpu for gpu in gpus if gpu == number or (gpu.startswith("GPU-") and uuid.startswith(gpu))]
            found |= dict.fromkeys(names, int(int(mib) * _MIB_IN_MB))
    return found
