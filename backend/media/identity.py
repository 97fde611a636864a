"""Is a track one person from its beginning to its end? In a dissolve one face turns into another without a jump.

Owns the views along a track and where it is parted. Promises: views are described only on both sides of a dissolve, so other clips
pay for some chips only; memory for at most ``_MOST_VIEWS`` chips of a track that goes on. May be imported by ``extract``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from backend.media.persons import FaceEmbedder, aligned_chip, shared_embedder
from backend.media.tracks import Portrait, Sighting, Track
from base_detector import Array

#: Views kept along a track: not closer than this, and twice as far apart whenever there are too many.
_SPACING_S, _MOST_VIEWS = 0.2, 16
#: Views described on each side of a dissolve, those furthest from it; the sides are two people when the median of the distances between
#: them is at least dlib's own threshold.
_DESCRIBED, _TWO = 3, 0.6


@dataclass(frozen=True)
class View:
    """A face on the way of a track: frame, box (4,), and the portrait."""

    frame: int
    box: Array
    portrait: Portrait


@dataclass(frozen=True)
class Part:
    """What a track shows of one person: from ``frame`` on, with its views."""

    frame: int
    views: list[View]


class Ways:
    """The views along the tracks that are followed; ``parts`` of one that has ended."""

    def __init__(self, embedder: FaceEmbedder | None = None) -> None:
        self._given = embedder
        self._views: dict[int, list[View]] = {}
        self._spacing: dict[int, float] = {}

    def consider(self, track: Track, sighting: Sighting, *, row: int) -> None:
        """Keep this view if it is far enough from the last one."""
        views = self._views.setdefault(track.number, [])
        spacing = self._spacing.setdefault(track.number, _SPACING_S)
        if sighting.found.tracked or (views and sighting.time_s - views[-1].portrait.time_s < spacing - 1e-6):
            return
        found = sighting.found
        quality = found.confidence * found.side * (0.3 + 0.7 * found.frontality)
        portrait = Portrait(aligned_chip(sighting), quality, found.frontality, row, sighting.time_s)
        views.append(View(sighting.frame, found.box, portrait))
        if len(views) > _MOST_VIEWS:
            self._views[track.number], self._spacing[track.number] = views[::2], 2 * spacing

    def parts(self, track: Track, *, dissolves: Sequence[int]) -> list[Part]:
        """An ended track, parted at those ``dissolves`` (picture numbers, ascending) behind which another person is. Forgets its views."""
        views = self._views.pop(track.number, [])
        self._spacing.pop(track.number, None)
        parts = [Part(track.first_frame, views)]
        for place in dissolves:
            whole = parts[-1]
            before = [view for view in whole.views if view.frame < place]
            after = [view for view in whole.views if view.frame >= place]
            if before and after and self._two(before[:_DESCRIBED], after[-_DESCRIBED:]):
                parts[-1:] = [Part(whole.frame, before), Part(place, after)]
        return parts

    def _two(self, before: Sequence[View], after: Sequence[View]) -> bool:
        vectors = (self._given or shared_embedder()).embed([item.portrait.chip for item in (*before, *after)])
        first, second = vectors[: len(before)], vectors[len(before) :]
        return float(np.median(np.linalg.norm(first[:, None] - second[None], axis=2))) >= _TWO


def portraits_of(views: Sequence[View], *, most: int) -> list[Portrait]:
    """The best views of one part, to tell persons apart."""
    return [replace(item.portrait) for item in sorted(views, key=lambda item: -item.portrait.quality)[:most]]
