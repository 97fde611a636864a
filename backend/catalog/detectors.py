"""The catalog: every detector's card, whether it can run here, and how long it typically takes.

Owns the list of detectors. The dispatcher publishes it as ``results/catalog.json``, which is all the portal knows of detectors.
May be imported by the composition root, the dispatcher and the pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from backend.catalog.cards import read_card
from backend.catalog.durations import Durations
from backend.catalog.recommended import Choice, read_recommended
from base_detector import Card, ContractError
from shared.clock import utc_now
from shared.errors import UserError
from shared.records import Catalog, CatalogEntry, Counted, RunnerKind
from shared.stability import is_judged_again, seconds_for

log = structlog.get_logger()

#: Detectors below this folder are part of the platform; others are third parties' and run in containers only.
BUNDLED: Final = Path(__file__).resolve().parents[2] / "detectors"

#: card -> code of shared.errors that says why it cannot run, or None
Availability = Callable[[Card], str | None]

#: card -> how its worker runs here, None when it cannot
Way = Callable[[Card], RunnerKind | None]


@dataclass(frozen=True)
class UnusableCard:
    """A card with a mistake; ``sentence`` says what is wrong and what to do."""

    path: Path
    sentence: str

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.path.parent.name


@dataclass(frozen=True)
class Cards:
    """The cards of a folder by id, in the order of its sub-folders, and the cards with a mistake."""

    usable: dict[str, Card]
    unusable: tuple[UnusableCard, ...]

    def named(self, detector: str) -> Card:
        """The card of ``detector``; UserError: ``bad_card`` names the mistake, ``unknown_detector`` the known detectors."""
        if detector in self.usable:
            return self.usable[detector]
        for item in self.unusable:
            if item.name == detector:
                raise UserError("bad_card", item.sentence)
        known = ", ".join(self.usable)
        raise UserError("unknown_detector", f"There is no detector {detector!r}. Known: {known}.")


class DetectorCatalog:
    """The cards below ``folder`` (``<folder>/<name>/detector.toml``), read once; one with a mistake is logged and left out."""

    def __init__(
        self,
        folder: Path,
        *,
        availability: Availability,
        state: Callable[[Card], str] = lambda card: card.state,
        way: Way = lambda card: None,
        counted: Callable[[Card], Counted | None] = lambda card: None,
    ) -> None:
        self._state, self._way, self._counted = state, way, counted
        self._cards = find_cards(folder)
        self._choices = {choice.card: (place, choice) for place, choice in enumerate(_recommended(folder), 1)}
        for item in self._cards.unusable:
            log.warning("detector_left_out", card=str(item.path), reason=item.sentence)
        self._availability = availability

    def __iter__(self) -> Iterator[Card]:
        return iter(self._cards.usable.values())

    def card(self, detector: str) -> Card:
        """The card of ``detector``; UserError(unknown_detector, bad_card)."""
        return self._cards.named(detector)

    def title(self, detector: str) -> str:
        """The title of ``detector``; of one that is not known, its id."""
        card = self._cards.usable.get(detector)
        return card.title if card else detector

    def state(self, card: Card) -> str:
        """One of ``backend.catalog.cards.STATES``; only ``enabled`` ones are offered."""
        return self._state(card)

    def unavailable(self, card: Card) -> str | None:
        """Why ``card`` cannot run here (a code), None when it can."""
        return self._availability(card)

    def record(
        self,
        *,
        durations: Durations,
        runner: RunnerKind,
        queued: int,
        working: int,
        evicted: int = 0,
        links: tuple[str, ...] = (),
    ) -> Catalog:
        """The catalog as the portal reads it. ``runner``: how the media worker runs; ``evicted``: workers ended for their memory;
        ``links``: sites of whose pages clips are fetched."""
        entries = tuple(self._entry(card, durations) for card in self if self.state(card) == "enabled")
        beside = [durations.typical(step, mode="standard") for step in ("media", "report")]
        return Catalog(
            updated=utc_now(),
            runner=runner,
            queued=queued,
            working=working,
            evicted=evicted,
            overhead_seconds=sum(item.seconds for item in beside if item) if all(beside) else None,
            detectors=entries,
            links=links,
        )

    def _entry(self, card: Card, durations: Durations) -> CatalogEntry:
        typical = durations.typical(card.id, mode="standard")
        place, choice = self._choices.get(card.id, (None, None))
        return CatalogEntry(
            id=card.id,
            title=card.title,
            version=card.version,
            summary=card.summary,
            paper=card.paper,
            year=card.year,
            licence=card.licence,
            threshold=card.threshold,
            aggregation=card.aggregation,
            input=card.input,
            lossless_only=card.lossless_only,
            sees=card.sees,
            limits=card.limits,
            weights=tuple(vars(item) for item in card.weights),
            unavailable=self.unavailable(card),
            runner=self._way(card),
            typical_seconds=typical.seconds if typical else None,
            measured_jobs=typical.jobs if typical else 0,
            again_seconds=seconds_for(card),
            again_by_default=is_judged_again(card, "fast", mode="standard"),
            recommended=place,
            recommended_why=choice.why if choice else "",
            family=card.family,
            looks_for=card.looks_for,
            counted=self._counted(card),
        )


def _recommended(folder: Path) -> tuple[Choice, ...]:
    """The recommended detectors; a list with a mistake is logged, and there are none."""
    try:
        return read_recommended(folder)
    except UserError as error:
        log.warning("recommended_left_out", reason=error.sentence)
        return ()


def model_card(card: Card) -> str | None:
    """The detector's README.md, None when it has none."""
    try:
        return (card.folder / "README.md").read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def read_cards(folder: Path) -> list[Card]:
    """The cards of all detectors below ``folder``; those with a mistake are left out."""
    return list(find_cards(folder).usable.values())


def find_cards(folder: Path) -> Cards:
    """Read ``<folder>/<name>/detector.toml`` of every detector. A mistake in one card does not hide the others."""
    usable: dict[str, Card] = {}
    unusable = []
    for path in sorted(folder.glob("*/detector.toml")):
        try:
            card = read_card(path.parent)
            if card.id in usable:
                where, first = f"{path.parent.name}/detector.toml", usable[card.id].folder.name
                raise ContractError(f"{where}: the id {card.id!r} is that of folder {first}: choose another")
            usable[card.id] = card
        except ContractError as error:
            unusable.append(UnusableCard(path, str(error)))
    return Cards(usable, tuple(unusable))


@contextmanager
def card_errors() -> Iterator[None]:
    """Turn a mistake in a card into UserError(bad_card)."""
    try:
        yield
    except ContractError as error:
        raise UserError("bad_card", str(error)) from None
