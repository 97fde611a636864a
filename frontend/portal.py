"""The parts of one running portal, in one frozen object that views reach through ``portal()``.

Owns no state itself. May be imported by every module of the front-end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Flask, current_app

from shared.clock import Clock
from shared.settings import Settings
from shared.store import Store

if TYPE_CHECKING:
    from frontend.access import Access
    from frontend.events import Streams
    from frontend.keys import Keys
    from frontend.media import IncomingMedia
    from frontend.notify import Postman
    from frontend.outbox import Outbox
    from frontend.pins import Pins
    from frontend.receipts import Receipts
    from frontend.seen import SeenIndex
    from frontend.webhooks import Courier
    from shared.download import Fetcher

EXTENSION = "deepfake_o_meter"


@dataclass(frozen=True)
class Portal:
    """What the views need; built once by ``frontend.create_app``."""

    settings: Settings
    store: Store
    clock: Clock
    pins: Pins
    access: Access
    keys: Keys
    courier: Courier
    outbox: Outbox
    receipts: Receipts
    fetcher: Fetcher[IncomingMedia]
    postman: Postman
    #: None: the operator switched it off
    seen: SeenIndex | None
    streams: Streams

    @property
    def upload_limit(self) -> int:
        """Largest accepted file in bytes (MB = 10^6)."""
        return self.settings.max_upload_mb * 1_000_000


def portal(app: Flask | None = None) -> Portal:
    """The portal of ``app``, or of the application that serves the current request."""
    found = (app or current_app).extensions[EXTENSION]
    if not isinstance(found, Portal):
        raise TypeError("this application is not a portal: build it with frontend.create_app")
    return found
