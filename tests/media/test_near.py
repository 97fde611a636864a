"""The near look finds the face that the search of the whole picture finds, at the same place."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.media.extract import warm_detector
from backend.media.near import look_near
from backend.media.tracks import Found, overlap, turn_image
from base_detector import turn_points


@pytest.fixture(scope="module")
def picture(astronaut: np.ndarray) -> np.ndarray:
    """The portrait in a wide grey picture, (720, 1280, 3)."""
    wide = np.full((720, 1280, 3), 90, np.uint8)
    wide[100:612, 400:912] = astronaut
    return wide


def found_in(picture: np.ndarray) -> Found:
    faces = warm_detector().detect(picture)
    return Found(faces.boxes[0], faces.landmarks[0], float(faces.confidence[0]))


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("scale", [0.4, 1.0, 2.0])
def test_box_and_landmarks_are_those_of_the_whole_picture(picture: np.ndarray, turn: int, scale: float):
    shown = cv2.resize(
        picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    true = found_in(shown)
    size = shown.shape[1::-1]
    box = np.sort(turn_points(true.box.reshape(2, 2), turn=turn, size=size), axis=0).reshape(4)
    points = turn_points(true.landmarks, turn=turn, size=size)
    moved = box + np.float32(true.side * 0.12)
    near = look_near(
        warm_detector(), turn_image(shown, turn=turn), Found(moved, points, 0.99, tracked=True, turn=(360 - turn) % 360)
    )
    assert near is not None
    assert (near.tracked, near.turn) == (False, (360 - turn) % 360)
    assert overlap(near.box[None], box[None])[0, 0] > 0.8  # the search itself differs so much from size to size
    assert np.abs(near.landmarks - points).max() < true.side * 0.08


def test_a_face_at_the_border_is_found(picture: np.ndarray):
    true = found_in(picture)
    left = int(true.box[0])
    near = look_near(warm_detector(), picture[:, left + 5 :], Found(true.box - [left + 5, 0] * 2, true.landmarks, 0.99))
    assert near is not None
    assert near.box[0] < 10


def test_without_a_face_there_it_says_so(picture: np.ndarray):
    nowhere = Found(np.array([40, 300, 160, 440], np.float32), np.zeros((5, 2), np.float32), 0.99)
    assert look_near(warm_detector(), picture, nowhere) is None
