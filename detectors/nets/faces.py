"""Faces of a pack for detectors that score single pictures but choose them by their own rule.

Owns: which of the pack's pictures a published rule looks at, cutting a rectangle of the frame out of a context crop, and preparing
faces in batches. Promises: a pack sampled for several detectors gives each the pictures of its own rule, as near as the pack has
them; memory does not grow with the pack.
May be imported by detectors, in workers only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import cv2
import numpy as np

from base_detector import Array, BaseDetector, Face, FacePack, Progress, Skip

#: left, top, right, bottom in whole pixels of the frame; right and bottom exclusive
Rectangle = tuple[int, int, int, int]

#: ImageNet's mean and deviation of red, green, blue, as torchvision states them
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


def evenly(pack: FacePack, count: int) -> Array:
    """``count`` pictures of the pack from the first to the last, evenly: their frame numbers, ascending.

    Published codes take ``linspace(0, n - 1, count)`` of all n frames. All pictures when the pack has no more than ``count``.
    """
    frames = pack.frames
    if len(frames) <= count:
        return frames
    chosen: Array = frames[np.unique(np.linspace(0, len(frames) - 1, count).astype(np.int64))]
    return chosen


def per_second(pack: FacePack, rate: float) -> Array:
    """The first picture at or after each tick of ``rate`` a second, where the pack has one: frame numbers, ascending."""
    frames, times = pack.frames, pack.times
    ticks = np.arange(0.0, times[-1] + 1e-9, 1 / rate)
    # timestamps are rounded: one that fell short of its tick by a microsecond is still its picture
    chosen: Array = frames[np.unique(np.minimum(np.searchsorted(times, ticks - 1e-6), len(times) - 1))]
    return chosen


def rows_of(pack: FacePack, frames: Array) -> Array:
    """Rows of the faces in ``frames``, in the pack's order (by frame, then person)."""
    return np.flatnonzero(np.isin(pack.faces["frame"], frames))


def box_in_frame(face: Face) -> Array:
    """The face box in pixels of the frame: (4,) float32, left, top, right, bottom.

    Exact: the origin is a whole number, and taking it off and adding it again loses nothing while the box is near its crop.
    """
    return np.asarray(face.box, np.float32) + np.tile(np.asarray(face.image_origin, np.float32), 2)


def size_of_frame(image: Array, face: Face) -> tuple[int, int]:
    """(width, height) of the frame ``image`` was cut from; of the image itself when it is not known."""
    return face.frame_size or (image.shape[1], image.shape[0])


def cut(image: Array, face: Face, rectangle: Rectangle, *, black_outside: bool = False) -> Array:
    """The pixels of ``rectangle`` from the context crop ``image``, (h, w, 3) uint8; a view where nothing has to be added.

    What is outside the frame is left out, or black. The context crop must reach as far as the rectangle does inside the frame
    (``margin`` of the card). Raises Skip ``face_too_small`` when no part of it is in the image.
    """
    x, y = face.image_origin
    left, top, right, bottom = rectangle[0] - x, rectangle[1] - y, rectangle[2] - x, rectangle[3] - y
    height, width = image.shape[:2]
    inside = image[max(0, top) : max(0, min(bottom, height)), max(0, left) : max(0, min(right, width))]
    if not inside.size:
        raise Skip("face_too_small")
    if not black_outside:
        return inside
    edges = max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width)
    return cv2.copyMakeBorder(inside, *edges, cv2.BORDER_CONSTANT, value=(0, 0, 0)) if any(edges) else inside


def resized(face: Array, side: int) -> Array:
    """A crop, (h, w) or (h, w, 3) uint8, at ``side`` x ``side`` as our nets see it: means on the way down, straight lines on the way up."""
    kind = cv2.INTER_AREA if min(face.shape[:2]) >= side else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(face), (side, side), interpolation=kind)


def normalized(picture: Array) -> Array:
    """(h, w, 3) uint8 RGB -> (3, h, w) float32 with ImageNet's mean 0 and deviation 1."""
    scaled = picture.astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(((scaled - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1))


def batches(
    detector: BaseDetector,
    pack: FacePack,
    rows: Sequence[int] | Array,
    *,
    skipped: dict[str, int],
    progress: Progress,
) -> Iterator[tuple[list[int], Array]]:
    """Yield (rows, their faces as ``detector`` crops and prepares them, stacked), as many at a time as its card says.

    A Skip is counted in ``skipped`` by its reason. ``progress`` hears how many of all rows were yielded, when the caller comes back
    for more.
    """

    def each() -> Iterator[tuple[int, Array]]:
        for row in map(int, rows):
            try:
                yield row, detector.preproc(detector.crop_face(pack.image(row), pack.face(row)))
            except Skip as reason:
                skipped[str(reason)] = skipped.get(str(reason), 0) + 1

    prepared, done = each(), 0
    while some := list(islice(prepared, detector.card.batch)):
        yield [row for row, _ in some], np.stack([face for _, face in some])
        done += len(some)
        progress(done, len(rows))
