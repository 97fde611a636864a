"""Webhooks: tells the program that made a submission that its work has ended, with a signed message.

Promises: each message is made once, is kept on disk until the other side took it (2xx), and is tried again with the pauses of mails, for a
day; it goes to public addresses only, by https, to the very address that was checked; nothing of it is left when its submission is deleted;
a key that was revoked or has expired sends nothing more. A message holds the id, the state, its code and links; no score, no file name.
A slow receiver delays neither mails nor pages nor other receivers: the courier has a thread of its own, and ``frontend.receivers`` one for
each receiver. For the front-end only.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import re
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from frontend.keys import Keys
from frontend.outbox import Kind, Mail, Outbox
from frontend.receipts import Receipt, Receipts
from frontend.receivers import Receivers
from shared.clock import Clock
from shared.download import Poster, is_public, read_address
from shared.errors import PermanentError, UserError
from shared.records import JobId, Status
from shared.store import Store

log = structlog.get_logger()

#: Seconds between two looks at the submissions.
LOOK_S: Final = 2.0
HOUSEKEEPING: Final = timedelta(hours=1)

#: What a receiver answers when it wants no more (RFC 9110, 15.5.11).
GONE: Final = 410


def check_address(untrusted_url: str, *, allow_private: bool = False) -> str:
    """The address of a webhook; UserError(webhook_refused) unless it is https on the usual port and not a private address itself.

    Where a name leads is checked at each connection.
    """
    try:
        url = read_address(untrusted_url, any_port=allow_private).url
    except UserError:
        raise UserError("webhook_refused", status=422) from None
    host = url.host.strip("[]")
    is_number = re.fullmatch(r"[0-9.]+|.*:.*", host) is not None
    private = not allow_private and ((is_number and not is_public(host)) or url.port not in (None, 443))
    if url.scheme != "https" or private:
        raise UserError("webhook_refused", status=422)
    return str(url)


def signed(body: bytes, *, secret: str, message_id: str, now: datetime) -> dict[str, str]:
    """The headers of a message, as the Standard Webhooks have them: HMAC-SHA256 over id, time and body."""
    moment = str(int(now.timestamp()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{moment}.".encode() + body, hashlib.sha256)
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": moment,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


class Courier:
    """Follows the submissions that have a webhook; its messages are below ``state / "webhooks"``. ``tick`` does one round, ``start``
    begins a thread of them."""

    def __init__(
        self,
        state: Path,
        *,
        store: Store,
        receipts: Receipts,
        keys: Keys,
        poster: Poster,
        public_url: str,
        clock: Clock,
    ) -> None:
        folder = state / "webhooks"
        folder.mkdir(parents=True, exist_ok=True)
        self._box = Outbox(folder, letters=folder / "letters", domain="webhook")
        self._store, self._receipts, self._keys = store, receipts, keys
        self._poster, self._public_url, self._clock = poster, public_url, clock
        self._receivers = Receivers(self._try, clock=clock)
        self._ended: set[JobId] = set()
        self._stopping = threading.Event()
        self._swept: datetime | None = None

    def start(self) -> threading.Thread:
        """Begin the rounds in a thread that ends with the process."""
        thread = threading.Thread(target=self.run, name="courier", daemon=True)
        thread.start()
        return thread

    def run(self) -> None:
        """Do rounds until ``stop``. A failed round is logged, and the next one begins nevertheless."""
        while not self._stopping.wait(LOOK_S):
            try:
                self.tick(wait=False)
            except Exception as error:  # messages must continue; the error is in the log
                log.exception("courier_round_failed", kind=type(error).__name__)
        self._receivers.wait()

    def stop(self) -> None:
        """End ``run`` after its current round and what is being sent."""
        self._stopping.set()

    def tick(self, *, wait: bool = True) -> None:
        """One round: make the messages of submissions that have ended, send what is due, forget what was deleted. ``wait``: until what was
        begun to be sent has been tried."""
        for receipt in self._receipts.all():
            if receipt.webhook and receipt.id not in self._ended:
                with contextlib.suppress(PermanentError, OSError):  # not readable: the next round
                    self._look(receipt)
        known = {*self._ended, *(JobId(mail.job) for mail in self._box.waiting())}
        for job in known:
            if self._receipts.get(job) is None:  # deleted
                self._box.forget(job)
                self._ended.discard(job)
        self._receivers.hand_over(self._box.due(self._clock()))
        if wait:
            self._receivers.wait()
        self._tidy(self._clock())

    def _look(self, receipt: Receipt) -> None:
        now = self._clock()
        status = self._store.owners_status(receipt.id, now=now)
        if status is None or status.state in ("queued", "working"):
            return
        if status.state != "expired" and not receipt.delete:
            kind: Kind = "finished" if status.state == "done" else "failed"
            self._box.add(kind, job=receipt.id, to=receipt.webhook, link=self._public_url, now=now, code=status.code)
        self._ended.add(receipt.id)

    def _try(self, mail: Mail) -> bool:
        """Send one message, if it is still to be sent; whether its receiver answered in time. Its failure does not affect the others."""
        try:
            return self._send(mail)
        except Exception as error:  # our own bug: the traceback is in the log, the message is tried again later
            log.exception("webhook_failed", kind=type(error).__name__)
            with contextlib.suppress(OSError):  # the disk is full: the next round
                self._put_off(mail, "internal")
            return True

    def _send(self, mail: Mail) -> bool:
        receipt = self._receipts.get(JobId(mail.job))
        key = self._keys.get(receipt.key) if receipt else None
        if receipt is None or receipt.delete or key is None or not key.works(self._clock()):
            self._box.forget(mail.job)
            return True
        body = json.dumps(self.message(mail), separators=(",", ":")).encode()
        secret = self._keys.webhook_secret(key.id)
        headers = signed(body, secret=secret, message_id=f"{mail.name}", now=self._clock())
        try:
            answered = self._poster.post(mail.to, body, headers=headers)
        except UserError as error:
            self._put_off(mail, error.code)
            return error.code != "fetch_timed_out"
        if 200 <= answered < 300:
            self._box.sent(mail)
            log.info("webhook_sent", key=key.id, kind=mail.kind, tries=mail.tries + 1)
        elif answered == GONE:
            self._box.refuse(mail)
            log.warning("webhook_refused", key=key.id, kind=mail.kind)
        else:
            self._put_off(mail, f"http_{answered}")
        return True

    def _put_off(self, mail: Mail, reason: str) -> None:
        if self._box.put_off(mail, now=self._clock(), trouble=reason):
            log.warning("webhook_put_off", kind=mail.kind, tries=mail.tries + 1, reason=reason)
        else:
            log.error("webhook_given_up", kind=mail.kind, tries=mail.tries + 1, reason=reason)

    def message(self, mail: Mail) -> dict[str, Any]:
        """What is told: which submission ended, how, and where its result is."""
        status: Status | None = None
        with contextlib.suppress(PermanentError, OSError):
            status = self._store.owners_status(mail.job, now=self._clock())
        root = f"{mail.link}/api/v1/submissions/{mail.job}"
        return {
            "type": f"submission.{'done' if mail.kind == 'finished' else 'failed'}",
            "timestamp": mail.created.isoformat(),
            "data": {
                "id": mail.job,
                "state": "done" if mail.kind == "finished" else "failed",
                "code": mail.code,
                "video": status.video if status else None,
                "links": {"self": root, "result": f"{root}/result", "page": f"{mail.link}/r/{mail.job}"},
            },
        }

    def _tidy(self, now: datetime) -> None:
        if self._swept is None or now - self._swept > HOUSEKEEPING:
            self._swept = now
            # as long as the receipt, from which a portal that starts anew would make the message again
            self._box.forget_others(lambda job: self._receipts.get(JobId(job)) is not None)
