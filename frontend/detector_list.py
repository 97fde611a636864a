"""The list on /detectors: detectors in groups by what they are given, and what a visitor asked to see of them.

Promises: an answer to a form that is not one of its choices is no wish at all, so any address shows a list. For the front-end only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from frontend.wording import recommended_first
from shared.evidence import FAMILIES, KINDS
from shared.languages import _, digits, marked
from shared.records import CatalogEntry

#: The groups, in order, by ``input`` of a card.
INPUTS: Final = marked(
    {
        "face": "Faces, one by one",
        "video": "Faces over time",
        "picture": "Whole pictures",
        "sound": "Sound",
    }
)
#: Letters of a search that are read; names are shorter.
_MOST_LETTERS: Final = 100


@dataclass(frozen=True)
class Wish:
    """What is to be shown: ``input`` and ``kind`` are keys of INPUTS and KINDS or empty for all; ``words`` are looked for in names and
    summaries; ``ready``: only those that can be chosen here; ``open``: the id of a detector that is unfolded, whatever else is asked."""

    input: str = ""
    kind: str = ""
    words: str = ""
    ready: bool = False
    open: str = ""

    @classmethod
    def parse(cls, untrusted_form: Mapping[str, str]) -> Wish:
        """The wish of a query."""
        given, kind = untrusted_form.get("input", ""), untrusted_form.get("kind", "")
        return cls(
            input=given if given in INPUTS else "",
            kind=kind if kind in KINDS else "",
            words=untrusted_form.get("q", "")[:_MOST_LETTERS].strip(),
            ready=untrusted_form.get("ready") == "1",
            open=untrusted_form.get("open", ""),
        )

    @property
    def is_narrow(self) -> bool:
        """Whether it leaves anything out."""
        return bool(self.input or self.kind or self.words or self.ready)

    def fits(self, entry: CatalogEntry) -> bool:
        """Whether ``entry`` is to be shown."""
        text = f"{entry.id} {entry.title} {entry.summary} {evidence(entry)}".casefold()
        return entry.id == self.open or (
            self.input in ("", entry.input)
            and (not self.kind or self.kind in entry.looks_for)
            and (not self.ready or entry.unavailable is None)
            and all(word in text for word in self.words.casefold().split())
        )


@dataclass(frozen=True)
class Group:
    """Detectors that are given the same thing, those that can be chosen first, recommended ones before others."""

    title: str
    entries: tuple[CatalogEntry, ...]

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.entries)


def groups(entries: Sequence[CatalogEntry], wish: Wish) -> tuple[Group, ...]:
    """The detectors that fit ``wish``; a group without any is left out."""
    found = []
    for key, title in INPUTS.items():
        own = recommended_first(entry for entry in entries if entry.input == key and wish.fits(entry))
        if own:
            found.append(Group(_(title), tuple(sorted(own, key=lambda entry: entry.unavailable is not None))))
    return tuple(found)


def evidence(entry: CatalogEntry) -> str:
    """The kind of evidence that it is, in words; empty where its card does not say."""
    return _(FAMILIES[entry.family]) if entry.family in FAMILIES else ""


def looks_for(entry: CatalogEntry) -> str:
    """The kinds of manipulation that it looks for, in words; empty where its card does not say."""
    return ", ".join(_(KINDS[kind]) for kind in entry.looks_for if kind in KINDS)


def measured(entry: CatalogEntry) -> str:
    """What was counted of this very version, in a line, or that it was not; what its authors published is in its model card."""
    counted = entry.counted
    if counted is None:
        return _("Not measured here.")
    return _(
        "Measured here: it flags {fake_flagged} of {fake} manipulated and {real_flagged} of {real} real files.",
        fake_flagged=digits(counted.fake_flagged, ","),
        fake=digits(counted.fake, ","),
        real_flagged=digits(counted.real_flagged, ","),
        real=digits(counted.real, ","),
    )
