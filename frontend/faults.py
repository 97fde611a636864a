"""Errors as people see them: a page, or problem+json (RFC 9457) for scripts; never a traceback, never a visitor's input.

Our own errors show a reference only; the log has the same reference beside the traceback. For the front-end only.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

import structlog
from flask import Flask, Response, jsonify, make_response, render_template, request
from flask_limiter.errors import RateLimitExceeded
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, SecurityError

from frontend.form import FormError
from frontend.media import too_large
from frontend.portal import portal
from shared.errors import SENTENCES, PermanentError, StoreTrouble, UserError

log = structlog.get_logger()

WORDS: Final[dict[int, tuple[str, str]]] = {
    400: ("That did not work", "The request could not be read. Go back, reload the page and try again."),
    403: ("Not allowed", "This page may not be opened this way. Go back, reload the page and try again."),
    404: ("Page not found", SENTENCES["not_found"]),
    405: ("Method not allowed", "This address does not accept this kind of request."),
    408: ("Too slow", "The request took too long. Check your connection and try again."),
    413: ("Too large", "The request is larger than this site takes."),
    415: ("Type of file not accepted", SENTENCES["unsupported_media"]),
    416: ("Part not available", "The file does not have that part."),
    429: ("Too many requests", SENTENCES["too_often"]),
    500: ("Something went wrong on our side", "Nothing you did caused this. Try again in a moment."),
    503: ("Not available right now", "The site is busy. Try again in a moment."),
}


def wants_json() -> bool:
    """Whether the caller is a script that prefers JSON."""
    best = request.accept_mimetypes.best_match(["text/html", "application/json", "application/problem+json"])
    return best is not None and best.endswith("json")


def init_faults(app: Flask) -> None:
    """Attach the handlers."""
    app.register_error_handler(UserError, _user_error)
    app.register_error_handler(StoreTrouble, _store_trouble)
    app.register_error_handler(PermanentError, _permanent_error)
    app.register_error_handler(CSRFError, _csrf_error)
    app.register_error_handler(RateLimitExceeded, _too_often)
    app.register_error_handler(SecurityError, _unknown_host)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _our_fault)


def _user_error(error: UserError) -> Response:
    fields = {"errors": error.fields} if isinstance(error, FormError) else {}
    return answer(error.status, code=error.code, title=error.title, detail=error.sentence, **fields)


def _store_trouble(error: StoreTrouble) -> Response:
    # its own sentence names folders of ours
    log.warning("store_trouble", endpoint=request.endpoint, code=error.code, reason=error.sentence, errno=error.errno)
    status, title = (507, "No space left") if error.code == "disk_full" else (503, "Storage does not answer")
    response = answer(status, code=error.code, title=title, detail=SENTENCES[error.code])
    response.headers["Retry-After"] = "10"
    return response


def _permanent_error(error: PermanentError) -> Response:
    # something in the address that is not an id, or a record on disk that is damaged
    title, detail = WORDS[404]
    return answer(404, code="not_found", title=title, detail=detail)


def _csrf_error(_: CSRFError) -> Response:
    return answer(400, code="form_expired", title="The form has expired", detail=SENTENCES["form_expired"])


def _too_often(error: RateLimitExceeded) -> Response:
    title, detail = WORDS[429]
    response = answer(429, code="too_often", title=title, detail=detail)
    response.headers["Retry-After"] = "600"
    return response


def _unknown_host(_: SecurityError) -> Response:
    # not a page: addresses cannot be built for a host name we do not serve
    return Response("This host name is not served here.\n", 400, mimetype="text/plain")


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400 and error.response is not None:
        return error.response  # type: ignore[return-value]
    title, detail = WORDS.get(status, WORDS[400 if status < 500 else 500])
    if status == 413 and request.endpoint == "intake.submit":
        title, detail = "File too large", too_large(portal().upload_limit).sentence
    return answer(status, code=f"http_{status}", title=title, detail=detail)


def _our_fault(error: Exception) -> Response:
    reference = secrets.token_hex(6)
    log.error("request_failed", reference=reference, endpoint=request.endpoint, exc_info=error)
    title, detail = WORDS[500]
    return answer(500, code="internal", title=title, detail=detail, reference=reference)


def answer(status: int, *, code: str, title: str, detail: str, **more: Any) -> Response:
    """One error as a page or as problem+json."""
    if wants_json():
        response = jsonify(
            {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code} | more
        )
        response.mimetype = "application/problem+json"
    else:
        response = make_response(render_template("error.html", status=status, title=title, detail=detail, **more))
    response.status_code = status
    return response
