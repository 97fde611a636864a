"""Reads a submission of a program: a file as multipart/form-data, or JSON with a web address, into the ``Wish`` of the form.

The file is streamed to the disk while it arrives (``frontend.upload``), as the form's is. Every wrong part is named. For
``frontend.api`` only.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from apiflask.exceptions import HTTPError
from flask import request
from pydantic import BaseModel, TypeAdapter, ValidationError
from werkzeug.datastructures import MultiDict

from frontend.api.caller import Caller, nobody
from frontend.api.schemas import AgainAsked, SubmissionByAddress
from frontend.api.schemas import Wish as Asked
from frontend.faults import Refusal
from frontend.form import Choice, FormError, Wish, read_choice, read_form
from frontend.media import IncomingMedia
from frontend.portal import Portal, portal
from frontend.upload import FORM_BYTES, current_request
from frontend.webhooks import check_address
from shared.errors import UserError
from shared.records import Catalog

Model = TypeVar("Model", bound=BaseModel)

_ANY: Final = TypeAdapter(Any)

#: Longest Idempotency-Key.
MOST_KEY_CHARACTERS: Final = 200

#: What pydantic says of a mistake -> a sentence; others keep pydantic's own words.
_SENTENCES: Final = {"missing": "This is missing.", "extra_forbidden": "There is no such member."}


def read_submission(site: Portal, who: Caller) -> tuple[Wish, str, IncomingMedia | None]:
    """What is asked for, the address of its webhook ('' for none), and the file when one came with it."""
    if who.key is None and (site.settings.api_key_needed or not who.pin):
        raise nobody()
    if request.mimetype == "multipart/form-data":
        untrusted = _from_form(request.form)  # streams the file as well
        incoming = current_request().incoming
        asked = parsed(Asked, untrusted)
    elif request.is_json:
        incoming = None
        asked = parsed(SubmissionByAddress, read_json())
    else:
        raise Refusal(
            "request_invalid",
            "Send a file as multipart/form-data, or JSON with the member url.",
            status=415,
            title="Content type not accepted",
        )
    wish = _checked(asked, site.store.read_catalog(), who, has_file=incoming is not None)
    return wish, webhook_of(asked.webhook, who), incoming


def read_again(site: Portal, who: Caller, *, key: str) -> tuple[Choice, str]:
    """What judging again is to do, and the address of its webhook ('' for none). ``key``: of the choice, so that the same is one."""
    if not request.is_json:
        raise Refusal("request_invalid", "Send JSON.", status=415, title="Content type not accepted")
    asked = parsed(AgainAsked, read_json())
    form: MultiDict[str, str] = MultiDict({"mode": asked.mode, "stability": asked.stability, "key": key[:64]})
    form["video_per_detector"] = "yes" if asked.video_per_detector else ""
    form.setlist("detectors", list(asked.detectors))
    try:
        choice = read_choice(form, catalog=site.store.read_catalog())
    except FormError as error:
        raise wrong(error.fields) from None
    return choice, webhook_of(asked.webhook, who)


def read_json() -> Any:
    """The JSON of the request's body, which is small."""
    request.max_content_length = FORM_BYTES
    try:
        return _ANY.validate_json(request.get_data())  # ends at a depth of its own: no RecursionError
    except ValueError:
        raise Refusal("request_invalid", "The body is not JSON.", status=400, title="Not JSON") from None


def parsed(model: type[Model], untrusted: Any) -> Model:
    """The request as a model; Refusal 422 names each wrong member."""
    try:
        return model.model_validate(untrusted)
    except ValidationError as error:
        raise wrong(
            {_place(item["loc"]): _SENTENCES.get(item["type"], f"{item['msg']}.") for item in error.errors()}
        ) from None


def wrong(fields: dict[str, str]) -> Refusal:
    """The 422 of a request that is not as it should be."""
    named = " ".join(f"{name}: {sentence}" for name, sentence in fields.items())[:1000]
    return Refusal("request_invalid", named or None, status=422, title="Please check the request", fields=fields)


def of_apiflask(error: HTTPError) -> Refusal:
    """The same for what apiflask's own validation found: ``{location: {member: [sentences]}}``."""
    found = error.detail if isinstance(error.detail, dict) else {}
    members = {name: " ".join(texts) for part in found.values() for name, texts in part.items()}
    return wrong(members)


def idempotency_of(site: Portal, who: Caller) -> str:
    """A keyed hash of the Idempotency-Key within its maker's, '' where none was given."""
    given = request.headers.get("Idempotency-Key", "").strip()
    if not given:
        return ""
    if len(given) > MOST_KEY_CHARACTERS or not given.isprintable():
        raise wrong({"Idempotency-Key": f"It has at most {MOST_KEY_CHARACTERS} characters, all of them printable."})
    maker = f"key {who.key.id}" if who.key else f"pin {who.pin} {who.address}"
    return site.receipts.keyed("idempotency", maker, given)


def webhook_of(untrusted_url: str | None, who: Caller) -> str:
    """The checked address of a webhook, '' for none; only a key has a secret to sign with."""
    if not untrusted_url:
        return ""
    if who.key is None:
        raise wrong(
            {"webhook": "Only submissions of an API key are announced: the key has the secret that signs the message."}
        )
    try:
        return check_address(untrusted_url, allow_private=portal().settings.url_allow_private)
    except UserError as error:
        raise Refusal(
            error.code, error.sentence, status=422, title="Webhook not accepted", fields={"webhook": error.sentence}
        ) from None


def _from_form(fields: MultiDict[str, str]) -> dict[str, Any]:
    """The fields of a form as members: what is given once is a text, detectors are a list, also written with commas."""
    members: dict[str, Any] = {name: values[-1] for name, values in fields.lists()}
    if "detectors" in fields:
        members["detectors"] = [name.strip() for text in fields.getlist("detectors") for name in text.split(",")]
    return members


def _checked(asked: Asked, catalog: Catalog | None, who: Caller, *, has_file: bool) -> Wish:
    """The wish of the form, checked as the form's is."""
    offered = [entry.id for entry in catalog.detectors if entry.unavailable is None] if catalog else []
    form: MultiDict[str, str] = MultiDict(
        {
            "mode": asked.mode,
            "stability": asked.stability,
            "email": asked.email or "",
            "pin": who.pin,
            "consent": "yes",  # docs/api.md: who sends a file says that they may
            "video_per_detector": "yes" if asked.video_per_detector else "",
            "url": getattr(asked, "url", ""),
            "guess": asked.guess or "",
            "recognise": "yes" if asked.recognise else "no",
        }
    )
    form.setlist("detectors", list(asked.detectors or offered))
    try:
        return read_form(form, catalog=catalog, has_file=has_file, pin_needed=who.key is None)
    except FormError as error:
        names = {"media": "media" if request.mimetype == "multipart/form-data" else "url", "pin": "PIN"}
        raise wrong({names.get(name, name): sentence for name, sentence in error.fields.items()}) from None


def _place(parts: tuple[int | str, ...]) -> str:
    """The member that is wrong; of a list, the list."""
    return str(parts[0])[:40] if parts else "body"
