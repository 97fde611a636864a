"""Deletes a submission at its owner's request: media, address, report, scores' files, waiting mails and what was noted of its truth.

A submission in work is deleted as soon as the back-end has ended its work: a mark asks for that, which takes seconds, and
the receipt remembers the request. Every other one is deleted at once, and so is one whose back-end is dead. Each step is complete in
itself, and the receipt remembers the request, so the postman ends a deletion that broke off. For the front-end only.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from typing import Final

from frontend.access import Access
from frontend.outbox import Outbox
from frontend.receipts import Receipt, Receipts
from shared.records import JobId, Status
from shared.store import Store

#: A back-end that wrote no catalog for so long is dead; it writes one every five seconds.
SILENT: Final = timedelta(seconds=45)


def withdraw(job: JobId, *, store: Store, receipts: Receipts, outbox: Outbox, access: Access, now: datetime) -> bool:
    """Delete everything of ``job`` now (True), or when its work has ended (False)."""
    status = store.owners_status(job, now=now)
    stage = store.stage_of(job)
    if stage == "active" and (status is None or status.state in ("queued", "working")) and _lives(store, now=now):
        receipt = receipts.get(job) or Receipt(id=job, created=now, fingerprint="")
        if not (receipt.delete and receipt.open):
            receipts.write(receipt.model_copy(update={"delete": True, "open": True}))
        store.ask_for_end(job)
        return False
    gone = Status(
        id=job,
        state="expired",
        step="expired",
        updated=now,
        received=status.received if status else None,
        finished=now,
        progress=1.0,
        code="deleted",
    )
    # first the request itself: the postman ends a deletion that breaks off, when the PIN went with the submission
    receipt = receipts.get(job) or Receipt(id=job, created=now, fingerprint="")
    receipts.write(receipt.model_copy(update={"delete": True, "open": True, "welcome": False}))
    store.remove_report(job)
    outbox.forget(job)
    for place in ("new", "active", "done", "failed"):
        with contextlib.suppress(FileNotFoundError):
            store.remove_submission(place, job)
    store.write_status(gone)
    store.forget_truth(job)  # after the status: who notes a truth meanwhile sees that the submission is gone
    access.forget(job)
    receipts.drop(job)
    return True


def _lives(store: Store, *, now: datetime) -> bool:
    """Whether the back-end is alive: a dead one releases no job, and one that wakes up does not write for this job."""
    catalog = store.read_catalog()
    return catalog is not None and now - catalog.updated < SILENT
