"""In which direction faces are searched: upright, and turned by 90, 180 or 270 degrees where upright finds nothing or little.

Owns the directions in use and how often the others are tried. Promises: an ordinary clip pays for one small try in the other
directions, a clip without a face for a few (``_FREE_TRIES`` and one in ``_SEARCHES_A_TRY``); a face found in a wrong direction is
not taken. Measured on 96 clips in all four directions: MTCNN finds a third of the faces on their heads, with confidences up to .9988
and landmarks as of an upright face, and half of those pass the second look. But each of the 105 upright faces was found more surely upright
than turned. May be imported by ``sweep``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from backend.media.recheck import FaceDetector, believable, way_up
from backend.media.tracks import Found, Sighting, overlap, turn_image
from base_detector import Array, turn_points

#: Faces are searched in pictures reduced to this shorter side (1080p halved: same recall at a third of the time).
_SHORT_SIDE = 540
#: An image is searched once only, so it may cost more.
_SHORT_SIDE_STILL = 1080
#: Tries in other directions look at smaller pictures: where upright faces were found, and where none was.
_SHORT_SIDE_BESIDE, _SHORT_SIDE_ALONE = 270, 360
#: MTCNN's own default: smallest face in pixels of the reduced picture.
_MIN_FACE = 20.0
#: Detections below this are noise and not even used to follow a face.
_LEAST_CONFIDENCE = 0.8
#: A face this sure gets a second look.
WORTH_A_LOOK: Final = 0.9
#: From here on a face is upright for certain: no face in a wrong direction reached it, nine of ten upright ones do.
_CERTAIN = 0.9995
#: Overlap from which detections in two directions are the same face.
_SAME_FACE = 0.3
#: Tries in pictures without a face: so many, and one more for so many searches; in one view the first two searches, then every tenth.
_FREE_TRIES, _SEARCHES_A_TRY, _FIRST_OF_VIEW, _PAUSE = 4, 30, 2, 10
#: Tries beside upright faces: one, and one more for so many searches.
_SEARCHES_A_TRY_BESIDE = 60
#: A direction is given up after so many searches without a face in it; the first search of a new view counts as the last but one.
_MOST_MISSES = 10
#: Places remembered where the way up is known.
_MOST_SETTLED = 32
#: A picture whose grey levels vary less than this (of 255) is black or blank: nothing is tried in it.
_BLANK = 6.0


class Directions:
    """Searches one medium. ``context`` as of the media pass; ``still``: the medium is one picture."""

    def __init__(self, detector: FaceDetector, *, context: float, still: bool) -> None:
        self._detector, self._context, self._still = detector, context, still
        self._misses: dict[int, int] = {0: 0}
        self._searches, self._since_try = 0, _PAUSE
        self._of_view = 0
        self._tries, self._tries_beside = 0, 0
        #: places of this view where a face was found the right way up
        self._settled: list[Array] = []

    def new_view(self) -> None:
        """The view has changed: directions are kept for its first search, and dropped if that finds nothing in them."""
        self._of_view = 0
        self._settled = []
        for turn in self._misses:
            self._misses[turn] = max(self._misses[turn], _MOST_MISSES - 1)

    def faces(self, image: Array, *, known: Sequence[Found], doubtful: Array, may_try: bool) -> list[Found]:
        """The faces of ``image`` (H, W, 3) uint8 RGB, each in its own direction.

        ``known``: where faces are followed already; ``doubtful`` (n, 4): places (``Found.place``) that only look like faces.
        ``may_try``: other directions may be tried.
        """
        short = _SHORT_SIDE_STILL if self._still else _SHORT_SIDE
        small = _reduced(image, short)
        found = [face for turn in self._misses for face in self._search(image, small, turn=turn)]
        found = _each_once(found, known)
        self._searches, self._of_view, self._since_try = (
            self._searches + 1,
            self._of_view + may_try,
            self._since_try + 1,
        )
        turns = self._better_ways(image, found, known, doubtful)
        if may_try and self._worth_a_try(image, found, known):
            turns |= self._try_others(image, found)
        new = turns - set(self._misses)
        if turns:
            found += [face for turn in sorted(new) for face in self._search(image, small, turn=turn)]
            self._misses |= dict.fromkeys(turns, 0)
            found = _each_once(found, known)
            self._better_ways(image, found, known, doubtful)  # what one direction takes for a face may be another one's
        self._count_misses(found)
        return found

    # -- inside

    def _search(self, image: Array, small: Array, *, turn: int) -> list[Found]:
        """MTCNN on the reduced picture, turned by ``turn``; places in pixels of the picture as shown."""
        height, width = image.shape[:2]
        turned = turn_image(small, turn=turn)
        faces = self._detector.detect(turned, min_face=_MIN_FACE)
        stretch = np.array([width / small.shape[1], height / small.shape[0]], np.float32)

        def shown(points: Array) -> Array:
            back = turn_points(points, turn=(360 - turn) % 360, size=turned.shape[1::-1])
            return (back * stretch).astype(np.float32)

        found = []
        for box, points, confidence in zip(faces.boxes, faces.landmarks, faces.confidence, strict=True):
            place = np.sort(shown(box.reshape(2, 2)), axis=0).reshape(4)
            if confidence >= _LEAST_CONFIDENCE and visible(place, width=width, height=height):
                found.append(Found(place, shown(points), min(1.0, float(confidence)), turn=turn))
        return found

    def _better_ways(self, image: Array, found: list[Found], known: Sequence[Found], doubtful: Array) -> set[int]:
        """Turns that suit some of the faces better than their own; such faces are taken out of ``found``."""
        settled = np.concatenate([doubtful.reshape(-1, 4), np.array(self._settled[-_MOST_SETTLED:]).reshape(-1, 4)])
        uncertain = [face for face in found if _uncertain(face, known, settled)]
        wrong = {id(face): turn for face in uncertain if (turn := self._way_up(image, face)) != face.turn}
        self._settled += [face.place for face in uncertain if id(face) not in wrong]
        found[:] = [face for face in found if id(face) not in wrong]
        return set(wrong.values())

    def _way_up(self, image: Array, face: Found) -> int:
        return way_up(self._detector, self._sighting(image, face))

    def _worth_a_try(self, image: Array, found: Sequence[Found], known: Sequence[Found]) -> bool:
        """True when the other directions are to be tried in this picture."""
        if self._still:
            return True
        if float(image[::8, ::8].std()) < _BLANK:
            return False
        if known or any(face.confidence >= _CERTAIN for face in found):
            worth = self._of_view == _FIRST_OF_VIEW and self._tries_beside <= self._searches // _SEARCHES_A_TRY_BESIDE
            self._tries_beside += worth
            return worth and len(self._misses) < 4
        due = self._of_view <= _FIRST_OF_VIEW or self._since_try >= _PAUSE
        if not due or self._tries >= _FREE_TRIES + self._searches // _SEARCHES_A_TRY:
            return False
        self._tries, self._since_try = self._tries + 1, 0
        return True

    def _try_others(self, image: Array, found: Sequence[Found]) -> set[int]:
        """Turns in which there is a face for certain that no direction in use has found."""
        alone = not any(face.confidence >= _CERTAIN for face in found)
        short = _SHORT_SIDE_ALONE if alone else _SHORT_SIDE_BESIDE
        if self._still:
            short = _SHORT_SIDE_STILL if alone else _SHORT_SIDE
        small = _reduced(image, short)
        turns: set[int] = set()
        for turn in {90, 180, 270} - set(self._misses):
            for face in self._search(image, small, turn=turn):
                if face.confidence >= WORTH_A_LOOK and not _outshone(face, found):
                    sighting = self._sighting(image, face)
                    if believable(self._detector, sighting) and way_up(self._detector, sighting) == turn:
                        turns.add(turn)
                        break
        self._tries -= bool(turns and alone and not self._still)  # what paid is not counted
        return turns

    def _sighting(self, image: Array, face: Found) -> Sighting:
        return Sighting.cut(image, face, context=max(self._context, 2.0), frame=0, time_s=0.0)

    def _count_misses(self, found: Sequence[Found]) -> None:
        seen = {face.turn for face in found if face.confidence >= WORTH_A_LOOK} | {0}
        self._misses = {turn: 0 if turn in seen else misses + 1 for turn, misses in self._misses.items()}
        self._misses = {turn: misses for turn, misses in self._misses.items() if misses < _MOST_MISSES}


def searched_upright(image: Array) -> tuple[Array, float]:
    """What is searched first of a clip's picture, and the smallest face in it: for ``foresight``."""
    return _reduced(image, _SHORT_SIDE), _MIN_FACE


def _reduced(image: Array, short: int) -> Array:
    """The picture with a shorter side of ``short`` pixels at most."""
    height, width = image.shape[:2]
    scale = min(1.0, short / min(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image


def visible(box: Array, *, width: int, height: int) -> bool:
    """True when at least a quarter of the box is inside the picture."""
    inside = np.maximum(np.minimum(box[2:], [width, height]) - np.maximum(box[:2], 0), 0)
    return bool(np.prod(inside) >= 0.25 * np.prod(box[2:] - box[:2]) > 0)


def _uncertain(face: Found, known: Sequence[Found], doubtful: Array) -> bool:
    """True when this may be a face in a wrong direction: not sure, and neither followed nor given up already."""
    if not WORTH_A_LOOK <= face.confidence < _CERTAIN:
        return False
    places = np.concatenate([np.array([item.place for item in known]).reshape(-1, 4), doubtful.reshape(-1, 4)])
    return not (overlap(face.place[None], places) >= _SAME_FACE).any()


def _outshone(face: Found, others: Sequence[Found]) -> bool:
    """True when a surer detection is at the same place."""
    return any(
        item is not face and item.confidence >= face.confidence and _shared(face, item) >= _SAME_FACE for item in others
    )


def _each_once(found: Sequence[Found], known: Sequence[Found]) -> list[Found]:
    """Of detections of one face in several directions the one that goes on with a known face, else the surest."""

    def rank(face: Found) -> tuple[bool, float]:
        return any(item.turn == face.turn and _shared(face, item) >= _SAME_FACE for item in known), face.confidence

    if len({face.turn for face in found}) < 2:
        return list(found)
    kept: list[Found] = []
    for face in sorted(found, key=rank, reverse=True):
        if not any(item.turn != face.turn and _shared(face, item) >= _SAME_FACE for item in kept):
            kept.append(face)
    return kept


def _shared(face: Found, other: Found) -> float:
    """Overlap as shown, of boxes whatever their turn; of a box inside another the share of the smaller one counts."""
    size = np.minimum(face.box[2:], other.box[2:]) - np.maximum(face.box[:2], other.box[:2])
    area = min(float(np.prod(item.box[2:] - item.box[:2])) for item in (face, other))
    return float(np.prod(np.maximum(size, 0))) / max(area, 1e-9)
