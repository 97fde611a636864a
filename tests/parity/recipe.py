"""Deterministic weights and tensor summaries of the golden vectors (the research data's RECIPE.md and README.md)."""

from __future__ import annotations

import zlib

import numpy as np


def fill(key: str, shape: tuple[int, ...], *, channels_last: bool = False) -> np.ndarray:
    """The recipe's tensor of ``key``, float32 (salt "a"); ``channels_last`` for Keras' kernels."""
    rng = np.random.default_rng(zlib.crc32(("a" + key).encode()))
    last = key.replace("/", ".").split(".")[-1]
    if last in ("running_var", "moving_variance"):
        values = rng.uniform(0.5, 1.5, shape)
    elif last in ("running_mean", "moving_mean"):
        values = 0.1 * rng.standard_normal(shape)
    elif len(shape) >= 2:
        fan_in = int(np.prod(shape[:-1] if channels_last else shape[1:]))
        values = rng.standard_normal(shape) * np.sqrt(2.0 / fan_in)
    elif last in ("bias", "beta"):
        values = 0.1 * rng.standard_normal(shape)
    else:
        values = rng.uniform(0.5, 1.5, shape)
    return np.asarray(values, np.float64).astype(np.float32)


def compare(found: np.ndarray, summary: dict, *, atol: float) -> None:
    """Compare an array with a golden summary: shape, mean, deviation, extremes, samples."""
    assert list(found.shape) == summary["shape"]
    wide = found.astype(np.float64)
    for name, value in (("mean", wide.mean()), ("std", wide.std()), ("min", wide.min()), ("max", wide.max())):
        np.testing.assert_allclose(value, summary[name], atol=atol, err_msg=name)
    places, values = zip(*summary["samples"], strict=True)
    assert len(places) >= 5
    np.testing.assert_allclose(wide.ravel()[list(places)], values, atol=atol)
