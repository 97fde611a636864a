"""The portal of the front-end's stories, for programs."""

from __future__ import annotations

from tests.browser.conftest import chromium, site, watched
from tests.frontend.conftest import app, build, clock, compiled, uploader, visitor

__all__ = ["app", "build", "chromium", "clock", "compiled", "site", "uploader", "visitor", "watched"]
