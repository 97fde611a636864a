"""Where a clip is cut: PySceneDetect's detectors on small versions of all decoded pictures.

Owns the thresholds. Cuts and fades through black are found; slow dissolves are not. May be imported by ``extract``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scenedetect import FrameTimecode
from scenedetect.detectors import ContentDetector, ThresholdDetector

from backend.media.medium import Picture
from base_detector import Array, Shot

#: PySceneDetect's default of ContentDetector (mean change of hue, saturation and value between neighbours).
_CONTENT_THRESHOLD = 27.0
#: A shot is at least this long; cuts that follow faster (flashes) are not cuts. PySceneDetect's command line: 0.6 s.
_LEAST_SHOT_S = 0.6
#: PySceneDetect's default of ThresholdDetector: mean level (of 255) under which a picture is black.
_BLACK = 12


class ShotFinder:
    """Feed it every picture in order; ``shots`` afterwards."""

    def __init__(self, *, fps: float | None) -> None:
        self._fps = fps or 25.0
        # without a minimum length the detector reports each jump at once: tracks of faces must not cross any of them
        self._content = ContentDetector(threshold=_CONTENT_THRESHOLD, min_scene_len=0)
        self._fades = ThresholdDetector(threshold=_BLACK, min_scene_len=0)
        self._jumps: list[int] = []
        self._faded: list[int] = []
        self._times: list[float] = []

    def feed(self, picture: Picture) -> bool:
        """Take the next picture; True when it differs from the last whole one as after a cut. Damage is no cut."""
        if picture.damaged:
            self._times.append(picture.time_s)
            return False
        small = picture.thumb()
        position = FrameTimecode(len(self._times), self._fps)
        self._times.append(picture.time_s)
        self._faded += [cut.frame_num for cut in self._fades.process_frame(position, small)]
        jumps = self._content.process_frame(position, small)
        self._jumps += [cut.frame_num for cut in jumps]
        return bool(jumps)

    def shots(self) -> list[Shot]:
        """All shots; together they cover every picture fed."""
        starts = [0]
        cuts = sorted(set(self._jumps) | set(self._faded))
        for cut in cuts:
            if (
                self._seconds(starts[-1], cut) >= _LEAST_SHOT_S
                and self._seconds(cut, len(self._times)) >= _LEAST_SHOT_S
            ):
                starts.append(cut)
        ends = [*(start - 1 for start in starts[1:]), len(self._times) - 1]
        return [
            Shot(number, start, end, start_s=self._times[start], end_s=self._times[end])
            for number, (start, end) in enumerate(zip(starts, ends, strict=True))
        ]

    def _seconds(self, start: int, end: int) -> float:
        last = self._times[end] if end < len(self._times) else self._times[-1] + 1 / self._fps
        return last - self._times[start]


def shot_of(frames: Array, shots: Sequence[Shot]) -> Array:
    """Number of the shot of each frame, (n,) int32."""
    starts = np.array([shot.start for shot in shots])
    return (np.searchsorted(starts, frames, side="right") - 1).astype(np.int32)
