"""The outbox: mails that are to go out, durable until the mail server took them.

Promises: a mail is named by its submission and kind, so adding it twice is adding it once, also after it was sent; it
is tried again with growing pauses for a day; nothing here keeps an address longer than the mail needs it. Holds the
link and the kind of a mail, never a PIN, a file name or a score. For the front-end only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from email.utils import make_msgid
from pathlib import Path
from threading import Lock
from typing import Annotated, Final, Literal

from pydantic import StringConstraints

from shared import durable
from shared.reading import RecordInvalid, read_record
from shared.records import ID_PATTERN, Record

Kind = Literal["received", "finished", "failed", "unlock"]

#: Pauses before the second, third ... try; the last one repeats until the mail is a day old.
PAUSES: Final = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60))
GIVE_UP_AFTER: Final = timedelta(hours=24)


class Mail(Record):
    """One mail. ``message_id`` is drawn once, so a mail sent twice after a crash can be told for one."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z2-7]{26}-[a-z]+[0-9]*$")]
    job: Annotated[str, StringConstraints(pattern=ID_PATTERN)]
    kind: Kind
    to: str
    link: str
    created: datetime
    next_at: datetime
    message_id: str
    code: str | None = None
    tries: int = 0
    trouble: str | None = None


class Outbox:
    """Mails below ``state / "outbox"``; the names of sent ones below ``state / "sent"``."""

    def __init__(self, state: Path, *, domain: str) -> None:
        self._waiting, self._sent = state / "outbox", state / "sent"
        for folder in (self._waiting, self._sent):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        self._domain = domain
        self._lock = Lock()

    def add(
        self, kind: Kind, *, job: str, to: str, link: str, now: datetime, code: str | None = None, number: int = 0
    ) -> bool:
        """Keep a mail until it is sent; False when this one is here, or was sent, already."""
        name = f"{job}-{kind}{number or ''}"
        mail = Mail(
            name=name, job=job, kind=kind, to=to, link=link, code=code, created=now, next_at=now,
            message_id=make_msgid(domain=self._domain),
        )  # fmt: skip
        with self._lock:
            if (self._waiting / f"{name}.json").exists() or (self._sent / name).exists():
                return False
            self._write(mail)
        return True

    def due(self, now: datetime) -> list[Mail]:
        """Mails to try now, oldest first; a confirmation goes before the result made in the same moment."""
        return sorted(
            (mail for mail in self.waiting() if mail.next_at <= now),
            key=lambda mail: (mail.created, mail.kind != "received"),
        )

    def waiting(self) -> Iterator[Mail]:
        """Every mail that is not sent yet; unreadable files are left where they are."""
        for path in sorted(self._waiting.glob("*.json")):
            with contextlib.suppress(RecordInvalid, FileNotFoundError):
                yield read_record(path, Mail)

    def sent(self, mail: Mail) -> None:
        """Remember that this mail went out (its name only) and drop it."""
        with self._lock:
            durable.replace_bytes(self._sent / mail.name, b"", mode=0o600)
            self._drop(mail)

    def put_off(self, mail: Mail, *, now: datetime, trouble: str) -> bool:
        """Try again after a growing pause; False when a day has gone and the mail was dropped."""
        if now - mail.created >= GIVE_UP_AFTER:
            self.refuse(mail)
            return False
        pause = PAUSES[min(mail.tries, len(PAUSES) - 1)]
        self._write(mail.model_copy(update={"tries": mail.tries + 1, "next_at": now + pause, "trouble": trouble}))
        return True

    def refuse(self, mail: Mail) -> None:
        """Drop a mail nobody will take; its name is remembered, so it is not made anew."""
        self.sent(mail)

    def forget(self, job: str) -> None:
        """Drop the waiting mails of one submission."""
        for path in self._waiting.glob(f"{job}-*.json"):
            path.unlink(missing_ok=True)

    def sweep(self, *, now: datetime, older_than: timedelta) -> None:
        """Forget names of mails sent longer ago than ``older_than``."""
        for path in self._sent.iterdir():
            if now.timestamp() - path.stat().st_mtime > older_than.total_seconds():
                path.unlink(missing_ok=True)

    def _write(self, mail: Mail) -> None:
        durable.replace_json(self._waiting / f"{mail.name}.json", mail.model_dump(mode="json"), mode=0o600)

    def _drop(self, mail: Mail) -> None:
        (self._waiting / f"{mail.name}.json").unlink(missing_ok=True)
