"""Sounds of the golden vectors, and what the tests of detectors of voices ask of each."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from base_detector import BaseDetector
from tests.parity.recipe import golden_folder


def sound(research: Path, name: str) -> np.ndarray:
    """The samples of a WAV file of 16 bit, mono, 16 kHz: (n,) float32, -1..1."""
    with wave.open(str(golden_folder(research) / "inputs" / name)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / np.float32(32_768)


def prepared(detector: BaseDetector, samples: np.ndarray) -> np.ndarray:
    """The first window of ``samples``, as the platform hands it over, prepared: a batch of one."""
    return detector.preproc(samples[:64_600])[None]


def assert_logits(found: np.ndarray, wanted: list[float]) -> None:
    """The tolerance of the golden vectors."""
    assert np.all(np.abs(found - wanted) <= 1e-4 * np.maximum(1, np.abs(wanted))), (found, wanted)


def assert_differs(found: np.ndarray, control: list[float]) -> None:
    """``found`` is not what the original code gives when one thing is done wrongly."""
    assert np.abs(found - control).max() > 1e-3, (found, control)
