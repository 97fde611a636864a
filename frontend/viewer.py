"""One submission on the web: its progress, the PIN form, its result (``result_page``, ``result_files``), and its deletion.

Promises: one address for all of it, ``/r/<id>``; everything except the progress needs a session that a right PIN opened
for this id; the PIN is taken from a form only and is never shown, logged or put into an address.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from flask import (
    Blueprint,
    Response,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from werkzeug.exceptions import NotFound

from frontend import result_page, wording
from frontend.access import close_session, open_session
from frontend.events import stream_of
from frontend.faults import answer, wants_json
from frontend.portal import Portal, portal
from frontend.progress import progress_of
from frontend.security import wrong_pins
from frontend.withdrawal import withdraw
from shared.errors import PermanentError, sentence_for
from shared.languages import _, marked
from shared.records import JobId, Stage, Status, Submission
from shared.store import checked_id

#: Answers to a PIN that does not open the result: code -> outcome of the attempt, HTTP status.
PIN_CODES: Final = {"pin_wrong": ("wrong", 403), "pin_wait": ("wait", 429), "result_locked": ("locked", 423)}

blueprint = Blueprint("viewer", __name__)


@dataclass(frozen=True)
class Seen:
    """What the folders hold about one id."""

    job: JobId
    stage: Stage | None
    status: Status | None


# --------------------------------------------------------------------------- progress and result


@blueprint.get("/r/<untrusted_id>")
def result(untrusted_id: str) -> Response:
    """The page of a submission: progress, PIN form or result."""
    site = portal()
    seen = seen_of(site, untrusted_id)
    state = seen.status.state if seen.status else "queued"
    if state == "expired":
        return _gone(seen)
    if state != "done":
        return _progress_page(site, seen)
    if not site.access.is_open(session, seen.job):
        return pin_page(seen.job)
    return _result_page(site, seen)


@blueprint.get("/r/<untrusted_id>/status.json")
def status_json(untrusted_id: str) -> Response:
    """The progress for the page's script."""
    site = portal()
    return jsonify(_view(site, seen_of(site, untrusted_id)))


@blueprint.get("/r/<untrusted_id>/events")
def events(untrusted_id: str) -> Response:
    """The progress as server-sent events; 204 when too many are open: the page's script then asks for ``status.json`` now and then."""
    site = portal()
    job = seen_of(site, untrusted_id).job

    def look() -> tuple[Any, bool]:
        view = _view(site, seen_of(site, job))
        return view, view["final"] and view["video"] is None

    return stream_of(look, site.streams) or Response(status=204)


def _view(site: Portal, seen: Seen) -> dict[str, Any]:
    """What the progress page shows; the detectors only to who has entered the PIN."""
    found = progress_of(seen.job, seen.status)
    return wording.progress_view(found if site.access.is_open(session, seen.job) else found.without_details())


def seen_of(site: Portal, untrusted_id: str) -> Seen:
    """Find a submission; 404 when nothing of it is there."""
    job = checked_id(untrusted_id)
    for _try in range(2):  # it may move to the next stage between the two checks
        status = site.store.owners_status(job, now=site.clock())
        stage = site.store.stage_of(job)
        if stage not in (None, "tmp") or (status and status.state in ("done", "failed", "expired")):
            return Seen(job, stage, status)
    raise NotFound


def _progress_page(site: Portal, seen: Seen) -> Response:
    receipt = site.receipts.get(seen.job)
    is_open = site.access.is_open(session, seen.job)
    return make_response(
        render_template(
            "progress.html",
            job=seen.job,
            view=_view(site, seen),
            is_open=is_open,
            submission=submission_of(site, seen.job) if is_open else None,
            stages=wording.STAGES,
            link=f"{site.settings.public_url}{url_for('viewer.result', untrusted_id=seen.job)}",
            deleting=receipt is not None and receipt.delete,
            backend=wording.catalog_is_fresh(site.store.read_catalog(), site.clock()),
        )
    )


def _gone(seen: Seen) -> Response:
    code = (seen.status.code if seen.status else None) or "expired"
    return answer(410, code=code, title="This result was deleted", detail=sentence_for(code))


def _result_page(site: Portal, seen: Seen) -> Response:
    submission = submission_of(site, seen.job)
    finished = seen.status.finished if seen.status else None
    return make_response(result_page.page(site, seen.job, submission=submission, finished=finished))


# --------------------------------------------------------------------------- the PIN


@blueprint.post("/r/<untrusted_id>/pin")
@wrong_pins
def enter_pin(untrusted_id: str) -> Response:
    """Check a PIN and open the result to this browser. An id that does not exist (any more) is answered like a wrong PIN."""
    job = checked_id(untrusted_id)
    refused = _check_pin(portal(), job)
    if refused:
        return refused
    other = _compared_with()
    if other:
        return make_response(redirect(url_for("compare.page", untrusted_id=job, untrusted_other=other), 303))
    return _to(job)


def _compared_with() -> JobId | None:
    """The result that the one of this PIN is to be compared with, as the form says."""
    untrusted_id = request.form.get("compare", "")
    return checked_id(untrusted_id) if untrusted_id else None


@blueprint.get("/r/<untrusted_id>/pin")
@blueprint.get("/r/<untrusted_id>/delete")
@blueprint.get("/r/<untrusted_id>/close")
def answered(untrusted_id: str) -> Response:
    """The address of an answer to a form, opened by hand: the page of the submission has the form."""
    return _to(checked_id(untrusted_id))


def _check_pin(site: Portal, job: JobId, *, deleting: bool = False) -> Response | None:
    """None when the form's PIN is right and the session is open now; else the page that says why not."""
    untrusted_pin = "".join(request.form.get("pin", "")[:32].split())
    if not untrusted_pin:  # no guess: a result that closed meanwhile, or an empty field
        return _no_pin(job, deleting=deleting)
    submission = submission_of(site, job)
    given = site.access.attempt(job, untrusted_pin, pin_hash=submission.pin_hash if submission else None)
    if given.outcome == "right":
        until = site.clock() + timedelta(minutes=site.settings.session_minutes)
        open_session(session, job, until=until.timestamp(), epoch=given.epoch)
        return None
    if given.unlock_token and submission and submission.email:
        site.postman.add_unlock(job, to=submission.email, token=given.unlock_token, lock=given.lock)
    code, status = next((code, status) for code, (outcome, status) in PIN_CODES.items() if outcome == given.outcome)
    sentence = wording.pin_sentence(given, deleting=deleting)
    if wants_json():
        title = marked({"wrong": "Wrong PIN", "wait": "Too many wrong PINs", "locked": "Locked"})[given.outcome]
        refused = answer(status, code=code, title=title, detail=sentence)
    else:
        locked = given.outcome == "locked"
        refused = pin_page(
            job, status=status, problem=sentence, locked=locked, deleting=deleting, compare=_compared_with()
        )
    if given.wait_s:
        refused.headers["Retry-After"] = str(given.wait_s)
    return refused


def _no_pin(job: JobId, *, deleting: bool) -> Response:
    """Ask for the PIN; nothing is counted."""
    sentence = _("Enter your PIN. Nothing was deleted yet.") if deleting else _("Enter your PIN.")
    if wants_json():
        return answer(403, code="pin_needed", title="PIN needed", detail=sentence)
    return pin_page(job, status=403, problem=sentence, deleting=deleting, compare=_compared_with())


def pin_page(
    job: JobId,
    *,
    status: int = 200,
    problem: str = "",
    locked: bool = False,
    deleting: bool = False,
    compare: JobId | None = None,
) -> Response:
    """The form for the PIN. ``compare``: the PIN is asked for so that the result can be compared with this one."""
    page = make_response(
        render_template("pin.html", job=job, problem=problem, locked=locked, deleting=deleting, compare=compare)
    )
    page.status_code = status
    return page


@blueprint.route("/unlock/<untrusted_id>/<untrusted_token>", methods=["GET", "POST"])
def unlock(untrusted_id: str, untrusted_token: str) -> Response:
    """Unlock a result with the mailed link. A button, since mail scanners open every link they see."""
    job = checked_id(untrusted_id)
    if request.method == "GET":
        return make_response(render_template("unlock.html", job=job, token=untrusted_token))
    if not portal().access.unlock(job, untrusted_token):
        return answer(
            404,
            code="unlock_unknown",
            title="This link does not work",
            detail=sentence_for("unlock_unknown"),
        )
    return _to(job)


@blueprint.post("/r/<untrusted_id>/close")
def close(untrusted_id: str) -> Response:
    """Close the result in every browser that has it open."""
    site, job = portal(), checked_id(untrusted_id)
    if site.access.is_open(session, job):
        site.access.end_sessions(job)
    close_session(session, job)
    return _to(job)


# --------------------------------------------------------------------------- deletion


@blueprint.post("/r/<untrusted_id>/delete")
@wrong_pins
def delete(untrusted_id: str) -> Response:
    """Delete a submission and everything made from it; needs the open session or the PIN."""
    site = portal()
    job = checked_id(untrusted_id)
    if not site.access.is_open(session, job):
        status = site.store.owners_status(job, now=site.clock())
        if status and status.state == "expired":
            return _to(job)  # its page says so to anyone with the link: a second click finds it deleted
        refused = _check_pin(site, job, deleting=True)
        if refused:
            return refused
    done = withdraw(
        job, store=site.store, receipts=site.receipts, outbox=site.outbox, access=site.access, now=site.clock()
    )
    if done:
        close_session(session, job)
    return _to(job)


# --------------------------------------------------------------------------- inside


def submission_of(site: Portal, job: JobId) -> Submission | None:
    """The submission's record, None when it is gone; it may move while we read, so twice."""
    for _try in range(2):
        stage = site.store.stage_of(job)
        if stage is None:
            return None
        try:
            return site.store.read_submission(stage, job)
        except FileNotFoundError:
            continue
        except PermanentError:
            return None
    return None


def _to(job: JobId) -> Response:
    return make_response(redirect(url_for("viewer.result", untrusted_id=job), 303))
