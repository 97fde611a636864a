"""Where a file comes from: its content credentials, its traces, and the marks by which later copies are found.

Owns which of them are looked for in a pass. Promises: no trouble with them ends the pass or changes a score. May be imported by
``backend.media.extract``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from backend.media.fingerprints import PictureMarks, fingerprint
from backend.media.medium import Picture
from backend.media.provenance import ManifestReader
from backend.media.traces import traces_of
from base_detector import Array, Shot, WorkerFailure
from shared.origin import Origin

PARTS: Final = ("credentials", "traces", "fingerprint")


class OriginFinder:
    """Looks for the ``parts`` of a file's origin during one media pass. A context manager; ``found`` at the end."""

    def __init__(self, media: Path, parts: Sequence[str], *, anchors: Path | None = None) -> None:
        if not set(parts) <= set(PARTS):
            raise WorkerFailure("bad_request")
        started = time.perf_counter()
        self._media, self._parts = media, parts
        self._pictures: PictureMarks | None = None
        self._reader = ManifestReader(media, anchors=anchors) if "credentials" in parts else None
        self.seconds = time.perf_counter() - started

    def __enter__(self) -> OriginFinder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.__exit__(kind, error, trace)

    def begin(self) -> None:
        """The pictures are about to come, perhaps for a second time."""
        self._pictures = PictureMarks() if "fingerprint" in self._parts else None

    def feed(self, picture: Picture) -> None:
        """Take the next whole picture."""
        if self._pictures is not None:
            started = time.perf_counter()
            self._pictures.feed(picture)
            self.seconds += time.perf_counter() - started

    def found(self, shots: Sequence[Shot], samples: Array) -> Origin | None:
        """What there is, once all pictures were fed; ``samples``: (n,) float32 of what was heard. None where nothing was asked for."""
        if not self._parts:
            return None
        started = time.perf_counter()
        origin = Origin(
            credentials=self._reader.credentials() if self._reader else None,
            traces=traces_of(self._media) if "traces" in self._parts else None,
            fingerprint=fingerprint(self._pictures, shots, samples) if "fingerprint" in self._parts else None,
        )
        self.seconds += time.perf_counter() - started
        return origin
