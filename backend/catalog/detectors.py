"""The catalog: every detector's card, whether it can run here, and how long it typically takes.

Owns the list of detectors. The dispatcher publishes it as ``results/catalog.json``; the portal knows detectors from there
only. May be imported by the composition root, the dispatcher and the pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from backend.catalog.durations import Durations
from base_detector import Card, ContractError
from shared.clock import utc_now
from shared.errors import UserError
from shared.records import Catalog, CatalogEntry

log = structlog.get_logger()

#: card -> code of shared.errors that says why it cannot run, or None
Availability = Callable[[Card], str | None]


class DetectorCatalog:
    """The cards below ``folder`` (``<folder>/<name>/detector.toml``), read once. A wrong one is logged and left out."""

    def __init__(
        self, folder: Path, *, availability: Availability, state: Callable[[Card], str] = lambda card: card.state
    ) -> None:
        self._state = state
        self._cards = {card.id: card for card in read_cards(folder, on_bad=_left_out)}
        self._availability = availability

    def __iter__(self) -> Iterator[Card]:
        return iter(self._cards.values())

    def card(self, detector: str) -> Card:
        """The card of ``detector``; UserError(unknown_detector) names the known ones."""
        return find_card(self._cards.values(), detector)

    def state(self, card: Card) -> str:
        """One of ``base_detector.STATES``; only ``enabled`` ones are offered."""
        return self._state(card)

    def unavailable(self, card: Card) -> str | None:
        """Why ``card`` cannot run here (a code), None when it can."""
        return self._availability(card)

    def record(self, *, durations: Durations, runner: str, queued: int, working: int) -> Catalog:
        """The catalog as the portal reads it."""
        entries = []
        for card in self:
            if self.state(card) != "enabled":
                continue
            typical = durations.typical(card.id, mode="standard")
            entries.append(
                CatalogEntry(
                    id=card.id,
                    title=card.title,
                    version=card.version,
                    summary=card.summary,
                    paper=card.paper,
                    year=card.year,
                    licence=card.licence,
                    threshold=card.threshold,
                    aggregation=card.aggregation,
                    sees=card.sees,
                    limits=card.limits,
                    weights=tuple(vars(item) for item in card.weights),
                    unavailable=self.unavailable(card),
                    typical_seconds=typical.seconds if typical else None,
                    measured_jobs=typical.jobs if typical else 0,
                )
            )
        return Catalog(updated=utc_now(), runner=runner, queued=queued, working=working, detectors=tuple(entries))


def model_card(card: Card) -> str | None:
    """The detector's README.md, None when it has none."""
    try:
        return (card.folder / "README.md").read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def read_cards(folder: Path, *, on_bad: Callable[[Path, UserError], None] | None = None) -> list[Card]:
    """The cards of all detectors below ``folder``, by name of their folders.

    A wrong one raises UserError(bad_card), or goes to ``on_bad`` while the others are returned: one stranger's mistake must not
    take the rest away.
    """
    cards = []
    for path in sorted(folder.glob("*/detector.toml")):
        try:
            with card_errors():
                cards.append(Card.read(path.parent))
        except UserError as error:
            if on_bad is None:
                raise
            on_bad(path, error)
    return cards


def find_card(cards: Iterable[Card], detector: str) -> Card:
    """The card of ``detector`` among ``cards``; UserError(unknown_detector) names the known ones."""
    known = {card.id: card for card in cards}
    if detector not in known:
        raise UserError("unknown_detector", f"There is no detector {detector!r}. Known: {', '.join(known)}.")
    return known[detector]


@contextmanager
def card_errors() -> Iterator[None]:
    """Turn a mistake in a card, or a card that cannot be read, into UserError(bad_card)."""
    try:
        yield
    except (ContractError, OSError, ValueError) as error:
        raise UserError("bad_card", str(error)) from None


def _left_out(path: Path, error: UserError) -> None:
    log.warning("detector_left_out", card=str(path), reason=error.sentence)
