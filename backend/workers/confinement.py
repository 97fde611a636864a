"""What a worker process does to itself before it becomes a worker: ``python -m backend.workers.confinement PARENT DATA FILE MODULE ...``.

Asks the kernel for SIGKILL when the back-end's thread that started it ends, sets resource limits, then runs ``MODULE`` as its
``__main__``. A module of its own because code between fork and exec (``preexec_fn``) is unsafe in a process with threads.
Run by ``backend.workers.process_runner`` only.
"""

from __future__ import annotations

import ctypes
import os
import resource
import runpy
import signal
import sys

#: prctl(2): the signal this process gets when its parent dies.
PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Be killed when ``parent`` dies; exit now when it is dead already. On systems without prctl this does nothing."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died between the fork and the call above
        raise SystemExit(1)


def limit(*, data_bytes: int, file_bytes: int) -> None:
    """Limit private memory (0: no limit) and the size of a file; no core dumps, which would hold faces."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    if data_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))


def main() -> None:
    """Confine this process, then run the module."""
    parent, data_bytes, file_bytes, module, *arguments = sys.argv[1:]
    die_with(int(parent))
    limit(data_bytes=int(data_bytes), file_bytes=int(file_bytes))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
