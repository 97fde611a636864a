"""The state of each detector: draft, quarantine, shadow, enabled, disabled.

Owns ``detectors.json`` in the back-end's state folder (the operator's decisions) and the admission reports beside it. Until the operator
decides, a bundled card's own ``state`` holds, and a third party's detector is a draft. Promises: a detector moves up one step at a time,
and out of ``draft`` only when this version passed the admission check. A damaged file never enables a detector: one whose decision cannot
be read is disabled until the operator decides again. May be imported by the back-end and the composition root.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

import structlog

from backend.catalog.cards import STATES
from backend.catalog.detectors import BUNDLED
from base_detector import Card
from shared import durable
from shared.errors import UserError
from shared.reading import RecordInvalid, read_json
from shared.vitals import State

log = structlog.get_logger()

#: In ``detectors.json``: the state of every detector that is not named there. Written after damage only, as "disabled".
OTHERS: Final = "*"

#: What each state means, in the order a detector goes through them.
MEANINGS: Final = {
    "draft": "being written; runs only when named on the command line",
    "quarantine": "passed the admission check; runs only when named, so that a person can look at it",
    "shadow": "runs with every submission; its scores are recorded and not shown",
    "enabled": "offered to visitors",
    "disabled": "taken out; does not run",
}


class DetectorStates:
    """States below ``folder``; read again on every call, so that a running portal follows the operator."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._logged: str | None = None

    def of(self, card: Card) -> str:
        """The state of ``card``: the operator's, else the card's own; disabled when the operator's cannot be read."""
        decided, _ = self._read()
        return decided.get(card.id, decided.get(OTHERS, _own_state(card)))

    def move(self, card: Card, to: str) -> str:
        """Put ``card`` into state ``to``; returns the state it had. UserError says what is missing."""
        now = self.of(card)
        if refusal := self._refusal(card, now, to):
            raise refusal
        self._folder.mkdir(parents=True, exist_ok=True)
        decided, damage = self._read()
        if damage:
            log.warning("detector_states_set_aside", file=durable.set_aside(self._path).name)
        durable.replace_json(self._path, {**decided, card.id: to})
        return now

    def open_to(self, card: Card) -> tuple[State, ...]:
        """The states into which ``move`` would put ``card`` now, without the one it is in."""
        now = self.of(card)
        return tuple(to for to in get_args(State) if to != now and self._refusal(card, now, to) is None)

    def _refusal(self, card: Card, now: str, to: str) -> UserError | None:
        if to not in STATES:
            return UserError("bad_state", f"There is no state {to!r}. States: {', '.join(STATES)}.")
        steps = STATES.index(to) - STATES.index(now)
        if to != "disabled" and now != "disabled" and steps > 1:
            return UserError(
                "bad_state",
                f"{card.id} is in state {now}: its next one is {STATES[STATES.index(now) + 1]}. A detector moves up one step at a time.",
            )
        if to in ("quarantine", "shadow", "enabled") and _own_state(card) != "enabled" and not self.admitted(card):
            return UserError(
                "not_admitted",
                f"{card.id} {card.version} has not passed the admission check. Run 'deepfake-o-meter detectors check "
                f"{card.folder}' and correct what it names.",
            )
        return None

    def keep_report(self, card: Card, report: dict[str, Any]) -> Path:
        """Store the report of an admission check; its path."""
        path = self._report(card)
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.replace_json(path, report)
        return path

    def admitted(self, card: Card) -> bool:
        """Whether this version of ``card`` passed."""
        try:
            report = read_json(self._report(card))
        except (FileNotFoundError, RecordInvalid):
            return False
        return isinstance(report, dict) and report.get("passed") is True and report.get("version") == card.version

    def record_shadow(self, card: Card, entry: dict[str, Any]) -> None:
        """Append a shadow detector's result; without the submission's id, so that nothing has to be deleted with it."""
        path = self._folder / "shadow" / f"{card.id}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.append_line(path, json.dumps(entry, allow_nan=False))

    @property
    def _path(self) -> Path:
        return self._folder / "detectors.json"

    def _report(self, card: Card) -> Path:
        return self._folder / "admission" / f"{card.id}.json"

    def _read(self) -> tuple[dict[str, str], str | None]:
        """The decisions, and what is wrong with the file. A lost decision counts as ``disabled``: it may have been just that, and the
        card's own state would offer the detector to visitors again.
        """
        try:
            found = read_json(self._path)
        except FileNotFoundError:
            return {}, None
        except RecordInvalid as error:
            return self._in_doubt(error.reason, {OTHERS: "disabled"})
        if not isinstance(found, dict):
            return self._in_doubt("not an object", {OTHERS: "disabled"})
        decided = {name: state if state in STATES else "disabled" for name, state in found.items()}
        lost = sorted(name for name, state in found.items() if state not in STATES)
        return self._in_doubt(f"not a state: {', '.join(lost)}", decided) if lost else (decided, None)

    def _in_doubt(self, reason: str, decided: Mapping[str, str]) -> tuple[dict[str, str], str]:
        if reason != self._logged:  # asked several times a minute
            self._logged = reason
            log.error("detector_states_damaged", file=str(self._path), reason=reason, disabled=sorted(decided))
        return dict(decided), reason


def _own_state(card: Card) -> str:
    """The state in the card. A third party's counts as ``draft``: it could otherwise enable itself without the admission check."""
    bundled = card.folder.resolve().parent == BUNDLED
    return card.state if bundled or card.state == "disabled" else "draft"
