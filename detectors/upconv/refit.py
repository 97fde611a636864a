"""Fit a classifier of Upconv on a feature file of its authors: ``python -m detectors.upconv.refit FEATURES.pkl OUT.npz --mode LR_FF``.

Owns: the published settings of the classifiers, what is known of the published feature files, the command.
Promises: the feature file is read without executing anything in it; the result is written under its name only when it is whole.
Run by the operator; nothing imports it but tests. Needs scikit-learn, which judging does not.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from base_detector import Array
from detectors.nets.spectrum import BINS
from detectors.upconv.classifier import FAKE_LABEL, KERNELS, MODES, Classifier, as_bytes, parts_of
from detectors.upconv.features import FeatureFileError, read_features


@dataclass(frozen=True)
class Published:
    """A feature file of the authors: its name, its git blob id (the sha1 git stores it under) and what it is."""

    file: str
    blob: str
    sha256_start: str
    remark: str


#: the four feature files of github.com/cc-hpc-itwm/DeepFakeDetection; two are known by the start of their sha256, two by their git blob id
PUBLISHED: Final = (
    Published("celeba_low_1000.pkl", "", "cab47184544f4f40", "CelebA, 1000 real and 1000 generated faces"),
    Published(
        "train_3200.pkl", "b4da81adcd7f9af4464d1f848ccb40b8fb07ecf3", "", "FaceForensics++, the part for training"
    ),
    Published("test_1000.pkl", "", "652557fb53ab3f87", "FaceForensics++, the part for testing: 500 real and 500 fake"),
    Published("dataset_freq_1000.pkl", "94466ef56bdffd6f7a7dfad89d78b18f364788d9", "", "Faces-HQ"),
)


def fit(features: Array, labels: Array, *, mode: str, sha256: str = "") -> Classifier:
    """Fit ``mode`` on features (n, bins) and the authors' own labels (n,), with the settings of their notebooks.

    Logistic regression by liblinear with at most 1000 iterations; support vectors linear, rbf (C 6.37, gamma 0.86) or
    polynomial, otherwise scikit-learn's defaults. Raises ValueError when the number of bins is another than the mode's.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    start, experiment = parts_of(mode)
    if features.shape[1] != BINS[experiment]:
        raise ValueError(f"these features have {features.shape[1]} numbers a row; {mode} takes {BINS[experiment]}")
    facts: dict[str, Any] = {
        "mode": mode,
        "bins": BINS[experiment],
        "fake_label": FAKE_LABEL[experiment],
        "features_sha256": sha256,
        "rows": len(features),
    }
    if start == "LR":
        regression = LogisticRegression(solver="liblinear", max_iter=1000, random_state=0).fit(features, labels)
        return Classifier(**facts, intercept=float(regression.intercept_[0]), coefficients=regression.coef_[0])
    settings: dict[str, float] = {"C": 6.37, "gamma": 0.86} if start == "SVM_r" else {}
    machine = SVC(kernel=KERNELS[start], **settings).fit(features, labels)
    intercept = float(machine.intercept_[0])
    if KERNELS[start] == "linear":
        return Classifier(**facts, intercept=intercept, coefficients=machine.coef_[0])
    return Classifier(
        **facts,
        intercept=intercept,
        support=machine.support_vectors_,
        dual=machine.dual_coef_[0],
        gamma=float(machine._gamma),
        coef0=float(machine.coef0),
        degree=int(machine.degree),
    )


def identify(content: bytes) -> Published | None:
    """Which of the authors' files this is, None when it is none of them."""
    sha256 = hashlib.sha256(content).hexdigest()
    # git's name of a file: no safeguard, but all that is known of two of them
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    for item in PUBLISHED:
        if blob == item.blob or (item.sha256_start and sha256.startswith(item.sha256_start)):
            return item
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 0 when the file was written, 2 with one sentence when not."""
    parser = argparse.ArgumentParser(prog="python -m detectors.upconv.refit", description="Fit a classifier of Upconv.")
    parser.add_argument("features", type=Path, help="feature file of the authors (a pickle; nothing in it is executed)")
    parser.add_argument("out", type=Path, help="where to write the classifier: var/weights/upconv/upconv.npz")
    parser.add_argument("--mode", required=True, choices=MODES, metavar="MODE", help=", ".join(MODES))
    args = parser.parse_args(argv)
    try:
        content = args.features.read_bytes()
        features, labels = read_features(content)
        classifier = fit(features, labels, mode=args.mode, sha256=hashlib.sha256(content).hexdigest())
        _write(as_bytes(classifier), args.out)
    except (OSError, FeatureFileError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    known = identify(content)
    right = float(np.mean((classifier.decision(features) > 0) == (labels == 1)))
    print(f"features: {known.remark if known else 'not one of the authors files; judge for yourself what they are'}")
    print(
        f"{args.mode} fitted on {len(features)} rows of {features.shape[1]}; right on {right:.4f} of the rows it was fitted on"
    )
    print(f"intercept {classifier.intercept:.9g}; written to {args.out}")
    return 0


def _write(content: bytes, path: Path) -> None:
    """Write ``content`` beside ``path`` and rename it, so that a broken-off run leaves the old file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".refit-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    raise SystemExit(main())
