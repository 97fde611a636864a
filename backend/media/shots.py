"""Where a clip is cut: PySceneDetect's detectors on small versions of all decoded pictures.

Owns the thresholds. Cuts and fades through black are found; slow dissolves are not; a flash is no cut. May be imported by ``extract``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
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
#: A flash is over after this; the same as the shortest shot.
_FLASH_S = _LEAST_SHOT_S
#: A flash lights (or blackens) the picture: this share of the pixels gets brighter (or darker), but for some levels of noise, and what is
#: seen correlates with the picture before, or is blank: its levels vary less than that. Measured: flashes .89 and 1.0, cuts between two
#: people .25 to .81 and -.1, cuts to a closer view of the same person .73 and .28.
_LIT, _NOISE, _ALIKE, _BLANK = 0.97, 5.0, 0.5, 12.0
#: After it the picture is what it was before: mean change of hue, saturation and value below this.
_SAME_VIEW = 20.0


#: A dissolve mixes two pictures: half-way the picture is their mean, at a quarter 3 : 1, but for this share of what they differ by, which
#: is at least so many levels of grey. Looked for at these half lengths (pictures), in pictures of 32 x 18. On 44 clips without a dissolve
#: two had pictures that pass for one; the faces before and after are compared then, and agree.
_MIXED, _DIFFERENT, _HALF_LENGTHS = 0.2, 12.0, (4, 8, 16, 32)
#: Pictures after which a dissolve has been noticed.
LONGEST_DISSOLVE: Final = 2 * max(_HALF_LENGTHS)


@dataclass(frozen=True)
class _Jump:
    """A jump at picture ``number`` that may be a flash; the picture before it."""

    number: int
    time_s: float
    before: Array


class ShotFinder:
    """Feed it every picture in order; ``shots`` afterwards."""

    def __init__(self, *, fps: float | None) -> None:
        self._fps = fps or 25.0
        # without a minimum length the detector reports each jump at once: tracks of faces must not cross any of them
        self._content = ContentDetector(threshold=_CONTENT_THRESHOLD, min_scene_len=0)
        # black is the end of the shot before it: the cut is where the picture comes back
        self._fades = ThresholdDetector(threshold=_BLACK, min_scene_len=0, fade_bias=1.0)
        self._jumps: list[int] = []
        self._faded: list[int] = []
        self._dark: set[int] = set()
        self._flashes: list[tuple[int, int]] = []
        self._times: list[float] = []
        self._last: Array | None = None
        #: number and picture of what was seen a moment ago in this view, not in a flash, as long as one may last
        self._recent: deque[tuple[int, Array]] = deque()
        self._view = 0
        self._greys: deque[Array] = deque(maxlen=LONGEST_DISSOLVE + 1)
        #: pictures that are half-way between two others, and how far those are apart
        self._mixed: list[tuple[int, float]] = []
        self._lit: list[_Jump] = []

    def feed(self, picture: Picture) -> int:
        """Take the next picture; returns the number of its view. Damage is no jump.

        A jump begins another view; what may be a flash (``lit``) does not yet.
        """
        if picture.damaged:
            self._times.append(picture.time_s)
            return self._view
        small = picture.thumb()
        number = len(self._times)
        self._look_for_dissolve(small, number)
        position = FrameTimecode(number, self._fps)
        self._times.append(picture.time_s)
        self._faded += [cut.frame_num for cut in self._fades.process_frame(position, small)]
        jumped = bool(self._content.process_frame(position, small))
        jumped &= not self._flash_ends(small, number)
        if jumped and self._last is not None and not self._light_goes_out(small, number):
            self._jump(number, self._last, small)
        self._last = small
        if not self._lit:
            self._recent.append((number, small))
        while self._recent and self._times[number] - self._times[self._recent[0][0]] > _FLASH_S:
            self._recent.popleft()
        return self._view

    @property
    def lit(self) -> bool:
        """True when the last picture may be in the light of a flash."""
        return bool(self._lit)

    @property
    def dissolves(self) -> list[int]:
        """Where a dissolve is half-way: picture numbers, ascending. A slow pan may pass for one."""
        groups: list[list[tuple[int, float]]] = []
        for mixed in sorted(self._mixed):
            if groups and mixed[0] - groups[-1][-1][0] <= max(_HALF_LENGTHS):
                groups[-1].append(mixed)
            else:
                groups.append([mixed])
        # of the half-ways of one dissolve those between the pictures that differ most
        return [
            int(np.median([place for place, apart in group if apart >= 0.9 * max(apart for _, apart in group)]))
            for group in groups
        ]

    def shots(self) -> list[Shot]:
        """All shots; together they cover every picture fed."""
        starts = [0]
        cuts = sorted(set(self._jumps) | set(self._faded))
        for cut in cuts:
            if any(start <= cut <= end for start, end in self._flashes) or cut in self._dark:
                continue
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

    # -- inside

    def _look_for_dissolve(self, small: Array, number: int) -> None:
        grey = cv2.cvtColor(cv2.resize(small, (32, 18), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
        self._greys.append(grey.astype(np.float32))
        for half in _HALF_LENGTHS:
            if len(self._greys) <= 2 * half:
                break
            first, quarter, middle, last = (self._greys[-1 - back] for back in (2 * half, 3 * half // 2, half, 0))
            apart = float(np.abs(first - last).mean())
            if apart < _DIFFERENT or float(np.abs(middle - (first + last) / 2).mean()) > _MIXED * apart:
                continue
            if float(np.abs(quarter - (3 * first + last) / 4).mean()) <= _MIXED * apart:
                self._mixed.append((number - half, apart))
                break

    def _jump(self, number: int, before: Array, after: Array) -> None:
        self._jumps.append(number)
        if max(float(before.mean()), float(after.mean())) < _BLACK:
            self._dark.add(number)  # hues of nearly black pictures mean nothing
        if _lights_up(before, after):
            self._lit.append(_Jump(number, self._times[number], before))
        else:
            self._view += 1
            self._recent.clear()

    def _flash_ends(self, small: Array, number: int) -> bool:
        """True when the picture from before a flash is back. What lasts longer than a flash was a jump to another view."""
        lasting = [jump for jump in self._lit if self._times[number] - jump.time_s <= _FLASH_S]
        self._view += len(lasting) < len(self._lit)
        self._lit = lasting
        for place, jump in enumerate(self._lit):
            if _change(jump.before, small) < _SAME_VIEW:
                self._flashes.append((jump.number, number))
                self._lit = self._lit[:place]
                return True
        return False

    def _light_goes_out(self, small: Array, number: int) -> bool:
        """True when a light that came on without a jump is out again: the picture is one of a moment ago."""
        for earlier, before in reversed(self._recent):
            if _change(before, small) < _SAME_VIEW:
                self._flashes.append((earlier + 1, number))
                self._lit = [jump for jump in self._lit if jump.number <= earlier]
                return True
        return False

    def _seconds(self, start: int, end: int) -> float:
        last = self._times[end] if end < len(self._times) else self._times[-1] + 1 / self._fps
        return last - self._times[start]


def _lights_up(before: Array, after: Array) -> bool:
    """True when ``after`` may be ``before`` in the light of a flash, or a blank picture."""
    if before.shape != after.shape:
        return False
    first, second = (cv2.cvtColor(item, cv2.COLOR_BGR2GRAY).astype(np.float32) for item in (before, after))
    if float(second.std()) < _BLANK:
        return True
    if float(first.std()) < 1 or max(np.mean(second >= first - _NOISE), np.mean(second <= first + _NOISE)) < _LIT:
        return False
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1]) >= _ALIKE


def _change(before: Array, after: Array) -> float:
    """ContentDetector's measure between any two pictures: mean change of hue, saturation and value."""
    if before.shape != after.shape:
        return math.inf
    first, second = (cv2.cvtColor(item, cv2.COLOR_BGR2HSV).astype(np.int16) for item in (before, after))
    return float(np.abs(first - second).mean())


def shot_of(frames: Array, shots: Sequence[Shot]) -> Array:
    """Number of the shot of each frame, (n,) int32."""
    starts = np.array([shot.start for shot in shots])
    return (np.searchsorted(starts, frames, side="right") - 1).astype(np.int32)
