"""Who may do what: ids, keys and PINs against each other, the budget of PINs, limits, other sites' scripts, and what the log says."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from frontend.portal import portal
from shared.records import new_id
from tests.api.programs import Program, new_key, program, with_pin
from tests.frontend.stories import EMAIL, JPEG, PIN, FrozenClock, Uploader, Visitor, finish

#: What is done with an id: method, path below it, scope that a key needs.
DONE = [
    ("GET", "", "read"),
    ("GET", "/events", "read"),
    ("GET", "/result", "read"),
    ("GET", "/files/scores.csv", "read"),
    ("GET", "/files/bundle.zip", "read"),
    ("POST", "/again", "submit"),
    ("DELETE", "", "delete"),
]


def said(answer: Any) -> tuple[Any, ...]:
    """All that an answer tells."""
    headers = {name: answer.headers.get(name) for name in ("WWW-Authenticate", "Retry-After", "Allow")}
    return answer.status_code, answer.json, headers


@pytest.mark.parametrize(("method", "path", "scope"), DONE)
def test_an_id_of_someone_else_is_answered_like_one_that_never_existed(app: Flask, method: str, path: str, scope: str):
    """id x key x PIN: of another key, of a visitor, of one's own that is deleted, unknown, no id at all."""
    desk = program(app)
    of_other = program(app, "other").submit(headers={"PIN": PIN})
    of_visitor = with_pin(app).submit()
    gone = desk.submit()
    desk.ask("DELETE", f"/submissions/{gone}")
    for job in (of_other, of_visitor):
        finish(app, job)
    unknown = desk.ask(method, f"/submissions/{new_id()}{path}")
    assert unknown.status_code == 404
    for job in (of_other, of_visitor, gone, "a" * 26, "A" * 26, "x", "%2e%2e"):
        assert said(desk.ask(method, f"/submissions/{job}{path}")) == said(unknown), job
    # a PIN beside a key opens nothing more than the key
    assert said(desk.ask(method, f"/submissions/{of_visitor}{path}", headers={"PIN": PIN})) == said(unknown)
    # nobody
    nobody = Program(app.test_client())
    assert {said(nobody.ask(method, f"/submissions/{job}{path}"))[0] for job in (of_other, new_id(), "x")} == {401}
    # by PIN: a wrong one, for what is there and for what is not
    guesses = [
        said(with_pin(app, "918273").ask(method, f"/submissions/{job}{path}")) for job in (of_visitor, gone, new_id())
    ]
    assert [guess[0] for guess in guesses] == [403] * 3
    assert guesses[0] == guesses[1] == guesses[2]
    # and the makers themselves
    assert with_pin(app).ask(method, f"/submissions/{of_visitor}{path}").status_code in (200, 204, 415)
    assert with_pin(app).ask(method, f"/submissions/{of_other}{path}").status_code in (200, 204, 415), (
        "its PIN opens a key's, too"
    )


ALL_DONE = [*DONE, ("POST", None, "submit"), ("GET", None, "read")]


@pytest.mark.parametrize("scope", ["submit", "read", "delete"])
def test_a_key_does_what_its_scopes_say(app: Flask, scope: Any):
    job = program(app, "full").submit()
    desk = program(app, scopes=(scope,))
    for method, path, needed in ALL_DONE:
        if needed == scope:
            continue
        for target in ["/submissions"] if path is None else [f"/submissions/{one}{path}" for one in (job, new_id())]:
            answer = desk.ask(method, target)
            assert (answer.status_code, answer.json["code"]) == (403, "key_scope"), (method, target)


def test_a_key_that_was_revoked_or_expired_stops_at_once(app: Flask, clock: FrozenClock):
    desk, brief = program(app), program(app, "brief", days=1)
    job = desk.submit()
    assert desk.get(f"/submissions/{job}").status_code == 200
    [key] = [key for key, _ in portal(app).keys.all() if key.name == "desk"]
    portal(app).keys.revoke(key.id, now=clock())
    clock.forward(days=2)
    for caller in (desk, brief, Program(app.test_client(), key="dfom_no"), Program(app.test_client(), key="")):
        for path in (f"/submissions/{job}", "/submissions", "/limits", "/detectors"):
            answer = caller.get(path, headers={"PIN": PIN} if caller.headers else {"Authorization": "Basic YTpi"})
            assert (answer.status_code, answer.json["code"]) == (401, "key_invalid")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert caller.send(headers={} if caller.headers else {"Authorization": "Digest x"}).status_code == 401


# --------------------------------------------------------------------------- the budget of PINs


def test_pins_have_one_budget_for_form_and_api(app: Flask, uploader: Uploader, visitor: Visitor, clock: FrozenClock):
    job, unknown = uploader.submit(email=EMAIL), new_id()
    guesser = with_pin(app, "918273")
    for number in range(6):  # by turns
        for target in (job, unknown):
            if number % 2:
                assert visitor.post(f"/r/{target}/pin", {"pin": "918273"}).status_code == 403
            else:
                assert guesser.get(f"/submissions/{target}").json["code"] == "pin_wrong"
    waits = [said(guesser.get(f"/submissions/{target}")) for target in (job, unknown)]
    assert waits[0] == waits[1]
    assert (waits[0][0], waits[0][1]["code"], waits[0][2]["Retry-After"]) == (429, "pin_wait", "1")
    assert with_pin(app).get(f"/submissions/{job}").status_code == 429, "the right one waits, too"
    for _ in range(14):
        clock.forward(hours=1)
        guesser.get(f"/submissions/{job}")
    clock.forward(hours=1)
    locked = with_pin(app).get(f"/submissions/{job}")
    assert (locked.status_code, locked.json["code"]) == (423, "result_locked")
    portal(app).postman.tick()
    assert any(
        mail.name.endswith("unlock.eml") or "unlock" in mail.name
        for mail in (portal(app).settings.data / "outbox").iterdir()
    )


def test_sixty_wrong_pins_of_one_address_are_enough(app: Flask, visitor: Visitor):
    guesser = with_pin(app, "918273")
    statuses = [guesser.get(f"/submissions/{new_id()}").status_code for _ in range(61)]
    assert statuses == [403] * 60 + [429]
    assert visitor.post(f"/r/{new_id()}/pin", {"pin": "918273"}).status_code == 429, "the form counts them as well"


# --------------------------------------------------------------------------- limits


def test_a_quota_is_of_the_key_and_of_the_day(app: Flask, clock: FrozenClock):
    desk = program(app, quota=2)
    assert [desk.send().headers["RateLimit-Remaining"] for _ in range(2)] == ["1", "0"]
    refused = desk.send()
    assert (refused.status_code, refused.json["code"], refused.headers["Retry-After"]) == (429, "quota_used", "43200")
    by_address = desk.ask("POST", "/submissions", json={"url": "https://example.org/a.mp4"})
    assert by_address.json["code"] == "quota_used", "nothing is fetched for it"
    assert len(portal(app).store.ids("new")) == 2
    assert list((portal(app).store.submissions / "tmp").iterdir()) == []
    assert program(app, "other").send().status_code == 201
    clock.forward(days=1)
    assert desk.send().status_code == 201


def test_a_refused_file_costs_nothing_of_the_quota(app: Flask):
    desk = program(app, quota=2)
    for _ in range(3):
        assert desk.send(b"<html>" + bytes(90)).status_code == 415
    assert desk.get("/limits").json["submissions"] == {"most": 2, "left": 2, "reset_s": 43200}


def test_without_a_key_the_uploads_of_an_address_are_those_of_the_form(
    app: Flask, uploader: Uploader, monkeypatch: Any
):
    monkeypatch.setattr("frontend.security.UPLOADS_PER_PEER", "3 per hour")
    monkeypatch.setattr("frontend.api.caller.UPLOADS_PER_PEER", "3 per hour")
    uploader.submit()
    anyone = with_pin(app)
    assert [anyone.send().status_code for _ in range(3)] == [201, 201, 429]
    assert uploader.send().status_code == 429
    assert program(app).send().status_code == 201, "a key has its own quota"


def test_requests_are_counted_by_key_and_by_address(app: Flask, monkeypatch: Any):
    monkeypatch.setattr("frontend.api.caller.REQUESTS_A_MINUTE", 3)
    desk, nobody = program(app), Program(app.test_client())
    for caller in (desk, nobody):
        answers = [caller.get("/detectors") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [answer.headers["RateLimit-Remaining"] for answer in answers[:3]] == ["2", "1", "0"]
        assert 1 <= int(answers[3].headers["Retry-After"]) <= 60
    assert Program(app.test_client(), key="dfom_wrong").get("/detectors").status_code == 429, "no way around"


def test_the_operator_may_demand_a_key(build: Any):
    app = build(api_key_needed=True)
    refused = with_pin(app).send()
    assert (refused.status_code, refused.json["code"]) == (401, "key_needed")
    assert list((portal(app).store.submissions / "tmp").iterdir()) == []
    assert program(app).send().status_code == 201
    assert program(app).get("/limits").json["key_needed"] is True


@pytest.mark.parametrize("pin", ["1234", "12", "abcdef", "1" * 40])
def test_a_new_submissions_pin_has_the_rules_of_the_form(app: Flask, pin: str):
    for caller in (with_pin(app, pin), program(app)):
        answer = caller.send(headers={"PIN": pin})
        assert (answer.status_code, set(answer.json["errors"])) == (422, {"PIN"})
    assert list((portal(app).store.submissions / "tmp").iterdir()) == []


# --------------------------------------------------------------------------- browsers


def test_scripts_of_other_sites_are_kept_out_unless_named(build: Any):
    friend, stranger = "https://newsroom.example.org", "https://evil.example"
    closed = build()
    for origin in (friend, stranger):
        answer = program(closed).get("/detectors", headers={"Origin": origin})
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
        assert with_pin(closed).send(headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"}).status_code == 403
    opened = build(api_origins=[friend])
    preflight = {
        "Origin": friend,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,pin",
    }
    asked = opened.test_client().options("/api/v1/submissions", headers=preflight)
    assert asked.status_code == 200
    assert asked.headers["Access-Control-Allow-Origin"] == friend
    assert {"Authorization", "PIN"} <= set(asked.headers["Access-Control-Allow-Headers"].split(", "))
    assert "Access-Control-Allow-Credentials" not in asked.headers
    sent = with_pin(opened).send(headers={"Origin": friend, "Sec-Fetch-Site": "cross-site"})
    assert (sent.status_code, sent.headers["Access-Control-Allow-Origin"]) == (201, friend)
    missing = program(opened).get("/nothing", headers={"Origin": friend})
    assert (missing.status_code, missing.headers["Access-Control-Allow-Origin"]) == (404, friend)
    assert with_pin(opened).send(headers={"Origin": stranger, "Sec-Fetch-Site": "cross-site"}).status_code == 403
    page = opened.test_client().get("/", headers={"Origin": friend})
    assert "Access-Control-Allow-Origin" not in page.headers, "the pages are nobody else's"


def test_no_cookie_opens_anything_here_and_none_is_set(app: Flask, uploader: Uploader):
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    assert uploader.get(f"/r/{job}/files/scores.csv").status_code == 200
    for path, _, _ in ((f"/submissions/{job}{path}", 0, 0) for _, path, _ in DONE[:5]):
        answer = Program(uploader.client).get(path)
        assert answer.status_code == 401
        assert "Set-Cookie" not in answer.headers
    assert Program(uploader.client).send().status_code == 401, "nor does a form of another site submit"


def test_the_log_has_no_key_no_pin_and_no_whole_id(build: Any, caplog: Any, capsys: Any):
    app = build(url_allow_private=True)
    token = new_key(app)
    desk = Program(app.test_client(), key=token)
    job = desk.submit(
        headers={"PIN": PIN, "Idempotency-Key": "secret-idempotency"}, webhook="https://127.0.0.1:9/h?token=hush"
    )
    desk.get(f"/submissions/{job}")
    with_pin(app, "918273").get(f"/submissions/{job}")
    Program(app.test_client(), key=token[:-2]).get("/submissions")
    desk.send(JPEG, mode="slow")
    finish(app, job)
    portal(app).postman.tick()
    portal(app).courier.tick()
    log = caplog.text + "".join(capsys.readouterr())
    for secret in (token, token.rpartition("_")[2], PIN, "918273", job, "secret-idempotency", "hush"):
        assert secret not in log
