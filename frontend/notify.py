"""The postman: looks for finished submissions, writes their mails into the outbox, and sends what is due.

Promises: each mail of a submission is made once; when the mail server is away, slow or refuses, no mail is lost and no page
is delayed; of a visitor's input, only the checked address enters a header. Without a mail server the mails are
written to ``DATA/outbox`` as .eml files, and the log names the files. The only module that imports ``flask_mail``.
"""

from __future__ import annotations

import contextlib
import smtplib
import ssl
import threading
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from flask import Flask, render_template
from flask_mail import Connection, Message
from flask_mail import Mail as FlaskMail

from frontend.access import Access
from frontend.outbox import Kind, Mail, Outbox
from frontend.reading import read_report
from frontend.receipts import REMEMBERED, Receipt, Receipts
from frontend.withdrawal import withdraw
from shared.clock import Clock
from shared.errors import PermanentError, sentence_for
from shared.languages import ENGLISH, _, marked, speaking
from shared.reading import RecordInvalid
from shared.records import JobId
from shared.settings import Settings
from shared.statement import statement_of
from shared.store import Store, checked_id
from shared.words import date, date_and_time

log = structlog.get_logger()

#: Flask-Mail opens SMTP connections without a time limit; ours have this one, seconds.
SMTP_TIMEOUT_S: Final = 10.0

#: Seconds between two checks of the open submissions.
LOOK_S: Final = 2.0

#: A receipt whose submission never appeared belongs to a request that died before its rename.
BROKEN_OFF: Final = timedelta(hours=1)

#: What the mail about a result adds while its video is still to be drawn.
VIDEO_FOLLOWS: Final = marked(
    "All numbers are there. The result video is still being drawn and appears on the same page."
)

#: Letters of an id that tell a submission from others to its owner; pages show as many.
SHORT: Final = 8

#: What every mail ends with.
NEVER: Final = marked(
    "Nobody from this site will ever ask you for your PIN. If you did not submit a file, you can ignore this mail."
)
#: What the mail about a result adds, without and with findings.
CAUTION: Final = marked(
    (
        "A score is an indication, not proof: the page says what each detector can and cannot see.",
        "A score is an indication, not proof: the page says what each detector found, how often that happens on real material, and what it "
        "cannot see.",
    )
)

HOUSEKEEPING: Final = timedelta(hours=1)

WORDS: Final[dict[Kind, tuple[str, str, str]]] = {
    "received": (
        "We received your file",
        "We received your file and will analyse it. This page shows the progress:",
        "See the progress",
    ),
    "finished": (
        "Your result is ready",
        "The analysis of your file is finished. Open the result with the PIN you chose:",
        "Open the result",
    ),
    "failed": ("Your file could not be analysed", "The analysis of your file ended without a result.", "See the page"),
    "unlock": (
        "Your result was locked",
        "A wrong PIN was entered too often, so this result was locked. To open it again, unlock it with this link and "
        "then enter your PIN:",
        "Unlock the result",
    ),
}  # fmt: skip
marked(WORDS)


class _Connection(Connection):
    """Flask-Mail's connection with a time limit, a checked certificate, and a goodbye that cannot undo a sent mail."""

    def configure_host(self) -> smtplib.SMTP | smtplib.SMTP_SSL:
        mail = self.mail
        if mail.use_ssl:
            host: smtplib.SMTP | smtplib.SMTP_SSL = smtplib.SMTP_SSL(
                mail.server, mail.port, timeout=SMTP_TIMEOUT_S, context=ssl.create_default_context()
            )
        else:
            host = smtplib.SMTP(mail.server, mail.port, timeout=SMTP_TIMEOUT_S)
        try:
            if mail.use_tls:
                host.starttls(context=ssl.create_default_context())
            if mail.username and mail.password:
                host.login(mail.username, mail.password)
        except BaseException:
            host.close()
            raise
        return host

    def __exit__(self, *_: object) -> None:
        if self.host is not None:
            try:
                self.host.quit()
            except (smtplib.SMTPException, OSError):
                self.host.close()


class Postman:
    """Follows receipts and empties the outbox; ``tick`` does one round, ``run`` repeats it until ``stop``."""

    def __init__(
        self,
        app: Flask,
        settings: Settings,
        *,
        store: Store,
        receipts: Receipts,
        outbox: Outbox,
        access: Access,
        clock: Clock,
    ) -> None:
        self._app, self._settings, self._store = app, settings, store
        self._receipts, self._outbox, self._access, self._clock = receipts, outbox, access, clock
        self._wakeup = threading.Event()
        self._stopping = threading.Event()
        self._round = threading.Lock()
        self._swept: datetime | None = None
        #: names of mails that the server took and that could not be noted on disk yet
        self._delivered: set[str] = set()
        password = settings.smtp_password.get_secret_value() if settings.smtp_password else None
        app.config.update(
            MAIL_SERVER=settings.smtp_host or "127.0.0.1",
            MAIL_PORT=settings.smtp_port,
            MAIL_USERNAME=settings.smtp_user,
            MAIL_PASSWORD=password,
            MAIL_USE_TLS=settings.smtp_tls == "starttls",
            MAIL_USE_SSL=settings.smtp_tls == "tls",
            MAIL_DEFAULT_SENDER=settings.mail_from,
            MAIL_SUPPRESS_SEND=False,
        )
        self._mail = FlaskMail(app)

    # -- life

    def start(self) -> threading.Thread:
        """Begin the rounds in a thread that ends with the process."""
        thread = threading.Thread(target=self.run, name="postman", daemon=True)
        thread.start()
        return thread

    def run(self) -> None:
        """Do rounds until ``stop``. A failed round is logged, and the next one begins nevertheless."""
        while not self._stopping.is_set():
            try:
                self.tick()
            except Exception as error:  # mails must continue; the error is in the log
                log.exception("postman_round_failed", kind=type(error).__name__)
            self._wakeup.wait(LOOK_S)
            self._wakeup.clear()

    def stop(self) -> None:
        """End ``run`` after its current round."""
        self._stopping.set()
        self.wake()

    def wake(self) -> None:
        """Begin the next round at once."""
        self._wakeup.set()

    def tick(self) -> None:
        """One round: follow the submissions, send what is due, tidy up now and then."""
        with self._round:
            for receipt in self._receipts.all():
                self._follow(receipt)
            for mail in self._outbox.due(self._clock()):
                self._try(mail)
            now = self._clock()
            if self._swept is None or now - self._swept > HOUSEKEEPING:
                self._swept = now
                self._tidy(now)

    # -- following submissions

    def _follow(self, receipt: Receipt) -> None:
        job, now = receipt.id, self._clock()
        if not receipt.open:
            if now - receipt.created > REMEMBERED and not receipt.key:
                self._receipts.drop(job)
            return
        try:
            self._look(receipt, job, now)
        except (PermanentError, OSError) as error:  # half-moved or unreadable: look again next round
            log.warning("submission_not_readable", reason=type(error).__name__)

    def _look(self, receipt: Receipt, job: JobId, now: datetime) -> None:
        stage = self._store.stage_of(job)
        if stage is None and receipt.delete:  # a deletion that broke off
            withdraw(job, store=self._store, receipts=self._receipts, outbox=self._outbox, access=self._access, now=now)
            return
        if stage in (None, "tmp"):
            if now - receipt.created > BROKEN_OFF:
                self._receipts.drop(job)
            return
        if receipt.welcome:
            self._add(job, "received", now=now)
            receipt = receipt.model_copy(update={"welcome": False})
            self._receipts.write(receipt)
        status = self._store.owners_status(job, now=now)
        if receipt.delete:
            withdraw(job, store=self._store, receipts=self._receipts, outbox=self._outbox, access=self._access, now=now)
            return
        if status is None or status.state in ("queued", "working"):
            return
        if status.state != "expired":
            self._add(job, "finished" if status.state == "done" else "failed", now=now, code=status.code)
        self._receipts.write(receipt.model_copy(update={"open": False}))

    def _add(self, job: JobId, kind: Kind, *, now: datetime, code: str | None = None) -> None:
        stage = self._store.stage_of(job)
        try:
            email = self._store.read_submission(stage, job).email if stage else None
        except (RecordInvalid, FileNotFoundError):
            if self._store.stage_of(job) != stage:
                raise  # it moved on just now: the next round
            email = None  # with the record its address is lost; the page says what happened
        if email:
            link = f"{self._settings.public_url}/r/{job}"
            self._outbox.add(kind, job=job, to=email, link=link, code=code, now=now)

    def add_unlock(self, job: JobId, *, to: str, token: str, lock: int) -> None:
        """Put the mail with the unlock link of lock number ``lock`` into the outbox."""
        link = f"{self._settings.public_url}/unlock/{job}/{token}"
        self._outbox.add("unlock", job=job, to=to, link=link, number=lock, now=self._clock())
        self.wake()

    # -- sending

    def _try(self, mail: Mail) -> None:
        """Deliver one mail; its failure does not affect the others."""
        try:
            self.deliver(mail)
        except Exception as error:  # our own bug: the traceback is in the log, the mail is tried again later
            log.exception("mail_failed", kind=mail.kind, reason=type(error).__name__)
            with contextlib.suppress(OSError):  # the disk is full: the next round
                self._outbox.put_off(mail, now=self._clock(), trouble=type(error).__name__)

    def deliver(self, mail: Mail) -> None:
        """Send one mail, or keep it for later, or give it up when its address is refused for good."""
        if not self._outbox.holds(mail):
            return
        if mail.name in self._delivered:  # sent, but the disk had no room to note it
            self._note_sent(mail)
            return
        try:
            with self._app.app_context(), speaking(self._language(mail)):
                message = self._message(mail)
                if self._settings.smtp_host is None:
                    path = self._outbox.write_down(mail, message.as_bytes())
                    log.info("mail_written", kind=mail.kind, file=str(path))
                else:
                    with _Connection(self._mail) as connection:
                        connection.send(message)
        except (smtplib.SMTPException, OSError) as error:
            self._keep(mail, error)
            return
        self._delivered.add(mail.name)
        self._note_sent(mail)

    def _note_sent(self, mail: Mail) -> None:
        self._outbox.sent(mail)
        self._delivered.discard(mail.name)
        log.info("mail_sent", kind=mail.kind, tries=mail.tries + 1)

    def _keep(self, mail: Mail, error: Exception) -> None:
        if _is_final(error):
            self._outbox.refuse(mail)
            log.warning("mail_refused", kind=mail.kind, reason=type(error).__name__)
        elif self._outbox.put_off(mail, now=self._clock(), trouble=type(error).__name__):
            log.warning("mail_put_off", kind=mail.kind, tries=mail.tries + 1, reason=type(error).__name__)
        else:
            log.error("mail_given_up", kind=mail.kind, tries=mail.tries + 1, reason=type(error).__name__)

    def _message(self, mail: Mail) -> Any:
        title, text, button = map(_, WORDS[mail.kind])
        status = self._store.owners_status(JobId(mail.job), now=self._clock())
        receipt = self._receipts.get(JobId(mail.job))
        sent = receipt.created if receipt else (status and status.received) or mail.created
        finished = status.finished if status and status.finished else mail.created
        said = self._said(mail)
        words = {
            "title": title,
            "text": text,
            "reason": sentence_for(mail.code) if mail.code else None,
            "button": button,
            "link": mail.link,
            "sent": date_and_time(sent),
            "short": mail.job[:SHORT],
            "deleted": date(finished + timedelta(days=self._settings.keep_results_days)),
            "file_deleted": date(sent + timedelta(days=self._settings.keep_media_days)),
            "kind": mail.kind,
            "never": _(NEVER),
            "said": said,
            "caution": _(CAUTION[bool(said)]),
            "follows": _(VIDEO_FOLLOWS) if mail.kind == "finished" and status and status.video == "pending" else None,
        }
        message = Message(
            # the mails of one person are told apart by this, as file names are in none of them
            subject=f"{title}: {mail.job[:SHORT]} ({date_and_time(sent)})",
            recipients=[mail.to],
            body=render_template("mail/mail.txt", **words),
            html=render_template("mail/mail.html", **words),
            extra_headers={"Auto-Submitted": "auto-generated"},
        )
        message.msgId = mail.message_id
        message.date = mail.created.timestamp()
        return message

    def _language(self, mail: Mail) -> str:
        """The language in which the file was sent; English when its record is gone."""
        job = JobId(mail.job)
        stage = self._store.stage_of(job)
        with contextlib.suppress(PermanentError, FileNotFoundError):
            return self._store.read_submission(stage, job).language if stage else ENGLISH
        return ENGLISH

    def _said(self, mail: Mail) -> tuple[str, ...]:
        """What the mail about a result says of it: what points where, what was looked for and what not; () without findings.

        The sentences about each detector have scores in them, so they stay on the page, behind the PIN.
        """
        if mail.kind != "finished":
            return ()
        try:
            said = statement_of(read_report(self._store.report(JobId(mail.job))).result)
        except PermanentError:  # deleted meanwhile, or not readable: its page says so
            return ()
        return (
            tuple(text for text in (said.headline, said.below, said.looked_for, said.not_looked_for) if text)
            if said
            else ()
        )

    def _tidy(self, now: datetime) -> None:
        names = timedelta(days=2 * self._settings.keep_results_days + 1)
        letters = timedelta(days=min(self._settings.keep_address_days, self._settings.keep_results_days))
        self._outbox.sweep(now=now, names=names, letters=letters)
        for receipt in self._receipts.all():  # a key finds what it made as long as anything of it is there
            if receipt.key and not receipt.open and not self._exists(receipt.id):
                self._receipts.drop(receipt.id)
        self._access.sweep(older_than_s=names.total_seconds(), exists=self._exists)

    def _exists(self, untrusted_id: str) -> bool:
        """Whether anything of a submission is there."""
        try:
            job = checked_id(untrusted_id)
        except PermanentError:
            return False
        return self._store.stage_of(job) is not None or self._store.result(job).exists()


def _is_final(error: Exception) -> bool:
    """Whether the server refused this mail for good (5xx, RFC 5321 4.2.1); a failed login does not count."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    return isinstance(error, (smtplib.SMTPDataError, smtplib.SMTPSenderRefused)) and error.smtp_code >= 500
