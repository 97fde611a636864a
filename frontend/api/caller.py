"""Who calls the API, and what they may do: an API key, or the PIN of one submission, in a header.

Promises: the key is looked at in each request, so one that is revoked stops at once; an id of someone else's submission is answered
like one that never existed, in words, status and work; the PIN has the budget of the form, on disk, whichever way it is tried; requests are
counted by key, and by network address where there is none. No cookie is read. For ``frontend.api`` only.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Final

from flask import Response, g, request

from frontend import wording
from frontend.api.blueprint import blueprint
from frontend.faults import Refusal
from frontend.keys import Key, Scope
from frontend.portal import portal
from frontend.security import UPLOADS_PER_PEER, WRONG_PINS_PER_PEER, Budget, budget_of, is_left, peer, spend, used_up
from frontend.viewer import PIN_CODES, submission_of
from shared.errors import SENTENCES, PermanentError, UserError
from shared.records import JobId
from shared.store import checked_id

#: Requests of one key, or of one network address without a key. A status a second, and room for parts of a video.
REQUESTS_A_MINUTE: Final = 300

#: Longest token and PIN that are looked at.
_MOST_CHARACTERS: Final = 200


@dataclass(frozen=True)
class Caller:
    """Who asks. ``pin`` is '' for none; ``address`` is the network peer."""

    key: Key | None
    pin: str = field(repr=False)
    address: str

    @property
    def who(self) -> str:
        """By which requests are counted."""
        return f"key {self.key.id}" if self.key else self.address

    def needs(self, scope: Scope) -> None:
        """Refusal 403 when the key may not do this."""
        if self.key is not None and scope not in self.key.scopes:
            raise Refusal(
                "key_scope",
                f"This API key may not do that: it lacks the scope {scope}. Ask the operator of this site for another one.",
                status=403,
                title="Not allowed",
            )


@blueprint.before_request
def identify() -> None:
    """Find out who calls, and count the request."""
    g.budget = None
    if request.method == "OPTIONS":
        return
    site = portal()
    given = request.headers.get("Authorization")
    key = site.keys.find(_token(given), now=site.clock()) if given is not None else None
    pin = "".join(request.headers.get("PIN", "")[:32].split())
    g.caller = Caller(key, pin, peer())
    g.budget = spend(f"{REQUESTS_A_MINUTE} per minute", "api", caller().who)
    if given is not None and key is None:
        raise not_known()


def caller() -> Caller:
    """Who calls in the current request."""
    found = g.caller
    if not isinstance(found, Caller):
        raise TypeError("not a request of the API")
    return found


def _token(untrusted_header: str) -> str:
    scheme, _, token = untrusted_header[:_MOST_CHARACTERS].strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def not_known() -> Refusal:
    """The 401 of a key that does not work."""
    return Refusal(
        "key_invalid",
        status=401,
        title="API key not accepted",
        headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
    )


def nobody() -> Refusal:
    """The 401 of a request without key and PIN."""
    return Refusal("key_needed", status=401, title="API key or PIN needed", headers={"WWW-Authenticate": "Bearer"})


# --------------------------------------------------------------------------- one submission


def opened(untrusted_id: str, scope: Scope) -> JobId:
    """The id of a submission that the caller may read or delete; Refusal otherwise, the same whether it exists or not."""
    who = caller()
    who.needs(scope)
    if who.key is None and not who.pin:
        raise nobody()
    try:
        job = checked_id(untrusted_id)
    except PermanentError:
        raise not_there() from None
    if who.key is None:
        _check_pin(job, who)
        return job
    receipt = portal().receipts.get(job)
    if receipt is None or receipt.key != who.key.id:
        raise not_there()
    return job


def not_there() -> UserError:
    """The 404 of an id that is not one of the caller's."""
    return UserError("not_found", SENTENCES["not_found"], status=404, title="Not found")


def _check_pin(job: JobId, who: Caller) -> None:
    """Refusal unless the PIN opens the submission; every attempt counts as one at the form does."""
    site = portal()
    if not is_left(WRONG_PINS_PER_PEER, "pin", who.address):
        raise used_up(WRONG_PINS_PER_PEER, "pin", who.address)
    submission = submission_of(site, job)
    given = site.access.attempt(job, who.pin, pin_hash=submission.pin_hash if submission else None)
    if given.outcome == "right":
        return
    with contextlib.suppress(Refusal):  # used up just now, by another request
        spend(WRONG_PINS_PER_PEER, "pin", who.address)
    if given.unlock_token and submission and submission.email:
        site.postman.add_unlock(job, to=submission.email, token=given.unlock_token, lock=given.lock)
    code, status = next((code, status) for code, (outcome, status) in PIN_CODES.items() if outcome == given.outcome)
    raise Refusal(
        code,
        wording.pin_sentence(given),
        status=status,
        title={"wrong": "Wrong PIN", "wait": "Too many wrong PINs", "locked": "Locked"}[given.outcome],
        headers={"Retry-After": str(given.wait_s)} if given.wait_s else {},
    )


# --------------------------------------------------------------------------- limits


def count_upload() -> None:
    """Count a submission that is about to be received from someone without a key, together with those of the form."""
    g.budget = spend(UPLOADS_PER_PEER, "upload", caller().address)


def uploads_of(who: Caller) -> Budget:
    """What a network address has left of its uploads of the hour."""
    return budget_of(UPLOADS_PER_PEER, "upload", who.address)


def quota_of(key: Key) -> Budget:
    """What a key has left of its submissions of the day (UTC)."""
    site = portal()
    now = site.clock()
    past = now.hour * 3600 + now.minute * 60 + now.second
    return Budget(key.quota, max(0, key.quota - site.keys.used_today(key, now=now)), 86_400 - past)


@blueprint.after_request
def say_budget(response: Response) -> Response:
    """The budget that the request was counted against, as headers."""
    budget = g.get("budget")
    if budget is not None:
        response.headers["RateLimit-Limit"] = str(budget.most)
        response.headers["RateLimit-Remaining"] = str(budget.left)
        response.headers["RateLimit-Reset"] = str(budget.reset_s)
    return response
