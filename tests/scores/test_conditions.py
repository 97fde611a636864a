"""What a file is like is measured from the pack: size and sharpness of faces, bits, traces of blocks."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from backend.scores.conditions import blocking, sharpness

PORTRAIT = Path(__file__).resolve().parents[1] / "fixtures" / "astronaut.jpg"


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """(256, 256, 3) uint8 RGB without traces of its own JPEG: half its size, and a little grain."""
    picture = np.asarray(Image.open(PORTRAIT).convert("RGB"))
    small = cv2.resize(picture, (picture.shape[1] // 2, picture.shape[0] // 2), interpolation=cv2.INTER_AREA)[
        :256, :256
    ]
    grain = np.random.default_rng(0).normal(0, 1, small.shape)
    return np.clip(small + grain, 0, 255).astype(np.uint8)


def as_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def found(picture: np.ndarray) -> float:
    value = blocking(picture)
    assert value is not None
    return value


def test_the_stronger_a_jpeg_the_more_of_its_blocks_are_found(portrait: np.ndarray):
    untouched, weak, middle, strong = found(portrait), *(found(as_jpeg(portrait, quality)) for quality in (90, 50, 20))
    assert untouched < 1.25
    assert untouched <= weak + 0.05
    assert weak < middle < strong
    assert strong > 2


def test_blocks_of_an_earlier_jpeg_are_found_wherever_the_grid_begins(portrait: np.ndarray):
    assert found(as_jpeg(portrait, 20)[3:, 5:]) > 2


def test_scaling_removes_the_grid(portrait: np.ndarray):
    scaled = cv2.resize(as_jpeg(portrait, 20), (198, 198), interpolation=cv2.INTER_AREA)
    assert found(scaled) < 1.4


def test_too_small_and_flat_pictures_have_no_measure(portrait: np.ndarray):
    assert blocking(portrait[:40, :40]) is None
    assert blocking(np.full((128, 128, 3), 90, np.uint8)) is None


def test_blur_lowers_the_sharpness_at_every_size(portrait: np.ndarray):
    blurred = cv2.GaussianBlur(portrait, (0, 0), 4)
    assert sharpness(blurred) < sharpness(portrait) / 2
    assert sharpness(cv2.resize(portrait, (512, 512))) == pytest.approx(sharpness(portrait), rel=0.5)
