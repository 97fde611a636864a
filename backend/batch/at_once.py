"""How many files are in work at once on this machine, and how its cores are shared out among them. For ``analyze`` and batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from backend.workers.spec import detector_spec, media_spec
from base_detector import Card
from shared.machine import cores
from shared.settings import Settings

#: Niceness of a batch on an installation that serves visitors: their workers come first on a full machine.
NICE: Final = 10


def clips_at_once(settings: Settings, cards: Sequence[Card], *, asked: int | None, files: int) -> int:
    """How many files are in work at once: ``asked`` (``--jobs``), else DFOM_JOBS where it is set, else one for each core.

    Of itself no more than whose workers fit together into the memory budget: each needs the media worker and one detector at a time.
    """
    if asked is None and "jobs" in settings.model_fields_set:
        asked = settings.jobs
    if asked is not None:
        return max(1, min(asked, files))
    sizes = sorted(detector_spec(card, settings).memory_mb for card in cards)
    fitting = (settings.worker_memory_mb - sum(sizes[:-1])) // memory_of_a_file(settings, cards)
    return max(1, min(cores(), files, fitting))


def memory_of_a_file(settings: Settings, cards: Sequence[Card]) -> int:
    """MB that the workers of one file in work need: the media worker and the largest detector."""
    return media_spec(settings).memory_mb + max(detector_spec(card, settings).memory_mb for card in cards)


def shared_out(settings: Settings, at_once: int) -> Settings:
    """Settings for ``at_once`` files in work: as many workers of a kind, and the cores shared out among them."""
    threads = settings.threads or (max(1, cores() // at_once) if at_once > 1 else 0)
    return settings.model_copy(update={"jobs": at_once, "threads": threads})
