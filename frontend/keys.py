"""API keys: issued, listed and revoked on the command line, checked by the portal. There are no accounts.

Promises: the secret is shown once and kept as a digest only; a key that was revoked or has expired stops with the next request, also in a
running portal (each request reads its record); looking for a key takes the same work whether it exists or not; what a key has used today is
on disk, so a restart gives nothing back. One portal process per state folder writes what was used; the command line writes the keys.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from datetime import date, datetime
from pathlib import Path
from threading import Lock
from typing import Annotated, Final, Literal, get_args

import structlog
from pydantic import Field, StringConstraints

from shared import durable
from shared.errors import UserError
from shared.reading import RecordInvalid, read_record
from shared.records import Moment, Record

log = structlog.get_logger()

Scope = Literal["submit", "read", "delete"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

KEY_ID_PATTERN: Final = r"^[a-z2-7]{8}$"
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
#: ``dfom_``, the id, and 260 random bits. The prefix lets scanners for leaked secrets know it.
_TOKEN: Final = re.compile(r"dfom_([a-z2-7]{8})_([a-z2-7]{52})")

#: Submissions a day, where the operator names no other number.
QUOTA: Final = 100
LARGEST_QUOTA: Final = 1_000_000

#: A digest that no token has: compared where there is no key, so that the work is the same.
_NO_DIGEST: Final = hashlib.sha256(b"no key").hexdigest()


class Key(Record):
    """``keys/<id>.json``: what one key may do. ``quota`` is in submissions a day (UTC)."""

    max_bytes = 10_000

    id: Annotated[str, StringConstraints(pattern=KEY_ID_PATTERN)]
    name: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    quota: Annotated[int, Field(ge=1, le=LARGEST_QUOTA)]
    created: Moment
    expires: Moment | None = None
    revoked: Moment | None = None

    def works(self, now: datetime) -> bool:
        """Whether the key is neither revoked nor expired."""
        return self.revoked is None and (self.expires is None or now < self.expires)


class Used(Record):
    """``keys/<id>.used.json``: the last day on which the key was used, and its submissions on that day."""

    max_bytes = 1_000

    day: date
    submissions: Annotated[int, Field(ge=0)] = 0


class Keys:
    """The keys below ``state / "keys"``. ``secret`` is the portal's own, from which each key's webhook secret is made."""

    def __init__(self, state: Path, *, secret: bytes) -> None:
        self._folder = state / "keys"
        self._secret = secret
        self._lock = Lock()

    # -- for the command line

    def issue(
        self, name: str, *, scopes: Iterable[Scope], quota: int, now: datetime, expires: datetime | None = None
    ) -> tuple[Key, str]:
        """Make a key; its record, and the token that is shown once."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        key_id = _random(8)
        while durable.exists(self._path(key_id)):
            key_id = _random(8)
        token = f"dfom_{key_id}_{_random(52)}"
        wanted = set(scopes)
        key = Key(
            id=key_id, name=name, sha256=_digest(token), scopes=tuple(scope for scope in SCOPES if scope in wanted),
            quota=quota, created=now, expires=expires,
        )  # fmt: skip
        self._write(key)
        return key, token

    def revoke(self, untrusted_id: str, *, now: datetime) -> Key:
        """Stop a key for good; UserError(unknown_key) when there is none of this id."""
        key = self._read(untrusted_id)
        if key is None:
            raise UserError("unknown_key")
        if key.revoked is None:
            key = key.model_copy(update={"revoked": now})
            self._write(key)
        return key

    def all(self) -> list[tuple[Key, Used | None]]:
        """Every key with what it used, the oldest first. One that cannot be read is logged and left out: it opens nothing."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            if path.name.count(".") == 1 and (key := self._read(path.stem)) is not None:
                found.append((key, self._used(key.id)))
        return sorted(found, key=lambda item: item[0].created)

    def webhook_secret(self, key_id: str) -> str:
        """With what messages to this key's webhooks are signed, as the Standard Webhooks write it; the same as long as the portal's own."""
        raw = hmac.digest(self._secret, f"webhook\0{key_id}".encode(), "sha256")
        return f"whsec_{base64.b64encode(raw).decode()}"

    # -- for the portal

    def find(self, untrusted_token: str, *, now: datetime) -> Key | None:
        """The key of a token, None when there is none that works. Notes the day."""
        parts = _TOKEN.fullmatch(untrusted_token)
        key = self._read(parts[1]) if parts else None
        fits = hmac.compare_digest(key.sha256 if key else _NO_DIGEST, _digest(untrusted_token))
        if key is None or not fits or not key.works(now):
            return None
        with contextlib.suppress(OSError):  # a full disk: the day is noted with a later request
            self._note(key, now=now, more=lambda count: count)
        return key

    def get(self, key_id: str) -> Key | None:
        """The record of a key, None when there is none."""
        return self._read(key_id)

    def used_today(self, key: Key, *, now: datetime) -> int:
        """Submissions of the key on this day (UTC)."""
        used = self._used(key.id)
        return used.submissions if used and used.day == now.date() else 0

    def reserve(self, key: Key, *, now: datetime) -> bool:
        """Count one submission, before it is stored; False when the day's quota is used."""
        return self._note(key, now=now, more=lambda count: count + 1 if count < key.quota else None)

    def release(self, key: Key, *, now: datetime) -> None:
        """Uncount a submission that was not stored."""
        self._note(key, now=now, more=lambda count: max(0, count - 1))

    def _note(self, key: Key, *, now: datetime, more: Callable[[int], int | None]) -> bool:
        with self._lock:
            used = self._used(key.id)
            before = used.submissions if used and used.day == now.date() else 0
            after = more(before)
            if after is None:
                return False
            if used is None or used.day != now.date() or after != before:
                record = Used(day=now.date(), submissions=after)
                durable.replace_json(self._used_path(key.id), record.model_dump(mode="json"), mode=0o600)
        return True

    # -- files

    def _read(self, untrusted_id: str) -> Key | None:
        """The record of a key; a damaged one counts as none, so damage opens nothing."""
        if not re.fullmatch(KEY_ID_PATTERN, untrusted_id):
            return None
        try:
            key = read_record(self._path(untrusted_id), Key)
        except FileNotFoundError:
            return None
        except RecordInvalid as error:
            log.warning("key_not_readable", key=untrusted_id, reason=error.reason)
            return None
        return key if key.id == untrusted_id else None

    def _write(self, key: Key) -> None:
        durable.replace_json(self._path(key.id), key.model_dump(mode="json"), mode=0o600)

    def _used(self, key_id: str) -> Used | None:
        """What was used; a damaged record counts as nothing used, it is written again with the next use."""
        try:
            return read_record(self._used_path(key_id), Used)
        except (FileNotFoundError, RecordInvalid):
            return None

    def _path(self, key_id: str) -> Path:
        return self._folder / f"{key_id}.json"

    def _used_path(self, key_id: str) -> Path:
        return self._folder / f"{key_id}.used.json"


def _random(characters: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(characters))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
