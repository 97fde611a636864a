"""Errors as people see them: a page, or problem+json (RFC 9457) for scripts; never a traceback, never a visitor's input.

Our own errors show a reference only; the log has the same reference beside the traceback. For the front-end only.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from html import escape
from typing import Any, Final

import structlog
from flask import Flask, Response, g, jsonify, make_response, render_template, request
from flask_limiter.errors import RateLimitExceeded
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, SecurityError

from frontend.form import FormError
from frontend.portal import portal
from frontend.upload import UPLOAD_ENDPOINTS
from shared.download import too_large
from shared.errors import SENTENCES, PermanentError, StoreTrouble, UserError, sentence_for
from shared.languages import _, language, marked

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
    431: (
        "Too much in the request",
        "The address or the cookies of this request are too long. Delete the cookies of this site, then try again.",
    ),
    500: ("Something went wrong on our side", "Nothing you did caused this. Try again in a moment."),
    501: ("Not possible here", "This site does not accept requests that are sent this way."),
    503: ("Not available right now", "The site is busy. Try again in a moment."),
}
marked(WORDS)

#: As templates/error.html, for what is answered without templates; no style of its own, because none may run inline.
BARE_PAGE: Final = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} – DeepFake-o-meter</title>
<link rel="stylesheet" href="/static/portal.css">
</head>
<body>
<main class="wrap">
<div class="tiny">
<section class="card center">
<p class="eyebrow">{status}</p>
<h1>{title}</h1>
<p>{detail}</p>
<p><a class="button" href="/">To the front page</a></p>
</section>
</div>
</main>
</body>
</html>
"""


#: Below it every answer is for programs.
API_PATH: Final = "/api/"

#: Codes of HTTP errors below it.
API_CODES: Final = {
    400: "request_invalid",
    403: "request_invalid",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_too_slow",
    413: "upload_too_large",
    415: "request_invalid",
    416: "no_such_part",
    422: "request_invalid",
    429: "too_often",
    500: "internal",
    503: "store_unavailable",
}


class Refusal(UserError):
    """An error with headers of its own: when to try again, what is missing. ``fields``: a sentence for each wrong part of a request."""

    def __init__(
        self,
        code: str,
        sentence: str | None = None,
        *,
        status: int,
        title: str,
        headers: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code, sentence, status=status, title=title)
        self.headers, self.fields = dict(headers or {}), dict(fields or {})


def is_api() -> bool:
    """Whether the request is one to the API."""
    return request.path.startswith(API_PATH)


def wants_json() -> bool:
    """Whether the caller is a script that prefers JSON."""
    if is_api():
        return True
    best = request.accept_mimetypes.best_match(["text/html", "application/json", "application/problem+json"])
    return best is not None and best.endswith("json")


def init_faults(app: Flask) -> None:
    """Attach the handlers."""
    app.register_error_handler(UserError, user_error)
    app.register_error_handler(StoreTrouble, _store_trouble)
    app.register_error_handler(PermanentError, _permanent_error)
    app.register_error_handler(CSRFError, _csrf_error)
    app.register_error_handler(RateLimitExceeded, _too_often)
    app.register_error_handler(SecurityError, _unknown_host)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _our_fault)


def user_error(error: UserError) -> Response:
    """The answer to one of our errors."""
    wrong = error.fields if isinstance(error, FormError | Refusal) else {}
    more = {"errors": wrong} if wrong else {}
    response = answer(error.status, code=error.code, title=error.title, detail=error.sentence, **more)
    if isinstance(error, Refusal):
        response.headers.update(error.headers)
    return response


def _store_trouble(error: StoreTrouble) -> Response:
    # its own sentence names folders of ours
    log.warning("store_trouble", endpoint=request.endpoint, code=error.code, reason=error.sentence, errno=error.errno)
    status, title = (507, "No space left") if error.code == "disk_full" else (503, "Storage does not answer")
    response = answer(status, code=error.code, title=title, detail=sentence_for(error.code))
    response.headers["Retry-After"] = "10"
    return response


def _permanent_error(error: PermanentError) -> Response:
    # something in the address that is not an id, or a record on disk that is damaged
    title, detail = words_of(404)
    return answer(404, code="not_found", title=title, detail=detail)


def _csrf_error(_error: CSRFError) -> Response:
    return answer(400, code="form_expired", title="The form has expired", detail=sentence_for("form_expired"))


def _too_often(error: RateLimitExceeded) -> Response:
    title, detail = words_of(429)
    response = answer(429, code="too_often", title=title, detail=detail)
    response.headers["Retry-After"] = "600"
    return response


def _unknown_host(_error: SecurityError) -> Response:
    # not a page of ours: addresses cannot be built for a host name we do not serve
    words = (
        _("Unknown address"),
        _("This site is not reached under this name. Check the address you were given."),
    )
    kind, body = bare_answer(400, as_json=wants_json(), words=words)
    return Response(body, 400, content_type=kind)


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400 and error.response is not None:
        return error.response  # type: ignore[return-value]
    title, detail = words_of(status)
    # a part of the form beyond its limit is a 413 as well
    if status == 413 and request.endpoint in UPLOAD_ENDPOINTS and (request.content_length or 0) > portal().upload_limit:
        title, detail = _("File too large"), too_large(portal().upload_limit).sentence
    code = API_CODES.get(status, f"http_{status}") if is_api() else f"http_{status}"
    response = answer(status, code=code, title=title, detail=detail)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def _our_fault(error: Exception) -> Response:
    reference = secrets.token_hex(6)
    log.error("request_failed", reference=reference, endpoint=request.endpoint, exc_info=error)
    title, detail = words_of(500)
    return answer(500, code="internal", title=title, detail=detail, reference=reference)


def words_of(status: int) -> tuple[str, str]:
    """Title and sentence of an HTTP status."""
    title, detail = WORDS.get(status, WORDS[400 if status < 500 else 500])
    return _(title), _(detail)


def bare_answer(status: int, *, as_json: bool, words: tuple[str, str] | None = None) -> tuple[str, bytes]:
    """Content type and body of an error that is answered without the application and its templates."""
    title, detail = words or words_of(status)
    if as_json:
        return "application/problem+json", json.dumps(
            _problem(status, code=f"http_{status}", title=title, detail=detail)
        ).encode()
    return "text/html; charset=utf-8", BARE_PAGE.format(
        language=language().code, status=status, title=escape(title), detail=escape(detail)
    ).encode()


def bare_headers() -> dict[str, str]:
    """The headers of such an answer: nothing in it runs, and nothing is kept of it."""
    return {
        "Content-Security-Policy": "default-src 'none'; style-src 'self'",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


def _problem(status: int, *, code: str, title: str, detail: str) -> dict[str, Any]:
    return {
        "type": f"urn:deepfake-o-meter:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
    }


def answer(status: int, *, code: str, title: str, detail: str, **more: Any) -> Response:
    """One error as a page or as problem+json. ``title`` may be English, ``detail`` is in the visitor's language."""
    title = _(title)
    g.code = code  # for the log and the counts
    if wants_json():
        response = jsonify(_problem(status, code=code, title=title, detail=detail) | more)
        response.mimetype = "application/problem+json"
    else:
        response = make_response(render_template("error.html", status=status, title=title, detail=detail, **more))
    response.status_code = status
    return response
