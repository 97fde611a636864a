"""A portal on a fresh folder, and the actors of its stories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from frontend import create_app
from frontend.portal import portal
from shared.settings import Settings
from tests.frontend.stories import FrozenClock, Uploader, Visitor, catalog


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def build(tmp_path: Path, clock: FrozenClock) -> Any:
    """Build a portal with some settings changed; the catalog is there and fresh."""

    def make(**changed: Any) -> Flask:
        settings = Settings(data=tmp_path / "var", **changed)
        app = create_app(settings, clock=clock, background=False)
        portal(app).store.write_catalog(catalog(clock()))
        return app

    return make


@pytest.fixture
def app(build: Any) -> Flask:
    return build()


@pytest.fixture
def uploader(app: Flask) -> Uploader:
    return Uploader(app.test_client())


@pytest.fixture
def visitor(app: Flask) -> Visitor:
    return Visitor(app.test_client())
