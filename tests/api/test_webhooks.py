"""Webhooks against a real receiver with TLS: what is sent, how it is signed, when it is tried again, and where it never goes."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from frontend.client import verify_webhook
from frontend.portal import portal
from frontend.webhooks import check_address
from shared.download import Poster
from shared.errors import UserError
from tests.api.programs import Program, new_key
from tests.frontend.serving import eventually
from tests.frontend.stories import FrozenClock, finish, working


@dataclass
class Receiver:
    """Keeps what it is sent, and answers with ``status``."""

    port: int
    certificate: Path
    status: int = 204
    answers: threading.Event = field(default_factory=threading.Event)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/hook"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run(
        [*command.split(), "-keyout", folder / "key", "-out", folder / "cert"], check=True, capture_output=True
    )
    return folder / "cert", folder / "key"


@contextmanager
def receiving(certificate: tuple[Path, Path], *, hangs: bool = False) -> Iterator[Receiver]:
    """A receiver; one that ``hangs`` takes what it is sent and answers only when ``answers`` is set."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.got.append((dict(self.headers), body))
            made.answers.wait(60)
            self.send_response(made.status)
            self.send_header("Location", "https://localhost/elsewhere")
            self.send_header("Content-Length", "0")
            with contextlib.suppress(OSError):  # the portal has gone
                self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    made = Receiver(server.server_address[1], certificate[0])
    if not hangs:
        made.answers.set()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.answers.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.fixture
def receiver(certificate: tuple[Path, Path]) -> Iterator[Receiver]:
    with receiving(certificate) as made:
        yield made


@pytest.fixture
def hanging(certificate: tuple[Path, Path]) -> Iterator[Receiver]:
    with receiving(certificate, hangs=True) as made:
        yield made


@pytest.fixture
def announced(build: Any, receiver: Receiver) -> tuple[Flask, Program, str]:
    """A portal whose courier trusts the receiver's certificate, a program, and its webhook secret."""
    app = build(url_allow_private=True)
    site = portal(app)
    context = ssl.create_default_context(cafile=str(receiver.certificate))
    site.courier._poster = Poster(allow_private=True, ssl_context=context)
    token = new_key(app)
    [(key, _)] = site.keys.all()
    return app, Program(app.test_client(), key=token), site.keys.webhook_secret(key.id)


def test_the_end_of_the_work_is_announced_once_and_signed(
    announced: tuple[Flask, Program, str], receiver: Receiver, clock: FrozenClock
):
    app, desk, secret = announced
    job = desk.submit(webhook=receiver.url)
    courier = portal(app).courier
    courier.tick()
    assert receiver.got == []
    finish(app, job)
    for _ in range(3):
        courier.tick()
    [(headers, body)] = receiver.got
    message = verify_webhook(body, headers, secret, now=clock().timestamp())
    assert message["type"] == "submission.done"
    assert (message["data"]["id"], message["data"]["state"], message["data"]["code"]) == (job, "done", None)
    assert message["data"]["links"]["result"].endswith(f"/api/v1/submissions/{job}/result")
    assert b"score" not in body
    for wrong_body, wrong_secret, now in (
        (body + b" ", secret, clock().timestamp()),
        (body, "whsec_" + "A" * 44, clock().timestamp()),
        (body, secret, clock().timestamp() + 3600),
    ):
        with pytest.raises(ValueError, match="This message"):
            verify_webhook(wrong_body, headers, wrong_secret, now=now)


def test_the_courier_of_a_running_portal_announces_by_itself(
    announced: tuple[Flask, Program, str], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("frontend.webhooks.LOOK_S", 0.02)
    app, desk, _ = announced
    finish(app, desk.submit(webhook=receiver.url))
    courier = portal(app).courier
    thread = courier.start()
    eventually(lambda: receiver.got)
    courier.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert len(receiver.got) == 1


def jobs(receiver: Receiver) -> list[str]:
    return [json.loads(body)["data"]["id"] for _, body in receiver.got]


def test_a_receiver_that_hangs_delays_no_other_and_gets_its_own_in_order_when_it_answers(
    announced: tuple[Flask, Program, str],
    receiver: Receiver,
    hanging: Receiver,
    clock: FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
):
    app, desk, _ = announced
    courier = portal(app).courier
    slow, quick = [], []
    monkeypatch.setattr(courier._receivers, "_most", 0)  # messages are made and wait
    for _ in range(3):
        for told, where in ((slow, hanging), (quick, receiver)):
            told.append(desk.submit(webhook=where.url))
            finish(app, told[-1])
            courier.tick()
            clock.forward(seconds=1)
    assert (hanging.got, receiver.got) == ([], [])
    monkeypatch.undo()
    monkeypatch.setattr("frontend.webhooks.LOOK_S", 0.02)
    thread = courier.start()
    eventually(lambda: len(receiver.got) == 3)
    eventually(lambda: hanging.got)
    assert jobs(receiver) == quick
    assert jobs(hanging) == slow[:1], "one after the other, and the first is not answered yet"
    hanging.answers.set()
    eventually(lambda: not list(courier._box.waiting()))
    courier.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert (jobs(receiver), jobs(hanging)) == (quick, slow), "in order, nothing twice"


def test_one_that_does_not_answer_in_time_rests_so_that_the_last_thread_is_for_the_others(
    announced: tuple[Flask, Program, str], receiver: Receiver, hanging: Receiver, clock: FrozenClock
):
    app, desk, _ = announced
    courier = portal(app).courier
    courier._poster._timeout_s = 0.5
    courier._receivers._most = 0  # messages are made and wait
    for where in (hanging, hanging, hanging, receiver):
        finish(app, desk.submit(webhook=where.url))
        courier.tick()
        clock.forward(seconds=1)
    courier._receivers._most = 1
    courier.tick()
    assert (len(hanging.got), len(receiver.got)) == (1, 0), "there is one thread, and who waits longest has it"
    courier.tick()
    assert (len(hanging.got), len(receiver.got)) == (1, 1)
    courier.tick()
    assert len(hanging.got) == 1, "it rests"
    hanging.answers.set()
    clock.forward(minutes=2)
    courier.tick()
    assert sorted(jobs(hanging)[1:]) == sorted(set(jobs(hanging))), (
        "what it did not answer, and what waited behind that"
    )
    assert list(courier._box.waiting()) == []


def test_a_failure_is_announced_with_its_code(
    announced: tuple[Flask, Program, str], receiver: Receiver, clock: FrozenClock
):
    app, desk, secret = announced
    job = desk.submit(webhook=receiver.url)
    portal(app).store.write_status(
        working(job, clock()).model_copy(update={"state": "failed", "code": "media_unreadable"})
    )
    portal(app).courier.tick()
    [(headers, body)] = receiver.got
    message = verify_webhook(body, headers, secret, now=clock().timestamp())
    assert (message["type"], message["data"]["code"]) == ("submission.failed", "media_unreadable")


def test_it_is_tried_again_like_mail_also_after_a_restart_and_given_up_after_a_day(
    announced: tuple[Flask, Program, str], receiver: Receiver, clock: FrozenClock
):
    app, desk, _ = announced
    finish(app, desk.submit(webhook=receiver.url))
    courier = portal(app).courier
    receiver.status = 500
    tries = []
    for minutes in (0, 0.5, 0.6, 4, 1.1, 15, 60):
        clock.forward(minutes=minutes)
        courier.tick()
        tries.append(len(receiver.got))
    assert tries == [1, 1, 2, 2, 3, 4, 5]
    receiver.status = 302
    clock.forward(minutes=61)
    courier._ended.clear()  # as after a restart: what is on the disk counts
    courier.tick()
    assert len(receiver.got) == 6, "a redirect is not followed, it is tried again"
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    clock.forward(days=1)
    courier.tick()
    clock.forward(days=1)
    courier.tick()
    assert len(receiver.got) == 7
    assert list(courier._box.waiting()) == []


def test_a_message_that_we_cannot_send_does_not_stop_the_others(
    announced: tuple[Flask, Program, str], receiver: Receiver, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
):
    app, desk, _ = announced
    for name in ("first", "second"):
        finish(app, desk.submit(webhook=f"{receiver.url}/{name}"))
        clock.forward(minutes=1)
    courier = portal(app).courier
    post = courier._poster.post

    def fails_on_the_first(url: str, body: bytes, *, headers: Any) -> int:
        if url.endswith("/first"):
            raise RuntimeError
        return post(url, body, headers=headers)

    monkeypatch.setattr(courier._poster, "post", fails_on_the_first)
    courier.tick()
    assert len(receiver.got) == 1
    [kept] = courier._box.waiting()
    assert (kept.tries, kept.to.endswith("/first")) == (1, True)


@pytest.mark.parametrize("days", [3, 29])
def test_a_portal_that_starts_anew_announces_nothing_again(
    announced: tuple[Flask, Program, str], receiver: Receiver, clock: FrozenClock, days: int
):
    app, desk, _ = announced
    site = portal(app)
    job = desk.submit(webhook=receiver.url)
    finish(app, job)
    site.courier.tick()
    sent = lambda: [path for path in (site.settings.frontend_state / "webhooks").rglob("*") if path.is_file()]  # noqa: E731
    [name] = sent()
    os.utime(name, times=(clock().timestamp(), clock().timestamp()))
    clock.forward(days=days)
    site.courier.tick()  # tidies
    site.courier._ended.clear()  # as after a restart
    site.courier.tick()
    assert len(receiver.got) == 1
    assert desk.ask("DELETE", f"/submissions/{job}").status_code == 204
    site.courier._ended.clear()
    clock.forward(hours=2)
    site.courier.tick()
    assert sent() == [], "nor is its name kept when the submission is gone"


@pytest.mark.parametrize("how", ["deleted", "revoked"])
def test_nothing_is_sent_any_more(
    announced: tuple[Flask, Program, str], receiver: Receiver, clock: FrozenClock, how: str
):
    app, desk, _ = announced
    site = portal(app)
    job = desk.submit(webhook=receiver.url)
    finish(app, job)
    receiver.status = 503
    site.courier.tick()
    assert len(receiver.got) == 1
    if how == "deleted":
        assert desk.ask("DELETE", f"/submissions/{job}").status_code == 204
    else:
        [(key, _)] = site.keys.all()
        site.keys.revoke(key.id, now=clock())
    clock.forward(hours=2)
    site.courier.tick()
    assert len(receiver.got) == 1
    assert [path for path in (site.settings.frontend_state / "webhooks").rglob("*") if path.is_file()] == []


def test_a_name_that_leads_to_a_private_address_is_not_connected_to(receiver: Receiver):
    context = ssl.create_default_context(cafile=str(receiver.certificate))
    with pytest.raises(UserError) as refused:
        Poster(ssl_context=context).post("https://localhost/hook", b"{}", headers={})
    assert refused.value.code == "address_refused"
    with pytest.raises(UserError, match="address_refused"):
        Poster(ssl_context=context).post("https://0x7f.1/hook", b"{}", headers={})
    answers = iter([["203.0.113.7"], ["127.0.0.1"]])
    with pytest.raises(
        UserError
    ):  # the address that was checked (a test net that nobody routes) is the one that is used
        Poster(ssl_context=context, timeout_s=0.5, resolver=lambda host, port: next(answers)).post(
            "https://localhost/hook", b"{}", headers={}
        )
    assert receiver.got == []


def test_the_certificate_is_checked(receiver: Receiver):
    with pytest.raises(UserError) as refused:
        Poster(allow_private=True).post(receiver.url, b"{}", headers={})
    assert refused.value.code == "fetch_failed"
    assert receiver.got == []


@pytest.mark.parametrize(
    "url",
    ["http://example.org/", "https://10.0.0.1/", "https://[fd00::1]/", "https://169.254.169.254/", "https://2130706433/",
     "ftp://example.org/", "https://example.org:22/", "https://a:b@example.org/", "example", ""],
)  # fmt: skip
def test_addresses_that_are_refused_at_once(url: str):
    with pytest.raises(UserError) as refused:
        check_address(url)
    assert refused.value.code == "webhook_refused"


def test_only_a_key_has_a_webhook(app: Flask):
    answer = Program(app.test_client(), pin="482913").send(webhook="https://example.org/hook")
    assert (answer.status_code, set(answer.json["errors"])) == (422, {"webhook"})
