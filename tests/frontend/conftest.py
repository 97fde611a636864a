"""A portal on a fresh folder, and the actors of its stories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from jinja2 import FileSystemBytecodeCache

from frontend import create_app, pins
from frontend.portal import portal
from shared.settings import Settings
from tests.frontend.stories import CHEAP, FrozenClock, Uploader, Visitor, catalog


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> FileSystemBytecodeCache:
    """Compiled templates, shared by the portals of all tests."""
    return FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))


@pytest.fixture
def build(
    tmp_path: Path, clock: FrozenClock, compiled: FileSystemBytecodeCache, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Build a portal with some settings changed; the catalog is there and fresh. Its PIN hashes are cheap ones."""
    monkeypatch.setattr(pins, "COST", CHEAP)

    def make(**changed: Any) -> Flask:
        settings = Settings(data=tmp_path / "var", **changed)
        app = create_app(settings, clock=clock, background=False)
        app.jinja_env.bytecode_cache = compiled
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
