"""A portal on a real socket, and Chromium in front of it."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from frontend import create_app
from frontend.portal import portal
from frontend.server import create_web_server
from shared.clock import utc_now
from shared.settings import Settings
from tests.frontend.stories import catalog

CHROMIUM = "/usr/bin/chromium"
OPERATOR = "a-token-of-the-operator-for-tests"


@pytest.fixture(scope="module")  # stopped early: two Playwrights cannot run side by side
def chromium() -> Iterator[Any]:
    """A running Chromium."""
    if not os.path.exists(CHROMIUM):
        pytest.skip("Chromium (/usr/bin/chromium) not here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def served(app: Flask, settings: Settings) -> Iterator[str]:
    """The address of ``app`` behind the portal's own server, as long as the block runs."""
    server = create_web_server(app, settings.model_copy(update={"port": 0}))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    for channel in list(server.active_channels.values()):
        channel.lingers = False
        channel.handle_close()
    server.close()
    thread.join(5)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Flask, str]]:
    """The portal behind its own server, as ``serve`` runs it; its clock runs too."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    settings = Settings(data=tmp_path / "var", operator_token=OPERATOR)
    app = create_app(settings, background=False)
    portal(app).store.write_catalog(catalog(utc_now()))
    with served(app, settings) as url:
        yield app, url


class Watched:
    """A page whose console errors, page errors and policy violations are collected in ``trouble``."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.trouble: list[str] = []
        self.page.on("console", lambda message: self._console(message))
        self.page.on("pageerror", lambda error: self.trouble.append(f"page error: {error}"))

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.trouble.append(f"{message.type}: {message.text}")


@pytest.fixture
def watched(chromium: Any) -> Iterator[Any]:
    """Open watched pages: ``watched(width=390, color_scheme="dark")``."""
    opened: list[Watched] = []

    def make(*, width: int = 1280, height: int = 900, **options: Any) -> Watched:
        opened.append(Watched(chromium, viewport={"width": width, "height": height}, **options))
        return opened[-1]

    yield make
    for item in opened:
        item.context.close()
