"""What the operator opens: metrics for Prometheus, and the page with what it can change.

Only who knows the token gets anything; without one in the settings these addresses do not exist. Every change is a form with a token
against forgery (frontend.security) and a line in the log. For the front-end only.
"""

from __future__ import annotations

import ipaddress
from typing import Final

import structlog
from flask import Blueprint, Response, abort, make_response, redirect, render_template, request, session, url_for
from prometheus_client.exposition import choose_encoder
from pydantic import ValidationError

from frontend.operator.entry import wrong_tokens
from frontend.operator.office import Office, office
from frontend.operator.overview import overview
from frontend.operator.pause import AGAIN_MIN, MOST_MIN, MOST_WORDS
from frontend.portal import portal
from shared.errors import SENTENCES, UserError
from shared.vitals import StateRequest

log = structlog.get_logger()

blueprint = Blueprint("operator", __name__)

#: What each state of a detector means, as docs/admission.md says.
STATES: Final = {
    "draft": "being written; runs only when named on the command line",
    "quarantine": "passed the admission check; runs only when named",
    "shadow": "runs with every submission; its scores are recorded and not shown",
    "enabled": "offered to visitors",
    "disabled": "taken out; does not run",
}


@blueprint.get("/metrics")
@wrong_tokens
def metrics() -> Response:
    """All metrics, in the text format of Prometheus. 404 where nobody may read them, 401 for who may not."""
    room = office()
    local = portal().settings.metrics_for == "local"
    if not (room.entry.exists or local):
        abort(404)
    if not (room.entry.knows_header() or (local and _is_local())):
        refused = Response("The operator's token is needed: Authorization: Bearer ...\n", 401, mimetype="text/plain")
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(room.counts.registry), content_type=content_type)


def _is_local() -> bool:
    """Whether a program of this machine asks for itself: a proxy on it, trusted or not, asks for a visitor, and says so."""
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False
    try:
        return ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False


# --------------------------------------------------------------------------- the page


@blueprint.get("/operator")
def page() -> Response:
    """The page, or the form for the token."""
    room = _existing()
    return _page(room) if room.entry.is_open(session) else _form()


@blueprint.post("/operator/open", endpoint="open")
@wrong_tokens
def let_in() -> Response:
    """Let this browser in when the form has the token."""
    room = _existing()
    if not room.entry.knows(request.form.get("token", "")[:500].strip()):
        log.warning("operator_refused")
        return _form(status=403, problem="This is not the operator’s token.")
    room.entry.open(session)
    log.info("operator_opened")
    return _to_page()


@blueprint.post("/operator/close")
def close() -> Response:
    """Let nobody in any more without the token."""
    _entered().entry.close(session)
    return _to_page()


@blueprint.post("/operator/pause")
def pause() -> Response:
    """Take nothing new from now on."""
    room = _entered()
    untrusted = request.form
    notice = " ".join(untrusted.get("notice", "").split()) or SENTENCES["intake_paused"]
    try:
        minutes = int(untrusted.get("minutes", "") or AGAIN_MIN)
        room.intake.pause(notice, minutes=minutes)
    except (ValueError, ValidationError):
        problem = (
            f"The notice may have {MOST_WORDS} characters, and the time 1 to {MOST_MIN} minutes. Nothing was paused."
        )
        return _page(room, status=422, problem=problem, notice=notice)
    log.warning("intake_paused", minutes=minutes)
    return _to_page()


@blueprint.post("/operator/resume")
def resume() -> Response:
    """Take everything again."""
    _entered().intake.resume()
    log.warning("intake_resumed")
    return _to_page()


@blueprint.post("/operator/state")
def state() -> Response:
    """Ask the back-end for another state of a detector; its answer is on the page within seconds."""
    room = _entered()
    try:
        wish = StateRequest.signed(
            request.form.get("detector", ""),
            request.form.get("to", ""),  # type: ignore[arg-type]  # checked by the record
            asked=portal().clock(),
            token=room.entry.token,
        )
        room.desk.ask(wish)
    except ValidationError:
        return _page(room, status=422, problem="Choose a state. Nothing was changed.")
    except UserError as error:
        return _page(room, status=error.status, problem=error.sentence)
    log.warning("detector_state_asked", detector=wish.detector, to=wish.to)
    return _to_page("#detectors")


@blueprint.get("/operator/open")
@blueprint.get("/operator/close")
@blueprint.get("/operator/pause")
@blueprint.get("/operator/resume")
@blueprint.get("/operator/state")
def answered() -> Response:
    """The address of an answer to a form, opened by hand."""
    _existing()
    return _to_page()


def _existing() -> Office:
    room = office()
    if not room.entry.exists:
        abort(404)
    return room


def _entered() -> Office:
    """The office, for who was let in; the form for everybody else."""
    room = _existing()
    if not room.entry.is_open(session):
        abort(_form(status=403, problem="Your session is over. Nothing was changed."))
    return room


def _form(*, status: int = 200, problem: str = "") -> Response:
    answer = make_response(render_template("operator/open.html", problem=problem))
    answer.status_code = status
    return answer


def _page(room: Office, *, status: int = 200, problem: str = "", notice: str = "") -> Response:
    answer = make_response(
        render_template(
            "operator/page.html",
            seen=overview(portal(), room),
            problem=problem,
            notice=notice or SENTENCES["intake_paused"],
            minutes=AGAIN_MIN,
            most_words=MOST_WORDS,
            most_minutes=MOST_MIN,
            states=STATES,
        )
    )
    answer.status_code = status
    return answer


def _to_page(part: str = "") -> Response:
    return make_response(redirect(url_for("operator.page") + part, 303))
