"""What the operator opens: metrics for Prometheus, and the page.

Only who knows the token gets anything; without one in the settings these addresses do not exist.
"""

from __future__ import annotations

import ipaddress

from flask import Blueprint, Response, abort, request
from prometheus_client.exposition import choose_encoder

from frontend.operator.entry import wrong_tokens
from frontend.operator.office import office
from frontend.portal import portal

blueprint = Blueprint("operator", __name__)


@blueprint.get("/metrics")
@wrong_tokens
def metrics() -> Response:
    """All metrics, in the text format of Prometheus. 404 where nobody may read them, 401 for who may not."""
    room = office()
    local = portal().settings.metrics_for == "local"
    if not (room.entry.exists or local):
        abort(404)
    if not (room.entry.knows_header() or (local and _is_local(request.remote_addr))):
        refused = Response("The operator's token is needed: Authorization: Bearer ...\n", 401, mimetype="text/plain")
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(room.counts.registry), content_type=content_type)


def _is_local(address: str | None) -> bool:
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False
