"""One line in the log for each request: what was asked and how it ended, nothing about who asked.

Promises: no address of a peer, no query string, no header, no name of a file; ids are cut to eight characters and tokens are left out
(``shared.logs``), an address that is none of ours is not repeated. Health checks that succeed are left out: they would be most of the log.
"""

from __future__ import annotations

import time
from typing import Final

import structlog
from flask import Flask, Response, g, request

from shared.logs import shortened

log = structlog.get_logger()

#: Asked every few seconds by machines.
QUIET: Final = frozenset({"pages.healthz", "pages.live", "pages.ready", "operator.metrics"})
MOST_CHARACTERS: Final = 200


def init_access_log(app: Flask) -> None:
    """Log every request of ``app``. To be called before all others that look at requests: they may refuse them."""

    @app.after_request
    def write(response: Response) -> Response:
        if request.endpoint in QUIET and response.status_code < 400:
            return response
        log.info(
            "request",
            method=request.method if len(request.method) <= 10 else "other",
            path=shortened(request.path)[:MOST_CHARACTERS] if request.url_rule else None,
            route=request.endpoint,
            status=response.status_code,
            code=g.get("code"),
            bytes=response.content_length,
            seconds=round(time.perf_counter() - g.get("began", time.perf_counter()), 4),
        )
        return response
