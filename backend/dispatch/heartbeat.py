"""The dispatcher's claim on its shared folder: a file with a beat; a second dispatcher sees it and refuses to start.

No locks of the file system (they differ between NFS versions): a claim is a file ``.dispatcher-<generation>.json`` made with
O_EXCL, so of several rivals that see the same dead claim exactly one makes the next generation. Ages are measured on the
folder's own clock (the mtime of a probe file), so skewed clocks of two machines do not matter.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
from pathlib import Path

from shared.errors import PermanentError

#: Seconds without a beat after which a claim counts as dead. The dispatcher beats every few seconds.
STALE_S = 30.0


class Heartbeat:
    """The claim on ``folder``."""

    def __init__(self, folder: Path, *, stale_s: float = STALE_S) -> None:
        self._folder = folder
        self._stale_s = stale_s
        self._token = secrets.token_hex(8)
        self._own: Path | None = None

    def claim(self) -> None:
        """Take the folder; PermanentError(second_dispatcher) while another one's claim is fresh."""
        generation, newest = self._newest()
        if newest and not self._is_stale(newest):
            raise PermanentError("second_dispatcher")
        own = self._folder / f".dispatcher-{generation + 1}.json"
        try:
            handle = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            raise PermanentError("second_dispatcher") from None
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(self._text())
        self._own = own
        if newest:
            newest.unlink(missing_ok=True)
        self.beat()

    def beat(self) -> None:
        """Renew the claim; PermanentError(second_dispatcher) when somebody took the folder meanwhile."""
        if self._own is None or self._newest()[1] != self._own:
            raise PermanentError("second_dispatcher")
        os.utime(self._own)

    def release(self) -> None:
        """Give the folder back."""
        if self._own:
            self._own.unlink(missing_ok=True)
            self._own = None

    def _newest(self) -> tuple[int, Path | None]:
        found = [
            (int(match[1]), path)
            for path in self._folder.iterdir()
            if (match := re.fullmatch(r"\.dispatcher-(\d+)\.json", path.name))
        ]
        return max(found) if found else (0, None)

    def _is_stale(self, claim: Path) -> bool:
        try:
            owner = json.loads(claim.read_text(encoding="utf-8"))
        except (ValueError, FileNotFoundError):
            owner = {}
        if owner.get("boot") == _boot_id() and not _process_lives(int(owner["pid"]), owner["started"]):
            return True  # its process is gone on this very machine: no need to wait
        probe = self._folder / f".probe-{self._token}"
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
        with contextlib.suppress(FileNotFoundError):
            return now - claim.stat().st_mtime > self._stale_s
        return True

    def _text(self) -> str:
        pid = os.getpid()
        owner = {"host": socket.gethostname(), "boot": _boot_id(), "pid": pid, "started": _started(pid)}
        return json.dumps({"token": self._token} | owner)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _started(pid: int) -> str | None:
    """Start time of a process in clock ticks (field 22 of /proc/<pid>/stat): tells a reused pid from the old one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except (FileNotFoundError, IndexError):
        return None


def _process_lives(pid: int, started: object) -> bool:
    return _started(pid) is not None and _started(pid) == started
