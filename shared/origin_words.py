"""What is said of where a file comes from, for page, report and terminal: content credentials, traces, and what they can and cannot show.

Owns the sentences. Promises: a signer is never called trusted without a list; nothing that was found shows that a file is genuine, and
nothing that is missing shows that it is not. In the language that is spoken (``shared.languages``): the visitor's on pages, English in
reports and on the terminal. What strangers wrote stays as it is. Pure functions. May be imported by all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from shared.languages import ENGLISH, _, day, language, marked, pgettext
from shared.origin import Action, Claim, Credentials, Trace
from shared.results import Result
from shared.words import joined

#: What the traces cannot show, said above them.
OF_TRACES: Final = marked(
    "Read from the file itself. Anyone can write these entries, and messengers and social networks remove or replace them. They can give "
    "a hint where to ask; they do not show that a file is genuine, or that it is not."
)
#: Sources of IPTC's list (https://cv.iptc.org/newscodes/digitalsourcetype/) that mean that a trained model made all or a part of it.
MADE_WITH_AI: Final = frozenset(
    {"trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "compositeSynthetic"}
)
SOURCES: Final[dict[str, str]] = {
    "trainedAlgorithmicMedia": "made with AI (by a trained model)",
    "compositeWithTrainedAlgorithmicMedia": "put together, with parts made or changed with AI",
    "compositeSynthetic": "put together, with synthetic parts",
    "algorithmicMedia": "made by a program, not by a trained model",
    "digitalCapture": "recorded by a camera or microphone",
    "computationalCapture": "recorded by a camera that computes its pictures from several",
    "composite": "put together from several files",
    "compositeCapture": "put together from several recordings",
    "humanEdits": "edited by a person",
    "minorHumanEdits": "edited a little by a person",
    "algorithmicallyEnhanced": "improved by a program",
    "digitalCreation": "made by a person with a program",
    "digitalArt": "made by a person with a program",
    "screenCapture": "a recording of a screen",
    "virtualRecording": "a recording of a virtual scene",
    "negativeFilm": "digitised from film",
    "positiveFilm": "digitised from film",
    "print": "digitised from a print",
}
marked(SOURCES)
_ACTIONS: Final[dict[str, str]] = {
    "c2pa.created": "created",
    "c2pa.opened": "opened",
    "c2pa.placed": "another file placed in it",
    "c2pa.removed": "a file taken out of it",
    "c2pa.edited": "edited",
    "c2pa.edited.metadata": "metadata edited",
    "c2pa.cropped": "cropped",
    "c2pa.trimmed": "trimmed",
    "c2pa.resized": "resized",
    "c2pa.resized.proportional": "resized",
    "c2pa.color_adjustments": "colours adjusted",
    "c2pa.filtered": "a filter applied",
    "c2pa.adjustedColor": "colours adjusted",
    "c2pa.drawing": "drawn on",
    "c2pa.orientation": "turned",
    "c2pa.enhanced": "enhanced",
    "c2pa.dubbed": "dubbed",
    "c2pa.translated": "translated",
    "c2pa.addedText": "text added",
    "c2pa.deleted": "parts deleted",
    "c2pa.redacted": "claims taken out",
    "c2pa.transcoded": "encoded again",
    "c2pa.converted": "converted",
    "c2pa.repackaged": "packed anew",
    "c2pa.published": "published",
    "c2pa.watermarked": "marked invisibly",
    "c2pa.unknown": "a step that is not named",
}
marked(_ACTIONS)
_CHANGED: Final = marked(
    "The file is not what was signed: its content was changed afterwards. Saving it again with another program does that, and so does "
    "a manipulation. Which it was, and what was changed, cannot be told from this."
)
_PART: Final = marked(
    "A part of the credentials was changed after they were signed, so what they claim cannot be relied on."
)
_SIGNATURE: Final = marked(
    "The signature does not fit the credentials: they were changed or forged. Nothing in them can be relied on, "
    "not even the signer's name."
)
#: Codes of the C2PA specification (2.2, 15.2.2) -> what they mean; the first one that is found of each sentence is said once.
_FAILURES: Final[dict[str, str]] = {
    "claimSignature.mismatch": _SIGNATURE,
    "claimSignature.missing": "The credentials are not signed, so anyone may have written them.",
    "claim.missing": _PART,
    "claim.malformed": _PART,
    "assertion.dataHash.mismatch": _CHANGED,
    "assertion.bmffHash.mismatch": _CHANGED,
    "assertion.boxesHash.mismatch": _CHANGED,
    "assertion.collectionHash.mismatch": _CHANGED,
    "assertion.hashedURI.mismatch": _PART,
    "assertion.missing": _PART,
    "hashedURI.mismatch": _PART,
    "hashedURI.missing": _PART,
    "signingCredential.expired": (
        "The signer's certificate was not valid when this was checked, and no time stamp shows that it was when the file was signed. So "
        "who signed is not certain; that alone does not show that anything was changed."
    ),
    "claimSignature.outsideValidity": (
        "The file was signed at a time at which the signer's certificate was not valid, so who signed is not certain."
    ),
    "signingCredential.revoked": "The signer's certificate was revoked, so who signed is not certain.",
    "signingCredential.invalid": "The signer's certificate does not meet the rules of the C2PA, so who signed is not certain.",
    "ingredient.manifest.mismatch": "The credentials of a file that went into this one were changed.",
    "timeStamp.mismatch": "The time stamp does not fit the signature, so when it was signed is not certain.",
}
marked(_FAILURES)
#: The signer is not on the list, or there is none.
_UNLISTED: Final = "signingCredential.untrusted"
_UNREADABLE: Final[dict[str, str]] = {
    "damaged": (
        "There are signs of content credentials in this file, but they are damaged or incomplete and cannot be read. A file that was cut, "
        "or saved by a program that does not know them, looks like this, and so does one that was tampered with."
    ),
    "reader_failed": (
        "The content credentials could not be read: the program that reads them failed on this file."
        " The scores do not depend on it."
    ),
    "timed_out": "The content credentials could not be read: it took too long. The scores do not depend on it.",
    "no_reader": "The content credentials could not be read: the program that reads them did not start. The scores do not depend on it.",
    "not_supported": "There are signs of content credentials in this file, which this site cannot read in files of this format.",
    "bad_list": "The content credentials were not read: this site's list of signers is damaged. The scores do not depend on it.",
}
marked(_UNREADABLE)
#: What is said of an unbroken signature, with and without a name of the signer.
_SIGNED: Final[dict[bool, str]] = marked(
    {
        True: (
            "The file carries content credentials (C2PA) with the signature of {who}, and neither they nor the file were changed since."
        ),
        False: (
            "The file carries content credentials (C2PA) with the signature of somebody who is not named, and neither they nor the file "
            "were changed since."
        ),
    }
)
#: What is known of the signer, by state, with and without a name.
_SIGNER: Final[dict[tuple[str, bool], str]] = marked(
    {
        ("intact", True): (
            "The signature is intact; the signer was not checked against a list, and anyone can make a certificate with any name in it. "
            "So it is not certain that {who} signed."
        ),
        ("intact", False): (
            "The signature is intact; the signer was not checked against a list, and anyone can make a certificate with any name in it. "
            "So it is not certain that somebody who is not named signed."
        ),
        ("unlisted", True): (
            "The signer is not on this site's list of signers, and anyone can make a certificate with any name in it. So it is not "
            "certain that {who} signed."
        ),
        ("unlisted", False): (
            "The signer is not on this site's list of signers, and anyone can make a certificate with any name in it. So it is not "
            "certain that somebody who is not named signed."
        ),
    }
)
_LISTED: Final = marked(
    "The signer is on this site's list of signers. That says who vouches for the file, not that what it shows is true."
)

_LABELS: Final[dict[str, str]] = {
    "brand": "Kind of container",
    "brands": "Compatible with",
    "encoder": "Encoder",
    "settings": "Settings of the encoder",
    "software": "Program",
    "make": "Maker of the device",
    "model": "Model of the device",
    "lens": "Lens",
    "android": "Version of Android",
    "created": "Created",
    "taken": "Taken",
    "digitized": "Digitised",
    "modified": "Changed",
    "handler": "Names of the tracks",
    "vendor": "Mark of the encoder's maker",
    "streams": "Tracks",
    "codec": "Codec",
    "edits": "Entries of the edit list",
    "recipe": "What a picture generator was asked",
    "source_type": "Source, as the metadata says",
    "credit": "Credit",
}
marked(_LABELS)
_FFMPEG: Final = re.compile(r"^(Lavf|Lavc|x26[45])")


class Row(NamedTuple):
    """A label and what stands for it. ``theirs``: strangers wrote all of it, in a language of their own."""

    label: str
    values: tuple[str, ...]
    theirs: bool


@dataclass(frozen=True)
class Signed:
    """One manifest in words."""

    heading: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Provenance:
    """All that is said. ``lead``: the one sentence, ``sentences``: what it can and cannot show, ``claims``: each manifest.

    ``hints``: sentences on traces, ``of_traces``: what these cannot show. ``warns``: something is there that a reader should not miss.
    """

    lead: str
    sentences: tuple[str, ...]
    claims: tuple[Signed, ...]
    hints: tuple[str, ...]
    traces: tuple[Row, ...]
    warns: bool
    of_traces: str


def provenance_of(result: Result) -> Provenance | None:
    """What is said of a result; None where nothing was looked for (a result of an earlier version)."""
    origin = result.origin
    if origin is None or origin.credentials is None:
        return None
    traces = origin.traces or ()
    lead, sentences = _of(origin.credentials)
    hints = tuple(_hints(traces))
    ai = any(source in MADE_WITH_AI for claim in origin.credentials.claims for source in claim.sources)
    return Provenance(
        lead=lead,
        sentences=tuple(sentences),
        claims=tuple(
            _signed(claim, active=not at, state=origin.credentials.state)
            for at, claim in enumerate(origin.credentials.claims)
        ),
        hints=hints,
        traces=tuple(_rows(traces)),
        warns=ai or origin.credentials.state in ("invalid", "unreadable") or bool(_said_to_be_ai(traces)),
        of_traces=_(OF_TRACES),
    )


def provenance_lines(result: Result) -> list[str]:
    """The provenance as plain lines, for reports on paper and the terminal; none where nothing was looked for."""
    said = provenance_of(result)
    if said is None:
        return []
    lines = [said.lead, *said.sentences]
    for claim in said.claims:
        lines += [f"{claim.heading}: " + "; ".join(map(_line, claim.rows))]
    lines += said.hints
    if said.traces:
        lines += [said.of_traces, *map(_line, said.traces)]
    return lines


def _line(row: Row) -> str:
    return f"{row.label}: {', '.join(row.values)}"


# --------------------------------------------------------------------------- content credentials


def _of(found: Credentials) -> tuple[str, list[str]]:
    if found.state == "none":
        return (
            _("No content credentials (C2PA) were found in this file."),
            [
                _(
                    "That says nothing: most cameras and programs write none, and most web sites and messengers remove them."
                )
            ],
        )
    if found.state == "remote":
        return (
            _(
                "The file has no content credentials in it, but the address of some on the web ({host}).",
                host=found.host,
            )
            if found.host
            else _("The file has no content credentials in it, but the address of some on the web."),
            [_("This site does not fetch them: nothing is known of what they say.")],
        )
    if found.state == "unreadable" or not found.claims:  # a worker that was taken over may leave them out
        return _(_UNREADABLE.get(found.code or "", _UNREADABLE["reader_failed"])), []
    active = found.claims[0]
    sentences = list(_of_sources(found))
    if found.state == "invalid":
        lead = _("The file carries content credentials (C2PA), and they fail their checks.")
        return lead, [*_of_failures(active), *sentences]
    who = _who(active)
    named = who is not None
    if active.named_actor:
        sentences.append(_("They also name a person or organisation as the author, which is not checked here."))
    if any(_failed(claim) for claim in found.claims[1:]):
        sentences.append(_("Credentials of a file that went into this one fail their checks; see below."))
    signer = _(_LISTED) if found.state == "listed" else _(_SIGNER[found.state, named], who=who)
    return _(_SIGNED[named], who=who), [signer, *sentences]


def _of_failures(claim: Claim) -> list[str]:
    """What the failed checks of a claim mean, each sentence once."""
    told = [_(sentence) for sentence in dict.fromkeys(_FAILURES[code] for code in claim.failures if code in _FAILURES)]
    other = [code for code in _failed(claim) if code not in _FAILURES]
    if other:
        told.append(_("A check failed ({codes}), so what they claim cannot be relied on.", codes=", ".join(other)))
    return told or [_("A check failed, so what they claim cannot be relied on.")]


def _failed(claim: Claim) -> list[str]:
    """Checks of a file's credentials that failed. That a signer is on no list is none: nothing was changed."""
    return [code for code in claim.failures if code != _UNLISTED]


def _who(claim: Claim) -> str | None:
    """The signer as the certificate names it; None where it has no name."""
    names = list(dict.fromkeys(name for name in (claim.signer, claim.organisation) if name))
    if len(names) == 2:
        return _("“{signer}” of “{organisation}”", signer=names[0], organisation=names[1])
    return _("“{name}”", name=names[0]) if names else None


def _sources(codes: Iterable[str]) -> list[str]:
    """Sources in words; one that we do not know as it is written."""
    return [_(SOURCES[code]) if code in SOURCES else code for code in dict.fromkeys(codes)]


def _of_sources(found: Credentials) -> Iterator[str]:
    """Whether the claims say that AI made the file, or went into it."""
    own = [source for source in found.claims[0].sources if source in MADE_WITH_AI]
    others = [source for claim in found.claims[1:] for source in claim.sources if source in MADE_WITH_AI]
    if own:
        yield _("They claim that the file was {made}.", made=joined(_sources(own)))
    elif others:
        yield _("They claim that a file which went into this one was {made}.", made=joined(_sources(others)))
    elif found.left_out:
        yield _(
            "There are more credentials of files that went into this one than are read here ({count} more). Those that were read "
            "do not claim that AI was used; that does not show that none was.",
            count=found.left_out,
        )
    else:
        yield _("They do not claim that AI was used; that does not show that none was.")


def _signed(claim: Claim, *, active: bool, state: str) -> Signed:
    heading = _("The credentials of this file") if active else _("Credentials of a file that went into it")
    rows: list[Row] = []

    def row(label: str, value: str | None, *, theirs: bool = False) -> None:
        if value:
            rows.append(Row(label, (value,), theirs))

    row(_("Title"), claim.title, theirs=True)
    row(_("Made with"), claim.generator, theirs=True)
    row(_("Signed in the name of"), _who(claim) or _("somebody who is not named"))
    row(_("Certificate from"), claim.issuer, theirs=True)
    row(_("Certificate valid"), _span(claim))
    row(_("Signed at, by its time stamp"), _day(claim.signed))
    row(
        pgettext("content credentials", "Source"),
        ", ".join(_sources(claim.sources)),
        theirs=not SOURCES.keys() & set(claim.sources),
    )
    row(_("Steps"), "; ".join(map(_step, claim.actions)))
    parts = [item.title or _("a file without a name") for item in claim.ingredients]
    row(_("Made from"), "; ".join(parts), theirs=all(item.title for item in claim.ingredients))
    failures = claim.failures if active and state == "invalid" else _failed(claim)
    row(_("Checks that failed"), ", ".join(failures), theirs=True)
    return Signed(heading, tuple(rows))


def _step(action: Action) -> str:
    step = _(_ACTIONS[action.action]) if action.action in _ACTIONS else action.action
    software, when = action.software, _day(action.when)
    if software and when:
        return _("{step} with {software} {day}", step=step, software=software, day=when)
    if software:
        return _("{step} with {software}", step=step, software=software)
    return _("{step} {day}", step=step, day=when) if when else step


def _span(claim: Claim) -> str | None:
    first, last = _day(claim.valid_from), _day(claim.valid_until)
    if first and last:
        return _("{first} to {last}", first=first, last=last)
    if first:
        return _("{first} to an unknown day", first=first)
    return _("an unknown day to {last}", last=last) if last else None


def _day(moment: str | None) -> str | None:
    """The day of a moment as certificates write it, in English as it is there; all of it where it is written otherwise."""
    if moment is None:
        return None
    found = re.match(r"\d{4}-\d\d-\d\d", moment)
    if found is None:
        return moment
    try:
        return found[0] if language().code == ENGLISH else day(datetime.fromisoformat(found[0]))
    except ValueError:  # the 31st of February: strangers write this
        return found[0]


# --------------------------------------------------------------------------- traces


def _said_to_be_ai(traces: tuple[Trace, ...]) -> list[str]:
    return [trace.value for trace in traces if trace.code == "source_type" and trace.value in MADE_WITH_AI]


def _hints(traces: tuple[Trace, ...]) -> Iterator[str]:
    """Sentences on what a reporter would ask about."""
    codes = {trace.code for trace in traces}
    if ai := _said_to_be_ai(traces):
        yield _("Its metadata says that it was {made}. Nothing signs that.", made=joined(_sources(ai)))
    if "recipe" in codes:
        yield _(
            "It holds the request to a program that makes pictures with AI, as such programs write it into their files."
        )
    if any(trace.code in ("encoder", "settings", "software") and _FFMPEG.match(trace.value or "") for trace in traces):
        yield _(
            "It was encoded with FFmpeg or x264, as editing programs and web sites do and cameras seldom do. So it is probably not the "
            "first recording. That is usual, and says nothing of a manipulation."
        )
    if "thumbnail_differs" in codes:
        yield _(
            "The small preview that is stored in the file shows something else than the picture. So the picture was changed by a program "
            "that did not renew the preview; a crop does that, too."
        )
    if "edits" in codes:
        yield _(
            "Its edit list has several entries: when it is played, parts are left out or moved. Trimming in a phone does that."
        )
    if "place" in codes:
        yield _("It has the coordinates of a place. They are not shown here, and not kept.")


def _rows(traces: tuple[Trace, ...]) -> Iterator[Row]:
    for code, label in _LABELS.items():
        values = list(dict.fromkeys(trace.value for trace in traces if trace.code == code and trace.value))
        if values and code == "source_type":
            yield Row(_(label), tuple(dict.fromkeys(_sources(values))), theirs=not SOURCES.keys() & set(values))
        elif values:
            yield Row(_(label), tuple(values), theirs=True)
