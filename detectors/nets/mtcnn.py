"""MTCNN (Zhang et al., 2016, arXiv:1604.02878): finds faces and five landmarks with a cascade of three small nets.

Owns: the glue between the nets (``detectors.nets.mtcnn_nets``) in vectorised numpy.
Promises: boxes, probabilities and landmarks of facenet-pytorch's ``MTCNN.detect`` for the same settings
(tests/parity/test_mtcnn.py); the same picture gives the same bits; neither torchvision nor facenet_pytorch is imported.
May be imported by detectors and the media pass, in workers only. Torch is imported when a net is not kept on disk yet (``detectors.kept``).
"""

from __future__ import annotations

import importlib.util
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from base_detector import Array
from detectors.runtime import compiled

if TYPE_CHECKING:
    import torch

#: Side of the window PNet judges, in pixels of the pyramid level, and its step (section 3.1 of the paper).
_CELL, _STRIDE = 12, 2
#: Crops that RNet and ONet judge in one call; bounds the memory on crowded pictures.
_BATCH = 512
#: Boxes compared with each other at once when overlapping ones are dropped; bounds the memory on crowded pictures.
_BLOCK = 256
#: Pixels whose sum surely fits a signed 32-bit number.
_MOST_SUMMED = (2**31 - 1) // 255


@dataclass(frozen=True)
class MtcnnFaces:
    """Faces of one picture: boxes (N, 4) x1 y1 x2 y2, probabilities (N,), landmarks (N, 5, 2) x, y; float32, pixels.

    Boxes may reach outside the picture. Landmarks: left eye, right eye, nose, left and right mouth corner as the
    viewer sees them.
    """

    boxes: Array
    confidence: Array
    landmarks: Array

    def __len__(self) -> int:
        return len(self.boxes)


def find_weights() -> Path:
    """Folder of ``pnet.pt``, ``rnet.pt``, ``onet.pt`` in the installed facenet-pytorch, which is not imported.

    Raises FileNotFoundError with the remedy when the package is absent.
    """
    spec = importlib.util.find_spec("facenet_pytorch")
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / "data"
        if all((folder / f"{name}.pt").is_file() for name in ("pnet", "rnet", "onet")):
            return folder
    raise FileNotFoundError("MTCNN's weights are missing: pip install --no-deps facenet-pytorch==2.6.0")


def built(name: str, content: bytes) -> torch.nn.Module:
    """One of the nets with the weights in ``content``."""
    import torch

    from detectors.nets import mtcnn_nets

    net = {"pnet": mtcnn_nets.PNet, "rnet": mtcnn_nets.RNet, "onet": mtcnn_nets.ONet}[name]()
    net.load_state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True), strict=True)
    return net


class Mtcnn:
    """The cascade, compiled once for ``device``; ``detect`` may be called with any settings and picture size."""

    def __init__(self, *, weights: Path | None = None, device: str = "cpu", threads: int = 0) -> None:
        folder = weights or find_weights()
        shapes = {"pnet": (1, 3, 48, 64), "rnet": (2, 3, 24, 24), "onet": (2, 3, 48, 48)}
        self._pnet, self._rnet, self._onet = (
            compiled(
                built,
                name,
                (folder / f"{name}.pt").read_bytes(),
                example=np.zeros(shape, np.float32),
                device=device,
                threads=threads,
                input_shapes=[(1, 3, None, None)] if name == "pnet" else None,
            )
            for name, shape in shapes.items()
        )

    def detect(
        self,
        image: Array,
        *,
        min_face: float = 20.0,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        factor: float = 0.709,
        largest_first: bool = True,
    ) -> MtcnnFaces:
        """Find the faces of ``image`` ((H, W, 3) uint8 RGB) whose side is at least about ``min_face`` pixels.

        Defaults are facenet-pytorch's. Order: by area, largest first, or by probability when not ``largest_first``.
        """
        means = _AreaMeans(image)
        boxes = self._propose(means, min_face=min_face, threshold=thresholds[0], factor=factor)
        boxes = self._refine(means, boxes, threshold=thresholds[1])
        found = self._output(means, boxes, threshold=thresholds[2])
        return by_size(*found) if largest_first else MtcnnFaces(*found)

    def settle(self, image: Array, boxes: Array) -> MtcnnFaces:
        """What the last net alone says of each of ``boxes`` (n, 4) in ``image`` ((H, W, 3) uint8 RGB): a face each, in their order.

        For a face whose place is nearly known: two nets, the pyramid and all suppression are spared. A box outside the picture has no face.
        """
        wanted = squares(boxes.astype(np.float32))
        inside, (shifts, points, probability) = _judge(self._onet, _AreaMeans(image), wanted, side=48, empty=(4, 10, 2))
        return MtcnnFaces(*settled(inside, shifts, points, probability[:, 1]))

    def _propose(self, means: _AreaMeans, *, min_face: float, threshold: float, factor: float) -> Array:
        """First stage: PNet over an image pyramid. Squares (n, 4) worth a second look."""
        found = [np.zeros((0, 9), np.float32)]
        for scale in pyramid(means.height, means.width, min_face=min_face, factor=factor):
            level = means.resized(int(means.height * scale + 1), int(means.width * scale + 1))
            shifts, probability = self._pnet(level)
            score = probability[0, 1]
            rows, columns = np.nonzero(score >= threshold)
            found.append(cells_found(rows, columns, score[rows, columns], shifts[0][:, rows, columns].T, scale=scale))
        return proposals(np.concatenate(found))

    def _refine(self, means: _AreaMeans, boxes: Array, *, threshold: float) -> Array:
        """Second stage: RNet on every proposal. Squares (n, 4)."""
        boxes, (shifts, probability) = _judge(self._rnet, means, boxes, side=24, empty=(4, 2))
        return refined(boxes, shifts, probability[:, 1], threshold=threshold)

    def _output(self, means: _AreaMeans, boxes: Array, *, threshold: float) -> tuple[Array, Array, Array]:
        """Third stage: ONet on what is left: boxes (n, 4), probabilities (n,), landmarks (n, 5, 2)."""
        boxes, (shifts, points, probability) = _judge(self._onet, means, boxes, side=48, empty=(4, 10, 2))
        return final(boxes, shifts, points, probability[:, 1], threshold=threshold)


# --------------------------------------------------------------------------- which boxes are kept


def cells_found(rows: Array, columns: Array, scores: Array, shifts: Array, *, scale: float) -> Array:
    """PNet's windows at ``rows``, ``columns`` of one level of the pyramid, overlapping ones dropped: (n, 9) box, score, shift."""
    corner = np.stack([columns, rows], axis=1).astype(np.float32) * _STRIDE
    boxes = np.hstack([(corner + 1) / np.float32(scale), (corner + _CELL) / np.float32(scale)])
    keep = suppress(np.floor(boxes), scores, threshold=0.5)
    return np.hstack([np.floor(boxes[keep]), scores[keep, None], shifts[keep]])


def proposals(joined: Array) -> Array:
    """What all levels found (``cells_found``), overlapping ones dropped, as squares (n, 4)."""
    joined = joined[suppress(joined[:, :4], joined[:, 4], threshold=0.7)]
    size = joined[:, 2:4] - joined[:, :2]
    return squares(joined[:, :4] + joined[:, 5:] * np.hstack([size, size]))


def refined(boxes: Array, shifts: Array, score: Array, *, threshold: float) -> Array:
    """What RNet believes of ``boxes`` (n, 4), as squares."""
    passed = score > threshold
    boxes, score, shifts = boxes[passed], score[passed], shifts[passed]
    keep = suppress(boxes, score, threshold=0.7)
    return squares(_shifted(boxes[keep], shifts[keep]))


def final(boxes: Array, shifts: Array, points: Array, score: Array, *, threshold: float) -> tuple[Array, Array, Array]:
    """What ONet believes of ``boxes``: boxes (n, 4), probabilities (n,), landmarks (n, 5, 2)."""
    passed = score > threshold
    boxes, score, landmarks = settled(boxes[passed], shifts[passed], points[passed], score[passed])
    keep = suppress(boxes, score, threshold=0.7, by_smaller=True)
    return boxes[keep], score[keep], landmarks[keep]


def settled(boxes: Array, shifts: Array, points: Array, score: Array) -> tuple[Array, Array, Array]:
    """What ONet says of each of ``boxes``: boxes (n, 4), probabilities (n,), landmarks (n, 5, 2)."""
    corner, size = boxes[:, None, :2], (boxes[:, 2:4] - boxes[:, :2] + 1)[:, None]
    landmarks = size * points.reshape(-1, 2, 5).transpose(0, 2, 1) + corner - 1
    return _shifted(boxes, shifts), score, landmarks.astype(np.float32)


def by_size(boxes: Array, confidence: Array, landmarks: Array) -> MtcnnFaces:
    """The faces, those of the largest area first."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(area)[::-1]
    return MtcnnFaces(boxes=boxes[order], confidence=confidence[order], landmarks=landmarks[order])


def suppress(boxes: Array, scores: Array, *, threshold: float, by_smaller: bool = False) -> Array:
    """Greedy non-maximum suppression: indices of the boxes kept, best first.

    As torchvision's CPU kernel: scores descending (ties in input order), a box falls when its intersection over union
    with a kept one is *greater* than ``threshold``. ``by_smaller`` is the cascade's last step: intersection over the
    smaller area, pixel sides counted inclusively.
    """
    if not len(boxes):
        return np.zeros(0, np.int64)
    order = np.argsort(scores, kind="stable")[::-1] if by_smaller else np.argsort(-scores, kind="stable")
    sides = np.ascontiguousarray(boxes[order].astype(np.float32).T)
    kept: list[Array] = []
    left = np.arange(len(order))
    while len(left):
        block, left = left[:_BLOCK], left[_BLOCK:]
        block = block[_best_of(_overlapping(sides[:, block], sides[:, block], threshold, by_smaller=by_smaller))]
        kept.append(block)
        if len(left):
            left = left[~_overlapping(sides[:, block], sides[:, left], threshold, by_smaller=by_smaller).any(axis=0)]
    return order[np.concatenate(kept)]


def _overlapping(boxes: Array, others: Array, threshold: float, *, by_smaller: bool) -> Array:
    """Which of ``boxes`` (4, n) overlap which of ``others`` (4, m) by more than ``threshold``: (n, m) bool."""
    one = np.float32(1 if by_smaller else 0)
    (x1, y1, x2, y2), (u1, v1, u2, v2) = boxes[:, :, None], others[:, None]
    shared = np.maximum(np.minimum(x2, u2) - np.maximum(x1, u1) + one, 0)
    shared *= np.maximum(np.minimum(y2, v2) - np.maximum(y1, v1) + one, 0)
    area, areas = (x2 - x1 + one) * (y2 - y1 + one), (u2 - u1 + one) * (v2 - v1 + one)
    whole = np.minimum(area, areas) if by_smaller else area + areas - shared
    # Degenerate boxes have no area: 0 / 0 counts as not overlapping, as the comparison with NaN does in the reference.
    with np.errstate(invalid="ignore", divide="ignore"):
        shared /= whole
    # float32 ratio against a float64 threshold, as the reference compares
    overlapping: Array = shared > np.float64(threshold)
    return overlapping


def _best_of(overlapping: Array) -> list[int]:
    """Indices that the greedy rule keeps of boxes sorted best first; ``overlapping`` (n, n) bool."""
    dead, kept = np.zeros(len(overlapping), bool), []
    conflicts = np.count_nonzero(overlapping, axis=1) > overlapping.diagonal()
    for index, conflict in enumerate(conflicts.tolist()):  # a row of bits a step; most boxes overlap no other
        if not dead[index]:
            kept.append(index)
            if conflict:
                dead |= overlapping[index]
    return kept


class _AreaMeans:
    """Means over any rectangles of one picture, by summed-area tables: torch's ``area`` interpolation, in one step.

    Cell i of n over a length L covers pixels floor(i L / n) .. ceil((i + 1) L / n), as adaptive average pooling does.
    """

    def __init__(self, image: Array) -> None:
        self.height, self.width = image.shape[:2]
        # Sums of a channel outgrow 32 bits in large pictures. They are kept modulo 2^32, where differences are still right: no cell has
        # 8 million pixels. The tables of a panorama are the largest thing in memory, so they are not twice as wide.
        self._sums = np.zeros((3, self.height + 1, self.width + 1), np.int32)
        rows = max(1, _MOST_SUMMED // self.width)
        for table, plane in zip(self._sums, cv2.split(np.ascontiguousarray(image)), strict=True):
            if self.height <= rows:
                cv2.integral(plane, sum=table, sdepth=cv2.CV_32S)
                continue
            for top in range(0, self.height, rows):
                band = cv2.integral(plane[top : top + rows], sdepth=cv2.CV_32S)[1:]
                np.add(band, table[top], out=table[top + 1 : top + 1 + len(band)])

    def resized(self, height: int, width: int) -> Array:
        """The whole picture at another size, normalised for the nets: (1, 3, height, width) float32."""
        top, bottom = cells(np.zeros(1, np.int64), np.array([self.height]), height)
        left, right = cells(np.zeros(1, np.int64), np.array([self.width]), width)
        counts = (bottom - top)[0][:, None] * (right - left)[0][None]
        whole = np.empty((1, 3, height, width), np.float32)
        for channel, table in enumerate(self._sums):
            bands = table.take(bottom[0], axis=0, mode="clip")
            bands -= table.take(top[0], axis=0, mode="clip")
            sums = bands.take(right[0], axis=1, mode="clip")
            sums -= bands.take(left[0], axis=1, mode="clip")
            whole[0, channel] = sums
        return _normalised(whole, counts)

    def crops(self, boxes: Array, side: int) -> Array:
        """Pieces ``boxes`` ((n, 4) int x1 y1 x2 y2, ends exclusive), each ``side`` square: (n, 3, side, side)."""
        left, right = cells(boxes[:, 0], boxes[:, 2], side)
        top, bottom = cells(boxes[:, 1], boxes[:, 3], side)
        counts = (bottom - top)[:, :, None] * (right - left)[:, None, :]
        # places in the flat tables: one index for each corner is gathered faster than a row and a column
        above, below = ((rows * (self.width + 1))[:, :, None] for rows in (top, bottom))
        left, right = left[:, None, :], right[:, None, :]
        corners = below + right, above + right, below + left, above + left
        pieces = np.empty((len(boxes), 3, side, side), np.float32)
        for channel, table in enumerate(self._sums.reshape(3, -1)):
            sums = table.take(corners[0], mode="clip")
            sums -= table.take(corners[1], mode="clip")
            sums -= table.take(corners[2], mode="clip")
            sums += table.take(corners[3], mode="clip")
            pieces[:, channel] = sums
        return _normalised(pieces, counts[:, None])


def cells(start: Array, end: Array, count: int) -> tuple[Array, Array]:
    """First pixel and end of each of ``count`` cells over ``start``..``end``: two (n, count) arrays."""
    steps, length = np.arange(count)[None], (end - start)[:, None]
    return start[:, None] + steps * length // count, start[:, None] - (-(steps + 1) * length // count)


def _normalised(sums: Array, counts: Array) -> Array:
    """Float32 ``sums`` over ``counts`` pixels as the nets take them, in place."""
    sums /= counts.astype(np.float32)
    sums *= np.float32(0.0078125)
    sums -= np.float32(0.99609375)
    return sums


def pyramid(height: int, width: int, *, min_face: float, factor: float) -> list[float]:
    """Scales at which a face of ``min_face`` and more fills PNet's window."""
    scale = _CELL / min_face
    shortest, scales = min(height, width) * scale, []
    while shortest >= _CELL:
        scales.append(scale)
        scale, shortest = scale * factor, shortest * factor
    return scales


def squares(boxes: Array) -> Array:
    """Boxes (n, 4) widened to squares about their centres."""
    size = boxes[:, 2:4] - boxes[:, :2]
    side = size.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + size * np.float32(0.5) - side * np.float32(0.5)
    return np.hstack([corner, corner + side])


def _shifted(boxes: Array, shifts: Array) -> Array:
    """Boxes (n, 4) moved by a net's regression, which counts in box sides (inclusive pixels)."""
    size = boxes[:, 2:4] - boxes[:, :2] + 1
    return boxes + shifts * np.hstack([size, size])


def _judge(net: Any, means: _AreaMeans, boxes: Array, *, side: int, empty: tuple[int, ...]) -> tuple[Array, Any]:
    """Run ``net`` on each box; boxes outside the picture are dropped. ``empty`` = widths of the outputs."""
    boxes, pieces = pieces_of(boxes, means.width, means.height)
    parts = [net(means.crops(pieces[at : at + _BATCH], side)) for at in range(0, len(pieces), _BATCH)]
    if not parts:
        return boxes, tuple(np.zeros((0, width), np.float32) for width in empty)
    return boxes, tuple(np.concatenate(items) for items in zip(*parts, strict=True))


def pieces_of(boxes: Array, width: int, height: int) -> tuple[Array, Array]:
    """Those of ``boxes`` that are inside the picture, and what of each is: (n, 4) int x1 y1 x2 y2, ends exclusive."""
    corners = np.trunc(boxes).astype(np.int64)
    pieces = np.hstack([np.maximum(corners[:, :2], 1) - 1, np.minimum(corners[:, 2:], [[width, height]])]).reshape(
        -1, 4
    )
    inside = (pieces[:, 2] > pieces[:, 0]) & (pieces[:, 3] > pieces[:, 1])
    return boxes[inside], pieces[inside]
