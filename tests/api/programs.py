"""A program that talks to the portal in this process, with a key or a PIN."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from frontend.keys import SCOPES
from frontend.portal import portal
from tests.frontend.stories import JPEG, PIN

ROOT = "/api/v1"


class Program:
    """Requests under /api/v1 with the headers of one caller."""

    def __init__(self, client: FlaskClient, *, key: str | None = None, pin: str | None = None) -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.headers |= {"PIN": pin} if pin else {}

    def ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> Any:
        """One request; problems are checked for their shape."""
        answer = self.client.open(
            ROOT + path, method=method, headers=self.headers | (headers or {}), buffered=True, **more
        )
        if answer.status_code >= 400 and method != "HEAD":
            assert answer.mimetype == "application/problem+json", answer.data
            assert {"type", "title", "status", "detail", "code"} <= set(answer.json)
            assert answer.json["status"] == answer.status_code
        return answer

    def get(self, path: str, **more: Any) -> Any:
        return self.ask("GET", path, **more)

    def send(self, media: bytes = JPEG, *, headers: dict[str, str] | None = None, **fields: Any) -> Any:
        """Submit a file."""
        data = {"media": (io.BytesIO(media), "a.jpg"), **fields}
        return self.ask("POST", "/submissions", headers=headers, data=data, content_type="multipart/form-data")

    def submit(self, **fields: Any) -> str:
        answer = self.send(**fields)
        assert answer.status_code == 201, answer.json
        return str(answer.json["id"])


def program(app: Flask, name: str = "desk", *, days: int | None = None, **changed: Any) -> Program:
    """A program with a fresh key."""
    return Program(app.test_client(), key=new_key(app, name, days=days, **changed))


def new_key(app: Flask, name: str = "desk", *, days: int | None = None, **changed: Any) -> str:
    site = portal(app)
    now = site.clock()
    wanted: dict[str, Any] = {"scopes": SCOPES, "quota": 50, "now": now} | changed
    return site.keys.issue(name, expires=now + timedelta(days=days) if days else None, **wanted)[1]


def with_pin(app: Flask, pin: str = PIN) -> Program:
    """A program without a key."""
    return Program(app.test_client(), pin=pin)
