"""What a program asks of the site itself: its detectors, its limits, and how to talk to it. For ``frontend.api`` only."""

from __future__ import annotations

import mimetypes
from importlib.metadata import version
from typing import Final, get_args

from flask import Response, abort, jsonify, make_response, render_template, send_file
from swagger_ui_bundle import swagger_ui_path

from frontend.api.blueprint import blueprint
from frontend.api.caller import REQUESTS_A_MINUTE, caller, quota_of, uploads_of
from frontend.api.document import as_version_3_0, document
from frontend.api.parts import ANYONE, BOTH, problems
from frontend.api.schemas import Allowance, Detector, Detectors, Limits
from frontend.keys import SCOPES
from frontend.portal import portal
from frontend.security import Budget
from frontend.wording import catalog_is_fresh
from shared.records import CatalogEntry, Mode

#: Most detectors of one submission (``shared.records.Submission``).
MOST_DETECTORS: Final = 64

#: The files of Swagger UI that the page of the documentation needs, out of its package.
SWAGGER: Final = frozenset({"swagger-ui.css", "swagger-ui-bundle.js"})
A_DAY: Final = "public, max-age=86400"


@blueprint.get("/detectors")
@blueprint.output(Detectors)
@blueprint.doc(operation_id="listDetectors", tags=["Site"], security=ANYONE, responses=problems(503))
def list_detectors() -> Detectors:
    """List the detectors of this site."""
    site = portal()
    catalog = site.store.read_catalog()
    return Detectors(
        running=catalog_is_fresh(catalog, site.clock()),
        items=tuple(map(_detector, catalog.detectors)) if catalog else (),
    )


def _detector(entry: CatalogEntry) -> Detector:
    return Detector.model_validate({name: getattr(entry, name) for name in Detector.model_fields})


@blueprint.get("/limits")
@blueprint.output(Limits)
@blueprint.doc(operation_id="getLimits", tags=["Site"], security=BOTH, responses=problems(401))
def get_limits() -> Limits:
    """What this site takes, what is left of your submissions, and how long things are kept."""
    settings, key = portal().settings, caller().key
    return Limits(
        largest_file_bytes=portal().upload_limit,
        most_detectors=MOST_DETECTORS,
        most_duration_s=settings.max_duration_s,
        most_frames=settings.max_frames,
        most_pixels=settings.max_pixels,
        modes=get_args(Mode),
        key_needed=settings.api_key_needed,
        requests_a_minute=REQUESTS_A_MINUTE,
        submissions=_allowance(quota_of(key) if key else uploads_of(caller())),
        scopes=key.scopes if key else SCOPES,
        keep_media_days=settings.keep_media_days,
        keep_results_days=settings.keep_results_days,
        keep_address_days=settings.keep_address_days,
        platform=version("deepfake-o-meter"),
    )


def _allowance(budget: Budget) -> Allowance:
    return Allowance(most=budget.most, left=budget.left, reset_s=budget.reset_s)


# --------------------------------------------------------------------------- the documentation


@blueprint.get("/openapi.json")
@blueprint.doc(hide=True)
def openapi() -> Response:
    """The OpenAPI document."""
    response = jsonify(document())
    response.headers["Cache-Control"] = "no-cache"
    return response


@blueprint.get("/docs")
@blueprint.doc(hide=True)
def docs() -> Response:
    """The documentation, to read and to try."""
    return make_response(render_template("api_docs.html"))


@blueprint.get("/docs/openapi.json")
@blueprint.doc(hide=True)
def docs_document() -> Response:
    """What the page shows: the document, as its Swagger UI understands it."""
    return jsonify(as_version_3_0())


@blueprint.get("/docs/<untrusted_name>")
@blueprint.doc(hide=True)
def docs_file(untrusted_name: str) -> Response:
    """A file of Swagger UI, out of its package."""
    if untrusted_name not in SWAGGER:
        abort(404)
    response = send_file(
        swagger_ui_path / untrusted_name, mimetype=mimetypes.guess_type(untrusted_name)[0], conditional=True
    )
    response.headers["Cache-Control"] = A_DAY
    return response
