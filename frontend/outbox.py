"""The outbox: mails to send, durable until the mail server took them; without a server, mails written as files.

Promises: a mail is named by its submission and kind, so adding it twice is adding it once, even after it was sent; it
is tried again with growing pauses for a day; a file that is not a mail does not delay the others; nothing of a deleted submission is
left. Holds the link and the kind of a mail, never a PIN, a file name or a score. For the front-end only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from email.utils import make_msgid
from pathlib import Path
from threading import Lock
from typing import Annotated, Final, Literal

import structlog
from pydantic import StringConstraints

from shared import durable
from shared.reading import RecordInvalid, read_record
from shared.records import ID_PATTERN, Moment, Record

log = structlog.get_logger()

Kind = Literal["received", "finished", "failed", "unlock"]

#: Pauses before the second, third ... try; the last one repeats until the mail is a day old.
PAUSES: Final = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60))
GIVE_UP_AFTER: Final = timedelta(hours=24)


class Mail(Record):
    """One mail. ``message_id`` is drawn once, so a mail sent twice after a crash can be recognized."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z2-7]{26}-[a-z]+[0-9]*$")]
    job: Annotated[str, StringConstraints(pattern=ID_PATTERN)]
    kind: Kind
    to: str
    link: str
    created: Moment
    next_at: Moment
    message_id: str
    code: str | None = None
    tries: int = 0
    trouble: str | None = None


class Outbox:
    """Mails below ``state / "outbox"``; the names of sent ones below ``state / "sent"``; without a mail server mails are
    written into ``letters`` instead.
    """

    def __init__(self, state: Path, *, letters: Path, domain: str) -> None:
        self._letters = letters
        self._reported: set[str] = set()
        self._waiting, self._sent = state / "outbox", state / "sent"
        for folder in (self._waiting, self._sent):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        self._domain = domain
        self._lock = Lock()

    def add(
        self, kind: Kind, *, job: str, to: str, link: str, now: datetime, code: str | None = None, number: int = 0
    ) -> bool:
        """Keep a mail until it is sent; False when it is kept, or was sent, already."""
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
        """Every mail that is not sent yet. A file that is not a mail is left alone and logged once."""
        for path in sorted(self._waiting.glob("*.json")):
            try:
                mail = read_record(path, Mail)
                if f"{mail.name}.json" != path.name:
                    raise RecordInvalid(path, "of another name")
            except FileNotFoundError:
                continue
            except (RecordInvalid, OSError) as error:
                if path.name not in self._reported:
                    self._reported.add(path.name)
                    reason = error.reason if isinstance(error, RecordInvalid) else type(error).__name__
                    log.warning("mail_not_readable", file=path.name, reason=reason)
                continue
            yield mail

    def holds(self, mail: Mail) -> bool:
        """Whether a mail is still to be sent: its submission may have been deleted since it was read."""
        return (self._waiting / f"{mail.name}.json").is_file()

    def write_down(self, mail: Mail, content: bytes) -> Path:
        """Keep a mail as a readable file, where there is no mail server."""
        self._letters.mkdir(parents=True, exist_ok=True)
        path = self._letters / f"{mail.created:%Y%m%dT%H%M%S}-{mail.kind}{_letter_suffix(mail.job)}"
        durable.replace_bytes(path, content, mode=0o600)
        if not self.holds(mail):
            path.unlink(missing_ok=True)
        return path

    def sent(self, mail: Mail) -> None:
        """Remember that this mail was sent (its name only) and delete it."""
        with self._lock:
            if self.holds(mail):
                durable.replace_bytes(self._sent / mail.name, b"", mode=0o600)
                self._drop(mail)

    def put_off(self, mail: Mail, *, now: datetime, trouble: str) -> bool:
        """Try again after a growing pause; False when a day has gone and the mail was dropped."""
        if now - mail.created >= GIVE_UP_AFTER:
            self.refuse(mail)
            return False
        pause = PAUSES[min(mail.tries, len(PAUSES) - 1)]
        with self._lock:
            if self.holds(mail):
                self._write(
                    mail.model_copy(update={"tries": mail.tries + 1, "next_at": now + pause, "trouble": trouble})
                )
        return True

    def refuse(self, mail: Mail) -> None:
        """Delete a mail that was refused for good; its name is remembered, so that it is not made again."""
        self.sent(mail)

    def forget(self, job: str) -> None:
        """Delete every mail of one submission: waiting ones, written ones, and the names of sent ones."""
        with self._lock:
            _remove(self._waiting.glob(f"{job}-*.json"))
            _remove(self._letters.glob(f"*{_letter_suffix(job)}"))
            _remove(self._sent.glob(f"{job}-*"))

    def forget_others(self, exists: Callable[[str], bool]) -> None:
        """Forget names of sent mails whose submission (its id) does not exist any more."""
        _remove(path for path in self._sent.glob("*") if not exists(path.name.partition("-")[0]))

    def sweep(self, *, now: datetime, names: timedelta, letters: timedelta) -> None:
        """Forget names of mails sent longer ago than ``names``, and written mails older than ``letters``."""

        def older(folder: Path, pattern: str, age: timedelta) -> Iterator[Path]:
            for path in folder.glob(pattern):
                with contextlib.suppress(FileNotFoundError):
                    if now.timestamp() - path.lstat().st_mtime > age.total_seconds():
                        yield path

        _remove(older(self._sent, "*", names))
        _remove(older(self._letters, "*.eml", letters))

    def _write(self, mail: Mail) -> None:
        durable.replace_json(self._waiting / f"{mail.name}.json", mail.model_dump(mode="json"), mode=0o600)

    def _drop(self, mail: Mail) -> None:
        (self._waiting / f"{mail.name}.json").unlink(missing_ok=True)


def _letter_suffix(job: str) -> str:
    """The end of a written mail's file name: half of the id, enough to find it and not enough to open the result."""
    return f"-{job[:13]}.eml"


def _remove(paths: Iterable[Path]) -> None:
    """Delete files; a folder of such a name, or a file that is gone, is left."""
    for path in list(paths):
        with contextlib.suppress(OSError):
            path.unlink()
