"""Pages that know no submission: the detectors, the help, the health checks, the chart library. Front-end only."""

from __future__ import annotations

import shutil
from typing import Final

from flask import Blueprint, Response, jsonify, make_response, render_template, request

from frontend import plotting
from frontend.portal import portal
from frontend.wording import catalog_is_fresh

#: Below this much free space the portal says it is not ready, bytes.
LOW_WATER: Final = 500_000_000

#: The chart library changes with its package only, and its address carries the version.
A_YEAR_S: Final = 31_536_000

blueprint = Blueprint("pages", __name__)


@blueprint.get("/detectors")
def detectors() -> Response:
    """A card for each detector."""
    here = portal()
    catalog = here.store.read_catalog()
    return make_response(render_template("detectors.html", entries=catalog.detectors if catalog else ()))


@blueprint.get("/help")
def help_page() -> Response:
    """How to read a result, limits, privacy and retention."""
    return make_response(render_template("help.html", settings=portal().settings))


@blueprint.get("/healthz")
def healthz() -> Response:
    """Whether the portal answers."""
    return jsonify({"status": "ok"})


@blueprint.get("/ready")
def ready() -> Response:
    """Whether an upload would be stored and analysed now: 200, or 503 with what is missing."""
    here = portal()
    now = here.clock()
    catalog = here.store.read_catalog()
    checks = {
        "backend": catalog_is_fresh(catalog, now),
        "detectors": catalog is not None and any(entry.unavailable is None for entry in catalog.detectors),
        "space": shutil.disk_usage(here.store.submissions).free > max(LOW_WATER, 2 * here.upload_limit),
    }
    response = jsonify(
        {
            "status": "ready" if all(checks.values()) else "not ready",
            "checks": checks,
            "queued": catalog.queued if catalog else None,
            "working": catalog.working if catalog else None,
        }
    )
    response.status_code = 200 if all(checks.values()) else 503
    return response


@blueprint.get("/robots.txt")
def robots() -> Response:
    """Nothing here is for search engines but the front page."""
    return Response("User-agent: *\nDisallow: /r/\nDisallow: /unlock/\n", mimetype="text/plain")


@blueprint.get("/assets/<version>/plotly.min.js")
def plotly(version: str) -> Response:
    """The chart library from its installed package, compressed where the browser takes it."""
    packed = "gzip" in request.headers.get("Accept-Encoding", "")
    response = Response(plotting.script(packed=packed), mimetype="text/javascript")
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = f"public, max-age={A_YEAR_S}, immutable"
    return response
