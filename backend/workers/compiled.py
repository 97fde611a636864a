"""The folders of compiled networks, one a worker: prepared and kept small here, and filled from containers.

A worker's process, which is the platform's own code, writes its folder itself (``detectors.kept``). A container may only read it,
because an exploited decoder would otherwise leave networks behind that judge later uploads. What a container made, it hands out in its
exchange folder *while it loads*: at that time it has seen no visitor's file, only its image and its weights.
Promises: nothing is taken from a container that was adopted or has worked, from a third party's, or into another worker's folder; no
link is followed; only files whose sha256 is the one that was written with them are taken.
Imported by the runners and ``backend.workers.worker``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

import structlog

from backend.harvest.untrusted import Refused, copy_file, open_folder
from backend.workers.exchange import remove_tree
from shared import durable
from shared.digest import sha256_of

log = structlog.get_logger()

#: Names that ``detectors.kept`` has as well: of the two variables, of the folder in the exchange folder, and of an entry's files.
VARIABLE: Final = "COMPILED_NETS"
VARIABLE_NEW: Final = "COMPILED_NETS_NEW"
HANDED: Final = "compiled"
_FILES: Final = ("net.xml", "net.bin", "sums.json")
_KEY: Final = re.compile(r"[0-9a-f]{64}")

#: Of one worker: the largest ensemble (seven B7 of 266 MB) twice.
MOST_BYTES: Final = 4_000_000_000
#: An entry that was not used for so long is of old weights or old code.
UNUSED_S: Final = 30 * 86_400
#: A worker that was killed while it wrote.
_ABANDONED_S: Final = 3600
#: Networks of one worker, by far.
_MOST_ENTRIES: Final = 50


def prepare(folder: Path) -> bool:
    """Make ``folder`` and remove from it what is abandoned, unused, or beyond ``MOST_BYTES``; False when the disk refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.chmod(folder, 0o755)  # noqa: S103  a container's worker is another user
        _tidy(folder)
    except OSError as error:
        log.warning("compiled_not_kept", folder=str(folder), reason=error.strerror)
        return False
    return True


def _tidy(folder: Path) -> None:
    now, total = time.time(), 0
    entries = sorted(((entry.stat().st_mtime, entry) for entry in folder.iterdir()), reverse=True)
    for used_at, entry in entries:
        if entry.name.startswith("."):
            if now - used_at > _ABANDONED_S:
                remove_tree(entry)
            continue
        total += sum(file.stat().st_size for file in entry.iterdir())
        if now - used_at > UNUSED_S or total > MOST_BYTES:
            remove_tree(entry)


def take(untrusted: Path, folder: Path, *, max_bytes: int) -> int:
    """Move the entries that a worker handed out in ``untrusted`` into its own ``folder``; how many. What is wrong is logged and left."""
    taken = 0
    try:
        with open_folder(untrusted) as handle:
            names = [name for name in os.listdir(handle) if _KEY.fullmatch(name)][:_MOST_ENTRIES]
        for name in names:
            taken += _take_one(untrusted / name, folder / name, max_bytes=max_bytes)
    except (OSError, Refused, ValueError) as error:
        log.warning("compiled_not_taken", folder=str(folder), reason=str(error))
    return taken


def _take_one(untrusted: Path, entry: Path, *, max_bytes: int) -> bool:
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=entry.parent))
    try:
        with open_folder(untrusted) as handle:
            for name in _FILES:
                copy_file(handle, name, draft / name, max_bytes=max_bytes)
                os.chmod(draft / name, 0o644)
        if json.loads((draft / "sums.json").read_bytes()) != _sums(draft, entry.name):
            raise Refused(f"{entry.name} is not what was written")
        os.chmod(draft, 0o755)  # noqa: S103
        # an entry that the worker did not find intact is replaced
        remove_tree(entry)
        durable.move_directory(draft, entry)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(draft)
    return True


def _sums(draft: Path, key: str) -> dict[str, str]:
    sums = {"key": key}
    for name in _FILES[:2]:
        sums[name] = sha256_of(draft / name)
    return sums
