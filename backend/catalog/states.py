"""Where each detector stands on its way in: draft, quarantine, shadow, enabled, disabled.

Owns ``detectors.json`` in the back-end's state folder (the operator's decisions; a card's own ``state`` holds until one is made) and the
admission reports beside it. Promises: a detector moves up one step at a time, and out of ``draft`` only with a passed admission
check of this very version. May be imported by the back-end and the composition root.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from base_detector import STATES, Card
from shared import durable
from shared.errors import UserError

#: what each state means, in the order a detector goes through them
MEANINGS: Final = {
    "draft": "being written; runs only when named on the command line",
    "quarantine": "passed the admission check; runs only when named, to be looked at by a person",
    "shadow": "runs with every submission, its scores are recorded and shown to nobody",
    "enabled": "offered to visitors",
    "disabled": "taken out; runs for nobody",
}


class DetectorStates:
    """States below ``folder``; read anew on every question, so that a running portal follows the operator."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, card: Card) -> str:
        """The state of ``card``: the operator's, else the card's own."""
        return str(self._read().get(card.id, card.state))

    def move(self, card: Card, to: str) -> str:
        """Put ``card`` into state ``to``; the state it had. UserError says what is missing for that."""
        now = self.of(card)
        if to not in STATES:
            raise UserError("bad_state", f"There is no state {to!r}. States: {', '.join(STATES)}.")
        steps = STATES.index(to) - STATES.index(now)
        if to != "disabled" and now != "disabled" and steps > 1:
            raise UserError(
                "bad_state",
                f"{card.id} is in state {now}: its next one is {STATES[STATES.index(now) + 1]}. A detector moves up one step at a time.",
            )
        if to in ("quarantine", "shadow", "enabled") and card.state != "enabled" and not self.admitted(card):
            raise UserError(
                "not_admitted",
                f"{card.id} {card.version} has not passed the admission check. Run 'deepfake-o-meter detectors check "
                f"{card.folder}' and mend what it names.",
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        durable.replace_json(self._path, self._read() | {card.id: to})
        return now

    def keep_report(self, card: Card, report: dict[str, Any]) -> Path:
        """Store the report of an admission check; its path."""
        path = self._report(card)
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.replace_json(path, report)
        return path

    def admitted(self, card: Card) -> bool:
        """Whether this version of ``card`` passed."""
        try:
            report = json.loads(self._report(card).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return False
        return bool(report.get("passed")) and report.get("version") == card.version

    def record_shadow(self, card: Card, entry: dict[str, Any]) -> None:
        """Append what a shadow detector said; no id of the submission, so that nothing has to be deleted with it."""
        path = self._folder / "shadow" / f"{card.id}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, allow_nan=False) + "\n")

    @property
    def _path(self) -> Path:
        return self._folder / "detectors.json"

    def _report(self, card: Card) -> Path:
        return self._folder / "admission" / f"{card.id}.json"

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return {name: state for name, state in found.items() if state in STATES}
