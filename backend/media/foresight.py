"""Searching ahead: the pictures that the sweep will ask for are searched together, for a finder that takes many at once (a GPU).

Which pictures the sweep searches depends on what it finds, so this is a guess: what was searched in vain costs time only, and a picture
that was not foreseen is searched when it is asked for. An answer belongs to the very pixels it was made of, never to a place in the clip.
Holds the pictures of one batch. May be imported by ``extract``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from backend.media.directions import searched_upright
from backend.media.medium import Picture
from backend.media.sweep import DETECT_EVERY
from base_detector import Array

#: Pictures searched together, and most bytes of RGB that wait meanwhile.
_MOST, _MOST_BYTES = 16, 400_000_000


class ManyFinder(Protocol):
    """``detectors.nets.mtcnn_batch.MtcnnBatch``."""

    def detect(self, image: Array, *, min_face: float = 20.0) -> Any: ...
    def settle(self, image: Array, boxes: Array) -> Any: ...
    def detect_many(self, images: Sequence[Array], *, min_face: float = 20.0) -> list[Any]: ...


class Foresight:
    """A ``FaceDetector`` that has searched already what it is asked for. ``foreseen``: how often that was so, of ``asked``."""

    def __init__(self, finder: ManyFinder) -> None:
        self._finder = finder
        self._known: dict[tuple[object, ...], Any] = {}
        self.asked = self.foreseen = 0

    def detect(self, image: Array, *, min_face: float = 20.0) -> Any:
        """See ``FaceDetector``."""
        self.asked += 1
        known = self._known.get(_name(image, min_face))
        if known is None:
            return self._finder.detect(image, min_face=min_face)
        self.foreseen += 1
        return known

    def settle(self, image: Array, boxes: Array) -> Any:
        """See ``FaceDetector``; nothing of it is foreseen."""
        return self._finder.settle(image, boxes)

    def over(
        self, pictures: Iterable[Picture], follower: Mapping[int, int], last: Callable[[], int | None]
    ) -> Iterator[Picture]:
        """``pictures``, each after its batch was searched. ``follower``: sampled picture -> the next one, the last one -> -1; ``last``:
        the picture in which faces were searched last."""
        waiting: list[Picture] = []
        due: list[Picture] = []
        anchor, held = last(), 0
        for picture in pictures:
            waiting.append(picture)
            if picture.index in follower and not picture.damaged:
                held += picture.rgb().nbytes
                following = follower[picture.index]
                if anchor is None or following < 0 or following - anchor > DETECT_EVERY:
                    due.append(picture)
                    anchor = picture.index
            if len(due) >= _MOST or held >= _MOST_BYTES:
                self._search(due)
                yield from waiting
                waiting, due, anchor, held = [], [], last(), 0
        self._search(due)
        yield from waiting

    def _search(self, due: list[Picture]) -> None:
        self._known.clear()
        if len(due) < 2:
            return  # nothing is gained
        images, min_face = zip(*(searched_upright(picture.rgb()) for picture in due), strict=True)
        found = self._finder.detect_many(images, min_face=min_face[0])
        for image, faces in zip(images, found, strict=True):
            self._known[_name(image, min_face[0])] = faces


def _name(image: Array, min_face: float) -> tuple[object, ...]:
    return image.shape, min_face, hashlib.blake2b(image.tobytes(), digest_size=16).digest()
