"""What a blend is."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.training.blends import LEAST_CHANGE, blend, draw_mask
from detectors.training.faces import SIDE, Bank


def faces(bank: Bank, count: int):
    for number in range(count):
        yield number, bank.pixels[number].astype(np.float32), bank.rows["landmarks"][number]


def test_a_blend_differs_from_its_original_inside_the_mask_only(bank: Bank):
    for number, face, landmarks in faces(bank, 30):
        mixed, mask = blend(face, landmarks, rng=np.random.default_rng(number))
        assert mixed.shape == mask.shape == face.shape
        assert mask.min() >= 0
        assert mask.max() <= 1
        np.testing.assert_array_equal(mixed[mask == 0], face[mask == 0])
        assert np.abs(mixed - face)[mask > 0.3].max() > 1


def test_nearly_every_blend_leaves_a_trace(bank: Bank):
    changes = []
    for number, face, landmarks in faces(bank, 40):
        mixed, mask = blend(face, landmarks, rng=np.random.default_rng(100 + number))
        changes.append(np.abs(mixed - face).sum() / mask.sum())
    assert np.mean(np.array(changes) >= 0.9 * LEAST_CHANGE) > 0.95


def test_the_mask_lies_over_the_face_and_leaves_the_corners(bank: Bank):
    covered = np.zeros((SIDE, SIDE))
    for number, _, landmarks in faces(bank, 40):
        covered += draw_mask(SIDE, landmarks, rng=np.random.default_rng(number)) > 0.1
    centre = bank.rows["landmarks"][:, 2].mean(axis=0).astype(int)
    assert covered[centre[1], centre[0]] >= 25
    for corner in (covered[:12, :12], covered[:12, -12:], covered[-12:, :12], covered[-12:, -12:]):
        assert corner.mean() < 4


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_same_seed_makes_the_same_blend(bank: Bank, seed: int):
    face, landmarks = bank.pixels[seed].astype(np.float32), bank.rows["landmarks"][seed]
    first, second = (blend(face, landmarks, rng=np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    other, _ = blend(face, landmarks, rng=np.random.default_rng(seed + 50))
    assert not np.array_equal(first[0], other)
