"""What the commands that judge many files use of the wired back-end. Imported by these commands; the composition root builds it."""

from __future__ import annotations

from typing import Protocol

from backend.catalog.detectors import DetectorCatalog
from backend.pipeline import Pipeline
from backend.workers.pool import WorkerPool


class BackEnd(Protocol):
    """What the composition root builds."""

    @property
    def pool(self) -> WorkerPool:
        """Its workers."""

    @property
    def catalog(self) -> DetectorCatalog:
        """Its detectors."""

    @property
    def pipeline(self) -> Pipeline:
        """Its pipeline."""
