"""What guards every page: headers, cookies, forms of other sites, hosts, errors without traces."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from flask import Flask, request

from frontend import intake, upload
from frontend.portal import portal
from frontend.security import network_of
from shared.errors import SENTENCES
from tests.frontend.stories import JPEG, Uploader, Visitor, finish

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; manifest-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)


def _every_page(uploader: Uploader, job: str) -> list[str]:
    return ["/", "/detectors", "/help", "/healthz", "/ready", "/robots.txt", "/nothing", "/pin", f"/r/{job}", f"/r/{job}/status.json",
            f"/unlock/{job}/x", "/static/portal.css"]  # fmt: skip


def test_every_page_carries_the_exact_guarding_headers(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    for path in _every_page(uploader, job):
        headers = uploader.get(path).headers
        # the front page shows the chosen file before it is sent
        previews = POLICY.replace("data:;", "data: blob:;").replace("media-src 'self'", "media-src 'self' blob:")
        assert headers["Content-Security-Policy"] == (previews if path == "/" else POLICY), path
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Robots-Tag"] == "noindex, nofollow"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        if "static" not in path:
            assert headers["Cache-Control"] == "no-store"


def test_no_page_has_inline_script_style_or_foreign_source(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    progress = uploader.get(f"/r/{job}").get_data(as_text=True)
    finish(app, job)
    uploader.enter_pin(job)
    pages = [
        uploader.get(path).get_data(as_text=True) for path in ("/", "/detectors", "/help", f"/r/{job}", "/nothing")
    ]
    for page in [*pages, progress]:
        assert not re.search(r"<script(?![^>]*\bsrc=)", page)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)


def test_cookie_is_closed_to_scripts_and_other_sites(build: Any) -> None:
    visitor = Visitor(build(secure_cookies=True).test_client())
    cookie = visitor.get("/", base_url="https://localhost").headers["Set-Cookie"]
    assert cookie.startswith("__Host-dfom=")
    for word in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert word in cookie
    assert "Domain" not in cookie
    assert visitor.get("/", base_url="https://localhost").headers["Strict-Transport-Security"]


@pytest.mark.parametrize("path", ["/submit", "/r/{job}/pin", "/r/{job}/delete", "/r/{job}/close", "/unlock/{job}/x"])
@pytest.mark.parametrize("token", [None, "", "wrong"])
def test_form_without_our_token_does_nothing(app: Flask, uploader: Uploader, path: str, token: str | None) -> None:
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    data = {} if token is None else {"csrf_token": token}
    assert uploader.client.post(path.format(job=job), data=data).status_code == 400
    problem = uploader.client.post(path.format(job=job), data=data, headers={"Accept": "application/json"})
    assert (problem.status_code, problem.mimetype) == (400, "application/problem+json")
    assert problem.json["code"] == "form_expired"
    assert portal(app).store.report(job).exists()
    assert uploader.get(f"/r/{job}/files/bundle.zip").status_code == 200


def test_every_address_that_changes_something_needs_our_token(build: Any) -> None:
    """Whoever adds one: the list is the program's own. Below /api no cookie is read."""
    app = build(operator_token="an operator's token of the tests")
    uploader = Uploader(app.test_client())
    job = uploader.submit()
    finish(app, job)
    uploader.enter_pin(job)
    asked = set()
    for rule in app.url_map.iter_rules():
        for method in {"POST", "PUT", "PATCH", "DELETE"} & (rule.methods or set()):
            if not rule.rule.startswith("/api/"):
                path = rule.build(dict.fromkeys(rule.arguments, job), append_unknown=False)[1]
                refused = uploader.client.open(path, method=method, headers={"Accept": "application/json"})
                assert (refused.status_code, refused.json["code"]) == (400, "form_expired"), rule
                asked.add(rule.endpoint)
    assert asked >= {"intake.submit", "again.submit", "viewer.delete", "operator.pause", "operator.state"}
    assert portal(app).store.report(job).exists()


def test_who_has_one_result_open_sees_and_changes_nothing_of_another(build: Any) -> None:
    """Every address of the program with the id of somebody else's result, in each place of an id."""
    app = build()
    owner, other = Uploader(app.test_client()), Uploader(app.test_client())
    job, own = owner.submit(pin="731946"), other.submit()
    result = finish(app, job)
    finish(app, own)
    other.enter_pin(own)
    texts = {"untrusted_name": "result.json", "untrusted_who": "everyone", "untrusted_part": "0-1000"}
    token = other.token()
    asked = set()
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith(("/r/", "/compare/")):
            continue
        for first, second in ((job, own), (own, job)) if "untrusted_other" in rule.arguments else ((job, own),):
            path = rule.build({"untrusted_id": first, "untrusted_other": second} | texts, append_unknown=False)[1]
            for method in {"GET", "POST"} & (rule.methods or set()):
                answer = other.client.open(
                    path, method=method, data={"csrf_token": token} if method == "POST" else None
                )
                said = answer.get_data()
                for secret in (result.media.name, "fake_score", "mesonet", "MesoNet"):
                    assert secret.encode() not in said, (method, path)
                asked.add((method, rule.endpoint))
    assert asked >= {
        ("POST", "again.submit"), ("GET", "again.form"), ("GET", "compare.page"), ("GET", "result_files.original"),
        ("GET", "charts.curve"), ("GET", "result_files.file"), ("POST", "viewer.delete"), ("GET", "viewer.events"),
    }  # fmt: skip
    assert portal(app).store.report(job).exists()
    assert portal(app).store.ids("new") == [], "nor was it judged again"
    owner.enter_pin(job, "731946")
    for secret in (result.media.name, "MesoNet"):
        assert secret in owner.get(f"/r/{job}").get_data(as_text=True), "what was looked for is there for its owner"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403), ({"Sec-Fetch-Site": "same-site"}, 403), ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Origin": "https://evil.example"}, 403), ({"Origin": "http://localhost"}, 201), ({"Origin": "null"}, 201),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 201),
    ],
)  # fmt: skip
def test_form_of_another_site_is_refused_even_with_a_token(
    uploader: Uploader, headers: dict[str, str], status: int
) -> None:
    fields = uploader.fields() | {"csrf_token": uploader.token()}
    answer = uploader.client.post("/submit", data=fields, headers={"Accept": "application/json"} | headers)
    assert answer.status_code == status


def test_refused_upload_leaves_no_file_behind(app: Flask, uploader: Uploader) -> None:
    assert uploader.client.post("/submit", data=uploader.fields()).status_code == 400
    assert portal(app).store.ids("tmp") == []


def test_unknown_host_names_are_refused_and_mails_use_the_public_address(build: Any) -> None:
    app = build(trusted_hosts=["dfom.example.org"], base_url="https://dfom.example.org")
    visitor = Visitor(app.test_client())
    assert visitor.get("/", base_url="http://evil.example").status_code == 400
    assert visitor.get("/", base_url="http://dfom.example.org").status_code == 200


def test_forwarded_address_counts_only_behind_a_named_proxy(build: Any) -> None:
    for proxies, last in ((0, 429), (1, 422)):
        client = build(trusted_proxies=proxies).test_client()
        token = Visitor(client).token()
        for number in range(61):
            headers = {"X-Forwarded-For": f"10.1.1.{number}"}
            status = client.post("/submit", data={"csrf_token": token}, headers=headers).status_code
        assert status == last


@pytest.mark.parametrize(
    ("peer", "hops", "forwarded", "counted"),
    [
        ("127.0.0.1", 0, "198.51.100.7", "127.0.0.1"),
        ("127.0.0.1", 1, "198.51.100.7", "198.51.100.7"),
        ("127.0.0.1", 1, "203.0.113.1, 198.51.100.7", "198.51.100.7"),  # the visitor wrote the first one
        ("127.0.0.1", 2, "203.0.113.1, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("127.0.0.1", 2, "198.51.100.7", "127.0.0.1"),  # one entry cannot have passed two proxies
        ("::ffff:127.0.0.1", 1, "198.51.100.7", "198.51.100.7"),
        ("192.0.2.9", 1, "198.51.100.7", "192.0.2.9"),  # past the proxy, straight to the portal
        ("unknown", 1, "198.51.100.7", "unknown"),
    ],
)
def test_only_a_proxy_of_ours_says_where_a_request_comes_from(
    build: Any, peer: str, hops: int, forwarded: str, counted: str
) -> None:
    app = build(trusted_proxies=hops)
    seen: list[str | None] = []
    app.before_request(lambda: seen.append(request.remote_addr))
    app.test_client().get("/healthz", headers={"X-Forwarded-For": forwarded}, environ_overrides={"REMOTE_ADDR": peer})
    assert seen == [counted]


def test_fault_of_ours_shows_a_reference_and_no_trace(
    app: Flask, visitor: Visitor, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    def broken() -> str:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(intake.pins, "generate", broken)
    answer = visitor.get("/pin", headers={"Accept": "text/html"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 500
    assert "secret detail" not in page
    reference = re.search(r"<code>([0-9a-f]{12})</code>", page)
    assert reference
    assert reference.group(1) in capfd.readouterr().out
    problem = visitor.get("/pin", headers={"Accept": "application/json"})
    assert problem.mimetype == "application/problem+json"
    assert set(problem.json) == {"type", "title", "status", "detail", "code", "reference"}


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("PUT", "/help", 405)])
def test_errors_are_pages_for_people_and_problem_json_for_scripts(
    app: Flask, method: str, path: str, status: int
) -> None:
    client = app.test_client()
    page = client.open(path, method=method)
    assert page.status_code == status
    assert ("Allow" in page.headers) == (status == 405)
    assert "To the front page" in page.get_data(as_text=True)
    problem = client.open(path, method=method, headers={"Accept": "application/json"})
    assert (problem.status_code, problem.json["status"]) == (status, status)


@pytest.mark.parametrize("address", ["/submit", "/r/{}/pin", "/r/{}/delete", "/r/{}/close", "/help/"])
def test_address_of_a_form_that_is_opened_by_hand_leads_to_its_page(visitor: Visitor, address: str) -> None:
    answer = visitor.get(address.format("a" * 26))
    if address == "/help/":
        assert "How to read a result" in answer.get_data(as_text=True)
    else:
        assert answer.status_code == 303
        assert answer.headers["Location"] == ("/" if address == "/submit" else f"/r/{'a' * 26}")


def test_name_that_is_not_served_gets_a_page_or_problem_json(build: Any) -> None:
    client = build(trusted_hosts=["dfom.example.org"]).test_client()
    page = client.get("/", headers={"Host": "evil.example", "Accept": "text/html"})
    assert (page.status_code, page.mimetype) == (400, "text/html")
    assert "not reached under this name" in page.get_data(as_text=True)
    problem = client.get("/", headers={"Host": "evil.example", "Accept": "application/json"})
    assert problem.mimetype == "application/problem+json"


def test_what_visitors_type_is_shown_as_text_only(app: Flask, uploader: Uploader) -> None:
    evil = '"><img src=x onerror=alert(1)>'
    page = uploader.send(as_json=False, email=evil, url=evil, consent=None).get_data(as_text=True)
    assert "<img src=x" not in page
    job = uploader.submit(media=(io.BytesIO(JPEG), "'><img src=x>.jpg"))
    result = finish(app, job)
    path = portal(app).store.report(job) / "result.json"
    record = json.loads(path.read_text())
    record["media"]["name"] = record["detectors"][0]["title"] = evil
    path.write_text(json.dumps(record))
    uploader.enter_pin(job)
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    assert result.id in page
    assert "&lt;img src=x" in page
    assert "<img src=x" not in page


@pytest.mark.parametrize("code", ["deleted", "expired", "media_unreadable", "too_many_attempts"])
def test_codes_of_the_back_end_have_a_sentence(code: str) -> None:
    assert SENTENCES[code].endswith(".")


def test_an_upload_over_the_limit_is_refused_before_it_is_stored(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also without a form token: nobody fills the disk with forms that are refused later."""
    monkeypatch.setattr("frontend.security.UPLOADS_PER_PEER", "2 per hour")
    opened = []
    real = upload.IncomingMedia
    monkeypatch.setattr(upload, "IncomingMedia", lambda *given, **named: opened.append(1) or real(*given, **named))
    answers = []
    for _ in range(4):
        data = {"file": (io.BytesIO(JPEG), "a.jpg")}
        answers.append(app.test_client().post("/submit", data=data, content_type="multipart/form-data").status_code)
    assert answers[2:] == [429, 429]
    assert len(opened) <= 2


@pytest.mark.parametrize(("address", "network"), [("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8::7", "2001:db8::/64")])
def test_a_mapped_address_counts_as_the_address_in_it(address: str, network: str) -> None:
    assert network_of(address) == network
