"""MTCNN in torch, many pictures at once: for a GPU, where a call costs the same for one picture and for sixteen.

Owns: pictures, summed-area tables, pyramid and crops on the device; which boxes are kept is decided on the processor, by the rules of
``mtcnn``. Promises: the faces of ``mtcnn.Mtcnn`` for each picture: as many, boxes and landmarks within BOUND_PX, probabilities within
BOUND (tests/parity/test_mtcnn_batch.py, on torch's CPU); a batch gives what its pictures give one by one, within the same bounds. The
sums are the same whole numbers, so all that differs is the rounding of three small networks. Imported by the media pass, in workers only.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from base_detector import Array
from detectors import gpu
from detectors.nets import mtcnn

#: Largest difference from ``mtcnn.Mtcnn``: pixels of a box or landmark, and of a probability.
BOUND_PX: Final = 0.05
BOUND: Final = 1e-3
#: Crops that RNet and ONet judge in one call.
_CROPS: Final = 4096
#: Bytes that a pixel of a picture takes on the device at most: three tables of 4, the tables in the making, and the first level of the
#: pyramid through PNet (10 maps of 4 bytes at full size, and their activations).
_A_PIXEL: Final = 160


class MtcnnBatch:
    """The cascade on ``device`` (``cpu`` or ``cuda:N``). Weights are found as ``mtcnn.Mtcnn`` finds them."""

    def __init__(self, *, device: str, weights: Path | None = None) -> None:
        folder = weights or mtcnn.find_weights()
        if device != "cpu":  # as detectors.runtime: TF32 keeps 10 bits only
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cuda.matmul.allow_tf32 = False
            if not torch.cuda.is_available():
                raise RuntimeError(f"{device} was asked for, but torch sees no CUDA device: DFOM_MEDIA_GPU=false")
        self._device = torch.device(device)
        self._memory = gpu.CardMemory(device) if device != "cpu" else None
        self._pnet, self._rnet, self._onet = (
            copy.deepcopy(mtcnn.built(name, (folder / f"{name}.pt").read_bytes())).eval().to(self._device)
            for name in ("pnet", "rnet", "onet")
        )
        if device != "cpu":
            self._check(folder)

    def _check(self, folder: Path) -> None:
        """Compare each net with itself on the processor; RuntimeError where the card answers otherwise."""
        shapes = {"pnet": (2, 3, 48, 64), "rnet": (8, 3, 24, 24), "onet": (8, 3, 48, 48)}
        for net, (name, shape) in zip((self._pnet, self._rnet, self._onet), shapes.items(), strict=True):
            here = mtcnn.built(name, (folder / f"{name}.pt").read_bytes()).eval()
            given = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32))
            with torch.inference_mode():
                pairs = zip(net(given.to(self._device)), here(given), strict=True)
                off = max(float((found.cpu() - expected).abs().max()) for found, expected in pairs)
            if not off <= BOUND / 10:
                raise RuntimeError(
                    f"MTCNN's {name} on {self._device} differs by {off:.1e} from the processor: DFOM_MEDIA_GPU=false"
                )

    def detect(self, image: Array, *, min_face: float = 20.0) -> mtcnn.MtcnnFaces:
        """As ``mtcnn.Mtcnn.detect``."""
        return self.detect_many([image], min_face=min_face)[0]

    def detect_many(self, images: Sequence[Array], *, min_face: float = 20.0) -> list[mtcnn.MtcnnFaces]:
        """The faces of each of ``images``, (H, W, 3) uint8 RGB; those of one size share the calls of the networks."""
        found: dict[int, mtcnn.MtcnnFaces] = {}
        sizes: dict[tuple[int, ...], list[int]] = {}
        for number, image in enumerate(images):
            sizes.setdefault(image.shape, []).append(number)
        for shape, numbers in sizes.items():
            most = self._fitting(shape[0] * shape[1])
            for at in range(0, len(numbers), most):
                some = numbers[at : at + most]
                stack = np.stack([images[number] for number in some])
                with torch.inference_mode():
                    found.update(zip(some, self._detect(stack, min_face=min_face), strict=True))
        return [found[number] for number in range(len(images))]

    def settle(self, image: Array, boxes: Array) -> mtcnn.MtcnnFaces:
        """As ``mtcnn.Mtcnn.settle``."""
        with torch.inference_mode():
            means = _Means(torch.from_numpy(np.ascontiguousarray(image)[None]).to(self._device))
            squares = [mtcnn.squares(boxes.astype(np.float32))]
            [(inside, (shifts, points, probability))] = self._judge(
                self._onet, means, squares, side=48, widths=(4, 10, 2)
            )
        return mtcnn.MtcnnFaces(*mtcnn.settled(inside, shifts, points, probability[:, 1]))

    def _fitting(self, pixels: int) -> int:
        """Pictures of so many pixels that are computed at once."""
        free = self._memory.free() if self._memory else 1_000_000_000
        return gpu.batch_that_fits(free, an_item=pixels * _A_PIXEL)

    def _detect(self, stack: Array, *, min_face: float) -> list[mtcnn.MtcnnFaces]:
        means = _Means(torch.from_numpy(stack).to(self._device))
        boxes = self._propose(means, min_face=min_face)
        boxes = self._refine(means, boxes)
        return self._output(means, boxes)

    def _propose(self, means: _Means, *, min_face: float, threshold: float = 0.6, factor: float = 0.709) -> list[Array]:
        """First stage, for each picture: squares (n, 4)."""
        found: list[list[Array]] = [[np.zeros((0, 9), np.float32)] for _ in range(means.count)]
        for scale in mtcnn.pyramid(means.height, means.width, min_face=min_face, factor=factor):
            shifts, probability = self._pnet(means.resized(int(means.height * scale + 1), int(means.width * scale + 1)))
            score = probability[:, 1]
            places = (score >= threshold).nonzero()
            scores = score[places[:, 0], places[:, 1], places[:, 2]].cpu().numpy()
            moved = shifts[places[:, 0], :, places[:, 1], places[:, 2]].cpu().numpy()
            where = places.cpu().numpy()
            for picture in range(means.count):
                own = where[:, 0] == picture
                found[picture].append(
                    mtcnn.cells_found(where[own, 1], where[own, 2], scores[own], moved[own], scale=scale)
                )
        return [mtcnn.proposals(np.concatenate(parts)) for parts in found]

    def _refine(self, means: _Means, boxes: list[Array]) -> list[Array]:
        """Second stage, for each picture: squares (n, 4)."""
        judged = self._judge(self._rnet, means, boxes, side=24, widths=(4, 2))
        return [
            mtcnn.refined(boxes, shifts, probability[:, 1], threshold=0.7) for boxes, (shifts, probability) in judged
        ]

    def _output(self, means: _Means, boxes: list[Array]) -> list[mtcnn.MtcnnFaces]:
        """Third stage, for each picture."""
        judged = self._judge(self._onet, means, boxes, side=48, widths=(4, 10, 2))
        return [
            mtcnn.by_size(*mtcnn.final(boxes, shifts, points, probability[:, 1], threshold=0.7))
            for boxes, (shifts, points, probability) in judged
        ]

    def _judge(
        self, net: torch.nn.Module, means: _Means, boxes: list[Array], *, side: int, widths: tuple[int, ...]
    ) -> list[tuple[Array, list[Array]]]:
        """Run ``net`` on the boxes of all pictures together: for each picture its boxes inside it, and the outputs."""
        inside, pieces = zip(*(mtcnn.pieces_of(some, means.width, means.height) for some in boxes), strict=True)
        owners = np.repeat(np.arange(means.count), [len(some) for some in pieces])
        corners = np.concatenate(pieces)
        parts = [
            net(means.crops(owners[at : at + _CROPS], corners[at : at + _CROPS], side))
            for at in range(0, len(corners), _CROPS)
        ]
        outputs = [torch.cat(items).float().cpu().numpy() for items in zip(*parts, strict=True)] or [
            np.zeros((0, width), np.float32) for width in widths
        ]
        ends = np.cumsum([len(some) for some in pieces])[:-1]
        split = [np.split(output, ends) for output in outputs]
        return [(some, [output[picture] for output in split]) for picture, some in enumerate(inside)]


class _Means:
    """``mtcnn``'s means over rectangles, of several pictures of one size: (N, H, W, 3) uint8 on the device."""

    def __init__(self, stack: torch.Tensor) -> None:
        self.count, self.height, self.width = stack.shape[:3]
        # whole numbers modulo 2^32, as there: differences are right, since no cell has 8 million pixels
        sums = torch.zeros((self.count, 3, self.height + 1, self.width + 1), dtype=torch.int32, device=stack.device)
        planes = stack.permute(0, 3, 1, 2)
        sums[:, :, 1:, 1:] = planes.cumsum(2, dtype=torch.int32).cumsum(3, dtype=torch.int32)
        self._sums = sums

    def resized(self, height: int, width: int) -> torch.Tensor:
        """The pictures at another size, normalised: (N, 3, height, width) float32."""
        start = np.zeros(1, np.int64)
        top, bottom = mtcnn.cells(start, np.array([self.height]), height)
        left, right = mtcnn.cells(start, np.array([self.width]), width)
        counts = self._to((bottom - top)[0][:, None] * (right - left)[0][None])
        above, below, before, after = (self._to(item[0]) for item in (top, bottom, left, right))
        bands = self._sums[:, :, below] - self._sums[:, :, above]
        return _normalised(bands[..., after] - bands[..., before], counts)

    def crops(self, owners: Array, boxes: Array, side: int) -> torch.Tensor:
        """Pieces ``boxes`` ((n, 4) int, ends exclusive) of the pictures ``owners`` (n,), ``side`` square: (n, 3, side, side)."""
        left, right = (self._to(item)[:, None, :] for item in mtcnn.cells(boxes[:, 0], boxes[:, 2], side))
        top, bottom = (self._to(item)[:, :, None] for item in mtcnn.cells(boxes[:, 1], boxes[:, 3], side))
        of = self._to(owners)[:, None, None]
        table = self._sums.permute(0, 2, 3, 1)
        sums = table[of, bottom, right] - table[of, top, right] - table[of, bottom, left] + table[of, top, left]
        return _normalised(sums.permute(0, 3, 1, 2), ((bottom - top) * (right - left))[:, None])

    def _to(self, numbers: Array) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(numbers)).to(self._sums.device)


def _normalised(sums: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    return sums.float() / counts.float() * 0.0078125 - 0.99609375
