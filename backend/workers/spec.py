"""What a worker is: what to start, with how much memory, from which image; and the error of a failed worker.

Imported by everything that names a worker; imports nothing of this folder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backend.catalog.detectors import BUNDLED
from backend.workers.compiled import MOST_BYTES
from base_detector import Card
from shared.errors import DfomError, PermanentError, RetryableError
from shared.settings import Settings

LINKS_MODULE: Final = "backend.links.worker"
MEDIA_MODULE: Final = "backend.media.worker"
#: Decoder and face detection on the largest picture the settings allow; the pack itself is written through the page cache.
MEDIA_MEMORY_MB: Final = 3072
#: With torch and CUDA's libraries, and more pictures waiting. Twice as much; not measured, since no card has run it.
MEDIA_GPU_MEMORY_MB: Final = 6144
#: Scores of 120,000 frames fill 10 MB; masks are small.
DETECTOR_OUTPUT_MB: Final = 256


#: No container engine answers: no job can continue, and it is not the job's fault.
ENGINE_AWAY: Final = "engine_unavailable"


@dataclass(frozen=True)
class WorkerSpec:
    """A worker to start. ``bundled``: it is part of the platform. ``version``: that its card must have, None = not checked.

    ``compiled``: the folder of its compiled networks, which no other worker has; None: it keeps none (``detectors.kept``).
    ``files``: what its weights are now; a worker that loaded others is not used, since its scores would count as those of these.
    ``nets_mb``: what its compiled networks need at most, together.
    ``entry``: the module that serves a detector.
    """

    name: str
    module: str
    weights: Path | None
    image: str
    memory_mb: int
    bundled: bool
    device: str = "cpu"
    output_mb: int = DETECTOR_OUTPUT_MB
    version: str | None = None
    compiled: Path | None = None
    files: tuple[tuple[str, int, int, int], ...] = ()
    nets_mb: int = 0
    entry: str = "base_detector"
    #: ended after one job, whatever the settings say
    once: bool = False

    @property
    def loading_mb(self) -> int:
        """Most output of a container while it loads, before it sees a visitor's file: its networks fill half (``detectors.kept``)."""
        return max(self.output_mb, 2 * self.nets_mb)

    @property
    def is_detector(self) -> bool:
        """False for the media worker and for that of links."""
        return self.module not in (MEDIA_MODULE, LINKS_MODULE)

    def arguments(self, exchange: str, *, weights: str) -> list[str]:
        """What follows ``python -m``."""
        if not self.is_detector:
            return [self.module, "--serve", exchange, *(["--device", self.device] if self.device != "cpu" else [])]
        placed = ["--weights", weights] if self.weights else []
        return [self.entry, self.module, "--serve", exchange, *placed, "--device", self.device]


def media_spec(settings: Settings) -> WorkerSpec:
    """The worker of the media pass and of rendering."""
    on_gpu = settings.media_gpu and bool(settings.gpus)
    return WorkerSpec(
        name="media",
        module=MEDIA_MODULE,
        weights=None,
        image=f"{settings.image_prefix}/media",
        memory_mb=MEDIA_GPU_MEMORY_MB if on_gpu else MEDIA_MEMORY_MB,
        bundled=True,
        device="cuda:0" if on_gpu else "cpu",
        output_mb=settings.max_pack_mb,
        compiled=(settings.compiled_folder / "media").resolve(),
    )


def detector_spec(card: Card, settings: Settings) -> WorkerSpec:
    """The worker of a detector."""
    folder = card.folder.resolve()
    bundled = folder.parent == BUNDLED
    files = tuple(_stamps(card, settings.weights_folder / card.id))
    return WorkerSpec(
        name=card.id,
        module=f"detectors.{folder.name}",
        weights=(settings.weights_folder / card.id).resolve() if card.weights else None,
        image=f"{settings.image_prefix}/{card.id}",
        memory_mb=card.memory_mb,
        bundled=bundled,
        device="cuda:0" if settings.gpus else "cpu",
        version=card.version,
        compiled=(settings.compiled_folder / card.id).resolve() if bundled else None,
        files=files,
        nets_mb=_nets_mb(size for _, _, size, _ in files) if bundled else 0,
    )


def _nets_mb(sizes: Iterable[int]) -> int:
    """What networks of weights files of these ``sizes`` (bytes) need at most: float32, so published halves grow twofold."""
    return min(MOST_BYTES, 2 * sum(sizes)) // 1_000_000


def _stamps(card: Card, folder: Path) -> Iterator[tuple[str, int, int, int]]:
    """Name, inode, size and time of change of each file of ``card`` that is there: some detectors load those that are."""
    for item in card.weights:
        with contextlib.suppress(OSError):
            facts = (folder / item.file).stat()
            yield item.file, facts.st_ino, facts.st_size, facts.st_mtime_ns


class WorkerError(DfomError):
    """A worker failed; ``retryable`` says whether a fresh one may succeed. ``log``: its last words, escaped, where there were any."""

    def __init__(self, code: str, *, retryable: bool = False, log: Sequence[str] = ()) -> None:
        super().__init__(code)
        self.retryable, self.log = retryable, tuple(log)

    def for_the_job(self) -> RetryableError | PermanentError:
        """The error for a job that needs this worker: the next attempt may succeed, or none will."""
        return (RetryableError if self.retryable else PermanentError)(self.code)
