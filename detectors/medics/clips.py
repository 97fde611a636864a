"""Pixels of a region over time out of the platform's context crops, and what the networks eat of them.

Owns: putting crops back into their frames, and the published preprocessing (The Medics' ``face_utils`` and ``cnn2d``).
Promises: one frame at a time in memory at the crops' own size; every pixel that a crop shows in a frame is where the frame has it.
Imported by this detector only. Pictures are (h, w, 3) uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from base_detector import Array, FacePack
from detectors.medics.regions import Region
from detectors.nets.faces import IMAGENET_MEAN, IMAGENET_STD

#: sides upstream resizes to and crops from the middle of that (3-D), and resizes to (2-D)
SQUARE, CROP = 256, 224
#: frames the 2-D network looks at
FRAMES_2D = 32


@dataclass(frozen=True)
class Clip:
    """``video`` (T, 224, 224, 3) uint8 for the 3-D networks, ``faces`` (n, 256, 256, 3) uint8 for the 2-D one."""

    video: Array
    faces: Array


def cut_clip(pack: FacePack, region: Region, *, turn: int = 0) -> Clip:
    """The clip of ``region``; pixels that no crop of a frame shows are those of the last frame before that shows them, else the next.

    ``turn``: the region is of frames turned clockwise by so many degrees.
    """
    top, bottom, left, right = region.rows[0], region.rows[1] + 1, region.columns[0], region.columns[1] + 1
    squares = region.squares[:FRAMES_2D]
    origin = (min(left, int(squares[:, 0].min())), min(top, int(squares[:, 1].min())))
    size = (max(right, int(squares[:, 2].max())) - origin[0], max(bottom, int(squares[:, 3].max())) - origin[1])
    inner = np.s_[top - origin[1] : bottom - origin[1], left - origin[0] : right - origin[0]]
    video, faces = [], []
    for number, picture in enumerate(_frames(pack, region.frames, origin, size, turn)):
        video.append(square_224(picture[inner]))
        if number < len(squares):
            x1, y1, x2, y2 = squares[number] - (*origin, *origin)
            faces.append(face_256(picture[y1:y2, x1:x2]))
    return Clip(np.stack(video), np.stack(faces))


def unseen_share(pack: FacePack, region: Region, *, turn: int = 0) -> float:
    """Share of the region's pixels that no crop of their own frame (turned by ``turn``) shows, 0..1."""
    origin = (region.columns[0], region.rows[0])
    size = (region.columns[1] + 1 - origin[0], region.rows[1] + 1 - origin[1])
    seen, shares = np.zeros((size[1], size[0]), bool), []
    for frame in range(*region.frames):
        seen[:] = False
        for _, there, _ in _places(pack, frame, origin, size, turn):
            seen[there] = True
        shares.append(1 - float(seen.mean()))
    return float(np.mean(shares))


def _frames(
    pack: FacePack, frames: tuple[int, int], origin: tuple[int, int], size: tuple[int, int], turn: int = 0
) -> Iterator[Array]:
    """The rectangle at ``origin`` of ``size`` (width, height) in each frame; the same array every time."""
    picture = np.zeros((size[1], size[0], 3), np.uint8)

    def paste(frame: int) -> None:
        for index, target, part in _places(pack, frame, origin, size, turn):
            picture[target] = pack.image(index)[part]

    for frame in reversed(range(*frames)):  # leaves at every pixel what it shows when it is shown first
        paste(frame)
    for frame in range(*frames):
        paste(frame)
        yield picture


def _places(
    pack: FacePack, frame: int, origin: tuple[int, int], size: tuple[int, int], turn: int
) -> Iterator[tuple[int, tuple[slice, slice], tuple[slice, slice]]]:
    """Of each crop of ``frame`` of this turn that meets the rectangle: its row, where in the rectangle it is, which part of it that is."""
    first, end = np.searchsorted(pack.faces["frame"], (frame, frame + 1))
    for index in range(int(first), int(end)):
        row = pack.upright[index]
        if row["turn"] != turn:
            continue
        x, y = (int(value) - start for value, start in zip(row["crop_origin"], origin, strict=True))
        left, top = max(0, x), max(0, y)
        right, bottom = min(size[0], x + int(row["crop_width"])), min(size[1], y + int(row["crop_height"]))
        if left < right and top < bottom:
            target, part = np.s_[top:bottom, left:right], np.s_[top - y : bottom - y, left - x : right - x]
            yield index, target, part


def square_256(picture: Array) -> Array:
    """Zeros at the bottom or right to a square, bilinear to 256 x 256 in float64, truncated to uint8: (256, 256, 3)."""
    side = max(picture.shape[:2])
    square = np.zeros((side, side, 3))
    square[: picture.shape[0], : picture.shape[1]] = picture
    if side != SQUARE:
        square = cv2.resize(square, (SQUARE, SQUARE), interpolation=cv2.INTER_LINEAR)
    return square.astype(np.uint8)


def square_224(picture: Array) -> Array:
    """The middle of ``square_256``: (224, 224, 3) uint8."""
    edge = (SQUARE - CROP) // 2
    return square_256(picture)[edge : edge + CROP, edge : edge + CROP]


def face_256(picture: Array) -> Array:
    """Bicubic to 256 x 256: (256, 256, 3) uint8."""
    return np.asarray(cv2.resize(picture, (SQUARE, SQUARE), interpolation=cv2.INTER_CUBIC), np.uint8)


def prepare_i3d(video: Array) -> Array:
    """(T, 224, 224, 3) uint8 -> (3, T, 224, 224) float32 in [-1, 1]."""
    return _time_first(video.astype(np.float32) / np.float32(255) * 2 - 1)


def prepare_raw(video: Array) -> Array:
    """(T, 224, 224, 3) uint8 -> (3, T, 224, 224) float32, 0 to 255."""
    return _time_first(video.astype(np.float32))


def prepare_224(video: Array) -> Array:
    """(T, 224, 224, 3) uint8 -> (3, T, 224, 224) float32, ImageNet's mean 0 and deviation 1."""
    return _time_first(_normal(video.astype(np.float32)))


def prepare_112(video: Array) -> Array:
    """(T, 224, 224, 3) uint8 -> (3, T, 112, 112) float32, bilinear, ImageNet's mean 0 and deviation 1."""
    side = CROP // 2
    scaled = [cv2.resize(frame.astype(np.float64), (side, side), interpolation=cv2.INTER_LINEAR) for frame in video]
    return _time_first(_normal(np.stack(scaled).astype(np.float32)))


def prepare_2d(faces: Array) -> Array:
    """(n, 256, 256, 3) uint8 -> (n, 3, 256, 256) float32: BGR, ImageNet's RGB mean and deviation, every other picture mirrored.

    Upstream's preprocessor turns the order of the channels because it expects OpenCV's; it gets RGB and makes BGR of it.
    """
    batch = _normal(faces[..., ::-1].astype(np.float32))
    batch[::2] = batch[::2, :, ::-1]
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2))


def _normal(pictures: Array) -> Array:
    return (pictures / np.float32(255) - IMAGENET_MEAN) / IMAGENET_STD


def _time_first(video: Array) -> Array:
    return np.ascontiguousarray(video.transpose(3, 0, 1, 2))
