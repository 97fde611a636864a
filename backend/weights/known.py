"""What this installation remembers of weights: files whose sha256 nobody published, as they were first seen, and licences agreed to.

One file, ``<folder>/known.json``, which may be read and copied with the folder. Promises: it is replaced whole, by one process at a time;
a remembered sha256 changes only when the operator says so. May be imported by ``backend.weights`` and ``backend.commands``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from shared import durable
from shared.clock import utc_now
from shared.errors import UserError

NAME: Final = "known.json"


@dataclass(frozen=True)
class Seen:
    """A file as it was first seen. ``stamp``: inode and time of change of the installed one, so that it is not read again and again.

    ``before``: what it replaced, until it is known whether the new one loads.
    """

    sha256: str
    bytes: int
    origin: str
    first_seen: str
    revision: str = ""
    stamp: tuple[int, int] = (0, 0)
    before: dict[str, Any] | None = None


class Known:
    """The memory of the weights below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME

    # -- files

    def of(self, key: str) -> Seen | None:
        """What is remembered of the file ``key`` (``detector/file``); of a memory that cannot be read, nothing."""
        try:
            return _seen(self._read().get("files", {}).get(key))
        except (UserError, OSError):
            return None

    def check(self) -> None:
        """UserError when the memory is damaged."""
        self._read()

    def remember(
        self, key: str, path: Path, *, sha256: str, origin: str, revision: str = "", trial: bool = False
    ) -> Seen:
        """Remember the installed file ``path``. ``trial``: ``settle`` or ``forget`` follows."""
        facts = path.stat()
        with self._changing() as content:
            files = content.setdefault("files", {})
            old = _seen(files.get(key))
            first = old.first_seen if old and old.sha256 == sha256 else utc_now().isoformat(timespec="seconds")
            before = asdict(replace(old, before=None)) if trial and old else None
            stamp = (facts.st_ino, facts.st_mtime_ns)
            seen = Seen(sha256, facts.st_size, origin, first, revision, stamp, before)
            files[key] = asdict(seen)
        return seen

    def settle(self, key: str) -> None:
        """The file on trial is right."""
        self._after_trial(key, lambda seen: replace(seen, before=None))

    def forget(self, key: str) -> None:
        """The file on trial is wrong: what it replaced is remembered again, if anything."""
        self._after_trial(key, lambda seen: _seen(seen.before))

    def _after_trial(self, key: str, becomes: Any) -> None:
        with self._changing() as content:
            seen = _seen(content.get("files", {}).get(key))
            if seen:
                after = becomes(seen)
                content["files"].pop(key)
                content["files"] |= {key: asdict(after)} if after else {}

    # -- licences

    def agreed(self, detector: str, licence: str) -> bool:
        """Whether the operator agreed to this ``licence`` of weights of ``detector``."""
        return any(item.get("licence") == licence for item in self._read().get("agreed", {}).get(detector, []))

    def agree(self, detector: str, licence: str) -> None:
        """Record that the operator agreed."""
        with self._changing() as content:
            agreed = content.setdefault("agreed", {}).setdefault(detector, [])
            agreed.append({"licence": licence, "at": utc_now().isoformat(timespec="seconds")})

    # -- inside

    def _read(self) -> dict[str, Any]:
        try:
            facts = self._path.stat()
            key = (str(self._path), facts.st_ino, facts.st_mtime_ns)
            if key not in _contents:
                content = json.loads(self._path.read_bytes())
                if not isinstance(content, dict):
                    raise ValueError("not a JSON object")
                _contents.clear()
                _contents[key] = content
            return _contents[key]
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except ValueError as error:
            raise UserError(
                "weights_not_stored",
                f"{self._path} is damaged ({error}). Restore it from a backup, or delete it: then the installed files count as they are.",
            ) from None

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """The content, to be changed in place; written at the end."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._path.with_name(f".{NAME}.lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            content = json.loads(json.dumps(self._read()))
            yield content
            durable.replace_json(self._path, content)
        finally:
            os.close(lock)


#: the content as last read, by path, inode and time of change
_contents: dict[tuple[str, int, int], dict[str, Any]] = {}


def _seen(entry: Any) -> Seen | None:
    if not isinstance(entry, dict):
        return None
    try:
        inode, changed = entry["stamp"]
        return Seen(**{**entry, "stamp": (inode, changed)})
    except (KeyError, TypeError, ValueError):
        return None
