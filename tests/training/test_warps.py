"""Changes of shape: landmarks go where their pixels go."""

from __future__ import annotations

import cv2
import numpy as np

from detectors.training.warps import draw_flow, moved_along, reshaped


def test_without_flow_and_turn_a_picture_stays_as_it_is():
    face = np.random.default_rng(1).integers(0, 256, (60, 60)).astype(np.uint8)
    still = np.hstack([np.eye(2), np.zeros((2, 1))])
    flow = np.zeros((2, 60, 60), np.float32)
    np.testing.assert_array_equal(moved_along(face, still, flow, kind=cv2.INTER_LINEAR), face)


def test_a_flow_is_smooth_and_as_large_as_asked_for():
    flows = np.stack([draw_flow(100, 0.02, rng=np.random.default_rng(seed)) for seed in range(60)])
    assert flows.shape == (60, 2, 100, 100)
    assert 1.0 < flows.std() < 2.5  # two pixels at the grid's draws, less between them
    assert np.abs(np.diff(flows, axis=3)).max() < 1.0


def test_landmarks_move_with_their_pixels():
    landmarks = np.array([[50, 60], [105, 58], [80, 90], [58, 115], [100, 118]], np.float32)
    moves = []
    for seed in range(20):
        for number, (x, y) in enumerate(landmarks):
            face = np.zeros((160, 160), np.uint8)
            cv2.circle(face, (int(x), int(y)), 4, 255, -1)
            changed, points = reshaped(face, landmarks, rng=np.random.default_rng(seed))
            assert changed.shape == face.shape
            assert changed.dtype == np.uint8
            rows, columns = np.nonzero(changed > 127)
            found = np.array([columns.mean(), rows.mean()])
            assert np.hypot(*(points[number] - found)) < 1.5
            moves.append(np.hypot(*(found - (x, y))))
    assert np.median(moves) > 2


def test_the_same_generator_state_gives_the_same_face():
    face = np.random.default_rng(2).integers(0, 256, (80, 80)).astype(np.uint8)
    points = np.full((5, 2), 40, np.float32)
    first, again = (reshaped(face, points, rng=np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], reshaped(face, points, rng=np.random.default_rng(5))[0])
