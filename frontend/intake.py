"""The front page and the upload: a file or an address becomes a submission, published by one rename.

Promises: there is no receipt before the submission is durable in ``new/``; the same form sent twice is one job; a refused
upload leaves nothing behind. For the front-end only; never opens media.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Final

from flask import Blueprint, Response, jsonify, make_response, redirect, render_template, request, url_for
from werkzeug.datastructures import MultiDict

from frontend import pins
from frontend.faults import wants_json
from frontend.form import FormError, Wish, read_form
from frontend.linked import LinkedPage, from_address, pages_in_words
from frontend.media import IncomingMedia, check_head, check_space, storage_trouble
from frontend.operator.pause import takes_in
from frontend.portal import Portal, portal
from frontend.receipts import Receipt
from frontend.security import PIN_SUGGESTIONS_PER_PEER, PREVIEW_POLICY, limiter, peer
from frontend.upload import current_request
from frontend.wording import GUESSES, catalog_is_fresh, check_estimate, recommended_check
from shared.errors import UserError
from shared.kinds import look_at
from shared.languages import _, language
from shared.records import JobId, Submission
from shared.signatures import MEDIA_HEAD_BYTES

#: Most open submissions of one e-mail address.
MOST_OPEN: Final = 20

#: Most confirmations to one address a day, so that a stranger's mailbox cannot be filled; the mail about a result is always sent.
CONFIRMATIONS_A_DAY: Final = 5

#: Fields kept when the form is shown again; never the PIN.
KEPT: Final = ("url", "email", "mode", "video_per_detector", "stability", "guess", "recognise", "consent")

#: Codes of a file or address that is not taken: the plain form comes back with the reason, as for any other field.
OF_THE_FILE: Final = frozenset({"upload_too_large", "address_refused", "fetch_failed", "fetch_timed_out", "fetch_busy"})

blueprint = Blueprint("intake", __name__)


@blueprint.get("/")
def front() -> Response:
    """The front page with the form."""
    return _form_page(MultiDict(), {})


@blueprint.get("/submit")
def submit_again() -> Response:
    """The address of an answer to the form, opened by hand: there is only the form to show."""
    return make_response(redirect(url_for("intake.front"), 303))


@blueprint.get("/pin")
@limiter.limit(PIN_SUGGESTIONS_PER_PEER)
def suggest_pin() -> Response:
    """A fresh PIN for the form."""
    return jsonify({"pin": pins.generate()})


@blueprint.post("/kind")
@limiter.limit(PIN_SUGGESTIONS_PER_PEER)
def check_kind() -> Response:
    """Whether a file with these first bytes would be taken, so that nobody uploads in vain: what it is, or 415 with the reason."""
    untrusted_head = request.get_data()[:MEDIA_HEAD_BYTES]
    check_head(untrusted_head)
    return jsonify(asdict(look_at(untrusted_head)))


@blueprint.post("/submit")
@takes_in
def submit() -> Response:
    """Take the form with its file or address."""
    site = portal()
    untrusted = request.form  # streams the file as well
    incoming = current_request().incoming
    try:
        wish = read_form(untrusted, catalog=site.store.read_catalog(), has_file=incoming is not None)
    except FormError as error:
        if wants_json():
            raise
        return _form_again(untrusted, error.fields, status=error.status)
    source: str | None = None
    try:
        if incoming is None:
            check_space(site.store, wanted=site.upload_limit)
            media, source = from_address(site, wish.url or "")
        else:
            media = incoming
        with media:
            job, _ = take(site, wish, media, source=source)
    except UserError as error:
        if wants_json() or not (error.status == 415 or error.code in OF_THE_FILE):
            raise
        return _form_again(untrusted, {"media": error.sentence}, status=error.status)
    return accepted(job)


def accepted(job: JobId) -> Response:
    """The answer to a form that led to a submission: its page, or 201 with its address for a program."""
    target = url_for("viewer.result", untrusted_id=job)
    if wants_json():
        response = jsonify({"id": job, "location": target})
        response.status_code = 201
        response.headers["Location"] = target
        return response
    return make_response(redirect(target, 303))


@dataclass(frozen=True)
class Sender:
    """What is known of who sends a submission, beside the form. Visitors of the pages: nothing.

    ``key``: id of the API key. ``webhook``: where the end of the work is announced. ``same``: keyed hash of the Idempotency-Key. ``admit``:
    entered while a new submission is stored; it may refuse (UserError), and learns by an exception that nothing was stored.
    """

    key: str = ""
    webhook: str = ""
    same: str = ""
    admit: Callable[[], AbstractContextManager[None]] = nullcontext


def fingerprint_of(site: Portal, wish: Wish, *, content: str | None, sender: Sender) -> str:
    """A keyed hash of all that was asked; ``content`` is the digest of the file, or the address it comes from."""
    asked = (wish.email or "", wish.mode, str(wish.video_per_detector), wish.stability, *wish.detectors)
    return site.receipts.keyed(wish.key, content or "", wish.pin, *asked, sender.webhook)


def before(site: Portal, sender: Sender, fingerprint: str) -> JobId | None:
    """The submission that a program's Idempotency-Key led to before; UserError when it was another request."""
    receipt = site.receipts.find_same(sender.same, now=site.clock()) if sender.same else None
    if receipt is None or site.store.stage_of(receipt.id) is None:
        return None
    if receipt.fingerprint != fingerprint:
        raise another_request()
    return receipt.id


def another_request() -> UserError:
    """The 422 of an Idempotency-Key that came with another request before."""
    return UserError("idempotency_differs", status=422, title="Another request had this key")


def take(
    site: Portal, wish: Wish, media: IncomingMedia | LinkedPage, *, source: str | None, sender: Sender | None = None
) -> tuple[JobId, bool]:
    """Publish the submission, or find the one that this form or request led to before; whether it is a new one."""
    sender = sender or Sender()
    media.close()
    media.check_kind()
    # an address may hand out other bytes each time: a program that asks again means the same address
    of_address = wish.url and (sender.same or media.sha256 is None)
    fingerprint = fingerprint_of(site, wish, content=wish.url if of_address else media.sha256, sender=sender)
    with site.receipts.submitting(sender.same or fingerprint):
        now = site.clock()
        if sender.same:
            known = before(site, sender, fingerprint)
        else:
            known = site.receipts.find(fingerprint, now=now) if wish.key else None
            known = known if known is not None and site.store.stage_of(known) is not None else None
        if known is not None:
            return known, False
        with sender.admit():
            _store(site, wish, media, source=source, sender=sender, fingerprint=fingerprint)
    site.postman.wake()
    return media.id, True


def _store(
    site: Portal,
    wish: Wish,
    media: IncomingMedia | LinkedPage,
    *,
    source: str | None,
    sender: Sender,
    fingerprint: str,
) -> None:
    """Write and publish a new submission."""
    now = site.clock()
    visitor_key = site.receipts.keyed("key", sender.key) if sender.key else site.receipts.keyed("peer", peer())
    sender_key = site.receipts.keyed("address", wish.email) if wish.email else visitor_key
    if wish.email:
        check_open(site, sender_key)
    submission = Submission(
        id=media.id,
        received=now,
        email=wish.email,
        pin_hash=site.pins.hash(wish.pin) if wish.pin else None,
        detectors=wish.detectors,
        mode=wish.mode,
        video_per_detector=wish.video_per_detector,
        stability=wish.stability,
        guess=wish.guess,
        recognise=wish.recognise,
        original_name=media.name,
        source_url=source,
        link=media.link,
        sha256=media.sha256,
        bytes=media.bytes,
        visitor=(visitor_key if sender.key else sender_key)[:32],
        language=language().code,
    )
    sent_today = site.receipts.since(sender_key, moment=now - timedelta(days=1))
    receipt = Receipt(
        id=media.id,
        created=now,
        fingerprint=fingerprint,
        address=sender_key,
        welcome=sent_today < CONFIRMATIONS_A_DAY,
        key=sender.key,
        webhook=sender.webhook,
        same=sender.same,
    )
    publish(site, submission, receipt)
    media.keep()


def check_open(site: Portal, sender_key: str) -> None:
    """Refuse one more submission of an e-mail address that has many unfinished ones."""
    if site.receipts.open_of(sender_key) >= MOST_OPEN:
        raise UserError(
            "too_many_open",
            _("{n} submissions of this e-mail address are not finished yet. Wait until some are.", n=MOST_OPEN),
            status=429,
            title="Too many submissions",
        )


def publish(site: Portal, submission: Submission, receipt: Receipt) -> None:
    """Write the receipt, then publish the submission; a submission that was not stored leaves no receipt."""
    with storage_trouble():
        site.receipts.write(receipt)
        try:
            site.store.submit(submission)
        except OSError:
            site.receipts.drop(receipt.id)
            raise


def _form_again(untrusted: MultiDict[str, str], wrong: dict[str, str], *, status: int) -> Response:
    page = _form_page(untrusted, wrong)
    page.status_code = status
    return page


def _form_page(untrusted: MultiDict[str, str], errors: dict[str, str]) -> Response:
    site = portal()
    catalog = site.store.read_catalog()
    entries = catalog.detectors if catalog else ()
    available = [entry for entry in entries if entry.unavailable is None]
    chosen = set(untrusted.getlist("detectors")) if errors else recommended_check(available)
    overhead = catalog.overhead_seconds if catalog else None
    mode = untrusted.get("mode", "standard")
    page = make_response(
        render_template(
            "front.html",
            available=available,
            chosen=chosen,
            choosing=bool({"detectors", "mode"} & set(errors)),
            overhead=overhead,
            estimate=check_estimate([entry for entry in available if entry.id in chosen], overhead=overhead, mode=mode),
            guesses=GUESSES,
            fresh=catalog_is_fresh(catalog, site.clock()),
            errors=errors,
            kept={name: untrusted.get(name, "") for name in KEPT},
            slow_again=any(not entry.again_by_default and entry.again_seconds for entry in available),
            key=secrets.token_urlsafe(16),
            suggestion=pins.generate(),
            limit_mb=site.settings.max_upload_mb,
            limit_bytes=site.upload_limit,
            pages=pages_in_words(catalog.links if catalog else ()),
            settings=site.settings,
        )
    )
    page.headers["Content-Security-Policy"] = PREVIEW_POLICY
    return page
