"""Whether a weights file is installed, and its sha256.

Promises: a file is hashed once, and again only after it changed. May be imported by ``backend.weights`` and ``backend.commands``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backend.weights.known import Known, Seen
from backend.weights.part import Wanted
from base_detector import WeightsFile
from shared.digest import forget_remembered, remembered_sha256

State = Literal["installed", "missing", "differs"]


@dataclass(frozen=True)
class Installed:
    """One weights file of a card and its state in the folder. ``seen``: what is remembered of it, where nobody published its sha256."""

    detector: str
    item: WeightsFile
    path: Path
    state: State
    seen: Seen | None = None


def installed(wanted: Wanted, known: Known, *, again: bool = False) -> Installed:
    """``wanted`` with its state; ``again``: what was found earlier does not count, its bytes are read."""
    if again:
        forget_remembered()
    seen = None if wanted.item.sha256 else known.of(wanted.key)
    return Installed(wanted.card.id, wanted.item, wanted.path, _state(wanted, seen, again=again), seen)


def _state(wanted: Wanted, seen: Seen | None, *, again: bool) -> State:
    path, item = wanted.path, wanted.item
    try:
        facts = path.stat()
        right, size = item.sha256 or (seen.sha256 if seen else ""), item.bytes or (seen.bytes if seen else 0)
        if not right:
            return "installed" if path.is_file() and facts.st_size else "differs"
        if size != facts.st_size:
            return "differs"
        if seen and not again and seen.stamp == (facts.st_ino, facts.st_mtime_ns):
            return "installed"
        return "installed" if remembered_sha256(path) == right else "differs"
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError:
        return "differs"  # it exists, but is a folder or not readable
