"""A detector's card as the platform reads it: what the contract asks of a card, and what only a platform has to ask.

The contract (``base_detector.Card``) checks keys, types, ranges and forms. The platform shows the texts of strangers on terminals and
pages, keeps parameters in its results and installs files by name: this module looks for what would harm it there.
May be imported by all of the back-end and by ``docker/``; imports the contract only.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from base_detector import Card, ContractError

#: Control characters of a terminal, and characters that a file cannot hold. Tabs and line ends are fine.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
#: How deep lists and tables of ``parameters`` may be.
_MOST_DEPTH: Final = 8


def read_card(folder: Path) -> Card:
    """The card of a detector's folder; ContractError names each mistake in it and its remedy."""
    return _checked(Card.read(folder))


def card_of_label(untrusted: Any, *, folder: Path) -> Card:
    """The card that ``Card.as_json`` wrote on an image or a worker described; ContractError as above. It cannot enable itself."""
    if not isinstance(untrusted, dict):
        raise ContractError("the card on the image is not a JSON object: build the image again")
    table = {key: value for key, value in untrusted.items() if key != "contract"}
    return replace(_checked(Card.of(table, folder=folder)), state="draft")


def _checked(card: Card) -> Card:
    wrong = [*_mistakes(vars(card))]
    files = [item.file for item in card.weights]
    wrong += [f"name each file once in [[weights]], not {name!r} again" for name in set(files) if files.count(name) > 1]
    for number, item in enumerate(card.weights, 1):
        wrong += [f"[[weights]] {number}: {mistake}" for mistake in _mistakes(vars(item))]
    if not _is_plain(card.parameters, _MOST_DEPTH):
        wrong.append(
            "parameters must be a table of texts, finite numbers and lists, at most 8 deep and without control characters"
        )
    if wrong:
        raise ContractError(f"{card.folder.name}/detector.toml: {'; '.join(wrong)}")
    return card


def _mistakes(members: dict[str, Any]) -> Iterator[str]:
    """Texts of a card or of one of its files that a terminal or a file cannot hold."""
    for key, value in members.items():
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and _CONTROL.search(text):
                yield f"{key} must be a text without control characters, not {reprlib.repr(text)}"


def _is_plain(value: Any, depth: int) -> bool:
    """Whether JSON can hold it: parameters are part of the results."""
    if isinstance(value, dict | list):
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        return depth > 0 and all(_is_plain(item, depth - 1) for item in inner)
    if isinstance(value, str):
        return not _CONTROL.search(value)
    return isinstance(value, bool) or (isinstance(value, int | float) and -(2**63) < value < 2**63)
