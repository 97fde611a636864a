"""The request class of the portal: a file part is streamed straight into its submission folder.

Promises: only an upload may carry a file, and only one; the remains of an aborted or refused request are removed
when the request ends. Werkzeug's own hook ``Request._get_file_stream`` is used, no parser internals. Front-end only.
"""

from __future__ import annotations

import io
from typing import IO, Any, cast

from flask import Flask, Request, request
from werkzeug.exceptions import BadRequest

from frontend.media import IncomingMedia, check_space
from frontend.portal import portal
from shared.download import too_large
from shared.errors import UserError
from shared.languages import marked

#: The endpoints that take a file: the form, and the same for programs.
UPLOAD_ENDPOINTS = frozenset({"intake.submit", "api.submit"})

#: Room for the form fields and the multipart framing around the file.
FORM_BYTES = 64_000

#: Largest field. Werkzeug holds the piece it just read (64 KiB) and what is left of the one before against this as well,
#: so a smaller number would refuse every file.
FIELD_BYTES = 2 * 65_536

#: Set in the WSGI environment by frontend.server when it did not take a request's body: the code that says why.
REFUSED = "dfom.refused"

#: HTTP status and title of those codes.
_REFUSALS = {
    "request_too_slow": (408, "Too slow"),
    "store_unavailable": (503, "Storage does not answer"),
    "disk_full": (507, "No space left"),
}
marked(_REFUSALS)

#: Detectors (at most 64 of them are boxes of the form) and the other fields.
FORM_PARTS = 100


class PortalRequest(Request):
    """A Flask request that knows the one media file it carries."""

    incoming: IncomingMedia | None = None

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        if self.endpoint not in UPLOAD_ENDPOINTS:
            raise BadRequest("This form takes no file.")
        if not filename:  # browsers send an empty part when no file was chosen
            return _Nothing()
        if self.incoming is not None:
            raise BadRequest("One file at a time, please.")
        site = portal()
        check_space(site.store, wanted=min(total_content_length or site.upload_limit, site.upload_limit))
        self.incoming = IncomingMedia(site.store, limit=site.upload_limit, untrusted_name=filename)
        return cast("IO[bytes]", self.incoming)


class _Nothing(io.BytesIO):
    """The stream of a file part without a name: it must be empty."""

    def write(self, data: Any, /) -> int:
        if data:
            raise BadRequest("A file came without a name.")
        return 0


def current_request() -> PortalRequest:
    """The current request, as our class."""
    return cast("PortalRequest", request)


def request_limit(max_upload_mb: int) -> int:
    """Largest request body in bytes: the file and the form around it. For the WSGI server's own limit."""
    return max_upload_mb * 1_000_000 + FORM_BYTES


def init_upload(app: Flask) -> None:
    """Set the limits of ``app`` and remove partial uploads when a request ends."""
    app.request_class = PortalRequest
    app.config["MAX_CONTENT_LENGTH"] = FORM_BYTES
    app.config["MAX_FORM_MEMORY_SIZE"] = FIELD_BYTES
    app.config["MAX_FORM_PARTS"] = FORM_PARTS

    @app.before_request
    def refuse() -> None:
        code = request.environ.get(REFUSED)
        if code == "upload_too_large":
            raise too_large(portal().upload_limit)
        if code is not None:
            status, title = _REFUSALS[code]
            raise UserError(code, status=status, title=title)

    @app.before_request
    def set_limit() -> None:
        if request.endpoint in UPLOAD_ENDPOINTS:
            request.max_content_length = request_limit(portal().settings.max_upload_mb)

    @app.teardown_request
    def remove_partial(_: BaseException | None) -> None:
        incoming = getattr(request, "incoming", None)
        if incoming is not None:
            incoming.drop()
