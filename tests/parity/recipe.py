"""Deterministic weights and tensor summaries of the golden vectors (the research data's RECIPE.md and README.md)."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np


def fill(key: str, shape: tuple[int, ...], *, channels_last: bool = False) -> np.ndarray:
    """The recipe's tensor of ``key``, float32 (salt "a"); ``channels_last`` for Keras' kernels."""
    rng = np.random.default_rng(zlib.crc32(("a" + key).encode()))
    last = key.replace("/", ".").split(".")[-1]
    if last in ("running_var", "moving_variance"):
        values = rng.uniform(0.5, 1.5, shape)
    elif last in ("running_mean", "moving_mean"):
        values = 0.1 * rng.standard_normal(shape)
    elif last == "route_weights":
        values = rng.standard_normal(shape)
    elif len(shape) >= 2:
        fan_in = int(np.prod(shape[:-1] if channels_last else shape[1:]))
        values = rng.standard_normal(shape) * np.sqrt(2.0 / fan_in)
    elif last in ("bias", "biases", "beta"):
        values = 0.1 * rng.standard_normal(shape)
    else:
        values = rng.uniform(0.5, 1.5, shape)
    return np.asarray(values, np.float64).astype(np.float32)


def golden_folder(research: Path) -> Path:
    """The folder of the golden vectors: ``<name>.json`` and ``inputs/``."""
    return research / "detectors" / "golden" / "a"


def golden_of(research: Path, name: str) -> dict[str, Any]:
    """The golden vectors of one detector."""
    return json.loads((golden_folder(research) / f"{name}.json").read_text())


def listed_names(research: Path, file: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """name -> (shape, dtype) of every tensor of one net, from ``state_dicts/<file>.txt``."""
    lines = (research / "detectors" / "golden" / "state_dicts" / f"{file}.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return {
        name: (tuple(int(n) for n in size[0].split("x")) if size and size[0][0].isdigit() else (), kind)
        for name, kind, *size in rows
    }


def filled_state(
    names: dict[str, tuple[tuple[int, ...], str]], scale_pow2: dict[str, int] | None = None
) -> dict[str, Any]:
    """A torch state dict with the recipe's tensors under the published names."""
    import torch

    state: dict[str, Any] = {}
    for name, (shape, kind) in names.items():
        if kind.startswith("int"):
            state[name] = torch.zeros(shape, dtype=torch.int64)
        else:
            state[name] = torch.from_numpy(fill(name, shape) * np.float32(2.0 ** (scale_pow2 or {}).get(name, 0)))
    return state


def compare(found: np.ndarray, summary: dict, *, atol: float) -> None:
    """Compare an array with a golden summary: shape, mean, deviation, extremes, samples."""
    assert list(found.shape) == summary["shape"]
    wide = found.astype(np.float64)
    for name, value in (("mean", wide.mean()), ("std", wide.std()), ("min", wide.min()), ("max", wide.max())):
        np.testing.assert_allclose(value, summary[name], atol=atol, err_msg=name)
    places, values = zip(*summary["samples"], strict=True)
    assert len(places) >= 5
    np.testing.assert_allclose(wide.ravel()[list(places)], values, atol=atol)
