"""Submissions for programs: make one, follow it, read its result and files, delete it, list a key's. For ``frontend.api`` only."""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from apiflask.exceptions import HTTPError
from flask import Response, g, jsonify, make_response, send_file
from werkzeug.exceptions import NotFound

from frontend import again, intake, result_files, viewer
from frontend.api.asking import idempotency_of, of_apiflask, read_again, read_submission, wrong
from frontend.api.blueprint import ROOT, blueprint
from frontend.api.caller import Caller, caller, count_upload, nobody, not_there, opened, quota_of
from frontend.api.parts import (
    AGAIN,
    BOTH,
    ID,
    KEY_ONLY,
    KEY_OR_PIN_OF_NEW,
    NAME,
    RANGE,
    SUBMITTING,
    parameters,
    problems,
)
from frontend.api.schemas import Deleting, Links, Listed, Page, PageAsked, SubmissionStatus, Submitted
from frontend.events import stream_of
from frontend.faults import Refusal, user_error
from frontend.form import Choice
from frontend.keys import Key
from frontend.linked import from_address
from frontend.media import check_space
from frontend.operator.pause import takes_in
from frontend.portal import Portal, portal
from frontend.progress import progress_of
from frontend.reading import UNLISTED, Reading, read_report
from frontend.receipts import Receipt
from frontend.withdrawal import withdraw
from shared.errors import DfomError, sentence_for
from shared.records import JobId, Status
from shared.results import Result


@blueprint.errorhandler(HTTPError)
def wrong_request(error: HTTPError) -> Response:
    """What apiflask's validation of queries and bodies found."""
    return user_error(of_apiflask(error))


# --------------------------------------------------------------------------- make


@blueprint.post("/submissions")
@blueprint.output(Submitted, status_code=201, description="It is stored, durably, and will be analysed.")
@blueprint.doc(
    operation_id="submit",
    security=KEY_OR_PIN_OF_NEW,
    responses=problems(401, 403, 413, 415, 422, 429, 503, 504, 507),
    extensions=SUBMITTING,
)
@takes_in
def submit() -> Response:
    """Submit a file or a web address.

    With an API key, or without one and with a PIN of your choice (4 to 6 digits), which then opens the result. Sending is your word
    that you may have the file analysed. An `Idempotency-Key` makes it safe to send the same request again within 24 hours.
    """
    site, who = portal(), caller()
    who.needs("submit")
    if who.key is None:
        count_upload()
    same = idempotency_of(site, who)
    wish, webhook, incoming = read_submission(site, who)
    sender = _sender(site, who, webhook=webhook, same=same)
    if incoming is None:
        known = intake.before(site, sender, intake.fingerprint_of(site, wish, content=wish.url, sender=sender))
        if known is not None:
            return _submitted(known, is_new=False)
        if who.key is not None and quota_of(who.key).left == 0:
            raise _quota_used(who.key)
        check_space(site.store, wanted=site.upload_limit)
        media, source = from_address(site, wish.url or "")
    else:
        media, source = incoming, None
    with media:
        job, is_new = intake.take(site, wish, media, source=source, sender=sender)
    if who.key is not None:
        g.budget = quota_of(who.key)
    return _submitted(job, is_new=is_new)


def _sender(site: Portal, who: Caller, *, webhook: str, same: str) -> intake.Sender:
    key = who.key
    if key is None:
        return intake.Sender(same=same)
    return intake.Sender(key=key.id, webhook=webhook, same=same, admit=lambda: _within_quota(site, key))


@contextlib.contextmanager
def _within_quota(site: Portal, key: Key) -> Iterator[None]:
    """Count a submission of a key; what was not stored is not counted."""
    if not site.keys.reserve(key, now=site.clock()):
        raise _quota_used(key)
    try:
        yield
    except BaseException:
        site.keys.release(key, now=site.clock())
        raise


def _quota_used(key: Key) -> Refusal:
    budget = g.budget = quota_of(key)
    headers = {"Retry-After": str(budget.reset_s)}
    return Refusal("quota_used", status=429, title="Quota used", headers=headers)


def _submitted(job: JobId, *, is_new: bool) -> Response:
    links = links_of(job)
    response = jsonify(Submitted(id=job, state="queued", links=links).model_dump(mode="json"))
    response.status_code = 201
    response.headers["Location"] = links.self
    if not is_new:
        response.headers["Idempotent-Replayed"] = "true"
    return response


# --------------------------------------------------------------------------- list


@blueprint.get("/submissions")
@blueprint.input(PageAsked, location="query")
@blueprint.output(Page)
@blueprint.doc(operation_id="listSubmissions", security=KEY_ONLY, responses=problems(401, 403, 422, 429, 503))
def list_submissions(query_data: PageAsked) -> Page:
    """List the submissions of an API key, newest first."""
    who = caller()
    who.needs("read")
    if who.key is None:
        raise nobody()
    site = portal()
    made = site.receipts.of_key(who.key.id)
    if query_data.cursor:
        at = _position(query_data.cursor)
        made = [receipt for receipt in made if (receipt.created, receipt.id) < at]
    part = made[: query_data.limit]
    return Page(
        items=tuple(_listed(site, receipt) for receipt in part),
        next=_cursor(part[-1]) if len(made) > len(part) else None,
    )


def _listed(site: Portal, receipt: Receipt) -> Listed:
    status = _status_of(site, receipt.id)
    return Listed(
        id=receipt.id,
        created=receipt.created,
        state=status.state if status else "queued",
        code=status.code if status else None,
        links=links_of(receipt.id),
    )


def _status_of(site: Portal, job: JobId) -> Status | None:
    """The status; one that cannot be read does not spoil the list."""
    with contextlib.suppress(DfomError):
        return site.store.owners_status(job, now=site.clock())
    return None


def _cursor(receipt: Receipt) -> str:
    text = f"{receipt.created.timestamp():.6f} {receipt.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _position(untrusted_cursor: str) -> tuple[datetime, str]:
    try:
        text = base64.b64decode(untrusted_cursor + "=" * (-len(untrusted_cursor) % 4), altchars=b"-_", validate=True)
        moment, _, job = text.decode("ascii").partition(" ")
        return datetime.fromtimestamp(float(moment), UTC), job
    except (binascii.Error, UnicodeError, ValueError, OverflowError, OSError):
        raise wrong({"cursor": "This is not the member next of a list."}) from None


# --------------------------------------------------------------------------- follow and read


@blueprint.get("/submissions/<untrusted_id>")
@blueprint.output(SubmissionStatus)
@blueprint.doc(
    operation_id="getSubmission",
    security=BOTH,
    responses=problems(401, 403, 404, 423, 429, 503),
    extensions=parameters(ID),
)
def get_submission(untrusted_id: str) -> dict[str, Any]:
    """How far a submission is.

    It is over when `state` is done, failed or expired, and `video` is null: a clip's numbers are there before its video.
    """
    return _state(portal(), opened(untrusted_id, "read"))


@blueprint.get("/submissions/<untrusted_id>/events")
@blueprint.doc(
    operation_id="followSubmission",
    security=BOTH,
    responses={
        200: {
            "description": "Server-sent events `progress`, each with the JSON of the status. A stream ends after some 25 seconds or with "
            "the last change: ask again, or for the status.",
            "content": {
                "text/event-stream": {
                    "schema": {
                        "type": "object",
                        "properties": {"event": {"const": "progress"}, "data": {"type": "string"}},
                    }
                }
            },
        },
        204: {"description": "Too many streams are open: ask for the status now and then instead."},
    }
    | problems(401, 403, 404, 423, 429, 503),
    extensions=parameters(ID),
)
def follow_submission(untrusted_id: str) -> Response:
    """Follow a submission by server-sent events."""
    site, job = portal(), opened(untrusted_id, "read")
    key = caller().key
    last = _state(site, job)

    def look() -> tuple[dict[str, Any], bool]:
        nonlocal last
        if key is not None and not _still_works(site, key):
            return last, True
        with contextlib.suppress(DfomError):  # the storage does not answer: the next look
            last = _state(site, job)
        return last, last["state"] in ("done", "failed", "expired") and last["video"] is None

    response = stream_of(look, site.streams)
    return response or make_response("", 204)


@blueprint.get("/submissions/<untrusted_id>/result")
@blueprint.output(Result, description="result.json; docs/report.md explains each member.")
@blueprint.doc(
    operation_id="getResult",
    security=BOTH,
    responses=problems(401, 403, 404, 409, 410, 423, 429, 503),
    extensions=parameters(ID),
)
def get_result(untrusted_id: str) -> Response:
    """The result, once the state is done."""
    reading = _reading(untrusted_id)
    response = send_file(reading.path(UNLISTED), mimetype="application/json", conditional=True, max_age=None)
    return result_files.kept_private(response)


@blueprint.get("/submissions/<untrusted_id>/files/<path:untrusted_name>")
@blueprint.doc(
    operation_id="getFile",
    security=BOTH,
    responses={
        status: {"description": words, "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}
        for status, words in ((200, "The file."), (206, "The part that was asked for."))
    }
    | problems(401, 403, 404, 409, 410, 416, 423, 429, 503),
    extensions=parameters(ID, NAME, RANGE),
)
def get_file(untrusted_id: str, untrusted_name: str) -> Response:
    """One file of the result, or a part of it."""
    return result_files.send(_reading(untrusted_id), untrusted_name)


def _reading(untrusted_id: str) -> Reading:
    """The report of a submission that the caller may read; Refusal while, or because, there is none."""
    site, job = portal(), opened(untrusted_id, "read")
    state = _seen(site, job)
    if state is None or state.state in ("queued", "working"):
        raise Refusal("not_finished", status=409, title="Not finished yet")
    if state.state == "expired":
        code = state.code or "expired"
        raise Refusal(code, sentence_for(code), status=410, title="This result was deleted")
    if state.state == "failed":
        raise Refusal("no_result", status=409, title="No result")
    return read_report(site.store.report(job))


def _seen(site: Portal, job: JobId) -> Status | None:
    """The status of a submission that is there, None while the back-end has not seen it; 404 when it is not there (any more)."""
    try:
        return viewer.seen_of(site, job).status
    except NotFound:
        raise not_there() from None


def _state(site: Portal, job: JobId) -> dict[str, Any]:
    """The status with its addresses, as JSON."""
    return progress_of(job, _seen(site, job)).model_dump(mode="json") | {"links": links_of(job).model_dump()}


def _still_works(site: Portal, key: Key) -> bool:
    found = site.keys.get(key.id)
    return found is not None and found.works(site.clock())


def links_of(job: JobId) -> Links:
    """Addresses of a submission."""
    base = f"{ROOT}/submissions/{job}"
    return Links(self=base, events=f"{base}/events", result=f"{base}/result", files=f"{base}/files/", page=f"/r/{job}")


# --------------------------------------------------------------------------- again


@blueprint.post("/submissions/<untrusted_id>/again")
@blueprint.output(Submitted, status_code=201, description="A new submission of the same file.")
@blueprint.doc(
    operation_id="judgeAgain",
    security=BOTH,
    responses=problems(401, 403, 404, 410, 413, 415, 422, 423, 429, 503, 507),
    extensions=AGAIN,
)
@takes_in
def judge_again(untrusted_id: str) -> Response:
    """Judge the same file again, with other detectors or another mode; nothing is uploaded, and known scores are reused."""
    site, who = portal(), caller()
    who.needs("submit")
    job = opened(untrusted_id, "submit")
    if who.key is None:
        if site.settings.api_key_needed:
            raise nobody()
        count_upload()
    same = idempotency_of(site, who)
    choice, webhook = read_again(site, who, key=same)
    _seen(site, job)
    _same_as_before(site, job, choice, same=same, webhook=webhook)
    sender = _sender(site, who, webhook=webhook, same=same)
    new, is_new = again.judge_again(
        site,
        job,
        choice,
        sender_key=site.receipts.keyed("key", who.key.id) if who.key else "",
        admit=sender.admit,
        key=sender.key,
        webhook=sender.webhook,
        same=sender.same,
    )
    if who.key is not None:
        g.budget = quota_of(who.key)
    return _submitted(new, is_new=is_new)


def _same_as_before(site: Portal, job: JobId, choice: Choice, *, same: str, webhook: str) -> None:
    """Refusal 422 when the Idempotency-Key came with another request before."""
    receipt = site.receipts.find_same(same, now=site.clock()) if same else None
    record = viewer.submission_of(site, receipt.id) if receipt else None
    if receipt is None or record is None:
        return
    before = (
        record.again_of,
        record.detectors,
        record.mode,
        record.video_per_detector,
        record.stability,
        receipt.webhook,
    )
    if before != (job, choice.detectors, choice.mode, choice.video_per_detector, choice.stability, webhook):
        raise intake.another_request()


# --------------------------------------------------------------------------- delete


@blueprint.delete("/submissions/<untrusted_id>")
@blueprint.output(
    Deleting, status_code=202, description="It is in work: it is deleted within seconds, when that has ended."
)
@blueprint.doc(
    operation_id="deleteSubmission",
    security=BOTH,
    responses={204: {"description": "Everything of it is deleted."}} | problems(401, 403, 404, 423, 429, 503),
    extensions=parameters(ID),
)
def delete_submission(untrusted_id: str) -> Response | tuple[dict[str, Any], int]:
    """Delete a submission, its file, its result and everything else of it, now."""
    site, job = portal(), opened(untrusted_id, "delete")
    _seen(site, job)
    gone = withdraw(
        job, store=site.store, receipts=site.receipts, outbox=site.outbox, access=site.access, now=site.clock()
    )
    return make_response("", 204) if gone else ({"id": job, "deleting": True}, 202)
