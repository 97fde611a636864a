"""A detector's card as the platform reads it: what every key must be, in words and as a check.

The contract (``base_detector.Card``) checks what a judgement on its own needs: that the keys are there and have their types. The platform
shows the texts of strangers on terminals and pages, keeps parameters in its results, installs files by name and counts on every number:
this module asks for all of it, and names all mistakes of a card at once. docs/detector.md has the same words.
May be imported by all of the back-end and by ``docker/``; imports the contract and the vocabulary of evidence only.
"""

from __future__ import annotations

import difflib
import inspect
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from backend.media.sampling import SAMPLING
from base_detector import UNITS, Card, ContractError, WeightsFile
from shared.evidence import CONDITIONS_WITH_LIMITS, FAMILIES, KINDS

#: The states of a detector (docs/admission.md); the card's own counts until the operator decides.
STATES: Final = ("draft", "quarantine", "shadow", "enabled", "disabled")
#: How scores become one number (docs/strategies.md). ``own``: the detector's ``judge`` returns it.
AGGREGATIONS: Final = ("mean", "max_of_persons", "max_of_persons_of_shots", "deepware", "own")
#: Those that need no faces.
WITHOUT_FACES: Final = ("mean", "own")
#: Keys of the table ``[resources]`` in ``detector.toml``; on an image's label they are beside the others.
RESOURCES: Final = ("memory_mb", "seconds_per_face", "batch")
#: Control characters of a terminal, and characters that a file cannot hold. Tabs and line ends are fine.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
#: How deep lists and tables of ``parameters`` may be.
_MOST_DEPTH: Final = 8

#: What a value must be in words, and whether one is that, as TOML or JSON has it.
Rule = tuple[str, Callable[[Any], bool]]


def _text(form: str, words: str) -> Rule:
    return words, lambda value: isinstance(value, str) and re.fullmatch(form, value) is not None


def _texts(form: str, words: str) -> Rule:
    _, fits = _text(form, words)
    return words, lambda value: isinstance(value, list) and all(map(fits, value))


def _number(kind: type, low: float, high: float) -> Rule:
    """From ``low`` to ``high``, both included; true is not a number, nor is NaN."""
    words = f"a {'whole ' * (kind is int)}number from {low:,} to {high:,}, without quotes"
    return words, lambda value: type(value) in (int, kind) and low <= value <= high


def _one_of(choices: tuple[str, ...]) -> Rule:
    return f"one of {', '.join(choices)}", choices.__contains__


def _list_of(choices: tuple[str, ...]) -> Rule:
    words = f"a list of {', '.join(choices)}, each once"
    return words, lambda value: isinstance(value, list) and len(set(map(str, value)) & set(choices)) == len(value)


def _limits_of(conditions: tuple[str, ...]) -> Rule:
    """A table from conditions of a file to the least value that the detector can judge."""
    return (
        f"a table of numbers above 0 for {', '.join(conditions)}",
        lambda value: (
            isinstance(value, dict)
            and all(key in conditions and type(each) in (int, float) and 0 < each < 1e9 for key, each in value.items())
        ),
    )


def _of(kind: type, words: str) -> Rule:
    return words, lambda value: isinstance(value, kind)


_ADDRESS: Final = r"https?://[^\s/]\S*"
_NOT_EMPTY: Final = _text(r"(?s).*\S.*", "a text that is not empty")
_LIST: Final = _texts(r"(?s).*\S.*", 'a list of texts: ["one", "two"]')
_TRUTH: Final = _of(bool, "true or false, without quotes")

#: The rules of ``WeightsFile`` and of ``Card``, in the order of their members.
RULES: Final[Mapping[type, Mapping[str, Rule]]] = {
    WeightsFile: {
        "file": _text(r"(?a)\w[\w.+-]*(/\w[\w.+-]*)*", "a file name of letters, digits and _ . + -"),
        "url": _text(_ADDRESS, "an address that begins with https:// or http://"),
        "licence": _NOT_EMPTY,
        "sha256": _text(r"([0-9a-f]{64})?", "the 64 small hex digits that sha256sum prints"),
        "bytes": _number(int, 0, 10**13),
        "member": _text(r".*", "a path in the archive"),
        "alternatives": _texts(_ADDRESS, 'a list of addresses: ["https://..."]'),
        "manual": _TRUTH,
        "optional": _TRUTH,
        "consent": _TRUTH,
    },
    Card: {
        "id": _text(r"[a-z][a-z0-9_]{1,40}", "a name like my_detector: 2 to 41 of a-z, 0-9 and _, a letter first"),
        "version": _text(r"(?a)\w[\w.+-]{0,59}", 'a text like "1.0" of letters, digits and . + - _'),
        "title": _NOT_EMPTY,
        "summary": _NOT_EMPTY,
        "paper": _text(r"(?s).*\S.*", 'a text, "none" where there is none'),
        "year": _number(int, 1900, 2100),
        "licence": _of(str, "a text"),
        "input": _one_of(tuple(UNITS)),
        "sampling": _text(SAMPLING, "'every_frame', 'fps:N' or 'frames:N'"),
        "margin": _number(float, 1, 100),
        "threshold": _number(float, 0, 1),
        "aggregation": _one_of(AGGREGATIONS),
        "window_s": _number(float, 0, 60),
        "hop_s": _number(float, 0, 60),
        "least_units": _number(int, 1, 1000),
        "lossless_only": _TRUTH,
        "weights": _of(list, "tables, one [[weights]] for each file"),
        "parameters": _of(dict, "a table of texts, finite numbers and lists"),
        "memory_mb": _number(int, 1, 10_000_000),
        "seconds_per_face": _number(float, 0, 3600),
        "batch": _number(int, 1, 65_536),
        "family": (f"one of {', '.join(FAMILIES)}, or left out", ("", *FAMILIES).__contains__),
        "looks_for": _list_of(tuple(KINDS)),
        "sees": _LIST,
        "limits": _LIST,
        "fails_below": _limits_of(CONDITIONS_WITH_LIMITS),
        "state": _one_of(STATES),
    },
}


class _CheckedCard(Card):
    """Reads as ``Card`` does, by all rules of the platform; what comes out is a plain ``Card``."""

    @classmethod
    def of(cls, table: dict[str, Any], *, folder: Path) -> Card:
        wrong = _mistakes_in(table)
        if not wrong:
            card = Card.of(table, folder=folder)
            wrong = [*_harmful_in(card)]
        if wrong:
            raise ContractError(f"{folder.name}/detector.toml: {'; '.join(wrong)}")
        return card


def read_card(folder: Path) -> Card:
    """The card of a detector's folder; ContractError names each mistake in it and its remedy."""
    return _CheckedCard.read(folder)


def card_of_label(untrusted: Any, *, folder: Path) -> Card:
    """The card that ``Card.as_json`` wrote on an image or a worker described; ContractError as above. It cannot enable itself."""
    if not isinstance(untrusted, dict):
        raise ContractError("the card on the image is not a JSON object: build the image again")
    table = {key: value for key, value in untrusted.items() if key != "contract"}
    return replace(_CheckedCard.of(table, folder=folder), state="draft")


def _mistakes_in(table: dict[str, Any]) -> list[str]:
    """Each key of a card that is missing, unknown, or not what it must be, with the remedy."""
    flat = dict(table)
    resources, weights = flat.pop("resources", {}), flat.get("weights", [])
    wrong = (
        _mistakes(flat, Card)
        + _mistakes(resources, Card, only=RESOURCES, where="[resources] ")
        + [*_of_its_input(flat)]
    )
    for number, entry in enumerate(weights if isinstance(weights, list) else [], 1):
        wrong += _mistakes(entry, WeightsFile, where=f"[[weights]] {number}: ")
    return wrong or [f"remove {key!r}, it is in [resources] too" for key in flat.keys() & resources.keys()]


def _mistakes(table: Any, record: type, *, only: tuple[str, ...] = (), where: str = "") -> list[str]:
    """Each mistake in one table of a card, which may have the keys of ``record``, or ``only`` some of them."""
    if not isinstance(table, dict):
        return [f"{where}must be a table of keys and values"]
    rules = {key: rule for key, rule in RULES[record].items() if not only or key in only}
    defaults = {key: item.default for key, item in inspect.signature(record).parameters.items()}
    missing = [key for key in rules if key not in table and defaults[key] is inspect.Parameter.empty]
    wrong = [f"{where}add {key!r}: {rules[key][0]}" for key in missing]
    for key, value in table.items():
        if key not in rules:
            near = difflib.get_close_matches(key, rules, 1)
            wrong.append(f"{where}remove or rename {reprlib.repr(key)}" + (f" (is it {near[0]!r}?)" if near else ""))
        elif not rules[key][1](value):
            wrong.append(f"{where}{key} must be {rules[key][0]}, not {reprlib.repr(value)}")
    return wrong


def _of_its_input(table: Mapping[str, Any]) -> Iterator[str]:
    """What a card must have, or must not say, because of what its detector judges."""
    rules, unit = RULES[Card], UNITS.get(str(table.get("input")))
    needed = {"face": ("sampling", "margin"), "sound": ("window_s", "hop_s")}.get(str(unit), ())
    yield from (f"add {key!r}: {rules[key][0]}" for key in needed if key not in table)
    if unit in ("picture", "sound") and table.get("aggregation") not in (*WITHOUT_FACES, None):
        yield f"aggregation must be one of {', '.join(WITHOUT_FACES)} for input {table['input']!r}: it judges no persons"


def _harmful_in(card: Card) -> Iterator[str]:
    """What is well-formed, but would do harm on a terminal, in a result or in a folder."""
    yield from _control_characters(vars(card))
    files = [item.file for item in card.weights]
    yield from (
        f"name each file once in [[weights]], not {name!r} again" for name in set(files) if files.count(name) > 1
    )
    for number, item in enumerate(card.weights, 1):
        yield from (f"[[weights]] {number}: {mistake}" for mistake in _control_characters(vars(item)))
    if not _is_plain(card.parameters, _MOST_DEPTH):
        yield "parameters must be a table of texts, finite numbers and lists, at most 8 deep and without control characters"


def _control_characters(members: dict[str, Any]) -> Iterator[str]:
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
