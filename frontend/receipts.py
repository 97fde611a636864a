"""Receipts: the portal's own record of the submissions it acknowledged or is about to acknowledge.

A receipt is written *before* the submission is published, so every acknowledged job has one. It makes a double
submit one job, limits the open jobs of one address, and says for which results the postman must look. It holds no address
and no PIN, only keyed hashes. One portal process per state folder. For the front-end only.
"""

from __future__ import annotations

import contextlib
import hmac
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import structlog
from pydantic import StringConstraints

from shared import durable
from shared.reading import RecordInvalid, read_record
from shared.records import ID_PATTERN, JobId, Moment, Record

log = structlog.get_logger()

#: How long the same form sent again leads to the same submission.
REMEMBERED: Final = timedelta(hours=24)


class Receipt(Record):
    """``receipts/<id>.json``. ``fingerprint`` covers the form's key and all its content."""

    id: Annotated[JobId, StringConstraints(pattern=ID_PATTERN)]
    created: Moment
    fingerprint: str
    #: keyed hash of the e-mail address, or of the network peer where there is none
    address: str = ""
    open: bool = True
    #: whether the mail that confirms the submission is still to be made
    welcome: bool = True
    delete: bool = False
    #: id of the API key that made the submission; such a receipt stays as long as the submission
    key: str = ""
    #: where the end of the work is announced
    webhook: str = ""
    #: keyed hash of the Idempotency-Key that a program gave
    same: str = ""


class Receipts:
    """Receipts below ``state / "receipts"``; ``key`` is a secret of the portal."""

    def __init__(self, state: Path, *, key: bytes) -> None:
        self._folder = state / "receipts"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._key = key
        self._guard = threading.Lock()
        self._submitting = [threading.Lock() for _ in range(64)]
        self._receipts: dict[JobId, Receipt] = {}
        for path in self._folder.glob("*.json"):
            try:
                receipt = read_record(path, Receipt)
            except (RecordInvalid, OSError) as error:
                log.warning("receipt_not_readable", file=path.name, reason=type(error).__name__)
                continue
            self._receipts[receipt.id] = receipt

    def keyed(self, *parts: str) -> str:
        """A keyed hash of ``parts`` (HMAC-SHA-256, 64 hex digits)."""
        return hmac.digest(self._key, "\0".join(parts).encode("utf-8", "replace"), "sha256").hex()

    @contextlib.contextmanager
    def submitting(self, fingerprint: str) -> Iterator[None]:
        """Let one request at a time look up and write the receipt of ``fingerprint``."""
        with self._submitting[int(fingerprint[:8], 16) % len(self._submitting)]:
            yield

    def find(self, fingerprint: str, *, now: datetime) -> JobId | None:
        """The submission this form led to before."""
        with self._guard:
            for receipt in self._receipts.values():
                if receipt.fingerprint == fingerprint and now - receipt.created < REMEMBERED:
                    return receipt.id
        return None

    def find_same(self, same: str, *, now: datetime) -> Receipt | None:
        """The submission that a program made with this Idempotency-Key (``Receipt.same``)."""
        with self._guard:
            for receipt in self._receipts.values():
                if receipt.same == same and now - receipt.created < REMEMBERED:
                    return receipt
        return None

    def of_key(self, key_id: str) -> list[Receipt]:
        """What an API key made, newest first."""
        with self._guard:
            made = [receipt for receipt in self._receipts.values() if receipt.key == key_id]
        return sorted(made, key=lambda receipt: (receipt.created, receipt.id), reverse=True)

    def get(self, job: JobId) -> Receipt | None:
        """The receipt of a submission, None when there is none (any more)."""
        with self._guard:
            return self._receipts.get(job)

    def write(self, receipt: Receipt) -> None:
        """Store a receipt, durably, or replace it."""
        path = self._path(receipt.id)
        durable.replace_json(path, receipt.model_dump(mode="json"), mode=0o600)
        with self._guard:
            self._receipts[receipt.id] = receipt

    def drop(self, job: JobId) -> None:
        """Forget a submission."""
        durable.remove(self._path(job))
        with self._guard:
            self._receipts.pop(job, None)

    def all(self) -> list[Receipt]:
        """Every receipt, oldest first."""
        with self._guard:
            return sorted(self._receipts.values(), key=lambda receipt: receipt.created)

    def open_of(self, sender_key: str) -> int:
        """Open submissions of one sender (``Receipt.address``)."""
        with self._guard:
            return sum(receipt.open and receipt.address == sender_key for receipt in self._receipts.values())

    def since(self, sender_key: str, *, moment: datetime) -> int:
        """Submissions of one sender since ``moment``."""
        with self._guard:
            return sum(
                receipt.address == sender_key and receipt.created > moment for receipt in self._receipts.values()
            )

    def _path(self, job: JobId) -> Path:
        return self._folder / f"{job}.json"
