"""The REST API for programs, version 1, under ``/api/v1``: the same intake, store and words as the pages.

``caller`` says who asks and what they may do, ``asking`` reads a submission, ``submissions`` and ``site`` are the views, ``schemas`` the
shapes, ``document`` the OpenAPI document, ``browsers`` what other sites' scripts may do. Entry: ``init_api``. Promises: no cookie is
read; every error is problem+json; nothing but its maker's key or its PIN opens a submission, and an id of someone else is answered like
one that never existed. For the front-end only.
"""

from __future__ import annotations

from flask import Flask

from frontend.api import browsers, submissions
from frontend.api import site as site_views
from frontend.api.blueprint import blueprint
from shared.settings import Settings

__all__ = ["init_api"]

#: Modules whose views are registered by importing them.
VIEWS = (submissions, site_views)


def init_api(app: Flask, settings: Settings) -> None:
    """Attach the API to ``app``, after its guards: requests of programs carry a key or a PIN in a header, so they need no form token."""
    # what apiflask's decorators ask the application for
    app.config.setdefault("VALIDATION_ERROR_STATUS_CODE", 422)
    app.config.setdefault("VALIDATION_ERROR_DESCRIPTION", "Validation error")
    app.config.setdefault("BASE_RESPONSE_SCHEMA", None)
    app.register_blueprint(blueprint)
    app.extensions["csrf"].exempt(blueprint)
    browsers.init_browsers(app, settings)
