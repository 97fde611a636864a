"""Whether a detector can run here (its weights first, then its worker), and how: in a container or as a process.

May be imported by the composition root and ``backend.commands``.
"""

from __future__ import annotations

from collections.abc import Iterable

from backend.weights.folder import WeightsFolder
from backend.workers.pool import WorkerPool
from backend.workers.spec import WorkerSpec, detector_spec, media_spec
from base_detector import Card
from shared.records import RunnerKind
from shared.settings import Settings


def unavailable(card: Card, *, settings: Settings, pool: WorkerPool, spec: WorkerSpec | None = None) -> str | None:
    """The code of ``shared.errors`` that says why ``card`` cannot run here; None when it can. ``spec``: when not the usual worker."""
    weights = WeightsFolder(settings.weights_folder).unavailable(card)
    return weights or pool.available(spec or detector_spec(card, settings))


def way_of(card: Card, *, settings: Settings, pool: WorkerPool) -> RunnerKind | None:
    """How the worker of ``card`` runs here, None when it cannot."""
    spec = detector_spec(card, settings)
    return pool.runner_kind(spec) if pool.available(spec) is None else None


def mixed_ways(cards: Iterable[Card], *, settings: Settings, pool: WorkerPool) -> str:
    """A sentence about what runs in containers and what does not, '' when all run the same way."""
    ways = {"media": pool.runner_kind(media_spec(settings))}
    ways |= {card.id: way for card in cards if (way := way_of(card, settings=settings, pool=pool))}
    inside, outside = ([name for name, way in ways.items() if way == kind] for kind in ("docker", "process"))
    if not inside or not outside:
        return ""
    return f"In containers: {', '.join(inside)}. As plain processes, without an image ('make images'): {', '.join(outside)}."
