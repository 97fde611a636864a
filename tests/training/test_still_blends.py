"""A set of photographs and their self-blends: only the face differs, people no training step saw, the same set again from the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from detectors.training.faces import part_of
from detectors.training.still_blends import blended, chosen
from tests.conftest import FIXTURES

#: of the portrait at 512 pixels, by eye: box, and eyes, nose and corners of the mouth
BOX = np.array([170.0, 60.0, 280.0, 210.0])
POINTS = np.array([[198.0, 112.0], [246.0, 112.0], [222.0, 140.0], [202.0, 168.0], [242.0, 168.0]], np.float32)


def portrait() -> np.ndarray:
    with Image.open(FIXTURES / "astronaut.jpg") as opened:
        return np.asarray(opened.convert("RGB").resize((512, 512)))


def test_a_blend_differs_inside_the_square_of_the_face_only_and_comes_again_from_its_seed():
    picture = portrait()
    made = blended(picture, BOX, POINTS, seed=3)
    changed = np.argwhere((made != picture).any(axis=2))
    assert len(changed) > 500
    middle, half = np.array([135.0, 225.0]), 1.2 * 150 / 2 + 1
    assert (np.abs(changed - middle) <= half).all()
    assert (blended(picture, BOX, POINTS, seed=3) == made).all()
    assert (blended(picture, BOX, POINTS, seed=4) != made).any()


def test_one_picture_of_each_person_of_the_part_that_no_step_trained_on():
    names = [f"{first}_{last}" for first in ("Ada", "Bea", "Cleo", "Dora", "Eva") for last in "ABCDEFGH"]
    pictures = [Path(f"{name}_{number:04}.jpg") for name in names for number in (1, 2)]
    pictures += [Path("17.jpg"), Path("augmented_image_3.jpg")]
    taken = chosen(pictures, part="test", most=None, seed=0)
    assert taken
    assert all(part_of(identity) == "test" for _, identity in taken)
    assert len({identity for _, identity in taken}) == len(taken) < len(names)
    assert all(path.name.endswith("_0001.jpg") for path, _ in taken)
    known = frozenset(name for _, name in taken[1:])
    assert chosen(pictures, part="test", most=None, seed=0, known=known) == taken[1:], "one of them trained elsewhere"
    few = chosen(pictures, part=None, most=7, seed=1)
    assert len(few) == 7
    assert few == chosen(reversed(pictures), part=None, most=7, seed=1)
