"""What a file says about where it comes from, and the marks by which later copies of it are found; plain records, as ``shared.findings``.

Owns the shapes of content credentials (C2PA), traces (container, codec, camera, editor) and fingerprints, from ``pack.json`` to the page.
Promises: all text in them was written by strangers; ``backend.harvest.origin`` bounds it. No place is kept, only that there is one.
May be imported by all; imports nothing of ours.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, Final, Literal

#: Characters of one text, manifests, actions and ingredients of a manifest, traces of a file: what is beyond is left out.
LONGEST: Final = 300
MOST_CLAIMS: Final = 12
MOST_PARTS: Final = 24
MOST_TRACES: Final = 48
#: Marks of pictures of one file, and of a second of sound.
MOST_PICTURE_MARKS: Final = 48
SOUND_MARKS_A_SECOND: Final = 16
MOST_SOUND_MARKS: Final = 60 * SOUND_MARKS_A_SECOND

#: ``none``: nothing is in the file, which says nothing. ``remote``: only a link to a manifest on the web, which was not fetched.
#: ``unreadable``: something is there and could not be read, ``code`` says why. ``invalid``: a check failed, ``failures`` says which.
#: The others passed all checks of the file: ``intact``: there is no list of signers to compare with. ``unlisted``: the signer is not
#: on the list. ``listed``: it is.
State = Literal["none", "remote", "unreadable", "invalid", "intact", "unlisted", "listed"]


@dataclass(frozen=True)
class Action:
    """A step in the making of a file, as its manifest claims: ``c2pa.created``, ``c2pa.edited``. ``source``: IPTC's digital source type."""

    action: str
    software: str | None = None
    when: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class Ingredient:
    """A file that went into this one, as its manifest claims; ``relationship``: ``parentOf``, ``componentOf``, ``inputTo``."""

    title: str | None
    relationship: str | None
    has_manifest: bool


@dataclass(frozen=True)
class Claim:
    """One manifest: what is claimed and who signed it. Times are as written in certificate and time stamp; None where there is none.

    ``failures``: codes of the C2PA specification for checks that failed. ``sources``: digital source types named anywhere in it.
    ``named_actor``: it names a person or organisation by an identity assertion (CAWG), which is not checked here.
    """

    title: str | None
    generator: str | None
    signer: str | None
    organisation: str | None
    issuer: str | None
    valid_from: str | None
    valid_until: str | None
    signed: str | None
    actions: tuple[Action, ...] = ()
    ingredients: tuple[Ingredient, ...] = ()
    sources: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    named_actor: bool = False


@dataclass(frozen=True)
class Credentials:
    """The content credentials of a file. ``claims``: its manifests, the active one first; ``left_out`` more are not listed.

    ``list_sha256``: of the list of signers that was used, None for none. ``host``: where a remote manifest would be.
    """

    state: State
    code: str | None = None
    claims: tuple[Claim, ...] = ()
    left_out: int = 0
    list_sha256: str | None = None
    host: str | None = None


@dataclass(frozen=True)
class Trace:
    """One thing that the file's own bytes say (docs/provenance.md lists the codes); ``value`` as written there, cleaned and cut."""

    code: str
    value: str | None = None


@dataclass(frozen=True)
class Fingerprint:
    """Marks by which a later copy is found. ``pictures``: one of some frames, 64 hexadecimal digits (256 bits) each.

    ``sound``: of each 1/16 s of up to a minute, eight hexadecimal digits each in one text; ``--------`` is none (silence).
    """

    pictures: tuple[str, ...] = ()
    sound: str = ""


@dataclass(frozen=True)
class Origin:
    """What the media pass found out about where a file comes from; a member is None where nobody asked for it."""

    credentials: Credentials | None = None
    traces: tuple[Trace, ...] | None = None
    fingerprint: Fingerprint | None = None


def credentials_from(raw: dict[str, Any]) -> Credentials:
    """The record of its JSON; members that a later version adds are left out. TypeError or KeyError when one is missing."""
    claims = tuple(
        _of(
            Claim,
            claim
            | {
                "actions": tuple(_of(Action, item) for item in claim["actions"]),
                "ingredients": tuple(_of(Ingredient, item) for item in claim["ingredients"]),
                "sources": tuple(claim["sources"]),
                "failures": tuple(claim["failures"]),
            },
        )
        for claim in raw["claims"]
    )
    credentials: Credentials = _of(Credentials, raw | {"claims": claims})
    return credentials


def origin_from(raw: dict[str, Any] | None) -> Origin:
    """The record of its JSON, as ``credentials_from``; one without members for None (a pack of an earlier version)."""
    found = raw or {}
    credentials, traces, mark = (found.get(name) for name in ("credentials", "traces", "fingerprint"))
    return Origin(
        credentials=credentials_from(credentials) if credentials else None,
        traces=None if traces is None else tuple(_of(Trace, item) for item in traces),
        fingerprint=_of(Fingerprint, mark | {"pictures": tuple(mark["pictures"])}) if mark else None,
    )


def _of(record: type[Any], raw: dict[str, Any]) -> Any:
    return record(**{name: raw[name] for name in record.__dataclass_fields__ if name in raw})


def cleaned(untrusted: object, *, longest: int = LONGEST) -> str | None:
    """Text of a stranger as one short line of printable characters; None when nothing is left.

    Control, format (also those that turn the direction of writing), private and unassigned characters go.
    """
    if isinstance(untrusted, bytes):
        untrusted = untrusted.decode("utf-8", "replace")
    if not isinstance(untrusted, str | int | float) or isinstance(untrusted, bool):
        return None
    line = "".join(
        " " if character.isspace() else character
        for character in unicodedata.normalize("NFC", str(untrusted)[: 8 * longest])
        if character.isspace() or unicodedata.category(character)[0] != "C"
    )
    line = " ".join(line.split())
    return (line if len(line) <= longest else line[: longest - 1].rstrip() + "…") or None
