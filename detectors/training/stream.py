"""Endless batches of real faces and their own blends, made fresh for every step in a separate process.

Owns: how a stored face becomes a training picture: window, blend, global processing, codec, final crop.
Promises: a batch depends on (seed, step) and nothing else, however many processes work; real faces and blends go through
the same processing, drawn from the same distribution; nothing outside the asked-for part of the bank is read.
May be imported by detectors.training and its tests.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from base_detector import Array
from detectors.nets.faces import resized
from detectors.training import warps
from detectors.training.blends import blend
from detectors.training.degrade import (
    ALL_RATES,
    LOW_RATES,
    STRONG,
    encode,
    encode_lightly,
    encode_mixed,
    process,
    through_h264,
    through_jpeg,
)
from detectors.training.faces import MARGIN, Bank, read_bank

#: Box sides shown while a face is blended and compressed; the final crop is smaller, so codec grids and borders vary.
_WORKING_MARGIN = 1.13
#: The two codecs robustness is measured with.
LAST: dict[str, Callable[[Array], Array]] = {
    "jpeg60": lambda tiles: through_jpeg(tiles, quality=60, offset=3),
    "h264_32": lambda tiles: through_h264(tiles, crf=32, moving=True, offset=5),
}


#: What ``Recipe.codec`` trains on.
MIXTURES = {"drawn": ALL_RATES, "strong": STRONG, "low": LOW_RATES}


@dataclass(frozen=True)
class Recipe:
    """How the pictures look to the net: their side, box sides shown.

    ``working``: sides, in pixels, at which faces are blended and compressed: what a face measures in a clip before it is scaled for
    the net. ``colour``: share of the draws that are colour pictures (None: as many as there are).
    ``hard``: every picture is compressed, and a face and its blend never share their processing: the held-out measure.
    ``codec``: ``drawn``, ``strong`` or ``low`` (heavier mixtures to train with; the held-out measure keeps its own), or ``none`` (no
    picture is compressed). ``last``: one more codec at the end, ``jpeg60`` or ``h264_32``. Recipes that differ in these two only make
    the same blends of the same faces. ``reshaped``: share of the training faces that are given another shape first.
    ``mingled``: where a face and its blend are processed apart, both codecs of the batch get real faces and blends in equal numbers.
    Without that all real faces of such a batch share one codec, and a long run learns to read that off the batch's own mean and variance,
    which a net in use does not have: its ROC-AUC rises on training batches and falls on everything else.
    ``both``: the batch holds each picture as it was before its last codec, too.
    """

    side: int = 80
    margin: float = 1.04
    pairs: int = 64
    working: tuple[int, ...] = (72, 96, 120, 144)
    colour: float | None = None
    hard: bool = False
    codec: str = "drawn"
    last: str = ""
    reshaped: float = 0.0
    mingled: bool = False
    both: bool = False

    @property
    def map_side(self) -> int:
        """Side of the maps: an eighth, as the net has them."""
        return self.side // 8


@dataclass(frozen=True)
class Batch:
    """Real faces, then their blends in the same order: ``faces`` (2n, S, S) uint8 luma; ``masks`` (2n, m, m) float32, 0 = untouched.

    ``before``: as ``faces``, without the last codec.
    """

    faces: Array
    masks: Array
    indices: Array
    before: Array | None = None

    @property
    def labels(self) -> Array:
        """(2n,) float32, 1 = blend."""
        half = len(self.faces) // 2
        return np.repeat(np.array([0, 1], np.float32), half)

    def split(self, count: int) -> list[Batch]:
        """``count`` smaller batches; a face stays with its blend."""
        half = len(self.indices)
        pieces = [np.concatenate([part, part + half]) for part in np.array_split(np.arange(half), count)]
        return [
            Batch(
                self.faces[p],
                self.masks[p],
                self.indices[p[: len(p) // 2]],
                None if self.before is None else self.before[p],
            )
            for p in pieces
        ]


def make_batch(bank: Bank, indices: Array, *, recipe: Recipe, rng: np.random.Generator) -> Batch:
    """Make one batch of ``len(indices)`` real faces of the bank and as many blends."""
    count = len(indices)
    faces = np.empty((2 * count, recipe.side, recipe.side), np.uint8)
    uncoded = np.empty_like(faces) if recipe.both else None
    masks = np.zeros((2 * count, recipe.map_side, recipe.map_side), np.float32)
    windows = [_Window.draw(bank.rows[index], bank.side, rng=rng) for index in indices]
    reshaped = 0.0 if recipe.hard else recipe.reshaped
    for group in _groups(count, recipe, rng=rng):
        members = [member for member, _ in group]
        working = int(rng.choice(recipe.working))
        tiles, found, crops = [], [], []
        cut = [
            windows[member].cut(bank.pixels[indices[member]], working, reshaped=reshaped, rng=rng) for member in members
        ]
        clean = [face for face, _ in cut]
        before = _first_generation(clean, recipe, rng=rng)
        for (member, kinds), untouched, face, (_, landmarks) in zip(group, clean, before, cut, strict=True):
            pasted = untouched if rng.random() < 0.5 else face  # a generator's picture was not compressed before
            alike = int(rng.integers(2**63))
            for fake in kinds:
                mixed, mask = blend(face, landmarks, rng=rng, pasted=pasted) if fake else (face, None)
                own = np.random.default_rng(alike)
                tiles.append(np.clip(process(mixed, rng=own) + 0.5, 0, 255).astype(np.uint8))
                crops.append(_final_crop(working, recipe.margin, rng=own))
                found.append((member + count * fake, mask))
        coded = _coded(np.stack(tiles), recipe, rng=rng.spawn(1)[0])
        for tile, raw, (x, y, size), (place, mask) in zip(coded, tiles, crops, found, strict=True):
            faces[place] = resized(tile[y : y + size, x : x + size], recipe.side)
            if uncoded is not None:
                uncoded[place] = resized(raw[y : y + size, x : x + size], recipe.side)
            if mask is not None:
                piece = mask[y : y + size, x : x + size]
                masks[place] = cv2.resize(piece, masks.shape[1:], interpolation=cv2.INTER_AREA)
    return Batch(faces=faces, masks=masks, indices=indices, before=uncoded)


def _groups(count: int, recipe: Recipe, *, rng: np.random.Generator) -> list[list[tuple[int, tuple[bool, ...]]]]:
    """Pictures that share size and codec: (face, which of its pictures: real, blend, both)."""
    # a face and its blend side by side, processed alike: only the blend differs
    if not recipe.hard and rng.random() >= 0.5:
        return [[(member, (False, True)) for member in range(start, count, 2)] for start in (0, 1)]
    # which picture of a face is in which of the two groups
    first = rng.random(count) < 0.5 if recipe.mingled and not recipe.hard else np.zeros(count, bool)
    return [[(member, (bool(fake),)) for member, fake in enumerate(own)] for own in (first, ~first)]


def _first_generation(faces: list[Array], recipe: Recipe, *, rng: np.random.Generator) -> list[Array]:
    """Half of the training batches show clips that were compressed before they were manipulated, as clips of the wild were."""
    own = rng.spawn(1)[0]
    if recipe.hard:
        return faces
    spared = rng.random() < 0.5  # drawn for every codec, so that all make the same blends
    if spared or recipe.codec == "none":
        return faces
    coded = encode_lightly(np.stack([np.clip(face + 0.5, 0, 255).astype(np.uint8) for face in faces]), rng=own)
    return list(coded.astype(np.float32))


def _coded(tiles: Array, recipe: Recipe, *, rng: np.random.Generator) -> Array:
    if recipe.codec != "none":
        tiles = (
            encode(tiles, rng=rng, always=True) if recipe.hard else encode_mixed(tiles, MIXTURES[recipe.codec], rng=rng)
        )
    if recipe.last:
        tiles = LAST[recipe.last](tiles)
    return tiles


@dataclass(frozen=True)
class _Window:
    """Which square of a stored face is used, and whether it is mirrored."""

    x: int
    y: int
    size: int
    flip: bool
    landmarks: Array

    @classmethod
    def draw(cls, row: Array, side: int, *, rng: np.random.Generator) -> _Window:
        size = round(side * _WORKING_MARGIN / MARGIN * rng.uniform(0.96, 1.0))
        slack = side - size
        x, y = (int(v) for v in rng.integers(0, slack + 1, 2))
        return cls(x=x, y=y, size=size, flip=bool(rng.random() < 0.5), landmarks=np.asarray(row["landmarks"]))

    def cut(self, stored: Array, side: int, *, reshaped: float, rng: np.random.Generator) -> tuple[Array, Array]:
        """(side, side) float32 luma and the five landmarks in its pixels; with probability ``reshaped`` in another shape."""
        landmarks = self.landmarks
        if reshaped and rng.random() < reshaped:
            stored, landmarks = warps.reshaped(np.asarray(stored), landmarks, rng=rng)
        piece = stored[self.y : self.y + self.size, self.x : self.x + self.size]
        face = cv2.resize(piece, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
        landmarks = (landmarks - np.array([self.x, self.y], np.float32)) * (side / self.size)
        if self.flip:
            face = np.ascontiguousarray(face[:, ::-1])
            landmarks = np.stack([side - landmarks[:, 0], landmarks[:, 1]], 1)[[1, 0, 2, 4, 3]]
        return face, landmarks


def _final_crop(side: int, margin: float, *, rng: np.random.Generator) -> tuple[int, int, int]:
    size = min(side, round(side * margin / _WORKING_MARGIN * rng.uniform(0.95, 1.05)))
    x, y = (int(v) for v in rng.integers(0, side - size + 1, 2))
    return x, y, size


def batch_of_step(bank: Bank, *, part: str, recipe: Recipe, seed: int, step: int) -> Batch:
    """The batch of one training step; each identity is as likely as any other up to a factor of its square root of pictures."""
    rng = np.random.default_rng([seed, step])
    own = bank.of_part(part)
    identity = bank.rows["identity"][own]
    weight = 1 / np.sqrt(np.bincount(identity)[identity])
    if recipe.colour is not None:
        coloured = np.array([not name.startswith("grey:") for name in bank.identities])[identity]
        for chosen, share in ((coloured, recipe.colour), (~coloured, 1 - recipe.colour)):
            weight[chosen] *= share / max(weight[chosen].sum(), 1e-9)
    likely = int((weight > 0).sum())
    indices = rng.choice(own, recipe.pairs, replace=likely < recipe.pairs, p=weight / weight.sum())
    return make_batch(bank, indices, recipe=recipe, rng=rng)


def stream(
    folder: Path, *, part: str, recipe: Recipe, seed: int, first: int, last: int, processes: int = 1
) -> Iterator[Batch]:
    """Batches of steps ``first`` .. ``last - 1`` in order, made ahead by other processes."""
    context = multiprocessing.get_context("spawn")
    outlets = [context.Queue(maxsize=4) for _ in range(processes)]
    workers = [
        context.Process(
            target=_produce,
            args=(folder, part, recipe, seed, range(first + number, last, processes), outlet),
            daemon=True,
        )
        for number, outlet in enumerate(outlets)
    ]
    for worker in workers:
        worker.start()
    try:
        for step in range(first, last):
            yield _next(outlets[(step - first) % processes], workers[(step - first) % processes])
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def _next(outlet: Any, worker: Any) -> Batch:
    while True:
        try:
            batch: Batch = outlet.get(timeout=5)
            return batch
        except queue.Empty:
            if not worker.is_alive():
                raise RuntimeError("the process that makes the blends has ended; its message is above") from None


def _produce(folder: Path, part: str, recipe: Recipe, seed: int, steps: range, outlet: Any) -> None:
    cv2.setNumThreads(1)
    bank = read_bank(folder)
    parent = multiprocessing.parent_process()
    for step in steps:
        batch = batch_of_step(bank, part=part, recipe=recipe, seed=seed, step=step)
        while True:
            try:
                outlet.put(batch, timeout=5)
                break
            except queue.Full:
                if parent is not None and not parent.is_alive():  # the trainer was killed and will not ask again
                    os._exit(1)
