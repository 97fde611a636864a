"""The upload form, parsed once at the edge into a frozen ``Wish``. For the front-end only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, cast, get_args

from email_validator import EmailNotValidError, validate_email
from werkzeug.datastructures import MultiDict

from frontend import pins
from shared.errors import UserError
from shared.languages import _
from shared.records import Catalog, Guess, Mode
from shared.stability import Again

MOST_EMAIL_CHARACTERS: Final = 254


#: Fields in the order of the page, so that troubles are listed from top to bottom.
ORDER: Final = ("media", "detectors", "mode", "pin", "email", "consent")


@dataclass(frozen=True)
class Wish:
    """What a visitor asked for, checked. ``key`` is the random key of the form's page; ``pin`` is only passed on as a hash, '' for none."""

    detectors: tuple[str, ...]
    mode: Mode
    email: str | None
    pin: str = field(repr=False)
    video_per_detector: bool
    stability: Again
    url: str | None
    key: str
    guess: Guess | None = None
    recognise: bool = True


@dataclass(frozen=True)
class Choice:
    """How a file is to be judged, checked: the part of a ``Wish`` that is chosen anew to judge it again."""

    detectors: tuple[str, ...]
    mode: Mode
    video_per_detector: bool
    stability: Again
    key: str


class FormError(UserError):
    """The form is not complete: ``fields`` gives one sentence for each field to correct."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__("form_incomplete", " ".join(fields.values()), status=422, title="Please check the form")
        self.fields = fields


def read_form(
    untrusted: MultiDict[str, str], *, catalog: Catalog | None, has_file: bool, pin_needed: bool = True
) -> Wish:
    """Check all fields; FormError names every wrong one. Without ``pin_needed`` the PIN may be missing (''): no PIN opens the result."""
    wrong: dict[str, str] = {}
    url = untrusted.get("url", "").strip() or None
    if has_file == (url is not None):
        wrong["media"] = (
            _("Choose a file or give a web address.") if not has_file else _("Give a file or an address, not both.")
        )
    choice = _choice(untrusted, catalog, wrong)
    email = _email(untrusted.get("email", ""), wrong)
    pin = untrusted.get("pin", "").strip()
    weakness = pins.weakness(pin) if pin or pin_needed else None
    if weakness:
        wrong["pin"] = weakness
    if untrusted.get("consent") != "yes":
        wrong["consent"] = _("Please confirm that you may upload this file.")
    _refuse(wrong)
    guess = untrusted.get("guess")
    known = cast(Guess, guess) if guess in get_args(Guess) else None  # optional: anything else is no guess
    recognise = untrusted.get("recognise") != "no"
    return Wish(**vars(choice), email=email, pin=pin, url=url, guess=known, recognise=recognise)


def read_choice(untrusted: MultiDict[str, str], *, catalog: Catalog | None) -> Choice:
    """Check how a file is to be judged; FormError names every wrong field."""
    wrong: dict[str, str] = {}
    choice = _choice(untrusted, catalog, wrong)
    _refuse(wrong)
    return choice


def _refuse(wrong: dict[str, str]) -> None:
    if wrong:
        raise FormError({name: wrong[name] for name in ORDER if name in wrong})


def _choice(untrusted: MultiDict[str, str], catalog: Catalog | None, wrong: dict[str, str]) -> Choice:
    mode = untrusted.get("mode", "standard")
    if mode not in get_args(Mode):
        wrong["mode"] = _("Choose quick, standard or thorough.")
    return Choice(
        detectors=_detectors(untrusted.getlist("detectors"), catalog, wrong),
        mode=cast(Mode, mode),
        video_per_detector=untrusted.get("video_per_detector") == "yes",
        stability="all" if untrusted.get("stability") == "all" else "fast",
        key=untrusted.get("key", "")[:64],
    )


def _detectors(untrusted_ids: list[str], catalog: Catalog | None, wrong: dict[str, str]) -> tuple[str, ...]:
    offered = {entry.id for entry in catalog.detectors if entry.unavailable is None} if catalog else set()
    chosen = tuple(dict.fromkeys(untrusted_ids))
    if not chosen:
        wrong["detectors"] = _("Choose at least one detector.")
    elif not offered.issuperset(chosen):
        wrong["detectors"] = _("One of these detectors is not available right now. Choose again.")
    return chosen


def _email(untrusted_email: str, wrong: dict[str, str]) -> str | None:
    text = untrusted_email.strip()
    if not text:
        return None
    try:
        if len(text) > MOST_EMAIL_CHARACTERS:
            raise EmailNotValidError("too long")
        checked = validate_email(text, check_deliverability=False, allow_smtputf8=False, allow_display_name=False)
    except EmailNotValidError:
        wrong["email"] = _why_not(text)
        return None
    return checked.ascii_email or checked.normalized


def _why_not(untrusted_email: str) -> str:
    """Why no mail is sent to an address: it is none, or one that a mail server of the usual kind cannot reach."""
    try:
        if len(untrusted_email) > MOST_EMAIL_CHARACTERS:
            raise EmailNotValidError("too long")
        checked = validate_email(
            untrusted_email, check_deliverability=False, allow_display_name=False, globally_deliverable=False
        )
    except EmailNotValidError:
        return _(
            "This is not a valid e-mail address. Write one address, like name@example.org, or leave the field empty."
        )
    if checked.smtputf8:  # RFC 6531: every server on the way must know it, and few do
        return _(
            "Mails from here do not reach addresses with letters other than a to z before the @. Give another address, or "
            "leave the field empty and keep the link."
        )
    return _(
        "The part after the @ is not a domain of the internet, like example.org. Correct it, or leave the field empty."
    )
