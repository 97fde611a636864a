"""What produced a detector's scores: versions, weights and image. With the media it is the key of the score cache.

May be imported by the pipeline and ``backend.commands``.
"""

from __future__ import annotations

from backend.weights.folder import WeightsFolder
from backend.workers.pool import WorkerPool
from backend.workers.spec import WorkerSpec, detector_spec
from backend.workers.worker import Worker
from base_detector import CONTRACT_VERSION, Card
from shared.results import Provenance
from shared.settings import Settings


def provenance(card: Card, *, settings: Settings, pool: WorkerPool, spec: WorkerSpec | None = None) -> Provenance:
    """The provenance of the scores of ``card`` if it ran now. ``spec``: when not the usual worker."""
    spec = spec or detector_spec(card, settings)
    return Provenance(
        version=card.version,
        contract=CONTRACT_VERSION,
        weights=WeightsFolder(settings.weights_folder).sha256(card),
        parameters=card.parameters,
        runner=pool.runner_kind(spec),
        image=pool.image_digest(spec),
    )


def as_run_by(worker: Worker, expected: Provenance) -> Provenance:
    """``expected`` with what really ran: an image may have been built since it was asked for."""
    return expected.model_copy(update={"runner": worker.started_by, "image": worker.image_digest})
