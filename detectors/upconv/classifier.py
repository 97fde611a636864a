"""The classifiers of Upconv as plain arrays: logistic regression and support vectors (linear, rbf, poly).

Owns: the names of the modes, the fitted file (``upconv.npz``) and the decision functions. Promises: no pickle is read; a file with a
missing, extra, misshapen or non-finite entry is refused by name; whatever the authors' labels meant, in this module 1 is fake.
Imported by ``detectors.upconv.detector`` and ``detectors.upconv.refit``.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from base_detector import Array
from detectors.nets.checkpoint import CheckpointError, check_names
from detectors.nets.scores import sigmoid
from detectors.nets.spectrum import BINS

#: experiment of the authors -> what their label of fake is: the notebooks of FaceForensics++ have it the other way round
FAKE_LABEL: Final = {"CelebA": 1, "FF": 0, "FacesHQ": 1}
#: the start of a mode -> kernel of its decision function
KERNELS: Final = {"LR": "linear", "SVM": "linear", "SVM_r": "rbf", "SVM_p": "poly"}
#: single numbers and words that every file holds
_FACTS: Final = ("mode", "bins", "fake_label", "intercept", "features_sha256", "rows")
#: all modes, as the published platform writes them: LR_CelebA, SVM_r_FF, ... Without SVM_r_FacesHQ: those curves are not divided by their
#: first number, and at their distances the published rbf kernel is 0, so that every face but the fitted ones would get one half
MODES: Final = tuple(
    f"{start}_{experiment}" for experiment in BINS for start in KERNELS if (start, experiment) != ("SVM_r", "FacesHQ")
)


def parts_of(mode: str) -> tuple[str, str]:
    """A mode's classifier and experiment (``SVM_r_FF`` -> ``SVM_r``, ``FF``); ValueError names the known modes."""
    if mode not in MODES:
        raise ValueError(f"the mode must be one of {', '.join(MODES)}, not {mode!r}")
    start, _, experiment = mode.rpartition("_")
    return start, experiment


@dataclass(frozen=True)
class Classifier:
    """A fitted classifier of ``mode``.

    Linear: ``coefficients`` (bins,). Kernels: ``support`` (n, bins) and ``dual`` (n,), with ``gamma``, ``coef0`` and ``degree`` of
    libsvm. ``fake_label`` is the authors' label of fake; ``features_sha256`` and ``rows`` say what it was fitted on.
    """

    mode: str
    bins: int
    fake_label: int
    intercept: float
    features_sha256: str
    rows: int
    coefficients: Array | None = None
    support: Array | None = None
    dual: Array | None = None
    gamma: float = 0.0
    coef0: float = 0.0
    degree: int = 0

    @property
    def experiment(self) -> str:
        """CelebA, FF or FacesHQ: how the features are made."""
        return parts_of(self.mode)[1]

    def decision(self, features: Array) -> Array:
        """The fitted decision value in the authors' own direction (above 0 = their label 1): (N, bins) -> (N,) float64."""
        features = np.asarray(features, np.float64)
        kernel = KERNELS[parts_of(self.mode)[0]]
        if kernel == "linear":
            assert self.coefficients is not None
            return np.asarray(features @ self.coefficients + self.intercept)
        assert self.support is not None
        assert self.dual is not None
        products = features @ self.support.T
        if kernel == "poly":
            values = (self.gamma * products + self.coef0) ** self.degree
        else:
            squared = (features**2).sum(axis=1)[:, None] + (self.support**2).sum(axis=1) - 2 * products
            values = np.exp(-self.gamma * np.maximum(squared, 0))
        return np.asarray(values @ self.dual + self.intercept)

    def fake_score(self, features: Array) -> Array:
        """A number in [0, 1] that grows with the evidence for *fake*, 0.5 on the decision boundary: (N, bins) -> (N,) float64.

        The logistic function of the decision value. For logistic regression that is its probability; for support vectors, which have
        none, it only carries the distance from the boundary into [0, 1] and is not calibrated.
        """
        towards_fake = self.decision(features) * (1 if self.fake_label else -1)
        return sigmoid(towards_fake)


def as_bytes(classifier: Classifier) -> bytes:
    """The file of a fitted classifier: arrays only, as numpy stores them (npz)."""
    stream = io.BytesIO()
    entries: dict[str, Any] = {name: np.asarray(vars(classifier)[name]) for name in _shapes(classifier.mode, n=0)}
    np.savez(stream, **entries)
    return stream.getvalue()


def read_classifier(content: bytes) -> Classifier:
    """The classifier in a file of ``as_bytes``; CheckpointError says what is wrong with another."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            entries: dict[str, Array] = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile):
        raise CheckpointError("the file is not an npz of plain arrays: make it with detectors.upconv.refit") from None
    mode = str(entries.get("mode", ""))
    if mode not in MODES:
        raise CheckpointError(
            f"the file's mode is {mode!r}, not one of {', '.join(MODES)}: make it with detectors.upconv.refit"
        )
    vectors = len(entries["dual"]) if entries.get("dual", np.zeros(())).ndim == 1 else 0
    wanted = _shapes(mode, n=vectors)
    check_names({name: item.shape for name, item in entries.items()}, wanted=wanted, net=mode)
    numbers = {name: item for name, item in entries.items() if name not in ("mode", "features_sha256")}
    wrong = [name for name, item in numbers.items() if item.dtype.kind not in "fi" or not np.isfinite(item).all()]
    if wrong:
        raise CheckpointError(f"the file of {mode} has no finite numbers in {', '.join(sorted(wrong))}")
    if entries["bins"] != BINS[parts_of(mode)[1]] or entries["fake_label"] not in (0, 1):
        raise CheckpointError(
            f"the file of {mode} has another number of bins than that, or a label of fake that is not 0 or 1"
        )
    parts: dict[str, Any] = {
        name: item.astype(np.float64) if item.shape else item.item() for name, item in entries.items()
    }
    return Classifier(**parts)


def _shapes(mode: str, *, n: int) -> dict[str, tuple[int, ...]]:
    """What the file of a mode holds; ``n`` is the number of its support vectors."""
    start, experiment = parts_of(mode)
    bins = BINS[experiment]
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(_FACTS, ())
    if KERNELS[start] == "linear":
        return shapes | {"coefficients": (bins,)}
    return shapes | {"support": (n, bins), "dual": (n,), "gamma": (), "coef0": (), "degree": ()}
