"""MTCNN in torch, many pictures at once, finds the faces of the one that runs in OpenVINO; here on torch's CPU, ``tests/gpu`` on a card."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from base_detector import Array
from detectors.nets.mtcnn import Mtcnn, MtcnnFaces
from detectors.nets.mtcnn_batch import BOUND, BOUND_PX, MtcnnBatch
from tests.conftest import FIXTURES

#: Faces less sure than this may come and go with the last bit of a float32.
SURE = 0.95


@pytest.fixture(scope="module")
def pictures() -> list[Array]:
    """The portrait small and large, twice in one picture, on its head, and without a face; of two sizes, mixed."""
    portrait = cv2.imread(str(FIXTURES / "astronaut.jpg"))[..., ::-1]
    whole = cv2.resize(portrait, (360, 360), interpolation=cv2.INTER_AREA)
    small = cv2.resize(portrait, (180, 180), interpolation=cv2.INTER_AREA)
    twice = np.full_like(whole, 90)
    twice[40:220, :180], twice[150:330, 180:] = small, small[:, ::-1]
    ground = np.random.default_rng(0).integers(0, 255, (180, 180, 3), np.uint8)
    return [np.ascontiguousarray(item) for item in (whole, small, twice, ground, whole[::-1], small[:, ::-1])]


def sure(faces: MtcnnFaces) -> MtcnnFaces:
    """Those that no rounding takes away, from left to right."""
    order = np.flatnonzero(faces.confidence >= SURE)
    order = order[np.argsort(faces.boxes[order, 0])]
    return MtcnnFaces(faces.boxes[order], faces.confidence[order], faces.landmarks[order])


def assert_same(found: Sequence[MtcnnFaces], expected: Sequence[MtcnnFaces]) -> None:
    for ours, theirs in zip(map(sure, found), map(sure, expected), strict=True):
        assert len(ours) == len(theirs)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, rtol=0, atol=BOUND_PX)
        np.testing.assert_allclose(ours.landmarks, theirs.landmarks, rtol=0, atol=BOUND_PX)
        np.testing.assert_allclose(ours.confidence, theirs.confidence, rtol=0, atol=BOUND)


def test_a_batch_of_pictures_of_several_sizes_has_the_faces_of_the_processors_finder(pictures):
    here = Mtcnn(threads=1)
    expected = [here.detect(picture) for picture in pictures]
    assert [len(sure(faces)) for faces in expected[:4]] == [1, 1, 2, 0]
    many = MtcnnBatch(device="cpu")
    assert_same(many.detect_many(pictures), expected)
    assert_same([many.detect(picture) for picture in pictures], expected)
    near = expected[2].boxes + np.float32(3)
    assert_same([many.settle(pictures[2], near)], [here.settle(pictures[2], near)])
    assert len(many.settle(pictures[2], near)) == len(near)


def test_pictures_that_do_not_fit_together_are_computed_one_after_the_other(pictures, monkeypatch):
    many = MtcnnBatch(device="cpu")
    seen: list[int] = []
    detect = many._detect

    def counted(stack: Array, *, min_face: float) -> list[MtcnnFaces]:
        seen.append(len(stack))
        return detect(stack, min_face=min_face)

    monkeypatch.setattr(many, "_detect", counted)
    together = many.detect_many(pictures[::2])
    monkeypatch.setattr(many, "_fitting", lambda pixels: 1)
    assert_same(many.detect_many(pictures[::2]), together)
    assert seen == [3, 1, 1, 1]
    assert many.detect_many([]) == []


@pytest.mark.gpu
def test_on_a_card_the_faces_are_the_same(pictures):
    here = Mtcnn(threads=1)
    assert_same(MtcnnBatch(device="cuda:0").detect_many(pictures), [here.detect(picture) for picture in pictures])
