"""The squares behind the golden tubes of "Eighteen", found by their golden means: for machines without the file of the published finder."""

from __future__ import annotations

from itertools import islice

import cv2
import numpy as np

from detectors.eighteen import tubes

#: So many squares are scaled to 256 pixels and compared with the golden mean: those whose own is nearest to it, as scaling takes an
#: eighth of a grey level off (OpenCV rounds down).
_TRIED, _LOST = 60, 0.125


def box_about(x: int, y: int, side: int) -> tuple[int, int, int, int]:
    """A face box whose own square is the one given (or one pixel larger)."""
    longer = int(np.ceil(side / tubes.SCALE))
    left, top = x + side // 2 - longer // 2, y + side // 2 - longer // 2
    return left, top, left + longer, top + longer


def seen_boxes(golden: dict, frames: list[np.ndarray]) -> list[list[tuple]]:
    """Boxes of each frame and tube whose squares, of one side a tube, have the golden mean; none in a black frame."""
    name = golden["tubes"]["input"].partition(":")[0]
    (entry,) = [item for item in golden["retinaface_mobilenet"] if item["input"] == name]
    first = np.array(entry["detections_after_nms_score_gt_0.3_x1y1x2y2s"])[:, :4]
    lit = [at for at, frame in enumerate(frames) if frame.any()]
    found: list[list[tuple]] = [[] for _ in frames]
    for box, means in zip(first, golden["tubes"]["per_face_frame_mean_256"], strict=True):
        near = int(tubes.SCALE * max(box[2:] - box[:2])) // 2 * 2
        sides = (near + more for more in (0, 2, 4, -2, 6, -4, 8))
        (squares,) = islice(filter(None, (_fitting(frames, lit, box=box, side=side, means=means) for side in sides)), 1)
        for at, square in zip(lit, squares, strict=True):
            found[at].append(box_about(*square))
    return found


def _fitting(
    frames: list[np.ndarray], lit: list[int], *, box: np.ndarray, side: int, means: list[float]
) -> list[tuple[int, int, int]] | None:
    """Squares (x, y, side) of the ``lit`` frames that have these means at 256 pixels, each near the one before; None without them."""
    height, width = frames[0].shape[:2]
    x, y = ((box[i] + box[i + 2]) / 2 - side / 2 for i in (0, 1))
    squares = []
    for at in lit:
        sums = cv2.integral(frames[at].sum(axis=2).astype(np.float64))
        near = [
            (int(left), int(top))
            for left in np.arange(max(0, x - 12), min(width - side, x + 13))
            for top in np.arange(max(0, y - 12), min(height - side, y + 13))
        ]
        near.sort(key=lambda corner: abs(_mean_of(sums, *corner, side=side) - _LOST - means[at]))
        fits = [corner for corner in near[:_TRIED] if _has_mean(frames[at], *corner, side=side, mean=means[at])]
        if not fits:
            return None
        x, y = min(fits, key=lambda corner: np.hypot(corner[0] - x, corner[1] - y))
        squares.append((x, y, side))
    return squares


def _mean_of(sums: np.ndarray, x: int, y: int, *, side: int) -> float:
    return (sums[y + side, x + side] - sums[y, x + side] - sums[y + side, x] + sums[y, x]) / (3 * side * side)


def _has_mean(frame: np.ndarray, x: int, y: int, *, side: int, mean: float) -> bool:
    small = cv2.resize(frame[y : y + side, x : x + side], (256, 256), interpolation=cv2.INTER_LINEAR)
    return bool(abs(small.mean(dtype=np.float64) - mean) < 1e-5)
