"""The dispatcher's claim on its shared folder: a file with a beat; a second dispatcher sees it and refuses to start.

It uses no file locks (they differ between NFS versions). A claim is a file ``.dispatcher-<generation>.json`` made with
O_EXCL, so of several rivals that see the same dead claim exactly one makes the next generation. Ages are measured on the
folder's own clock (the mtime of a probe file), so skewed clocks of two machines do not matter.

The holder of the claim calls ``check`` before a write that would disturb another holder. There are three answers: it is ours; it was
taken over (``Superseded``: there is a newer generation); or it is unknown, because the folder does not answer or is another one
(OSError). The last one is temporary and never counts as a second dispatcher.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from shared.errors import PermanentError, StoreTrouble
from shared.reading import RecordInvalid, read_json

#: Seconds without a beat after which a claim counts as dead. The dispatcher beats every few seconds.
STALE_S: Final = 30.0
#: A claim has some hundred bytes.
_MAX_BYTES: Final = 10_000


class Superseded(PermanentError):
    """Another dispatcher took the folder over, because this one seemed dead."""

    def __init__(self) -> None:
        super().__init__("second_dispatcher")


class ClaimGone(StoreTrouble):
    """Neither our claim nor a newer one is there: ours was deleted or damaged, or this is another folder. The next beat repairs it."""

    def __init__(self) -> None:
        super().__init__(sentence="The claim of this dispatcher is gone from the results folder.")


class Heartbeat:
    """The claim on ``folder``."""

    def __init__(self, folder: Path, *, stale_s: float = STALE_S) -> None:
        self._folder = folder
        self._stale_s = stale_s
        self._token = secrets.token_hex(8)
        self._generation = 0
        self._lock = threading.Lock()  # a claim that we remake would look like a newer one

    @property
    def token(self) -> str:
        """What our claim has, and no other."""
        return self._token

    def is_claim_of(self, token: str) -> bool:
        """Whether the folder is claimed by the holder of ``token``; OSError when it does not answer."""
        for path in self._claims().values():
            with contextlib.suppress(FileNotFoundError):
                if _read(path).get("token") == token:
                    return True
        return False

    def claim(self) -> None:
        """Claim the folder; PermanentError(second_dispatcher) while another claim is fresh, OSError when the folder does not answer."""
        claims = self._claims()
        generation = max(claims, default=0)
        if claims and not self._is_stale(claims[generation]):
            raise PermanentError("second_dispatcher")
        self._make(generation + 1, older=claims.values())

    def beat(self) -> None:
        """Renew the claim. If it was deleted or damaged and the folder was not taken over, make it again."""
        with self._lock:
            try:
                self._check()
            except ClaimGone:
                claims = self._claims()
                others = (path for generation, path in claims.items() if generation != self._generation)
                if any(not self._is_stale(path) for path in others):  # after a release, numbers begin again
                    raise Superseded from None
                self._make(max(claims, default=0) + 1, older=claims.values())
            os.utime(self._path(self._generation))

    def check(self) -> None:
        """Return when the folder is ours; see the module for what is raised otherwise. Costs one small read and one stat."""
        with self._lock:
            self._check()

    def _check(self) -> None:
        if not self._generation:
            raise ClaimGone
        if self._path(self._generation + 1).exists():
            raise Superseded
        token = None
        with contextlib.suppress(FileNotFoundError):
            token = _read(self._path(self._generation)).get("token")
        if token == self._token:
            return
        # another token: all claims were deleted, and another dispatcher began with the same number
        if token is not None or any(generation > self._generation for generation in self._claims()):
            raise Superseded
        raise ClaimGone

    def release(self) -> None:
        """Release the folder if it is still ours."""
        with contextlib.suppress(OSError, PermanentError):
            self.check()
            self._path(self._generation).unlink()
        self._generation = 0

    def _make(self, generation: int, *, older: Iterable[Path]) -> None:
        path = self._path(generation)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            raise Superseded from None
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(json.dumps({"token": self._token} | _this_process()))
        except OSError:  # a full disk: an empty file claims nothing
            path.unlink(missing_ok=True)
            raise
        self._generation = generation
        for claim in older:  # all of them: of three generations ``check`` sees the next one only
            with contextlib.suppress(OSError):
                claim.unlink()

    def _path(self, generation: int) -> Path:
        return self._folder / f".dispatcher-{generation}.json"

    def _claims(self) -> dict[int, Path]:
        return {
            int(match[1]): path
            for path in self._folder.iterdir()
            if (match := re.fullmatch(r"\.dispatcher-(\d{1,15})\.json", path.name))
        }

    def _is_stale(self, claim: Path) -> bool:
        try:
            owner = _read(claim)
        except FileNotFoundError:
            return True
        if owner.get("boot") == _boot_id() and owner.get("pids") == _pid_namespace() and not _lives(owner):
            return True  # its process was on this machine and is gone: no need to wait
        probe = self._folder / f".probe-{self._token}"
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
        with contextlib.suppress(FileNotFoundError):
            return abs(now - claim.lstat().st_mtime) > self._stale_s  # a beat from the future does not count either
        return True


def is_claimed(folder: Path) -> bool:
    """Whether a dispatcher works on ``folder`` now; False when that cannot be seen."""
    watcher = Heartbeat(folder)
    try:
        claims = watcher._claims()
        return bool(claims) and not watcher._is_stale(claims[max(claims)])
    except OSError:
        return False


def _read(claim: Path) -> dict[str, Any]:
    """The content of a claim; empty when it is damaged: then only its age counts."""
    try:
        untrusted = read_json(claim, max_bytes=_MAX_BYTES)
    except RecordInvalid:
        return {}
    return untrusted if isinstance(untrusted, dict) else {}


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    owner = {"host": socket.gethostname(), "boot": _boot_id(), "pids": _pid_namespace(), "pid": pid}
    return owner | {"started": _started(pid)}


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _pid_namespace() -> str:
    """Two containers of one machine share its boot id, but not their process ids."""
    return os.readlink("/proc/self/ns/pid")


def _started(pid: int) -> str | None:
    """Start time of a process in clock ticks (field 22 of /proc/<pid>/stat); it differs when a pid is reused. None when it is dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else fields[19]  # a zombie waits for its parent only
    except (OSError, IndexError):
        return None


def _lives(owner: dict[str, Any]) -> bool:
    pid = owner.get("pid")
    started = _started(pid) if type(pid) is int else None
    return started is not None and started == owner.get("started")
