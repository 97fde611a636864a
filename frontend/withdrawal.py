"""Deleting a submission at its owner's wish: media, address, report, scores' files and waiting mails.

A submission in work is deleted as soon as the back-end lets go of it (the receipt remembers the wish); every other one
at once. Each step is complete in itself, so a crash in the middle is mended by asking again. For the front-end only.
"""

from __future__ import annotations

import contextlib
from datetime import datetime

from frontend.access import Access
from frontend.outbox import Outbox
from frontend.receipts import Receipt, Receipts
from shared.records import JobId, Status
from shared.store import Store


def withdraw(job: JobId, *, store: Store, receipts: Receipts, outbox: Outbox, access: Access, now: datetime) -> bool:
    """Delete everything of ``job`` now (True), or when its work has ended (False)."""
    status = store.owners_status(job, now=now)
    stage = store.stage_of(job)
    if stage == "active" and (status is None or status.state in ("queued", "working")):
        receipt = receipts.get(job) or Receipt(id=job, created=now, fingerprint="")
        receipts.write(receipt.model_copy(update={"delete": True, "open": True}))
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
    for place in ("new", "active", "done", "failed"):
        with contextlib.suppress(FileNotFoundError):
            store.remove_submission(place, job)
    store.write_status(gone)
    store.remove_report(job)
    outbox.forget(job)
    access.forget(job)
    receipts.drop(job)
    return True
