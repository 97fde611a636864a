"""Noise of a face over time: a 3-D convolutional net on 20 maps of |face - blurred face|, and a GRU on their 20 means.

Owns: the maps, which faces make a window, the two architectures. Source: a class project on the DFDC that trained both from maps it
calls *distinguishment* (face minus its Gaussian, mean of the three channels), 20 faces, one every five frames. Its kernel sizes, blur
and units are not written down; those of the cards are ours.
Promises: logits are of *fake*; a window never leaves a person or a shot, and never bridges a gap; the same faces give the same bits.
May be imported by detectors, in workers, and by detectors.training. Torch is imported with this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from base_detector import Array, Card, FacePack, Judgement, Progress, square_crop
from detectors.nets.faces import resized
from detectors.nets.trained import Calibrated

#: Side of a map, and maps of a window.
SIDE, LENGTH = 100, 20
#: Seconds between two faces of a window: five frames of the DFDC's 30 a second.
STEP_S = 5 / 30
#: A face fills a place of the grid when it is nearer than two frames of 30 a second, so that one face cannot fill two places.
SLACK_S = 0.4 * STEP_S
#: Longer side of the face box, in pixels, below which a face has no noise of its own.
SMALLEST = 32
#: What a parameter of the cards may be: (lowest, highest).
BOUNDS: dict[str, tuple[float, float]] = {"sigma": (0.5, 20.0), "kernel": (1, 9), "pool": (1, 4), "units": (1, 512)}


class Noise3dCnn(Calibrated):
    """(N, 20, 100, 100) maps in grey levels -> logit of *fake* (N,).

    Three convolutions of 20 (tanh), 16 and 8 (ReLU) filters, a pool behind the first one, the mean over what is left, one output. The
    maps are first brought to mean 0 and deviation 1 of the training data (batch norm without learnt numbers).
    """

    def __init__(self, *, kernel: int, pool: int) -> None:
        super().__init__()
        self.pool = pool
        self.standard = nn.BatchNorm3d(1, affine=False)
        self.first = nn.Conv3d(1, 20, kernel, padding=kernel // 2)
        self.second = nn.Conv3d(20, 16, kernel, padding=kernel // 2)
        self.third = nn.Conv3d(16, 8, kernel, padding=kernel // 2)
        self.score = nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool3d(torch.tanh(self.first(self.standard(x.unsqueeze(1)))), self.pool)
        x = functional.relu(self.third(functional.relu(self.second(x))))
        return self.score(x.mean((2, 3, 4))).squeeze(1)


class NoiseGru(Calibrated):
    """(N, 20, 1) means of maps in grey levels -> logit of *fake* (N,): one GRU, its last state, one output.

    Cho et al. (2014, arXiv:1406.1078) with the reset gate behind the product, as torch has it; gates in the order reset, update, new.
    Written out, because a traced ``nn.GRU`` warns of its own checks.
    """

    def __init__(self, *, units: int) -> None:
        super().__init__()
        self.standard = nn.BatchNorm1d(1, affine=False)
        self.own, self.past = nn.Linear(1, 3 * units), nn.Linear(units, 3 * units)
        self.score = nn.Linear(units, 1)
        for parameter in (*self.own.parameters(), *self.past.parameters()):
            nn.init.uniform_(parameter, -(units**-0.5), units**-0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inputs = self.own(self.standard(x.transpose(1, 2)).transpose(1, 2))
        state = torch.zeros_like(inputs[:, 0].chunk(3, dim=1)[0])
        for step in range(LENGTH):
            reset, update, fresh = inputs[:, step].chunk(3, dim=1)
            past_reset, past_update, past_fresh = self.past(state).chunk(3, dim=1)
            reset, update = torch.sigmoid(reset + past_reset), torch.sigmoid(update + past_update)
            state = (1 - update) * torch.tanh(fresh + reset * past_fresh) + update * state
        return self.score(state).squeeze(1)


def noise_map(face: Array, *, sigma: float) -> Array:
    """|face - its Gaussian| as the mean of the three channels: (S, S, 3) uint8 -> (S, S) float32, grey levels.

    In float and without sign: a signed difference has mean 0, which the published means (about 50) cannot be.
    """
    sharp = face.astype(np.float32)
    blurred = cv2.GaussianBlur(sharp, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    return np.abs(sharp - blurred).mean(axis=2, dtype=np.float32)


def wrong_parameter(parameters: Mapping[str, Any]) -> str | None:
    """What is wrong with the first bad parameter of a card, None when all are good."""
    for name, value in parameters.items():
        low, high = BOUNDS[name]
        whole = isinstance(low, int)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not low <= value <= high or (whole and not isinstance(value, int)):
            return f"parameters.{name} must be a {'whole ' if whole else ''}number from {low} to {high}, not {value!r}"
        if name == "kernel" and value % 2 == 0:
            return f"parameters.kernel must be an odd number, not {value!r}"
    return None


def windows(times: Array, persons: Array, shots: Array, *, overlap: bool = False) -> Iterator[Array]:
    """Indices, (20,), of the faces of each window: one person, one shot, one face every ``STEP_S`` seconds.

    ``times`` (n,) float, seconds, ``persons`` (n,) and ``shots`` (n,) int. Windows follow one another without sharing a face; with
    ``overlap`` each begins one face after the one before (for training). A face without a person (negative number) is in none.
    """
    pairs = {(int(p), int(s)) for p, s in zip(persons, shots, strict=True) if p >= 0}
    for person, shot in sorted(pairs):
        own = np.flatnonzero((persons == person) & (shots == shot))
        own = own[np.argsort(times[own], kind="stable")]
        yield from (own[window] for window in _windows_of(np.asarray(times[own], np.float64), overlap=overlap))


def _windows_of(times: Array, *, overlap: bool) -> Iterator[Array]:
    """Windows of ascending ``times``, as places in them."""
    start = 0
    while start < len(times) and times[-1] - times[start] >= (LENGTH - 1) * STEP_S - SLACK_S:
        grid = times[start] + STEP_S * np.arange(LENGTH)
        after = np.clip(np.searchsorted(times, grid), 1, len(times) - 1)
        nearest = after - (grid - times[after - 1] <= times[after] - grid)
        nearest[0] = start
        missing = np.abs(times[nearest] - grid) > SLACK_S
        if missing.any():
            start += 1
            continue
        yield nearest
        start = start + 1 if overlap else int(nearest[-1]) + 1


def judge_windows(
    pack: FacePack, progress: Progress, *, card: Card, sigma: float, net: Callable[[Array], Array], means: bool = False
) -> Judgement:
    """Score every window of a pack with ``net`` (probability of *fake* of a batch of windows).

    A window's soft label is that of its middle face. A person is the mean of its windows, the video its most suspicious person.
    """
    rows = pack.faces
    sides = (rows["box"][:, 2:] - rows["box"][:, :2]).max(axis=1, initial=0)
    large = np.flatnonzero(sides >= SMALLEST)
    skipped = {"face_too_small": len(rows) - len(large)} if len(large) < len(rows) else {}
    found = [large[w] for w in windows(rows["time_s"][large], rows["person"][large], rows["shot"][large])]
    if not found:
        if len(large):
            skipped["needs_a_clip"] = len(large)
        return Judgement(np.full(len(rows), np.nan), skipped=skipped)
    softlabels = np.full(len(rows), np.nan)
    by_person: dict[int, list[float]] = {}
    for start in range(0, len(found), card.batch):
        part = found[start : start + card.batch]
        batch = np.stack([_window_input(pack, window, margin=card.margin, sigma=sigma, means=means) for window in part])
        for window, fake in zip(part, np.asarray(net(batch), np.float64), strict=True):
            softlabels[window[LENGTH // 2]] = 1 - fake
            by_person.setdefault(int(rows["person"][window[0]]), []).append(1 - float(fake))
        progress(start + len(part), len(found))
    left_over = len(large) - LENGTH * len(found)
    if left_over:
        skipped["needs_a_clip"] = left_over
    persons = {person: float(np.mean(own)) for person, own in by_person.items()}
    return Judgement(softlabels, video=min(persons.values()), persons=persons, skipped=skipped)


def _window_input(pack: FacePack, window: Array, *, margin: float, sigma: float, means: bool) -> Array:
    crops = [square_crop(pack.image(i), pack.face(i).box, margin=margin) for i in map(int, window)]
    return features(np.stack([resized(crop, SIDE) for crop in crops]), sigma=sigma, means=means)


def features(faces: Array, *, sigma: float, means: bool) -> Array:
    """What the nets take of the faces of one window, (20, S, S, 3) uint8: maps (20, S, S), or their ``means`` (20, 1)."""
    maps = np.stack([noise_map(face, sigma=sigma) for face in faces])
    return maps.mean(axis=(1, 2), dtype=np.float32)[:, None] if means else maps
