"""How answers reach the browser: text compressed, and files of ours kept by the browser as long as they stay the same.

Owns the version in the addresses of static files (a hash of the content, so that a changed file has a new address in the same release)
and the choice of what is compressed. For the front-end only.

Compression and secrets (BREACH, CVE-2013-3587): the length of a compressed answer tells something about a secret in it to who can put
text of their own beside the secret, again and again, and see the lengths. So an answer that repeats the request is never compressed:

* nothing but GET and HEAD (a form that is shown again repeats what was typed), and no errors;
* no address with a query, save those of static files, which hold no secret;
* not the pages that carry parts of their address, whatever those are, next to the token of their form (``ECHOES``): of an unlock link, and
  of two results, which asks for a PIN whether they exist or not.

What is left is the same for everybody who may see it, whatever an attacker lets the browser ask for.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from flask import Flask, Response, request
from flask_compress import Compress
from werkzeug.security import safe_join

A_YEAR_S: Final = 31_536_000
IMMUTABLE: Final = f"public, max-age={A_YEAR_S}, immutable"

#: Types of answers that become smaller. Not media, archives and PDF, which are compressed already, and not event streams, which a
#: compressor would hold back.
TEXT: Final = (
    "text/html",
    "text/css",
    "text/javascript",
    "text/plain",
    "text/csv",
    "application/json",
    "application/openapi+json",
    "application/yaml",
    "application/manifest+json",
    "image/svg+xml",
)

#: A smaller answer fits into one packet anyway.
LEAST_BYTES: Final = 500
#: A larger file is sent as it is, by the server itself: compressing reads it into memory.
MOST_BYTES: Final = 4_000_000

#: Pages that repeat a part of their address.
ECHOES: Final = frozenset({"viewer.unlock", "compare.page"})


def init_delivery(app: Flask) -> None:
    """Compress answers of ``app``, and give its static files addresses with a version. To be called before other parts add headers."""
    app.config.update(
        COMPRESS_REGISTER=False,
        COMPRESS_STREAMS=False,
        COMPRESS_MIMETYPES=list(TEXT),
        COMPRESS_MIN_SIZE=LEAST_BYTES,
        COMPRESS_ALGORITHM=["br", "gzip"],
        COMPRESS_BR_LEVEL=5,
    )
    compress = Compress()
    compress.init_app(app)

    @app.url_defaults
    def add_version(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == "static" and (version := version_of(app, values.get("filename", ""))):
            values["v"] = version

    @app.after_request
    def deliver(response: Response) -> Response:
        if request.endpoint == "static" and response.status_code in (200, 304):
            current = version_of(app, (request.view_args or {}).get("filename", ""))
            # an address of an earlier version gets today's content, which must not be kept under that address
            kept = current is not None and request.args.get("v") == current
            response.headers["Cache-Control"] = IMMUTABLE if kept else "no-cache"
        return compress.after_request(response) if _may_compress(response) else response


def version_of(app: Flask, filename: str) -> str | None:
    """The version of a static file, 12 hexadecimal digits of its content's SHA-256; None when there is no such file."""
    path = safe_join(app.static_folder or "", filename)
    try:
        info = Path(path or "").stat()
        return _hashed(path or "", info.st_mtime_ns, info.st_size)
    except OSError:
        return None


@lru_cache(maxsize=256)
def _hashed(path: str, _mtime_ns: int, _size: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]


def _may_compress(response: Response) -> bool:
    """Whether an answer is text that repeats nothing of the request; see the module. A small file is read, so that its length is known."""
    length = response.content_length
    if (
        request.method not in ("GET", "HEAD")
        or response.status_code != 200
        or response.mimetype not in TEXT
        or "Content-Encoding" in response.headers
        or "Range" in request.headers
        or request.endpoint in ECHOES
        or (request.query_string and request.endpoint != "static")
        or (length is not None and length > MOST_BYTES)
    ):
        return False
    if response.is_streamed:
        if length is None:
            return False
        response.direct_passthrough = False
        response.make_sequence()
    response.headers.pop("Accept-Ranges", None)  # parts are those of the file, not of the compressed answer
    return True
