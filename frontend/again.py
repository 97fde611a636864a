"""Judges the file of a submission again with other detectors or in another mode: a new submission, without an upload.

Promises: the new one has its own folder, receipt, mails, limits and end; the file, PIN and address are those of the first one, and it is
published by one rename like an upload. Who asks has the first one open. For the front-end only; never opens media.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import Any, Final

from flask import Blueprint, Response, make_response, redirect, render_template, request, session, url_for
from werkzeug.datastructures import MultiDict

from frontend import intake
from frontend.access import open_session
from frontend.faults import wants_json
from frontend.form import Choice, FormError, read_choice
from frontend.media import check_space, storage_trouble
from frontend.operator.pause import takes_in
from frontend.portal import Portal, portal
from frontend.reading import read_report
from frontend.receipts import Receipt
from frontend.security import peer
from frontend.wording import catalog_is_fresh
from shared.errors import PermanentError, UserError
from shared.records import CatalogEntry, JobId, Stage, Submission, new_id
from shared.store import checked_id

#: ``input`` of the cards that can judge a kind of media.
FITTING: Final = {
    "video": ("face", "video", "picture", "sound"),
    "image": ("face", "picture"),
    "sound": ("sound",),
}
#: A submission may move to its next stage while we look; so many looks.
LOOKS: Final = 3

blueprint = Blueprint("again", __name__)


@blueprint.get("/r/<untrusted_id>/again")
def form(untrusted_id: str) -> Response:
    """The choice of detectors and mode for the file of an open submission."""
    site, job = portal(), checked_id(untrusted_id)
    if not site.access.is_open(session, job):
        return make_response(redirect(url_for("viewer.result", untrusted_id=job), 303))
    return _page(site, job, MultiDict(), {})


@blueprint.post("/r/<untrusted_id>/again")
@takes_in
def submit(untrusted_id: str) -> Response:
    """Judge the file again as the form says."""
    site, job = portal(), checked_id(untrusted_id)
    if not site.access.is_open(session, job):
        raise UserError("pin_needed", status=403, title="Enter your PIN first")
    try:
        choice = read_choice(request.form, catalog=site.store.read_catalog())
    except FormError as error:
        if wants_json():
            raise
        page = _page(site, job, request.form, error.fields)
        page.status_code = error.status
        return page
    new, _ = judge_again(site, job, choice)
    until = site.clock() + timedelta(minutes=site.settings.session_minutes)
    open_session(session, new, until=until.timestamp(), epoch=site.access.read(new).epoch)
    return intake.accepted(new)


def judge_again(
    site: Portal,
    job: JobId,
    choice: Choice,
    *,
    sender_key: str = "",
    admit: Callable[[], AbstractContextManager[None]] = nullcontext,
    **receipt: Any,
) -> tuple[JobId, bool]:
    """Publish a submission of the same file as ``job``; its id, and whether it is new: the same form sent twice is one.

    ``sender_key`` (``Receipts.keyed``) is counted against limits where no address is known, by default the network peer. ``admit`` is
    entered while it is stored and may refuse. ``receipt``: further members of the receipt. UserError when the file is gone (410), too much
    is open (429), or the disk is full (507).
    """
    _, first = _find(site, job)
    fingerprint = site.receipts.keyed(
        "again", choice.key, job, choice.mode, str(choice.video_per_detector), choice.stability, *choice.detectors
    )
    with site.receipts.submitting(fingerprint):
        now = site.clock()
        before = site.receipts.find(fingerprint, now=now) if choice.key else None
        if before is not None and site.store.stage_of(before) is not None:
            return before, False
        counted_as = (
            site.receipts.keyed("address", first.email)
            if first.email
            else sender_key or site.receipts.keyed("peer", peer())
        )
        if first.email:
            intake.check_open(site, counted_as)
        check_space(site.store, wanted=first.bytes or 0)
        submission = _as_chosen(first, choice, now=now, counted_as=counted_as)
        sent_today = site.receipts.since(counted_as, moment=now - timedelta(days=1))
        welcome = sent_today < intake.CONFIRMATIONS_A_DAY
        noted = Receipt(
            id=submission.id, created=now, fingerprint=fingerprint, address=counted_as, welcome=welcome, **receipt
        )
        with admit():
            _take_media(site, job, submission.id)
            try:
                intake.publish(site, submission, noted)
            except BaseException:
                site.store.discard(submission.id)
                raise
    site.postman.wake()
    return submission.id, True


def _as_chosen(first: Submission, choice: Choice, *, now: datetime, counted_as: str) -> Submission:
    """A new submission of the file of ``first``."""
    return first.model_copy(
        update={
            "id": new_id(),
            "received": now,
            "detectors": choice.detectors,
            "mode": choice.mode,
            "video_per_detector": choice.video_per_detector,
            "stability": choice.stability,
            "visitor": counted_as[:32],
            "again_of": first.id,
            "guess": None,  # who asks again has seen a result
        }
    )


def _take_media(site: Portal, job: JobId, new: JobId) -> None:
    """Give the new submission the file of ``job``, wherever that is by now."""
    for _ in range(LOOKS):
        stage, _ = _find(site, job)
        with storage_trouble(), contextlib.suppress(FileNotFoundError):  # it moved just now, or the file is gone
            site.store.reuse_media(stage, job, new)
            return
    raise _gone()


def _find(site: Portal, job: JobId) -> tuple[Stage, Submission]:
    for _ in range(LOOKS):
        stage = site.store.stage_of(job)
        if stage in (None, "tmp"):
            break
        try:
            return stage, site.store.read_submission(stage, job)
        except FileNotFoundError:
            continue
        except PermanentError:  # the record is damaged
            break
    raise _gone()


def _gone() -> UserError:
    return UserError("media_gone", status=410, title="The file is no longer here")


def _page(site: Portal, job: JobId, untrusted: MultiDict[str, str], errors: dict[str, str]) -> Response:
    stage, first = _find(site, job)
    if not (site.store.job(stage, job) / "media").exists():
        raise _gone()
    catalog = site.store.read_catalog()
    available = [entry for entry in (catalog.detectors if catalog else ()) if entry.unavailable is None]
    fitting = _fitting(site, job, available)
    return make_response(
        render_template(
            "again.html",
            job=job,
            available=fitting,
            asked=first.detectors,
            chosen=set(untrusted.getlist("detectors")) if errors else set(first.detectors),
            errors=errors,
            kept=untrusted if errors else {"mode": first.mode, "stability": first.stability},
            slow_again=any(not entry.again_by_default and entry.again_seconds for entry in fitting),
            email=first.email is not None,
            fresh=catalog_is_fresh(catalog, site.clock()),
            key=secrets.token_urlsafe(16),
            settings=site.settings,
        )
    )


def _fitting(site: Portal, job: JobId, entries: list[CatalogEntry]) -> list[CatalogEntry]:
    """Those that can judge this kind of media, as far as a result says what kind it is."""
    try:
        kind = read_report(site.store.report(job)).result.media.kind
    except PermanentError:
        return entries
    return [entry for entry in entries if entry.input in FITTING[kind]]
