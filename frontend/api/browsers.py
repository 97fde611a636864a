"""What scripts of other sites may do with the API (CORS): nothing, save those the operator names in DFOM_API_ORIGINS.

No cookie is read under ``/api``, so such a script has what its own key or PIN gives it. For ``frontend.api`` only.
"""

from __future__ import annotations

from typing import Final

from flask import Flask, Response, request

from frontend.faults import is_api
from shared.settings import Settings

ALLOWED: Final = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": "Authorization, PIN, Idempotency-Key, Content-Type, Range",
    "Access-Control-Max-Age": "600",
}
EXPOSED: Final = ", ".join(
    (
        "Location", "Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Idempotent-Replayed",
        "Content-Range", "Content-Disposition",
    )
)  # fmt: skip


def init_browsers(app: Flask, settings: Settings) -> None:
    """Answer browsers of allowed origins, errors included."""
    origins = frozenset(settings.api_origins)
    if not origins:
        return

    @app.after_request
    def allow(response: Response) -> Response:
        if not is_api():
            return response
        response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if origin in origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = EXPOSED
            if request.method == "OPTIONS":
                response.headers.update(ALLOWED)
        return response
