"""Made-up reference sets, cards and answers: every number is set here."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backend.catalog.detectors import read_cards
from backend.scores.references import Data, Detector, Reference, ReferenceSet
from base_detector import Card
from shared.results import Conditions, DetectorResult, Provenance

ROOT = Path(__file__).resolve().parents[2]
CARDS = {card.id: card for card in read_cards(ROOT / "detectors")}
LIKE = Conditions(
    kind="video", width=1280, height=720, codec="h264", duration_s=4.0, face_px=150.0, sharpness=900.0, bits_per_pixel=0.1
)  # fmt: skip


def card(name: str = "mesonet", **changes: Any) -> Card:
    """A card that we ship, in a folder without reference sets."""
    return replace(CARDS[name], folder=Path("/nonexistent"), **changes)


def ran(own: Card, **changes: Any) -> Provenance:
    """What made the scores of ``own``."""
    facts: dict[str, Any] = {"version": own.version, "contract": "1", "weights": {"a.h5": "ab" * 32}, "parameters": own.parameters,
                             "runner": "process", "image": None}  # fmt: skip
    return Provenance(**(facts | changes))


def reference_set(own: Card, reals: list[float], fakes: list[float], **changes: Any) -> ReferenceSet:
    """A set of these scores, each of a scene of its own."""
    rows = [
        Reference(fake=fake, fake_score=score, subset="", group=f"{fake}{number}", condition="untouched", like=LIKE)
        for fake, scores in ((False, reals), (True, fakes))
        for number, score in enumerate(scores)
    ]
    data = Data(name="clips", format="csv", sha256="cd" * 32, real=len(reals), fake=len(fakes), groups=len(rows),
                subsets={}, missing=(), missing_count=0, unlabelled=0)  # fmt: skip
    detector = Detector(id=own.id, title=own.title, unit=own.unit, threshold=own.threshold, strategy=own.aggregation,
                        paper=own.paper, provenance=ran(own))  # fmt: skip
    facts: dict[str, Any] = {"name": "made-up", "created": datetime(2026, 11, 1, tzinfo=UTC), "detector": detector, "data": data,
                             "mode": "standard", "rows": rows}  # fmt: skip
    return ReferenceSet(**(facts | changes))


def spread(count: int, low: float, high: float) -> list[float]:
    """``count`` scores from ``low`` to ``high``, evenly."""
    return [low + (high - low) * number / max(1, count - 1) for number in range(count)]


def answer(own: Card, score: float | None, *, units: int = 100, of: int = 100, **changes: Any) -> DetectorResult:
    """An answer with ``units`` scores ``of`` so many faces."""
    facts: dict[str, Any] = {
        "id": own.id, "title": own.title, "unit": own.unit, "status": "ok", "fake_score": score, "threshold": own.threshold,
        "hard_label": None if score is None else "fake" if score >= own.threshold else "no_trace" if own.lossless_only else "real",
        "strategy": own.aggregation, "scores": (score,) * units + (None,) * (of - units), "units_scored": units,
        "provenance": ran(own), "family": own.family, "looks_for": own.looks_for,
    }  # fmt: skip
    return DetectorResult(**(facts | changes))
