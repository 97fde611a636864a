"""One line for each request, and nothing about who asked."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from structlog.testing import capture_logs

from shared.logs import shortened
from tests.frontend.stories import EMAIL, PIN, Uploader, Visitor, finish


def lines(logs: list[Any]) -> list[dict[str, Any]]:
    return [dict(line) for line in logs if line["event"] == "request"]


def test_a_request_is_one_line_without_the_visitor(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job)
    with capture_logs() as logs:
        uploader.client.post(f"/r/{job}/pin?pin={PIN}", data={"pin": PIN, "csrf_token": "x"})
        uploader.get(f"/r/{job}?mail={EMAIL}", headers={"User-Agent": "Agent 7", "Referer": "https://secret.example"})
        uploader.get(f"/unlock/{job}/token-of-the-mail")
        uploader.get(f"/nothing/{EMAIL}")
        uploader.get("/static/portal.css")
    found = lines(logs)
    assert [(line["method"], line["status"]) for line in found] == [
        ("POST", 400), ("GET", 200), ("GET", 200), ("GET", 404), ("GET", 200),
    ]  # fmt: skip
    assert found[0]["code"] == "form_expired"
    assert found[1]["path"] == f"/r/{job[:8]}…"
    assert found[2]["path"] == f"/unlock/{job[:8]}…/…"
    assert found[3]["path"] is None
    assert found[4]["bytes"] > 1000
    assert all(0 <= line["seconds"] < 60 for line in found)
    for secret in (job, PIN, EMAIL, "token-of", "Agent 7", "secret.example", "127.0.0.1"):
        assert secret not in str(found)


def test_health_checks_are_left_out_while_they_succeed(app: Flask, visitor: Visitor) -> None:
    with capture_logs() as logs:
        for path in ("/healthz", "/live", "/ready", "/metrics"):
            visitor.get(path)
    assert [line["path"] for line in lines(logs)] == ["/metrics"], "404: there is no operator"


def test_it_can_be_turned_off(build: Any) -> None:
    client = Visitor(build(access_log=False).test_client())
    with capture_logs() as logs:
        client.get("/")
    assert lines(logs) == []


@pytest.mark.parametrize("path", ["/help%0d%0aforged", "/help%1b[31m", "/%e2%80%ae/x"])
def test_nothing_that_is_sent_becomes_a_second_line(visitor: Visitor, path: str) -> None:
    with capture_logs() as logs:
        visitor.get(path)
    [line] = lines(logs)
    assert line["path"] is None
    assert shortened(line)["event"] == "request"
