"""Mails: made once, never lost while the server is away, and nothing in them but a link and what points where."""

from __future__ import annotations

import email
import email.policy
import os
import re
import socket
import time
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from flask import Flask

from frontend import notify
from frontend.portal import portal
from shared.records import JobId
from shared.statement import statement_of
from tests.frontend.stories import EMAIL, PIN, FrozenClock, Uploader, add_video, finish, status
from tests.told import ANSWERS, told


class Postbox:
    """A mail server's handler that keeps what it takes and refuses as told."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.rcpt_answer: str | None = None
        self.data_answer: str | None = None

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if self.rcpt_answer:
            return self.rcpt_answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.data_answer:
            return self.data_answer
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append((envelope.rcpt_tos, mail))
        return "250 taken"

    def subjects(self) -> list[str]:
        """Without what tells one submission from another."""
        return [mail["Subject"].partition(": ")[0] for _, mail in self.mails]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A mail server that can go away and come back on its port."""

    def __init__(self) -> None:
        self.box, self.port, self._running = Postbox(), free_port(), None

    def start(self) -> None:
        self._running = Controller(self.box, hostname="127.0.0.1", port=self.port)
        self._running.start()

    def stop(self) -> None:
        if self._running:
            self._running.stop()
            self._running = None


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.stop()


@pytest.fixture
def mailing(build: Any, server: Server) -> Flask:
    return build(smtp_host="127.0.0.1", smtp_port=server.port, base_url="https://dfom.example.org")


@pytest.mark.parametrize("pending", [True, False])
def test_mail_about_numbers_says_whether_their_video_is_still_to_come(
    mailing: Flask, server: Server, pending: bool
) -> None:
    server.start()
    job = Uploader(mailing.test_client()).submit()
    finish(mailing, job, state="pending" if pending else "ready")
    portal(mailing).postman.tick()
    (mail,) = [mail for _, mail in server.box.mails if "result is ready" in mail["Subject"]]
    for kind in ("plain", "html"):
        words = " ".join(mail.get_body((kind,)).get_content().split())
        assert (notify.VIDEO_FOLLOWS in words) is pending
    if pending:
        add_video(mailing, job)
        portal(mailing).postman.tick()
        assert len(server.box.mails) == 2, "the video needs no mail of its own"


def test_submission_is_told_received_and_finished_once_each(mailing: Flask, server: Server) -> None:
    server.start()
    postman = portal(mailing).postman
    job = Uploader(mailing.test_client()).submit()
    postman.tick()
    postman.tick()
    assert server.box.subjects() == ["We received your file"]
    finish(mailing, job)
    for _ in range(3):
        postman.tick()
    assert server.box.subjects()[1:] == ["Your result is ready"]
    recipients, mail = server.box.mails[1]
    assert recipients == [EMAIL]
    for kind in ("plain", "html"):
        text = mail.get_body((kind,)).get_content()
        assert f"https://dfom.example.org/r/{job}" in text
        assert PIN not in text
        assert "portrait" not in text
        assert "0.6" not in text
        assert "The result is deleted on 4 February 2026, your file on 12 January 2026." in text
        assert re.search(f"submission (<strong>)?{job[:8]}(</strong>)?, sent on 5 January 2026, 12:00 UTC", text)
        assert "Your file is deleted on 12 January 2026." in server.box.mails[0][1].get_body((kind,)).get_content()
    told_apart = f": {job[:8]} (5 January 2026, 12:00 UTC)"
    assert [mail["Subject"].endswith(told_apart) for _, mail in server.box.mails] == [True, True]
    assert mail["Auto-Submitted"] == "auto-generated"
    assert list(portal(mailing).outbox.waiting()) == []


@pytest.mark.parametrize("case", ANSWERS)
def test_mail_about_a_result_leads_with_the_statement_and_has_no_score(
    mailing: Flask, server: Server, case: str
) -> None:
    server.start()
    job = Uploader(mailing.test_client()).submit()
    result = finish(mailing, job, change=lambda usual: told(case, id=usual.id, created=usual.created))
    portal(mailing).postman.tick()
    mail = next(mail for _, mail in server.box.mails if "result is ready" in mail["Subject"])
    said = statement_of(result)
    assert said is not None
    expected = [text for text in (said.headline, said.below, said.looked_for, said.not_looked_for) if text]
    for kind in ("plain", "html"):
        text = unescape(" ".join(mail.get_body((kind,)).get_content().split()))
        places = [text.index(sentence) for sentence in expected]
        assert places == sorted(places)
        assert places[-1] < text.index("Open the result with the PIN"), "it leads"
        assert "likelihood ratio" not in text
        for detector in result.detectors:
            assert detector.fake_score is None or f"{detector.fake_score:.2f}" not in re.sub(r"<[^>]*>", " ", text)


def test_mail_about_a_result_that_cannot_be_read_any_more_is_sent_without_its_words(
    mailing: Flask, server: Server
) -> None:
    job = Uploader(mailing.test_client()).submit()
    result = finish(mailing, job, change=lambda usual: told("strong", id=usual.id, created=usual.created))
    (portal(mailing).store.report(JobId(job)) / "result.json").write_text("{")
    server.start()
    portal(mailing).postman.tick()
    mail = next(mail for _, mail in server.box.mails if "result is ready" in mail["Subject"])
    said = statement_of(result)
    assert said is not None
    assert said.headline not in mail.get_body(("plain",)).get_content()


def test_failed_submission_is_told_why(mailing: Flask, server: Server, clock: FrozenClock) -> None:
    server.start()
    job = Uploader(mailing.test_client()).submit()
    portal(mailing).store.write_status(status(job, clock(), state="failed", step="failed", code="media_unreadable"))
    portal(mailing).postman.tick()
    mail = server.box.mails[-1][1]
    assert mail["Subject"].startswith("Your file could not be analysed")
    assert "could not be decoded" in mail.get_body(("plain",)).get_content()


def test_mail_server_that_is_away_delays_mails_and_loses_none(
    mailing: Flask, server: Server, clock: FrozenClock
) -> None:
    job = Uploader(mailing.test_client()).submit()
    finish(mailing, job)
    site = portal(mailing)
    site.postman.tick()
    waiting = list(site.outbox.waiting())
    assert {mail.kind for mail in waiting} == {"received", "finished"}
    assert {mail.tries for mail in waiting} == {1}
    site.postman.tick()  # not due yet: not tried again
    assert {mail.tries for mail in site.outbox.waiting()} == {1}
    clock.forward(minutes=1)
    site.postman.tick()
    assert {(mail.next_at - clock()).total_seconds() for mail in site.outbox.waiting()} == {300}
    server.start()
    clock.forward(minutes=5)
    site.postman.tick()
    assert sorted(server.box.subjects()) == [
        "We received your file",
        "Your result is ready",
    ]
    assert {mail["Message-ID"] for _, mail in server.box.mails} == {mail.message_id for mail in waiting}
    assert list(site.outbox.waiting()) == []


@pytest.mark.parametrize("answer", ["451 later", "421 closing"])
def test_passing_refusal_is_tried_again(mailing: Flask, server: Server, clock: FrozenClock, answer: str) -> None:
    server.start()
    server.box.rcpt_answer = answer
    Uploader(mailing.test_client()).submit()
    portal(mailing).postman.tick()
    assert server.box.mails == []
    server.box.rcpt_answer = None
    clock.forward(minutes=1)
    portal(mailing).postman.tick()
    assert len(server.box.mails) == 1


@pytest.mark.parametrize("where", ["rcpt_answer", "data_answer"])
def test_final_refusal_is_not_repeated_and_the_address_is_dropped(
    mailing: Flask, server: Server, clock: FrozenClock, where: str
) -> None:
    server.start()
    setattr(server.box, where, "550 no such user")
    Uploader(mailing.test_client()).submit()
    site = portal(mailing)
    site.postman.tick()
    assert list(site.outbox.waiting()) == []
    setattr(server.box, where, None)
    clock.forward(hours=2)
    site.postman.tick()
    assert server.box.mails == []


def test_mail_is_given_up_after_a_day(mailing: Flask, clock: FrozenClock) -> None:
    Uploader(mailing.test_client()).submit()
    site = portal(mailing)
    for _ in range(30):
        site.postman.tick()
        clock.forward(hours=1)
    assert list(site.outbox.waiting()) == []


def test_server_that_never_answers_is_left_after_the_time_limit(
    mailing: Flask, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "SMTP_TIMEOUT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", server.port))
        silent.listen()
        Uploader(mailing.test_client()).submit()
        begun = time.monotonic()
        portal(mailing).postman.tick()
        assert time.monotonic() - begun < 5, "smtplib gives up after ten seconds by itself"
    assert [mail.tries for mail in portal(mailing).outbox.waiting()] == [1]


def test_upload_never_waits_for_the_mail_server(mailing: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("a page talked to the mail server")

    monkeypatch.setattr(notify.smtplib, "SMTP", forbidden)
    assert Uploader(mailing.test_client()).submit()


def test_crash_after_sending_repeats_the_mail_under_the_same_id_at_most(
    mailing: Flask, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    site = portal(mailing)
    Uploader(mailing.test_client()).submit()
    with monkeypatch.context() as patch:
        patch.setattr(site.outbox, "sent", lambda mail: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            site.postman.tick()
    site.postman._delivered.clear()  # a crash forgets it
    site.postman.tick()
    site.postman.tick()
    assert len(server.box.mails) == 2
    assert len({mail["Message-ID"] for _, mail in server.box.mails}) == 1


def test_portal_that_starts_anew_goes_on_with_mails_and_receipts(build: Any, server: Server) -> None:
    changed = {"smtp_host": "127.0.0.1", "smtp_port": server.port}
    first = build(**changed)
    job = Uploader(first.test_client()).submit()
    portal(first).postman.tick()
    second = build(**changed)
    server.start()
    finish(second, job)
    portal(second).clock.forward(minutes=1)  # type: ignore[attr-defined]
    portal(second).postman.tick()
    portal(second).postman.tick()
    assert len(server.box.mails) == 2


@pytest.mark.parametrize("content", ["folder", b"{", b"null", b"[]", b"\xff", b"{}", "fifo", "link", "other"])
def test_what_is_no_mail_in_the_outbox_holds_up_no_mail(app: Flask, uploader: Uploader, content: Any) -> None:
    site = portal(app)
    state = site.settings.frontend_state
    for folder in ("outbox", "access", "receipts", "sent"):
        place = state / folder / "aaaaaaaaaaaaaaaaaaaaaaaaaa-received.json"
        if content == "folder":
            place.mkdir()
        elif content == "fifo":
            os.mkfifo(place)
        elif content == "link":
            place.symlink_to("/dev/zero")
        elif content == "other":
            place.write_text("1" * 2_000_000)
        else:
            place.write_bytes(content)
    (site.settings.data / "outbox" / "old.eml").mkdir(parents=True)
    os.utime(site.settings.data / "outbox" / "old.eml", (0, 0))
    uploader.submit()
    site.postman.tick()
    assert len(list((site.settings.data / "outbox").glob("*-received-*.eml"))) == 1


def test_mail_that_cannot_be_made_holds_up_no_other(
    app: Flask, uploader: Uploader, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = portal(app)
    first, second = uploader.submit(), uploader.submit(key="other", email="other@example.org")
    message = site.postman._message

    def broken(mail: Any) -> Any:
        if mail.job == first:
            raise RuntimeError("no template")
        return message(mail)

    monkeypatch.setattr(site.postman, "_message", broken)
    site.postman.tick()
    assert [path.name[-17:-4] for path in (site.settings.data / "outbox").glob("*.eml")] == [second[:13]]
    assert [(mail.job, mail.tries) for mail in site.outbox.waiting()] == [(first, 1)]


def test_mail_of_a_submission_deleted_in_the_same_moment_is_not_left(app: Flask, uploader: Uploader) -> None:
    job, site = uploader.submit(), portal(app)
    message = site.postman._message

    def deleted_meanwhile(mail: Any) -> Any:
        site.outbox.forget(job)
        return message(mail)

    site.postman._message = deleted_meanwhile  # type: ignore[method-assign]
    site.postman.tick()
    assert list((site.settings.data / "outbox").glob("*.eml")) == []
    assert list((site.settings.frontend_state / "sent").iterdir()) == []


def test_written_mails_go_with_the_retention_of_results_and_addresses(build: Any, clock: FrozenClock) -> None:
    app = build(keep_results_days=3, keep_address_days=30)
    Uploader(app.test_client()).submit()
    site = portal(app)
    site.postman.tick()
    [letter] = (site.settings.data / "outbox").glob("*.eml")
    os.utime(letter, (clock().timestamp(), clock().timestamp()))
    clock.forward(days=2)
    site.postman.tick()
    assert letter.exists()
    clock.forward(days=1.1)
    site.postman.tick()
    assert not letter.exists()


def test_without_mail_server_mails_are_readable_files_which_the_log_names(
    app: Flask, uploader: Uploader, capfd: pytest.CaptureFixture[str]
) -> None:
    job = uploader.submit()
    portal(app).postman.tick()
    files = list((portal(app).settings.data / "outbox").glob("*.eml"))
    assert len(files) == 1
    mail = email.message_from_bytes(files[0].read_bytes(), policy=email.policy.default)
    assert mail["To"] == EMAIL
    assert f"/r/{job}" in mail.get_body(("plain",)).get_content()
    printed = capfd.readouterr().out
    assert files[0].name in printed
    assert job not in printed


def test_stranger_gets_at_most_five_confirmations_a_day_but_every_result(build: Any, server: Server) -> None:
    app = build(smtp_host="127.0.0.1", smtp_port=server.port)
    server.start()
    uploader = Uploader(app.test_client())
    jobs = [uploader.submit(key=str(number)) for number in range(8)]
    for job in jobs:
        finish(app, job)
    portal(app).postman.tick()
    assert server.box.subjects().count("We received your file") == 5
    assert server.box.subjects().count("Your result is ready") == 8


def test_submission_without_address_gets_no_mail(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit(email=None)
    finish(app, job)
    portal(app).postman.tick()
    assert not (portal(app).settings.data / "outbox").exists()
    assert portal(app).receipts.get(JobId(job)).open is False  # type: ignore[union-attr]


def test_a_mail_is_sent_once_while_the_disk_cannot_note_it(
    mailing: Flask, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    Uploader(mailing.test_client()).submit()
    outbox = portal(mailing).outbox

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "sent", full)
        patch.setattr(outbox, "put_off", full)
        for _ in range(4):
            portal(mailing).postman.tick()
    assert len(server.box.mails) == 1
    portal(mailing).postman.tick()
    assert len(server.box.mails) == 1
    assert outbox.due(portal(mailing).clock()) == []
