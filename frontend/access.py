"""Who may open a result: the budget of PIN attempts, the unlock link, and the sessions of results.

Promises: an attempt is counted on disk *before* the PIN is checked, so neither parallel guesses nor a crash are free;
five wrong PINs cost nothing, the following ones growing waits, the twentieth locks the result until a link sent to the
submitter's address is used; a closed result stays closed, also for copied cookies. An id that does not exist is treated
like one with a wrong PIN, in every step and in the time it takes. One portal process per state folder. For the front-end
only; never sees mail or media.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import math
import secrets
import time
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal

from frontend.pins import Pins
from shared import durable
from shared.reading import RecordInvalid, read_record
from shared.records import JobId, Record
from shared.store import checked_id

#: Wrong PINs in a row without a wait.
FREE_ATTEMPTS: Final = 5

#: Wrong PINs, since the last unlocking, that lock the result. With six digits: a chance of 20 in 10^6.
LOCKED_AT: Final = 20

#: Longest wait between two attempts, seconds.
LONGEST_WAIT_S: Final = 900.0

A_DAY_S: Final = 86_400.0

SESSION_KEY: Final = "results"

#: Results that one browser has open at once; of more, the one opened first closes. The session is a cookie and must stay small.
MOST_OPEN: Final = 8


class Attempts(Record):
    """``access/<id>.json``. ``wrong`` counts since the last unlocking, ``in_a_row`` since the last right PIN."""

    wrong: int = 0
    in_a_row: int = 0
    next_at: float = 0.0
    locks: int = 0
    unlock_sha256: str | None = None
    #: when the token of the unlock link was drawn, seconds since 1970
    drawn_at: float = 0.0
    #: sessions of an earlier epoch are over: closing a result begins a new one
    epoch: int = 0


@dataclass(frozen=True)
class Answer:
    """The outcome of an attempt. ``unlock_token`` is given once, when this attempt locked the result.

    After a wrong PIN: ``free`` further tries need no wait, ``left`` wrong ones lock the result.
    """

    outcome: Literal["right", "wrong", "wait", "locked"]
    wait_s: int = 0
    free: int = 0
    left: int = 0
    epoch: int = 0
    unlock_token: str | None = None
    lock: int = 0


class Access:
    """Attempts below ``state / "access"``; ``now`` gives seconds since 1970."""

    def __init__(self, state: Path, pins: Pins, *, now: Callable[[], float] = time.time) -> None:
        self._folder = state / "access"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._pins = pins
        self._now = now
        self._locks = [Lock() for _ in range(64)]

    def attempt(self, untrusted_id: str, untrusted_pin: str, *, pin_hash: str | None) -> Answer:
        """Count one attempt, then check the PIN. A missing ``pin_hash`` costs the same time and is never right."""
        job = checked_id(untrusted_id)
        with self._lock(job):
            refused = self._refuse(job)
            if refused:
                return refused
            counted = self._count(job)
        if not self._pins.verify(untrusted_pin, pin_hash=pin_hash):
            with self._lock(job):
                if self.read(job).wrong >= LOCKED_AT:
                    return self._locked(job)
            return Answer(
                "wrong",
                wait_s=math.ceil(max(0.0, counted.next_at - self._now())),
                free=max(0, FREE_ATTEMPTS + 1 - counted.in_a_row),
                left=LOCKED_AT - counted.wrong,
            )
        with self._lock(job):
            record = self.read(job)
            self._write(
                job, record.model_copy(update={"wrong": max(0, record.wrong - 1), "in_a_row": 0, "next_at": 0.0})
            )
        return Answer("right", epoch=record.epoch)

    def read(self, job: JobId) -> Attempts:
        """The record of a result; an unreadable one counts as locked, so damage opens nothing."""
        try:
            return read_record(self._path(job), Attempts)
        except FileNotFoundError:
            return Attempts()
        except RecordInvalid:
            return Attempts(wrong=LOCKED_AT, epoch=-1)

    def unlock(self, untrusted_id: str, untrusted_token: str) -> bool:
        """Give the result a fresh budget when the token is the one that was mailed; it works once."""
        job = checked_id(untrusted_id)
        with self._lock(job):
            record = self.read(job)
            if record.unlock_sha256 is None or not hmac.compare_digest(record.unlock_sha256, _digest(untrusted_token)):
                return False
            # the epoch of a damaged record is lost: a random one fits no old cookie
            epoch = record.epoch if record.epoch >= 0 else 1 + secrets.randbits(31)
            self._write(job, Attempts(locks=record.locks, epoch=epoch))
        return True

    def end_sessions(self, job: JobId) -> None:
        """End every session of this result, copied cookies included."""
        with self._lock(job):
            record = self.read(job)
            if record.epoch >= 0:
                self._write(job, record.model_copy(update={"epoch": record.epoch + 1}))

    def is_open(self, session: Mapping[str, Any], job: JobId) -> bool:
        """Whether this session may see the result of ``job`` now."""
        epoch = _epoch_of(session, job, now=self._now())
        return epoch is not None and self.read(job).epoch == epoch

    def forget(self, job: JobId) -> None:
        """Delete the record of a result that is gone."""
        durable.remove(self._path(job))

    def sweep(self, *, older_than_s: float, exists: Callable[[str], bool]) -> None:
        """Delete records unused for ``older_than_s`` seconds, or for a day where no submission of that id ``exists``."""
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(OSError):  # a file that is gone by now
                age = self._now() - path.lstat().st_mtime
                if age > older_than_s or (age > A_DAY_S and not exists(path.stem)):
                    durable.remove(path)

    def _refuse(self, job: JobId) -> Answer | None:
        record = self.read(job)
        if record.wrong >= LOCKED_AT:
            return self._locked(job)
        left = record.next_at - self._now()
        return Answer("wait", wait_s=math.ceil(left)) if left > 0 else None

    def _count(self, job: JobId) -> Attempts:
        record = self.read(job)
        in_a_row = record.in_a_row + 1
        pause = 0.0 if in_a_row <= FREE_ATTEMPTS else min(LONGEST_WAIT_S, 2.0 ** (in_a_row - FREE_ATTEMPTS - 1))
        counted = record.model_copy(
            update={"wrong": record.wrong + 1, "in_a_row": in_a_row, "next_at": self._now() + pause if pause else 0.0}
        )
        self._write(job, counted)
        return counted

    def _locked(self, job: JobId) -> Answer:
        """Lock, and draw the token of the unlock link, at most one a day: its mail may have been lost. The last one drawn works."""
        record = self.read(job)
        if record.unlock_sha256 is not None and self._now() - record.drawn_at < A_DAY_S:
            return Answer("locked", lock=record.locks)
        token = secrets.token_urlsafe(16)
        locks = record.locks + 1
        self._write(
            job, record.model_copy(update={"unlock_sha256": _digest(token), "locks": locks, "drawn_at": self._now()})
        )
        return Answer("locked", unlock_token=token, lock=locks)

    def _write(self, job: JobId, record: Attempts) -> None:
        # members with their default are left out, so that a portal of an earlier version can read the record
        durable.replace_json(self._path(job), record.model_dump(exclude_defaults=True), mode=0o600)

    def _path(self, job: JobId) -> Path:
        return self._folder / f"{job}.json"

    def _lock(self, job: JobId) -> Lock:
        return self._locks[hash(job) % len(self._locks)]


def open_session(session: MutableMapping[str, Any], job: JobId, *, until: float, epoch: int) -> None:
    """Let the session open this result until ``until`` (seconds since 1970), beside those it has open; forms in other tabs stay valid.

    The session is a signed cookie in the browser. On our side, the epoch of the result ends it.
    """
    others = [held for held in _entries(session) if held.get("id") != job]
    session[SESSION_KEY] = [*others, {"id": job, "until": until, "epoch": epoch}][-MOST_OPEN:]


def close_session(session: MutableMapping[str, Any], job: JobId) -> None:
    """Forget that the session may open this result."""
    session[SESSION_KEY] = [held for held in _entries(session) if held.get("id") != job]


def held(session: Mapping[str, Any]) -> list[JobId]:
    """The results that the session had opened, over or not."""
    return [JobId(str(item.get("id"))) for item in _entries(session)]


def _entries(session: Mapping[str, Any]) -> list[dict[str, Any]]:
    held = session.get(SESSION_KEY)
    return [item for item in held if isinstance(item, dict)] if isinstance(held, list) else []


def _epoch_of(session: Mapping[str, Any], job: JobId, *, now: float) -> int | None:
    """The epoch of a session that belongs to this result and is not over; None for any other."""
    held = next((item for item in _entries(session) if item.get("id") == job), {})
    if float(held.get("until", 0)) <= now:
        return None
    epoch = held.get("epoch")
    return epoch if isinstance(epoch, int) else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
