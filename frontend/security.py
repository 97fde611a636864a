"""Guards of every page: headers, CSRF, cross-site requests, cookies, rate limits, trusted hosts and proxies.

Promises: inline scripts and styles never run; a form works only from our own pages; scripts cannot read
cookies; results are never cached. These limits are coarse and by network peer; the budget of PIN attempts is kept on disk
in ``frontend.access``. For the front-end only.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog
from flask import Flask, Response, current_app, request
from flask_limiter import Limiter
from flask_wtf.csrf import CSRFProtect
from limits import parse
from werkzeug.exceptions import Forbidden
from werkzeug.middleware.proxy_fix import ProxyFix

from frontend.faults import Refusal, is_api
from shared.settings import Settings

log = structlog.get_logger()

UPLOADS_PER_PEER: Final = "60 per hour"
WRONG_PINS_PER_PEER: Final = "60 per hour"
PIN_SUGGESTIONS_PER_PEER: Final = "300 per hour"

#: An upload form may be open for a day before it is sent.
CSRF_WINDOW_S: Final = 24 * 3600

CONTENT_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "media-src 'self'",
        "connect-src 'self'",
        "font-src 'self'",
        "form-action 'self'",
        "manifest-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


#: Of the front page: it shows the chosen file before it is sent, which its own script has as an address of type blob.
PREVIEW_POLICY: Final = CONTENT_POLICY.replace("img-src 'self' data:", "img-src 'self' data: blob:").replace(
    "media-src 'self'", "media-src 'self' blob:"
)


def peer() -> str:
    """The network peer, by which limits count."""
    return network_of(request.remote_addr or "unknown")


#: Counts in the memory of the one portal process. Views take their limits from here.
limiter: Final = Limiter(peer, strategy="moving-window", storage_uri="memory://")

#: The limit of the views that check a PIN; a right PIN costs nothing of it.
wrong_pins: Final = limiter.shared_limit(
    WRONG_PINS_PER_PEER, scope="pin", deduct_when=lambda response: response.status_code >= 400
)


@dataclass(frozen=True)
class Budget:
    """``left`` of ``most`` uses, and seconds until there are more."""

    most: int
    left: int
    reset_s: int


def budget_of(limit: str, scope: str, who: str) -> Budget:
    """What ``who`` has left of a limit like ``60 per hour``."""
    item = parse(limit)
    reset, left = limiter.limiter.get_window_stats(item, who, scope)
    return Budget(item.amount, left, max(1, math.ceil(reset - time.time())))


def spend(limit: str, scope: str, who: str) -> Budget:
    """Use one of a limit; Refusal 429 when ``who`` has none left."""
    if not limiter.limiter.hit(parse(limit), who, scope):
        raise used_up(limit, scope, who)
    return budget_of(limit, scope, who)


def is_left(limit: str, scope: str, who: str) -> bool:
    """Whether ``who`` has any left."""
    return limiter.limiter.test(parse(limit), who, scope)


def used_up(limit: str, scope: str, who: str) -> Refusal:
    """The 429 of a limit that is used."""
    wait_s = budget_of(limit, scope, who).reset_s
    return Refusal("too_often", status=429, title="Too many requests", headers={"Retry-After": str(wait_s)})


def network_of(text: str) -> str:
    """The IPv4 address, or the /64 network of an IPv6 one, which one visitor has."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    address = getattr(address, "ipv4_mapped", None) or address  # as a proxy with one socket for both writes them
    return str(ipaddress.ip_network(f"{address}/64", strict=False)) if address.version == 6 else str(address)


def trusts_proxy(settings: Settings, text: str) -> bool:
    """Whether an address belongs to one of our reverse proxies, whose X-Forwarded headers count."""
    if not settings.trusted_proxies:
        return False
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in ipaddress.ip_network(network) for network in settings.proxy_addresses)


def init_security(app: Flask, settings: Settings) -> None:
    """Configure cookies, hosts and proxies, and attach the guards to ``app``."""
    app.config.update(
        SESSION_COOKIE_NAME="__Host-dfom" if settings.secure_cookies else "dfom",
        SESSION_COOKIE_SECURE=settings.secure_cookies,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH="/",
        WTF_CSRF_TIME_LIMIT=CSRF_WINDOW_S,
        # our pages send no referrer; where a request comes from is checked below instead
        WTF_CSRF_SSL_STRICT=False,
        TRUSTED_HOSTS=settings.trusted_hosts or None,
    )
    if settings.trusted_proxies:
        app.wsgi_app = _Proxied(app.wsgi_app, settings)  # type: ignore[method-assign]
    app.config["API_ORIGINS"] = frozenset(settings.api_origins)
    app.before_request(_refuse_cross_site)
    limiter.init_app(app)
    app.before_request(_limit_uploads)  # before CSRFProtect, which reads the form and with it the file
    CSRFProtect(app)

    @app.after_request
    def add_headers(response: Response) -> Response:
        return _with_headers(response, https=settings.secure_cookies)


def _limit_uploads() -> None:
    """Count an upload before anything of it is stored; a limit on the view is looked at when the view is called."""
    if request.endpoint in ("intake.submit", "again.submit"):
        spend(UPLOADS_PER_PEER, "upload", peer())


class _Proxied:
    """Takes address and scheme of the visitor from X-Forwarded-For and -Proto, when one of our proxies sends them.

    Our proxies wrote the last ``trusted_proxies`` entries; the entries before may be forged.
    """

    def __init__(self, app: WSGIApplication, settings: Settings) -> None:
        hops = settings.trusted_proxies
        self._direct, self._settings = app, settings
        self._behind = ProxyFix(app, x_for=hops, x_proto=hops)
        self._warned = False

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        address = environ.get("REMOTE_ADDR", "")
        if trusts_proxy(self._settings, address):
            return self._behind(environ, start_response)
        if "HTTP_X_FORWARDED_FOR" in environ and not self._warned:
            self._warned = True  # once: otherwise any client could fill the log
            log.warning("forwarded_address_ignored", peer=address, remedy="a proxy of yours? DFOM_PROXY_ADDRESSES")
        return self._direct(environ, start_response)


def _refuse_cross_site() -> None:
    """Refuse a form that another site sends. Browsers say so themselves (Fetch Metadata); others by their Origin.

    ``Origin: null`` is what our own forms send, because our pages have the referrer policy no-referrer.
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    if is_api() and request.headers.get("Origin") in current_app.config["API_ORIGINS"]:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise Forbidden("This form was sent from another site.")
        return
    origin = request.headers.get("Origin")
    if origin not in (None, "null") and origin != f"{request.scheme}://{request.host}":
        raise Forbidden("This form was sent from another site.")


def _with_headers(response: Response, *, https: bool) -> Response:
    headers = response.headers
    headers.setdefault("Content-Security-Policy", CONTENT_POLICY)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers["X-Frame-Options"] = "DENY"
    headers["X-Robots-Tag"] = "noindex, nofollow"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
    headers.setdefault("Cache-Control", "no-store")
    if https:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return response
