"""MesoNet: Meso4 and MesoInception4 (Afchar et al., WIFS 2018, arXiv:1809.00888, sections 3.1 and 3.2).

Owns: the two architectures and the names their layers have in the published Keras files.
Promises: the outputs of the published networks for the published weights (tests/parity/test_mesonet.py).
May be imported by detectors, in workers only. Torch is imported with this module.

Keras and torch differ in three points, which this port keeps: batch norm adds 1e-3, not 1e-5; batch norm comes after the ReLU; the
flattened map is in the order height, width, channel.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from base_detector import Array
from detectors.nets.checkpoint import check_names

#: side of the input picture
SIDE = 256
_KERAS_EPS = 1e-3


class _Head(nn.Module):
    """Two 5x5 blocks and the two dense layers both networks end with; (N, C, 64, 64) -> (N,) probability of *real*."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv3, self.bn3 = nn.Conv2d(channels, 16, 5, padding=2), nn.BatchNorm2d(16, eps=_KERAS_EPS)
        self.conv4, self.bn4 = nn.Conv2d(16, 16, 5, padding=2), nn.BatchNorm2d(16, eps=_KERAS_EPS)
        self.dense1, self.dense2 = nn.Linear(8 * 8 * 16, 16), nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = _normed_and_pooled(functional.relu(self.conv3(x)), self.bn3, 2)
        x = _normed_and_pooled(functional.relu(self.conv4(x)), self.bn4, 4)
        x = x.permute(0, 2, 3, 1).flatten(1)
        x = functional.leaky_relu(self.dense1(x), 0.1)
        return torch.sigmoid(self.dense2(x)).squeeze(1)


class Meso4(nn.Module):
    """(N, 3, 256, 256) RGB in [0, 1] -> (N,) probability of *real*. 28,073 numbers with the batch-norm statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8, eps=_KERAS_EPS)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 5, padding=2), nn.BatchNorm2d(8, eps=_KERAS_EPS)
        self.head = _Head(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = _normed_and_pooled(functional.relu(self.conv1(x)), self.bn1, 2)
        x = _normed_and_pooled(functional.relu(self.conv2(x)), self.bn2, 2)
        out: torch.Tensor = self.head(x)
        return out


class _Inception(nn.Module):
    """Four branches side by side: 1x1, then 3x3 dilated by 1, 2 and 3 behind a 1x1 each; every convolution with ReLU."""

    def __init__(self, channels: int, a: int, b: int, c: int, d: int) -> None:
        super().__init__()
        self._width = a + b + c + d
        self.a = nn.Conv2d(channels, a, 1)
        self.b1, self.b2 = nn.Conv2d(channels, b, 1), nn.Conv2d(b, b, 3, padding=1)
        self.c1, self.c2 = nn.Conv2d(channels, c, 1), nn.Conv2d(c, c, 3, padding=2, dilation=2)
        self.d1, self.d2 = nn.Conv2d(channels, d, 1), nn.Conv2d(d, d, 3, padding=3, dilation=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Each branch fills its own channels of one map with zeros beside them, and the maps are added: the same numbers as side by
        # side, but a compiled net adds as it convolves, where it copies to put maps of odd widths side by side.
        width, done = self._width, self.a.out_channels
        maps = _widened(self.a, x, before=0, width=width)
        for first, second in ((self.b1, self.b2), (self.c1, self.c2), (self.d1, self.d2)):
            maps = maps + _widened(second, functional.relu(first(x)), before=done, width=width)
            done += second.out_channels
        return functional.relu(maps)


def _widened(layer: nn.Conv2d, x: torch.Tensor, *, before: int, width: int) -> torch.Tensor:
    """``layer``'s answer as the channels from ``before`` on of ``width``; the others are zero."""
    after = width - before - layer.out_channels
    assert layer.bias is not None  # for the type checker: these layers have one
    weight = functional.pad(layer.weight, (0, 0, 0, 0, 0, 0, before, after))
    bias = functional.pad(layer.bias, (before, after))
    return functional.conv2d(x, weight, bias, padding=layer.padding, dilation=layer.dilation)


def _normed_and_pooled(x: torch.Tensor, norm: nn.BatchNorm2d, size: int) -> torch.Tensor:
    """Batch norm, then the largest of each square of ``size``; a norm that rises keeps the order, so it may follow on fewer pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.TracerWarning: the numbers are final before a net is traced
        rises = bool((norm.weight > 0).all())
    if rises:
        return cast(torch.Tensor, norm(functional.max_pool2d(x, size)))
    return functional.max_pool2d(norm(x), size)


class MesoInception4(nn.Module):
    """(N, 3, 256, 256) RGB in [0, 1] -> (N,) probability of *real*. 28,725 numbers with the batch-norm statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.inception1, self.bn1 = _Inception(3, 1, 4, 4, 2), nn.BatchNorm2d(11, eps=_KERAS_EPS)
        self.inception2, self.bn2 = _Inception(11, 2, 4, 4, 2), nn.BatchNorm2d(12, eps=_KERAS_EPS)
        self.head = _Head(12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = _normed_and_pooled(self.inception1(x), self.bn1, 2)
        x = _normed_and_pooled(self.inception2(x), self.bn2, 2)
        out: torch.Tensor = self.head(x)
        return out


def _inception_layers(module: str, first: int) -> dict[str, str]:
    names = ("a", "b1", "b2", "c1", "c2", "d1", "d2")
    return {f"conv2d_{first + index}": f"{module}.{name}" for index, name in enumerate(names)}


#: layer of the published file -> our module; both kinds of file share the order of layers within a kind
_LAYERS: dict[type[nn.Module], dict[str, str]] = {
    Meso4: {f"conv2d_{n + 4}": f"conv{n}" if n < 3 else f"head.conv{n}" for n in range(1, 5)}
    | {f"batch_normalization_{n + 4}": f"bn{n}" if n < 3 else f"head.bn{n}" for n in range(1, 5)}
    | {"dense_3": "head.dense1", "dense_4": "head.dense2"},
    MesoInception4: _inception_layers("inception1", 1)
    | _inception_layers("inception2", 8)
    | {"conv2d_15": "head.conv3", "conv2d_16": "head.conv4"}
    | {f"batch_normalization_{n}": f"bn{n}" if n < 3 else f"head.bn{n}" for n in range(1, 5)}
    | {"dense_1": "head.dense1", "dense_2": "head.dense2"},
}

#: variable of a Keras layer -> (parameter of the torch module, order of axes)
_VARIABLES: dict[type[nn.Module], dict[str, tuple[str, tuple[int, ...]]]] = {
    nn.Conv2d: {"kernel": ("weight", (3, 2, 0, 1)), "bias": ("bias", (0,))},
    nn.Linear: {"kernel": ("weight", (1, 0)), "bias": ("bias", (0,))},
    nn.BatchNorm2d: {
        "gamma": ("weight", (0,)),
        "beta": ("bias", (0,)),
        "moving_mean": ("running_mean", (0,)),
        "moving_variance": ("running_var", (0,)),
    },
}


def keras_shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    """Every ``layer/variable`` the published file of ``net`` holds, with its Keras shape (kernels H, W, in, out)."""
    return {name: tuple(np.transpose(_numpy(target), np.argsort(axes)).shape) for name, target, axes in _targets(net)}


def fill_from_keras(net: nn.Module, arrays: Mapping[str, Array]) -> None:
    """Fill ``net`` (Meso4 or MesoInception4) from ``read_keras``'s arrays; CheckpointError names all that differs."""
    check_names(
        {name: tuple(array.shape) for name, array in arrays.items()}, wanted=keras_shapes(net), net=type(net).__name__
    )
    with torch.no_grad():
        for name, target, axes in _targets(net):
            target.copy_(torch.from_numpy(np.ascontiguousarray(np.transpose(arrays[name], axes), np.float32)))


def _targets(net: nn.Module) -> list[tuple[str, torch.Tensor, tuple[int, ...]]]:
    found = []
    for layer, module_name in _LAYERS[type(net)].items():
        module = net.get_submodule(module_name)
        for variable, (parameter, axes) in _VARIABLES[type(module)].items():
            found.append((f"{layer}/{variable}", getattr(module, parameter), axes))
    return found


def _numpy(tensor: torch.Tensor) -> Array:
    return tensor.detach().numpy()
