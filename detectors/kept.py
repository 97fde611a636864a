"""Compiled networks kept on disk, so that a worker that starts again needs neither torch nor the check against it.

Owns the folder that the variable ``COMPILED_NETS`` names (none: nothing is kept), one folder an entry, and the key of an entry.
Promises: an entry is used only for the same weights, arguments, code, versions and kind of processor as when it was made and
checked, and only when its bytes are those that were written; anything else is made again. Entries appear by one rename, so several
workers may make the same one. A folder that cannot be written, or a full disk, only means that nothing is kept.
Whoever can write the folder decides about scores, so it belongs to the platform: docs/containers.md says who writes it.
Imported by ``detectors.runtime``. Imports neither torch nor OpenVINO.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np

#: Of the worker's environment: the folder of its entries, and where it writes new ones when it may only read that (in a container).
VARIABLE: Final = "COMPILED_NETS"
VARIABLE_NEW: Final = "COMPILED_NETS_NEW"
NET, _NUMBERS, _SUMS = "net.xml", "net.bin", "sums.json"

#: Disk space that stays for uploads and results.
_LEAST_FREE: Final = 1_000_000_000


def folder() -> Path | None:
    """Where the networks of this worker are kept, None for nowhere."""
    name = os.environ.get(VARIABLE)
    return Path(name) if name else None


def key_of(build: Callable[..., Any], arguments: Sequence[Any], **compilation: Any) -> str:
    """The name of the entry for ``build(*arguments)`` compiled as ``compilation`` says.

    ``build`` must be a function of a module: what a closure holds would not be seen. Everything else that decides about the network
    is an argument: bytes, arrays, numbers, texts, None, large files as ``detectors.nets.checkpoint.Published``, and tuples, lists or
    dicts of those. TypeError for others.
    """
    module = sys.modules[build.__module__]
    if getattr(module, build.__qualname__, None) is not build:
        raise TypeError(f"{build.__qualname__} must be a function of a module")
    return _digest(
        [
            module.__name__,
            build.__name__,
            arguments,
            compilation,
            _code(Path(str(module.__file__)).parent),
            _versions(),
            _processor(),
        ]
    )


def _digest(value: Any) -> str:
    """sha256 of nested values; each is hashed with its type, so that different ones never read alike."""
    if isinstance(value, (list, tuple)):
        said, content = "list", b"".join(bytes.fromhex(_digest(item)) for item in value)
    elif isinstance(value, dict):
        said, content = "dict", bytes.fromhex(_digest([[name, value[name]] for name in sorted(value)]))
    elif isinstance(value, np.ndarray):
        said, content = f"array {value.dtype.str} {value.shape}", np.ascontiguousarray(value).tobytes()
    elif isinstance(value, bytes):
        said, content = "bytes", value
    elif value is None or isinstance(value, (str, int, float)):
        said, content = type(value).__name__, repr(value).encode()
    elif hasattr(value, "digest"):
        said, content = "file", bytes.fromhex(value.digest())
    else:
        raise TypeError(f"a network is known by bytes, arrays, numbers and texts, not by {type(value).__name__}")
    total = hashlib.sha256(f"{said} {len(content)}\n".encode())
    total.update(content)
    return total.hexdigest()


@cache
def _code(folder_of_build: Path) -> str:
    """Digest of the code that makes networks: beside the function that builds, of ``detectors.nets``, and of the compilation.

    More than what one network needs: a change too many costs a few seconds once, a change overlooked would give old scores.
    """
    here = Path(__file__).parent
    files = sorted(file for path in {folder_of_build, here / "nets", here} for file in path.glob("*.py"))
    return _digest([[file.parent.name, file.name, file.read_bytes()] for file in files])


@cache
def _versions() -> list[str]:
    """The packages that turn code and weights into answers. Torch is not imported."""
    return [metadata.version(name) for name in ("openvino", "torch", "numpy")]


@cache
def _processor() -> list[str]:
    """The kind of processor: the compiler makes other code for another one, and the check was made on this one."""
    lines: list[str] = []
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as listing:
        for line in listing:
            if not line.strip():
                break  # the second core is like the first
            if line.startswith(("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU")):
                lines.append(line.strip())
    return [platform.machine(), *lines]


def find(key: str, *, kept: Path | None = None) -> Path | None:
    """The model file of entry ``key`` when it is there and intact; what is damaged is removed where it can be."""
    place = kept or folder()
    if place is None:
        return None
    entry = place / key
    try:
        sums = json.loads((entry / _SUMS).read_bytes())
        if sums == _sums(entry, key):
            with contextlib.suppress(OSError):
                os.utime(entry)  # used now
            return entry / NET
    except FileNotFoundError:
        if not entry.exists():
            return None
    except (OSError, ValueError):
        pass
    discard(key, kept=place)
    return None


def discard(key: str, *, kept: Path | None = None) -> None:
    """Remove an entry, at once for others; a folder that cannot be written keeps it."""
    place = kept or folder()
    if place is None:
        return
    with contextlib.suppress(OSError):
        away = Path(tempfile.mkdtemp(prefix=".away-", dir=place))
        with contextlib.suppress(OSError):
            (place / key).rename(away / key)
        shutil.rmtree(away, ignore_errors=True)


@contextlib.contextmanager
def draft(*, size: int = 0) -> Iterator[Path | None]:
    """A folder to write a network of ``size`` bytes into (``NET``), removed afterwards; None where nothing can be kept."""
    handed, path = os.environ.get(VARIABLE_NEW), None
    place = Path(handed) if handed else folder()
    try:
        if place is not None:
            place.mkdir(parents=True, exist_ok=True)
            if _fits(place, size, handed=bool(handed)):
                path = Path(tempfile.mkdtemp(prefix=".draft-", dir=place))
    except OSError:
        path = None
    try:
        yield path
    finally:
        if path is not None:
            shutil.rmtree(path, ignore_errors=True)


def _fits(place: Path, size: int, *, handed: bool) -> bool:
    """Whether the disk and the limits of this process have room. What is handed out counts as the worker's output, which has the
    limit of a file (``backend.workers.container_flags``); half of it stays free."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY:
        used = sum(file.stat().st_size for file in place.rglob("*")) if handed else 0
        if used + size > (limit // 2 if handed else limit):
            return False
    return shutil.disk_usage(place).free > _LEAST_FREE + size


def publish(path: Path, key: str) -> None:
    """Make the draft at ``path`` the entry ``key``; nothing happens when there is one, or when the disk refuses."""
    place = path.parent
    with contextlib.suppress(OSError):
        (path / _SUMS).write_text(json.dumps(_sums(path, key)), encoding="ascii")
        for name in (NET, _NUMBERS, _SUMS):
            os.chmod(path / name, 0o644)
            with open(path / name, "rb") as file:
                os.fsync(file.fileno())
        # a container's worker is another user
        os.chmod(path, 0o755)  # noqa: S103
        path.rename(place / key)


def _sums(entry: Path, key: str) -> dict[str, str]:
    """What ``sums.json`` of an intact entry says: its own name, and the sha256 of its files."""
    sums = {"key": key}
    for name in (NET, _NUMBERS):
        with open(entry / name, "rb") as file:
            sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums
