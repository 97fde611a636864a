"""Faces that went through a decoder, as the face a swap pastes did: small autoencoders, plain resampling, colours matched, blended back.

Owns: the autoencoders and how they are taught, the chain without a network, and one face decoded and pasted back into its own picture.
Promises: a seed gives the same net on the same machine; outside the mask the picture stays as it was; the pasted face has the colours of
the one below it, so that colour is no cue.
May be imported by detectors.training and its tests. Torch is imported with this module.

What a decoder leaves depends on how it gains pixels: transposed convolutions leave a checkerboard (Odena et al., Deconvolution and
Checkerboard Artifacts, Distill 2016), nearest neighbours and a convolution leave less, and sub-pixel convolutions (Shi et al., CVPR 2016,
arXiv:1609.05158) another pattern. That traces of one decoder need not show another: Wang et al., CVPR 2020, arXiv:1912.11035.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Final, cast

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from base_detector import Array
from detectors.training.blends import draw_mask

#: How an autoencoder gains pixels. ``FAMILIES`` adds what needs no network; the last one trains no detector and only judges it.
KINDS: Final = ("transposed", "nearest", "subpixel")
FAMILIES: Final = ("transposed", "nearest", "chain", "subpixel")
HELD_OUT: Final = FAMILIES[-1]
#: Maps of the first halving; each further one has this many more.
WIDTH: Final = 16
#: Weight of the loss of grey level differences between neighbours: without it a decoder this small is too soft.
EDGES: Final = 0.5
_SIZE, _RATE = 16, 2e-3

#: Takes a face ((P, P, 3) float32, 0..255), gives it decoded.
Through = Callable[[Array], Array]


class Autoencoder(nn.Module):
    """(n, 3, side, side), 0..1 -> the same: ``levels`` halvings, then as many doublings of one kind.

    The layers add detail to the picture at its smallest size made large again: without this start a hundred steps leave a face that is
    far softer than a swap's.
    """

    def __init__(self, kind: str, *, levels: int) -> None:
        super().__init__()
        widths = [3, *(WIDTH * (level + 1) for level in range(levels))]
        down = [
            layer
            for before, after in itertools.pairwise(widths)
            for layer in (nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.1))
        ]
        up = [
            layer
            for before, after in zip(widths[:0:-1], [*widths[-2:0:-1], WIDTH], strict=True)
            for layer in (doubling(kind, before, after), nn.LeakyReLU(0.1))
        ]
        self.layers = nn.Sequential(*down, *up, nn.Conv2d(WIDTH, 3, 3, padding=1))
        self.smaller = 2**levels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        coarse = functional.interpolate(
            functional.avg_pool2d(x, self.smaller), scale_factor=self.smaller, mode="bilinear"
        )
        return cast(torch.Tensor, coarse + self.layers(x - 0.5))


def doubling(kind: str, before: int, after: int) -> nn.Module:
    """A layer that doubles the side: (n, before, h, w) -> (n, after, 2 h, 2 w)."""
    if kind == "transposed":
        return nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1)
    if kind == "nearest":
        return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1))
    if kind == "subpixel":
        return nn.Sequential(nn.Conv2d(before, 4 * after, 3, padding=1), nn.PixelShuffle(2))
    raise ValueError(f"no decoder is called {kind}: {', '.join(KINDS)}")


def teach(kind: str, faces: Array, *, side: int, levels: int, steps: int, seed: int) -> Autoencoder:
    """An autoencoder that learnt to repeat ``faces``, (n, P, P, 3) uint8 RGB, at ``side`` pixels; L1 of levels and of edges."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = Autoencoder(kind, levels=levels)
    optimiser = torch.optim.Adam(net.parameters(), lr=_RATE)
    small = np.stack([cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA) for face in faces])
    for _ in range(steps):
        drawn = small[rng.integers(0, len(small), _SIZE)]
        wanted = _as_input(drawn[:, :, ::-1] if rng.random() < 0.5 else drawn)
        loss = _difference(net(wanted), wanted)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return net.eval().requires_grad_(False)


def _as_input(faces: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(faces.transpose(0, 3, 1, 2))).float() / 255


def _difference(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    loss = functional.l1_loss(made, wanted)
    for axis in (2, 3):
        loss = loss + EDGES * functional.l1_loss(made.diff(dim=axis), wanted.diff(dim=axis))
    return loss


def through(net: Autoencoder, *, side: int) -> Through:
    """``net`` as a function of one face of any size."""

    def decoded(face: Array) -> Array:
        small = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
        with torch.inference_mode():
            made = net(_as_input(small[None]))[0].numpy().transpose(1, 2, 0) * np.float32(255)
        return cv2.resize(np.ascontiguousarray(made), face.shape[1::-1], interpolation=cv2.INTER_CUBIC)

    return decoded


def chain(rng: np.random.Generator) -> Through:
    """No network: fewer pixels, a denoising filter, and back; drawn once, so that a clip is treated alike from frame to frame."""
    side, kind = int(rng.integers(56, 129)), rng.random()
    width, up = float(rng.uniform(0.5, 1.2)), cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_LANCZOS4

    def decoded(face: Array) -> Array:
        small = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
        if kind < 0.4:
            small = cv2.bilateralFilter(small, 5, 25 * width, 2)
        elif kind < 0.7:
            small = cv2.medianBlur(small, 3)
        else:
            small = cv2.GaussianBlur(small, (0, 0), width)
        return cv2.resize(small, face.shape[1::-1], interpolation=up)

    return decoded


def pasted(face: Array, landmarks: Array, decode: Through, *, rng: np.random.Generator) -> Array:
    """``face`` ((P, P, 3) float32 RGB, 0..255) with its own decoded copy in it, along a mask over MTCNN's five ``landmarks``."""
    mask = draw_mask(face.shape[0], landmarks, rng=rng)[:, :, None]
    made = matched(decode(face), face, mask=mask)
    return np.clip(face + mask * (made - face), 0, 255)


def matched(made: Array, wanted: Array, *, mask: Array) -> Array:
    """``made`` with mean and spread of each colour of ``wanted`` inside the mask, as Reinhard et al. (2001) move colours."""
    weight = mask / max(float(mask.sum()), 1.0)
    means = [(weight * picture).sum((0, 1)) for picture in (made, wanted)]
    spreads = [
        np.sqrt((weight * (picture - mean) ** 2).sum((0, 1)))
        for picture, mean in zip((made, wanted), means, strict=True)
    ]
    gain = np.clip(spreads[1] / np.maximum(spreads[0], 1e-3), 0.5, 2)
    return np.asarray((made - means[0]) * gain + means[1], np.float32)
