"""Who is the operator: who knows the token of the settings. By a form, then a session of the browser; programs send it in a header.

Promises: compared in constant time; wrong ones are counted by network peer (``WRONG_TOKENS``); the token is in no page, cookie, address
or log. Closing one session closes all. Without a token in the settings there is nobody who could be the operator.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, MutableMapping
from typing import Any, Final

from flask import request

from frontend.security import limiter
from shared.settings import Settings

#: A person may mistype; a program that guesses gets nowhere.
WRONG_TOKENS: Final = "10 per hour"
#: Seconds for which the form opens the page.
OPEN_S: Final = 3600.0
#: In the session, which is a signed cookie.
KEY: Final = "operator"

#: The limit of the views that check a token; a right one costs nothing of it.
wrong_tokens: Final = limiter.shared_limit(
    lambda: WRONG_TOKENS, scope="operator", deduct_when=lambda response: response.status_code in (401, 403)
)


class Entry:
    """Knows the token of ``settings``; ``now`` gives seconds since 1970."""

    def __init__(self, settings: Settings, *, now: Callable[[], float]) -> None:
        self._now = now
        token = settings.operator_token
        self._token = token.get_secret_value() if token else None
        self._renew()

    def _renew(self) -> None:
        """Sessions opened before are closed: also those in copied cookies."""
        self._generation = secrets.token_hex(8)

    @property
    def exists(self) -> bool:
        """Whether there is an operator's page at all."""
        return self._token is not None

    @property
    def token(self) -> str:
        """The token, to sign requests to the back-end with; ValueError without one."""
        if self._token is None:
            raise ValueError("there is no operator")
        return self._token

    def knows(self, untrusted_token: str) -> bool:
        """Whether this is the token."""
        return self._token is not None and hmac.compare_digest(_digest(untrusted_token), _digest(self._token))

    def knows_header(self) -> bool:
        """Whether the request has the token in ``Authorization: Bearer``."""
        scheme, _, untrusted_token = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.knows(untrusted_token.strip())

    def open(self, session: MutableMapping[str, Any]) -> None:
        """Let this browser in for ``OPEN_S``."""
        session[KEY] = {"until": self._now() + OPEN_S, "generation": self._generation}

    def is_open(self, session: MutableMapping[str, Any]) -> bool:
        """Whether this browser was let in."""
        held = session.get(KEY)
        return (
            self.exists
            and isinstance(held, dict)
            and held.get("generation") == self._generation
            and float(held.get("until", 0)) > self._now()
        )

    def close(self, session: MutableMapping[str, Any]) -> None:
        """Let nobody in any more, until the next one has the token."""
        session.pop(KEY, None)
        self._renew()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
