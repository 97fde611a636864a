"""The portal of the other tests, its visitors and its browser."""

from tests.browser.conftest import chromium, site, watched
from tests.frontend.conftest import app, build, clock, compiled, uploader, visitor

__all__ = ["app", "build", "chromium", "clock", "compiled", "site", "uploader", "visitor", "watched"]
