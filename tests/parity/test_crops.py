"""The shared crop rules against rectangles of the published codes, and where the platform's crops meet them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")


from base_detector import Face, Skip
from detectors.nets.crops import cut_square, square_box
from detectors.nets.heads import HEADS, cut_heads, head_box, head_boxes, head_score
from tests.parity.recipe import compare, context, golden_folder, golden_of, picture

NOWHERE = np.full((5, 2), np.nan, np.float32)


def test_the_square_is_the_published_one(research: Path):
    golden = golden_of(research, "xception_ffpp")
    assert golden["crop_synthetic"]
    for entry in golden["crop_synthetic"]:
        found = square_box(entry["ltrb"], scale=1.3, frame_size=tuple(entry["image_wh"]))
        assert found == tuple(entry["x_y_size"])
    for entry in golden["crop"]:
        image = picture(research, entry["input"])
        x, y, side = square_box(entry["dlib_ltrb"], scale=1.3, frame_size=image.shape[1::-1])
        assert [x, y, side] == entry["x_y_size"]
        if "crop_bgr" in entry:
            compare(image[y : y + side, x : x + side, ::-1], entry["crop_bgr"], atol=1e-4)


@pytest.mark.parametrize("name", ["dsp_fwa", "fwa"])
def test_the_ten_heads_are_the_published_ones(research: Path, name: str):
    golden = golden_of(research, name)
    landmarks = json.loads((golden_folder(research) / "inputs" / "landmarks.json").read_text())["faces"]
    assert golden["crop"]
    for entry in golden["crop"]:
        image = picture(research, entry["input"])
        points = np.array(landmarks[entry["input"]][entry.get("face", 0)][entry.get("landmark_set", "landmarks68")])
        found = [list(box) for box in head_boxes(points, frame_size=image.shape[1::-1])]
        assert found == entry["x1_y1_x2_y2_per_seed_0_to_9"]


def test_heads_at_the_border_are_the_published_ones(research: Path):
    golden = golden_of(research, "dsp_fwa")
    assert golden["crop_synthetic"]
    for entry in golden["crop_synthetic"]:
        found = head_box(np.array(entry["points"]), frame_size=tuple(entry["image_wh"]), seed=entry["seed"])
        assert list(found) == entry["loc"]


# --------------------------------------------------------------------------- without the research data


FRAME = np.random.default_rng(3).integers(0, 256, (300, 400, 3), np.uint8)


def test_a_square_in_a_context_crop_holds_the_pixels_of_the_frame():
    rng = np.random.default_rng(4)
    for x, y, height, width in rng.uniform((0, 0, 30, 0.65), (330, 220, 90, 1), (200, 4)):
        box = np.array([x, y, x + width * height, y + height], np.float32)
        left, top, side = square_box(box, scale=1.3, frame_size=(400, 300))
        image, face = context(FRAME, box)
        np.testing.assert_array_equal(cut_square(image, face, scale=1.3), FRAME[top : top + side, left : left + side])


def test_a_face_half_outside_gives_a_square_of_what_the_context_holds():
    image, face = context(FRAME, np.array([-45, 60, 45, 150], np.float32))
    found = cut_square(image, face, scale=1.3)
    # published: 117 pixels from the left border; the context ends 90 pixels from it
    np.testing.assert_array_equal(found, FRAME[47 : 47 + 90, :90])


def test_a_least_side_is_kept_and_shrunk_at_the_border():
    assert square_box((10, 10, 20, 20), scale=1.3, frame_size=(100, 100), minimum=30) == (0, 0, 30)
    assert square_box((80, 80, 90, 90), scale=1.3, frame_size=(100, 100), minimum=50) == (60, 60, 40)
    assert square_box((10, 10, 60, 60), scale=1.3, frame_size=(100, 100), minimum=50) == (3, 3, 65)


@pytest.mark.parametrize("box", [(120, 0, 150, 30), (0, 120, 30, 150), (5, 5, 5, 5)])
def test_a_square_of_nothing_is_skipped(box: tuple):
    with pytest.raises(Skip, match="face_too_small"):
        square_box(box, scale=1.3, frame_size=(100, 100))
    with pytest.raises(Skip, match="face_too_small"):
        cut_square(np.zeros((100, 100, 3), np.uint8), Face(box=np.array(box, np.float32), landmarks=NOWHERE), scale=1.3)


@pytest.mark.parametrize("reach", [(7, 60), (60, 4)])
def test_heads_too_small_for_a_random_reach_are_skipped(reach: tuple):
    with pytest.raises(Skip, match="face_too_small"):
        head_box(np.array([(50, 50), (50 + reach[0], 50 + reach[1])]), frame_size=(300, 300), seed=0)
    # one more pixel and the reach is always 0
    points = np.array([(50, 50), (50 + max(8, reach[0]), 50 + max(5, reach[1]))])
    assert head_box(points, frame_size=(300, 300), seed=0) is not None


def test_heads_do_not_touch_the_global_generator():
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    list(head_boxes(np.array([(50, 50), (200, 200)]), frame_size=(300, 300)))
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_heads_keep_the_order_of_the_channels_and_are_ten():
    image = np.zeros((300, 300, 3), np.uint8)
    image[..., 0], image[..., 2] = 200, 7
    heads = cut_heads(image, np.array([(50, 50), (200, 200)]))
    assert heads.shape == (HEADS, 224, 224, 3)
    assert (heads == (200, 0, 7)).all()


def test_heads_outside_the_picture_are_skipped():
    with pytest.raises(Skip, match="face_too_small"):
        cut_heads(np.zeros((300, 300, 3), np.uint8), np.array([(350, 50), (450, 200)]))


def test_a_face_is_as_fake_as_its_five_highest_heads():
    fake = np.array([[0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6, 0.5, 0.0], [0.5] * 10])
    np.testing.assert_allclose(head_score(fake), [0.7, 0.5])
