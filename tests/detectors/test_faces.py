"""Which pictures of a pack a detector looks at, and what it cuts out of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from base_detector import FACE_DTYPE, Face, Skip
from detectors.nets import faces


def pack(times: list[float]) -> SimpleNamespace:
    """Two faces in each picture; pictures are numbered by hundreds."""
    rows = np.zeros(2 * len(times), FACE_DTYPE)
    rows["frame"], rows["time_s"] = np.repeat(np.arange(len(times)) * 100, 2), np.repeat(times, 2)
    return SimpleNamespace(faces=rows, frames=np.arange(len(times)) * 100, times=np.array(times))


def test_pictures_are_taken_evenly_from_the_first_to_the_last():
    thirty = pack([index / 10 for index in range(30)])
    assert faces.evenly(thirty, 4).tolist() == [0, 900, 1900, 2900]
    assert faces.evenly(thirty, 30).tolist() == faces.evenly(thirty, 99).tolist() == [i * 100 for i in range(30)]


def test_each_second_takes_the_first_picture_at_or_after_it():
    many = pack([0.0, 0.4, 0.8, 0.9999999, 1.4, 2.2, 5.0, 5.1])
    assert faces.per_second(many, 1.0).tolist() == [0, 300, 500, 600]
    assert faces.per_second(many, 0.5).tolist() == [0, 500, 600]


def test_rows_are_those_of_the_pictures():
    assert faces.rows_of(pack([0, 1, 2]), np.array([100, 300])).tolist() == [2, 3]


def face(origin: tuple[int, int], frame_size: tuple[int, int] | None) -> Face:
    return Face(np.array([1.25, 2.5, 9, 9], np.float32), np.zeros((5, 2)), image_origin=origin, frame_size=frame_size)


def test_boxes_and_sizes_are_those_of_the_frame():
    image = np.zeros((12, 10, 3), np.uint8)
    assert faces.box_in_frame(face((1000, 500), (1920, 1080))).tolist() == [1001.25, 502.5, 1009, 509]
    assert faces.size_of_frame(image, face((1000, 500), (1920, 1080))) == (1920, 1080)
    assert faces.size_of_frame(image, face((0, 0), None)) == (10, 12)


def test_rectangles_are_cut_in_pixels_of_the_frame():
    frame = np.arange(20 * 30 * 3, dtype=np.uint64).reshape(20, 30, 3).astype(np.uint8)
    crop, found = frame[5:18, 7:25], face((7, 5), (30, 20))
    np.testing.assert_array_equal(faces.cut(crop, found, (9, 6, 14, 12)), frame[6:12, 9:14])
    np.testing.assert_array_equal(faces.cut(crop, found, (20, 15, 40, 40)), frame[15:18, 20:25])
    whole, found = frame, face((0, 0), (30, 20))
    black = faces.cut(whole, found, (-2, 15, 4, 23), black_outside=True)
    assert black.shape == (8, 6, 3)
    np.testing.assert_array_equal(black[:5, 2:], frame[15:20, 0:4])
    assert not black[5:].any()
    assert not black[:, :2].any()
    for outside in ((40, 0, 50, 10), (0, -9, 5, -1), (5, 5, 5, 9)):
        with pytest.raises(Skip, match="face_too_small"):
            faces.cut(whole, found, outside, black_outside=True)


def test_pictures_are_normalized_by_channel():
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[..., 0] = 255
    found = faces.normalized(picture)
    assert found.shape == (3, 2, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0, 0], [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-6)


def test_batches_leave_out_and_count_what_cannot_be_judged():
    many = SimpleNamespace(image=lambda row: row, face=lambda row: row)
    skipped: dict[str, int] = {"old": 1}

    def prepare(image: int, face: int) -> np.ndarray:
        if image % 3 == 0:
            raise Skip("no")
        return np.full(2, image)

    card = SimpleNamespace(batch=2)
    detector = SimpleNamespace(card=card, crop_face=prepare, preproc=lambda cropped: cropped + 10)
    heard: list[tuple[int, int]] = []
    given = faces.batches(
        detector, many, range(8), skipped=skipped, progress=lambda done, total: heard.append((done, total))
    )
    found = [(rows, batch.tolist()) for rows, batch in given]
    assert found == [([1, 2], [[11, 11], [12, 12]]), ([4, 5], [[14, 14], [15, 15]]), ([7], [[17, 17]])]
    assert skipped == {"old": 1, "no": 3}
    assert heard == [(2, 8), (4, 8), (5, 8)]
