"""Fixtures of the tests of detectors against published code.

A test module names its golden vectors as ``GOLDEN`` and fills a folder of weights with ``write_weights``, which other tests call, too.
The detector is the one that the module is named after. ``RECIPE_WEIGHTS`` of a module says that the card knows the published files' sha256,
which those of the recipe do not have.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from base_detector import BaseDetector, load_detector
from tests.parity.recipe import golden_folder, golden_of, picture, unchecked


def _name(request: pytest.FixtureRequest) -> str:
    return request.module.__name__.rpartition(".test_")[2]


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest, research: Path) -> dict:
    """The golden vectors of the module."""
    return golden_of(research, request.module.GOLDEN)


@pytest.fixture(scope="module")
def pictures(research: Path, golden: dict) -> dict[str, np.ndarray]:
    """Every picture that a golden crop was cut from, (H, W, 3) uint8 RGB."""
    names = {entry["input"] for entry in golden["crop"] if "input" in entry}
    return {name: picture(research, name) for name in sorted(names)}


@pytest.fixture(scope="module")
def heads(research: Path, golden: dict) -> dict[str, np.ndarray]:
    """The ten heads of FWA (RGB) of each preprocessed picture, about the given landmarks."""
    from detectors.nets.heads import cut_heads

    landmarks = json.loads((golden_folder(research) / "inputs" / "landmarks.json").read_text())["faces"]
    names = {entry["input"] for entry in golden["preprocess"]}
    return {name: cut_heads(picture(research, name), np.array(landmarks[name][0]["landmarks68"])) for name in names}


@pytest.fixture(scope="module")
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The detector's folder of weights as the module's ``write_weights`` fills it."""
    # without golden vectors the numbers are made up, and the tests run where the research data are not
    research = request.getfixturevalue("research") if hasattr(request.module, "GOLDEN") else Path("nowhere")
    folder = tmp_path_factory.mktemp("weights") / _name(request)
    folder.mkdir()
    request.module.write_weights(folder, research)
    return folder


@pytest.fixture(scope="module")
def detector(request: pytest.FixtureRequest, weights: Path) -> BaseDetector:
    """The detector with these weights, on the CPU."""
    loaded = load_detector(f"detectors.{_name(request)}")
    if getattr(request.module, "RECIPE_WEIGHTS", False):
        unchecked(loaded)
    loaded.load(weights, "cpu")
    return loaded
