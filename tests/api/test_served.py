"""What only the real server shows: its own refusals, and one socket after another that does as the document says."""

from __future__ import annotations

import socket

import httpx
from flask import Flask

from tests.api.programs import new_key


def test_what_the_server_itself_refuses_is_a_problem_too(site: tuple[Flask, str]):
    """A body over the limit, a head over the limit, and what is no request: each is answered before a view is called."""
    app, url = site
    headers = {"Authorization": f"Bearer {new_key(app)}", "Accept": "text/html"}
    large = httpx.post(f"{url}/api/v1/submissions", headers=headers, content=bytes(50_200_000), timeout=60)
    assert (large.status_code, large.headers["Content-Type"]) == (413, "application/problem+json")
    assert large.json()["code"] == "upload_too_large"
    head = httpx.get(f"{url}/api/v1/limits", headers=headers | {"X": "a" * 40_000}, timeout=20)
    assert (head.status_code, head.headers["Content-Type"]) == (431, "application/problem+json")
    page = httpx.get(f"{url}/help", headers=headers | {"X": "a" * 40_000}, timeout=20)
    assert page.headers["Content-Type"].startswith("text/html")
    with socket.create_connection((httpx.URL(url).host, httpx.URL(url).port or 80), timeout=20) as line:
        line.sendall(b"GET /api/v1/limits HTTP/1.1\r\nContent-Length: -1\r\n\r\n")
        answered = line.recv(4096)
    assert answered.startswith(b"HTTP/1.1 400") or answered.startswith(b"HTTP/1.0 400")
    assert b"application/problem+json" in answered
