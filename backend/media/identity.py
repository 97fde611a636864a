"""Is a track one person from its beginning to its end? In a dissolve one face turns into another without a jump.

Owns the views along a track and where it is parted. Promises: views are described only where the surroundings of the face changed
much, so a usual clip costs nothing but some chips; memory for at most ``_MOST_VIEWS`` chips of a track that goes on. May be imported by
``extract``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import cv2
import numpy as np

from backend.media.persons import FaceEmbedder, aligned_chip, shared_embedder
from backend.media.tracks import Portrait, Sighting, Track
from base_detector import Array

#: Views kept along a track: not closer than this, and twice as far apart whenever there are too many.
_SPACING_S, _MOST_VIEWS = 0.2, 16
#: Side of the small picture of a face's surroundings, and the mean change of its levels from which views are described. A talking
#: head stays under 20; in a dissolve to another scene it reaches 40 and more.
_SIDE, _OTHER_PLACE = 16, 30.0
#: Three views closer than this are one person's; parts whose middles are further apart than dlib's own threshold are two people's. Each
#: part has so many views: what is seen for a moment, and the mixture in a dissolve, is nobody.
_ONE, _TWO, _LEAST_VIEWS = 0.5, 0.6, 3


@dataclass(frozen=True)
class View:
    """A face on the way of a track: frame, box (4,), the portrait and its surroundings (16, 16, 3) float32."""

    frame: int
    box: Array
    portrait: Portrait
    around: Array


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
        around = cv2.resize(sighting.crop, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        views.append(View(sighting.frame, found.box, portrait, around))
        if len(views) > _MOST_VIEWS:
            self._views[track.number], self._spacing[track.number] = views[::2], 2 * spacing

    def parts(self, track: Track) -> list[list[View]]:
        """The views of an ended track, parted where another person begins; forgets them."""
        views = self._views.pop(track.number, [])
        changes = [float(np.abs(item.around - views[0].around).mean()) for item in views]
        if len(views) < 2 * _LEAST_VIEWS or max(changes) < _OTHER_PLACE:
            return [views]
        ends = self._describe([views[0], views[len(views) // 2], views[-1]])
        if max(float(np.linalg.norm(a - b)) for a, b in combinations(ends, 2)) < _ONE:
            return [views]
        return _parted(views, self._describe(views))

    def _describe(self, views: Sequence[View]) -> Array:
        return (self._given or shared_embedder()).embed([item.portrait.chip for item in views])


def _parted(views: list[View], vectors: Array) -> list[list[View]]:
    """Part ``views`` where both sides are most of one kind each, if these are two people; then each side."""
    if len(views) < 2 * _LEAST_VIEWS:
        return [views]
    places = range(_LEAST_VIEWS, len(views) - _LEAST_VIEWS + 1)
    place = min(places, key=lambda at: _spread(vectors[:at]) + _spread(vectors[at:]))
    before, after = (np.median(side, axis=0) for side in (vectors[:place], vectors[place:]))
    if float(np.linalg.norm(before - after)) < _TWO:
        return [views]
    return _parted(views[:place], vectors[:place]) + _parted(views[place:], vectors[place:])


def _spread(vectors: Array) -> float:
    """Sum of the squared distances of descriptors (n, 128) from their mean."""
    return float(np.square(vectors - vectors.mean(axis=0)).sum())


def portraits_of(views: Sequence[View], *, most: int) -> list[Portrait]:
    """The best views of one part, to tell persons apart."""
    return [replace(item.portrait) for item in sorted(views, key=lambda item: -item.portrait.quality)[:most]]
