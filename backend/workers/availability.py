"""Whether a detector can run here: its weights first, then its worker.

May be imported by the composition root and ``backend.commands``.
"""

from __future__ import annotations

from backend.weights.folder import WeightsFolder
from backend.workers.pool import WorkerPool
from backend.workers.spec import WorkerSpec, detector_spec
from base_detector import Card
from shared.settings import Settings


def unavailable(card: Card, *, settings: Settings, pool: WorkerPool, spec: WorkerSpec | None = None) -> str | None:
    """The code of ``shared.errors`` that says why ``card`` cannot run here; None when it can. ``spec``: when not the usual worker."""
    weights = WeightsFolder(settings.weights_folder).unavailable(card)
    return weights or pool.available(spec or detector_spec(card, settings))
