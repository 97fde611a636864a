"""The files of a finished result: of its report, all of them in one zip, and the submitted file; with Range, for a browser that has the
result open only.

Promises: files are visitors' media: a browser shows them under a sandbox policy and keeps no copy; a part of a file is sent as a whole
one is, without one of our threads. Nothing is opened but to send it. For the front-end only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import IO, Final

from flask import Blueprint, Response, abort, request, send_file, session, url_for
from werkzeug.exceptions import NotFound

from frontend import bundle
from frontend.faults import answer
from frontend.original import original_of
from frontend.portal import portal
from frontend.reading import SAVED, SHOWN, Reading, read_report
from shared.errors import sentence_for
from shared.records import JobId
from shared.store import checked_id

#: Files are visitors' media: shown by the browser, never run.
FILE_POLICY: Final = "default-src 'none'; sandbox"

blueprint = Blueprint("result_files", __name__)


@blueprint.get("/r/<untrusted_id>/files/<path:untrusted_name>")
def file(untrusted_id: str, untrusted_name: str) -> Response:
    """One file of the report; parts of it (Range) for the video player."""
    return send(open_reading(untrusted_id), untrusted_name)


def send(reading: Reading, untrusted_name: str) -> Response:
    """A file of a report, or the bundle of all, to someone who may read it."""
    if untrusted_name == bundle.NAME:
        return _bundle(reading)
    path = reading.path(untrusted_name)
    kind = SHOWN.get(path.suffix.lower())
    name = PurePosixPath(untrusted_name).name
    response = send_file(
        path,
        mimetype=kind or SAVED.get(path.suffix.lower(), "application/octet-stream"),
        as_attachment=kind is None or "download" in request.args,
        download_name=f"deepfake-o-meter-{reading.result.id[:8]}-{name}",
        conditional=True,
        max_age=None,
    )
    _send_part_from_file(response, lambda: path.open("rb"))
    return kept_private(response)


@blueprint.get("/r/<untrusted_id>/original")
def original(untrusted_id: str) -> Response:
    """The submitted file, for the player; 404 where a browser could not show it, and after its retention time."""
    job = _open_job(untrusted_id)
    store = portal().store
    found = original_of(store, job, read_report(store.report(job)).result.media)
    if found is None:
        raise NotFound
    try:
        response = send_file(found.path, mimetype=found.mimetype, conditional=True, max_age=None)
        _send_part_from_file(response, lambda: found.path.open("rb"))
    except FileNotFoundError:  # deleted since it was found
        raise NotFound from None
    return kept_private(response)


def _bundle(reading: Reading) -> Response:
    """Everything of the report as a zip; not before everything is there."""
    if not reading.is_complete:
        return answer(409, code="video_pending", title="Not complete yet", detail=sentence_for("video_pending"))
    archive = bundle.bundle_of(reading)
    name = f"deepfake-o-meter-{reading.result.id[:8]}-{bundle.NAME}"
    response = send_file(archive.open(), mimetype="application/zip", as_attachment=True, download_name=name)
    response.content_length = archive.length
    response.set_etag(archive.tag)
    response.make_conditional(request.environ, accept_ranges=True, complete_length=archive.length)
    _send_part_from_file(response, archive.open)
    return kept_private(response)


# --------------------------------------------------------------------------- inside


def _open_job(untrusted_id: str) -> JobId:
    """The id, for a browser that has this result open; 403 for any other."""
    job = checked_id(untrusted_id)
    if not portal().access.is_open(session, job):
        abort(
            answer(
                403,
                code="pin_needed",
                title="Enter your PIN first",
                detail=sentence_for("pin_needed"),
                link=url_for("viewer.result", untrusted_id=job),
            )
        )
    return job


def open_reading(untrusted_id: str) -> Reading:
    """The report, for a browser that may open it."""
    return read_report(portal().store.report(_open_job(untrusted_id)))


def kept_private(response: Response) -> Response:
    """An answer with a visitor's media or numbers: no browser runs anything of it or keeps a copy."""
    response.headers["Content-Security-Policy"] = FILE_POLICY
    response.headers["Cache-Control"] = "private, no-store"
    return response


def _send_part_from_file(response: Response, opened: Callable[[], IO[bytes]]) -> None:
    """Let the web server send a part of a file (206) as it sends a whole one: without one of our threads.

    Werkzeug sends a part piece by piece, and a reader who stops would block that thread.
    """
    wrap = request.environ.get("wsgi.file_wrapper")
    part = response.content_range
    if response.status_code != 206 or wrap is None or part.start is None:
        return
    response.response.close()  # type: ignore[union-attr]
    file = opened()
    file.seek(part.start)
    response.response = wrap(file)  # sends Content-Length bytes from here
    response.direct_passthrough = True
