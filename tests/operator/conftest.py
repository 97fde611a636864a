"""The portal of the other tests, its visitors and its browser; the dispatcher of the others."""

from tests.browser.conftest import chromium, site, watched
from tests.dispatch.conftest import dispatcher_for, settings, store, submit
from tests.frontend.conftest import app, build, clock, compiled, uploader, visitor

__all__ = [
    "app",
    "build",
    "chromium",
    "clock",
    "compiled",
    "dispatcher_for",
    "settings",
    "site",
    "store",
    "submit",
    "uploader",
    "visitor",
    "watched",
]
