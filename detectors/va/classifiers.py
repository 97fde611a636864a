"""The published classifiers of VA, read without unpickling: logistic regression and a small perceptron.

Owns: where the arrays are in the four published files, and the two forward passes.
Promises: nothing in a file is executed. joblib stores each array raw (little endian, C order) between pickled parts, so the numbers are
read at their byte offsets; the files are known by their sha256 before, so the offsets hold.
Imported by ``detectors.va.detector`` only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from base_detector import Array
from detectors.nets.scores import sigmoid

_LAYERS: Final = ((18, 64), (64, 64), (64, 64), (64, 1))
#: file -> offsets of the weights, offsets of the biases
_OFFSETS: Final = {
    "logreg_df.pkl": ((697,), (889,)),
    "logreg_f2f.pkl": ((697,), (889,)),
    "mlp_df.pkl": ((3528, 12780, 45584, 78388), (79137, 79683, 80229, 80775)),
    "mlp_f2f.pkl": ((3531, 12783, 45587, 78391), (79140, 79686, 80232, 80778)),
}


@dataclass(frozen=True)
class Classifier:
    """Dense layers with ReLU between them and a logistic output; one layer is a logistic regression."""

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]

    def probability(self, features: Array) -> Array:
        """Probability of *fake*: (N, 18) -> (N,) float64."""
        hidden = np.asarray(features, np.float64)
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = (np.maximum(hidden, 0) if index else hidden) @ weight + bias
        return sigmoid(hidden[:, 0])


def read_classifier(file: str, content: bytes) -> Classifier:
    """The classifier in the published ``file``; ``content`` must be what its sha256 promises. KeyError for another name."""
    weight_offsets, bias_offsets = _OFFSETS[file]
    layers = ((18, 1),) if file.startswith("logreg") else _LAYERS
    weights = tuple(_array(content, at, shape) for at, shape in zip(weight_offsets, layers, strict=True))
    biases = tuple(_array(content, at, shape[1:]) for at, shape in zip(bias_offsets, layers, strict=True))
    return Classifier(weights, biases)


def _array(content: bytes, offset: int, shape: tuple[int, ...]) -> Array:
    count = int(np.prod(shape))
    return np.frombuffer(content, "<f8", count=count, offset=offset).reshape(shape)
