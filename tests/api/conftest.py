"""The portal of the front-end's stories, for programs."""

from __future__ import annotations

from tests.browser.conftest import site
from tests.frontend.conftest import app, build, clock, compiled, uploader, visitor

__all__ = ["app", "build", "clock", "compiled", "site", "uploader", "visitor"]
