"""Where one face stays over time: the published mask of space and time, and the region and squares read off it.

Owns: The Medics' rule on numbers (their ``face_utils``; facts in the golden vectors). Promises: pure; exact integers.
Imported by this detector only. All rectangles are whole pixels of the frame unless they are said to be of the grid: the frame scaled down,
on which upstream looks for faces.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from base_detector import Array

#: frames between two looks for faces, and the first frames of a clip that are looked at at all
EVERY, FIRST = 10, 100
#: a face must stay this long; three looks in a row span 29 frames and are too few
SHORTEST = 30
#: longest side of the grid: a quarter of 1920
GRID = 480


@dataclass(frozen=True)
class Region:
    """One face over time. ``frames`` (first, end): end is not looked at. ``rows``, ``columns`` (first, last): last is part of it.

    ``squares`` (n, 4) int x1, y1, x2, y2 for the 2-D network, one per frame from the first one on.
    """

    frames: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]
    squares: Array

    @property
    def length(self) -> int:
        """Frames that are looked at."""
        return self.frames[1] - self.frames[0]


def grid_of(width: int, height: int) -> tuple[int, int, float]:
    """The grid of a frame: (width, height, frame pixels per grid pixel). Small frames are scaled up, as published."""
    scale = 0.25 * 1920.0 / max(width, height)
    return int(width * scale), int(height * scale), 1 / scale


def find_regions(
    boxes: Sequence[Array], *, probabilities: Sequence[Array], grid: tuple[int, int], upsample: float
) -> list[Region]:
    """Regions of all faces, the surest first, from the looks at frames 0, 10, 20, ...

    ``boxes``: one (n, 4) array a look, x1 y1 x2 y2 on the grid; ``probabilities``: (n,) each; ``grid``: its (width, height);
    ``upsample``: frame pixels per grid pixel. Boxes are painted into a mask of looks x rows x columns; a look without any
    face takes what its two neighbours share; each connected component of the mask (corners count) is one face.
    A box is clipped at the frame first: upstream slices with negative numbers and so loses faces that touch the left or upper border.
    """
    mask, sureness = _paint(boxes, probabilities, grid)
    labels, count = _components(mask)
    found = []
    for label in range(1, count + 1):
        looks, rows, columns = np.nonzero(labels == label)
        sure = float(sureness[looks, rows, columns].mean(dtype=np.float64))
        first, end = int(looks.min()) * EVERY, (int(looks.max()) + 1) * EVERY - 1
        end = min(end, first + FIRST)
        if end - first >= SHORTEST:
            maps = labels[first // EVERY : end // EVERY + 1] == label
            region = Region(
                (first, end),
                (int(rows.min() * upsample), int(rows.max() * upsample)),
                (int(columns.min() * upsample), int(columns.max() * upsample)),
                _squares(maps, upsample),
            )
            found.append((sure, region))
    return [region for _, region in sorted(found, key=lambda item: -item[0])]


def _paint(boxes: Sequence[Array], probabilities: Sequence[Array], grid: tuple[int, int]) -> tuple[Array, Array]:
    """The mask (looks, rows, columns) bool, and the probability that was painted last, float32."""
    mask = np.zeros((len(boxes), grid[1], grid[0]), bool)
    sureness = np.zeros(mask.shape, np.float32)
    for look, (faces, sure) in enumerate(zip(boxes, probabilities, strict=True)):
        for face, probability in zip(faces, sure, strict=True):
            left, top, right, bottom = (max(0, int(value)) for value in face)
            mask[look, top:bottom, left:right] = True
            sureness[look, top:bottom, left:right] = probability
    for look in range(1, len(mask) - 1):
        if not mask[look].any():
            mask[look] = mask[look - 1] & mask[look + 1]
    return mask, sureness


def _components(mask: Array) -> tuple[Array, int]:
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3, 3, 3), bool))
    return labels, int(count)


def _squares(maps: Array, upsample: float) -> Array:
    """Squares of one face, (10 (looks - 1), 4) int, from its maps (looks, rows, columns) bool.

    Side: 1.2 x the 90th percentile of all widths and heights; centre: interpolated between looks, both ends included, so each look but
    the first and last are there twice; moved inside the grid. Where the side exceeds the grid, the square is cut there
    (upstream then cuts from a negative number and loses the network's answer).
    """
    height, width = maps.shape[1:]
    corners = []
    for look in maps:
        rows, columns = np.nonzero(look)
        corners.append((columns[0], rows[0], columns[-1], rows[-1]))  # of the first and last pixel, in reading order
    x1, y1, x2, y2 = np.array(corners).T
    side = int(np.percentile(np.concatenate([x2 - x1, y2 - y1]), 90) * 1.2)
    middles = np.stack([(x1 + x2) / 2, (y1 + y2) / 2], axis=1)
    steps = [np.linspace(before, after, EVERY) for before, after in itertools.pairwise(middles)]
    low = np.concatenate(steps).astype(int) - side // 2
    low = np.maximum(low, 0)
    high = low + 2 * (side // 2)
    over = np.maximum(high - (width, height), 0)
    low, high = np.maximum(low - over, 0), high - over
    squares: Array = (np.concatenate([low, high], axis=1) * upsample).astype(int)
    return squares
