"""Bounds for what the media worker says of a file's origin (``shared.origin``): short texts of printable characters, short lists, codes.

Imported by ``backend.harvest.media_pack``.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from pydantic.dataclasses import dataclass

from shared.origin import (
    LONGEST,
    MOST_CLAIMS,
    MOST_PARTS,
    MOST_PICTURE_MARKS,
    MOST_SOUND_MARKS,
    MOST_TRACES,
    Action,
    Claim,
    Credentials,
    Fingerprint,
    Ingredient,
    Origin,
    Trace,
)

_CHECKED: Final = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _is_plain(untrusted: str) -> str:
    """The text, where all its characters can be printed; the page's direction of writing cannot be turned by one."""
    if any(unicodedata.category(character)[0] == "C" or character in "\u2028\u2029" for character in untrusted):
        raise ValueError("holds characters that cannot be printed")
    return untrusted


Line = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST), AfterValidator(_is_plain)]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.]{1,80}$")]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
PictureMark = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
SoundMarks = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{8}|-{8})*$", max_length=8 * (MOST_SOUND_MARKS + 1))]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, config=_CHECKED)
class CheckedAction(Action):
    """A step in the making."""

    action: Line
    software: Line | None = None
    when: Line | None = None
    source: Word | None = None


@dataclass(frozen=True, config=_CHECKED)
class CheckedIngredient(Ingredient):
    """A file that went into this one."""

    title: Line | None
    relationship: Line | None
    has_manifest: bool


@dataclass(frozen=True, config=_CHECKED)
class CheckedClaim(Claim):
    """One manifest."""

    title: Line | None
    generator: Line | None
    signer: Line | None
    organisation: Line | None
    issuer: Line | None
    valid_from: Line | None
    valid_until: Line | None
    signed: Line | None
    actions: Annotated[tuple[CheckedAction, ...], Field(max_length=MOST_PARTS)] = ()
    ingredients: Annotated[tuple[CheckedIngredient, ...], Field(max_length=MOST_PARTS)] = ()
    sources: Annotated[tuple[Word, ...], Field(max_length=MOST_PARTS)] = ()
    failures: Annotated[tuple[Word, ...], Field(max_length=MOST_PARTS)] = ()


@dataclass(frozen=True, config=_CHECKED)
class CheckedCredentials(Credentials):
    """The content credentials."""

    code: Code | None = None
    claims: Annotated[tuple[CheckedClaim, ...], Field(max_length=MOST_CLAIMS)] = ()
    left_out: Annotated[int, Field(ge=0, lt=2**31)] = 0
    list_sha256: Digest | None = None
    host: Line | None = None


@dataclass(frozen=True, config=_CHECKED)
class CheckedTrace(Trace):
    """One trace."""

    code: Code
    value: Line | None = None


@dataclass(frozen=True, config=_CHECKED)
class CheckedFingerprint(Fingerprint):
    """The marks."""

    pictures: Annotated[tuple[PictureMark, ...], Field(max_length=MOST_PICTURE_MARKS)] = ()
    sound: SoundMarks = ""


@dataclass(frozen=True, config=_CHECKED)
class CheckedOrigin(Origin):
    """What the media pass found out about where the file comes from."""

    credentials: CheckedCredentials | None = None
    traces: Annotated[tuple[CheckedTrace, ...], Field(max_length=MOST_TRACES)] | None = None
    fingerprint: CheckedFingerprint | None = None
