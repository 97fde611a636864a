"""Meso-CNN: a network of six layers after Meso4 on faces of 150 x 150 pixels, trained by the operator.

Owns: the architecture and its preparation of a face. Source: a class project on the DFDC (four
blocks of convolution, ReLU and pooling with batch norm, dropout 0.25, one hidden and one output layer, 150 x 150 x 3); its filter
counts are given in a picture only, so they are those of Meso4 (Afchar et al., WIFS 2018, arXiv:1809.00888, section 3.1).
Promises: logits are of *fake*; an exported file holds every number that a score needs.
May be imported by detectors, in workers, and by detectors.training. Torch is imported with this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from base_detector import Array
from detectors.nets.trained import Calibrated

#: Side of the input picture, and the side of the last map: 150, 75, 38, 19, 5 with pools that keep the rest of a row.
SIDE, _LAST = 150, 5
#: Filters and kernels of Meso4's four blocks, and the pools between them.
FILTERS, KERNELS, POOLS = (8, 8, 16, 16), (3, 5, 5, 5), (2, 2, 2, 4)
_HIDDEN, _DROPOUT, _SLOPE = 16, 0.25, 0.1


class MesoCnn(Calibrated):
    """(N, 3, 150, 150) RGB in [0, 1] -> logit of *fake* (N,). 17,993 learnt numbers with Meso4's ``filters`` and ``kernels``."""

    def __init__(self, *, filters: Sequence[int] = FILTERS, kernels: Sequence[int] = KERNELS) -> None:
        super().__init__()
        inputs = (3, *filters[:-1])
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, kernel, padding=kernel // 2) for a, b, kernel in zip(inputs, filters, kernels, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(count) for count in filters)
        self.hidden, self.score = nn.Linear(_LAST * _LAST * filters[-1], _HIDDEN), nn.Linear(_HIDDEN, 1)
        self.dropout = nn.Dropout(_DROPOUT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for convolution, norm, pool in zip(self.convolutions, self.norms, POOLS, strict=True):
            x = functional.max_pool2d(norm(functional.relu(convolution(x))), pool, ceil_mode=True)
        x = functional.leaky_relu(self.hidden(self.dropout(x.flatten(1))), _SLOPE)
        return self.score(self.dropout(x)).squeeze(1)


def wrong_parameter(parameters: Mapping[str, Any]) -> str | None:
    """What is wrong with the first bad parameter of the card, None when all are good."""
    for name, highest in (("filters", 512), ("kernels", 9)):
        value = parameters[name]
        whole = isinstance(value, list) and len(value) == len(POOLS) and all(type(item) is int for item in value)
        if not whole or not all(1 <= item <= highest for item in value):
            return f"parameters.{name} must be {len(POOLS)} whole numbers from 1 to {highest}, not {value!r}"
        if name == "kernels" and any(item % 2 == 0 for item in value):
            return f"parameters.kernels must be odd numbers, not {value!r}"
    return None


def as_input(face: Array) -> Array:
    """(150, 150, 3) uint8 RGB -> (3, 150, 150) float32 in [0, 1]."""
    return face.astype(np.float32).transpose(2, 0, 1) / np.float32(255)
