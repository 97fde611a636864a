"""Limits of one medium, checked while it is read, each with a code for the refusal.

Owns ``MediaLimits`` and the deadline. Needs only the contract; may be imported by all of ``backend.media``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Final

from base_detector import WorkerFailure

#: Share of the wall time after which the pass gives up, so that the answer still reaches the caller in time.
_OWN_DEADLINE = 0.97

#: Longest side of a picture, as the check of face packs has it.
_MOST_SIDE = 1 << 16


@dataclass(frozen=True)
class MediaLimits:
    """Bounds of one medium, under the names that ``shared.settings`` gives them.

    ``max_pixels`` counts width x height of one picture, ``max_frames`` decoded pictures, ``max_pack_mb`` 10^6 bytes of the pack,
    ``media_timeout_s`` seconds of work.
    """

    max_duration_s: float
    max_pixels: int
    max_frames: int
    max_pack_mb: int
    media_timeout_s: float

    @classmethod
    def of(cls, settings: object) -> MediaLimits:
        """The limits among the settings of a process."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})

    @classmethod
    def from_request(cls, untrusted: object) -> MediaLimits:
        """Limits from a worker request, which must name each of them; WorkerFailure(bad_request) if malformed."""
        if not isinstance(untrusted, Mapping) or set(untrusted) != {field.name for field in fields(cls)}:
            raise WorkerFailure("bad_request")
        for value in untrusted.values():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value <= 0:
                raise WorkerFailure("bad_request")
        return cls(**untrusted)

    def check_pixels(self, width: int, height: int) -> None:
        """Refuse a picture with too many pixels (``media_too_large``) or none (``media_unreadable``)."""
        if width <= 0 or height <= 0:
            raise WorkerFailure("media_unreadable")
        if width * height > self.max_pixels or max(width, height) > _MOST_SIDE:
            raise WorkerFailure("media_too_large")

    def check_length(self, frames: int, duration_s: float) -> None:
        """Refuse a medium with too many pictures or seconds (``media_too_long``)."""
        if frames > self.max_frames or duration_s > self.max_duration_s:
            raise WorkerFailure("media_too_long")


#: For trusted media, as in training: pixels are limited by the decoder's own counter, the rest is unlimited.
UNLIMITED: Final = MediaLimits(
    max_duration_s=math.inf, max_pixels=2**31 - 1, max_frames=2**31 - 1, max_pack_mb=2**31, media_timeout_s=math.inf
)


class Deadline:
    """The end of the wall time: ``check`` raises WorkerFailure(``media_timed_out``) once it has passed."""

    def __init__(self, limits: MediaLimits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + limits.media_timeout_s * _OWN_DEADLINE

    def check(self) -> None:
        """Raise when the time is up."""
        if self._clock() > self._end:
            raise WorkerFailure("media_timed_out")
