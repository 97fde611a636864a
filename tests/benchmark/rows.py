"""Rows of a made-up benchmark, and what is assembled from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backend.benchmark.items import DataSet, Item
from backend.benchmark.output import Measured
from backend.benchmark.records import Row
from backend.catalog.detectors import read_cards
from backend.scores.references import UNTOUCHED
from shared.results import Conditions, Provenance

ROOT = Path(__file__).resolve().parents[2]
CARDS = {card.id: card for card in read_cards(ROOT / "detectors")}
LIKE = Conditions(kind="image", width=64, height=64, codec="png", duration_s=0.0, face_px=50.0, bits_per_pixel=8.0)


def row(item: str, score: float | None, **changes: Any) -> Row:
    """A row of ``mesonet``; the label is the first letter of the name, and a file without a score has a reason."""
    facts: dict[str, Any] = {
        "item": item, "sha256": item.ljust(64, "0"), "fake": item.startswith("f"), "subset": "", "group": "", "whole": "",
        "condition": UNTOUCHED, "detector": "mesonet", "like": LIKE,
        "status": "ok" if score is not None else "not_applicable", "code": None if score is not None else "no_face",
        "fake_score": score, "units": () if score is None else (score, score),
    }  # fmt: skip
    return Row(**(facts | changes))


def measured(
    rows: list[Row],
    *,
    conditions: tuple[str, ...] = (UNTOUCHED,),
    detectors: tuple[str, ...] = ("mesonet",),
    **changes: Any,
) -> Measured:
    """What ``assemble`` takes, of these rows."""
    names = dict.fromkeys(one.item for one in rows)
    first = {one.item: one for one in reversed(rows)}
    items = [
        Item(Path(name), name, first[name].fake, subset=first[name].subset, group=first[name].group) for name in names
    ]
    ran = Provenance(
        version="1", contract="1", weights={"a.h5": "ab" * 32}, parameters={}, runner="process", image=None
    )
    facts: dict[str, Any] = {
        "data": DataSet("a <b>set</b> & more", "csv", items), "cards": [CARDS[name] for name in detectors],
        "provenance": dict.fromkeys(detectors, ran), "rows": rows, "conditions": conditions, "mode": "standard",
        "seed": 0, "draws": 100, "pgd": False, "refused": {}, "media_runner": "process", "media_image": None,
    }  # fmt: skip
    return Measured(**(facts | changes))
