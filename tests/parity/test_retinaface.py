"""Our RetinaFace against outputs of Pytorch_Retinaface (the golden vectors of WM)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from detectors.nets import retinaface, retinaface_boxes  # noqa: E402
from detectors.nets.checkpoint import check_names, fill  # noqa: E402
from tests.parity.recipe import compare, filled_state, golden_of, listed_names, scaled_input  # noqa: E402


@pytest.fixture(scope="module")
def golden(research: Path) -> dict:
    return golden_of(research, "wm")["retinaface_r50"]


@pytest.fixture(scope="module")
def size(research: Path, golden: dict) -> tuple[int, int]:
    """Width and height of the input."""
    return scaled_input(research, golden["input"])[1]


@pytest.fixture(scope="module")
def outputs(research: Path, golden: dict, size: tuple[int, int]) -> list[np.ndarray]:
    """loc, conf, landms of the published test picture with the recipe's weights."""
    scale = golden_of(research, "wm")["scale_pow2"]["retinaface_r50"]
    net = retinaface.resnet50().eval()
    fill(net, filled_state(listed_names(research, "retinaface_resnet50"), scale))
    small = cv2.cvtColor(cv2.resize(scaled_input(research, golden["input"])[0], size), cv2.COLOR_BGR2RGB)
    with torch.inference_mode():
        found = [out.numpy() for out in net(torch.from_numpy(retinaface_boxes.prepare(small)))]
        turned = net(torch.from_numpy(retinaface_boxes.prepare(small[..., ::-1])))[1].numpy()
    # negative control: RGB instead of BGR gives other scores
    assert np.abs(turned - found[1]).max() > 0.05
    return found


@pytest.mark.parametrize(
    ("file", "make"), [("retinaface_resnet50", "resnet50"), ("retinaface_mobilenet025", "mobilenet025")]
)
def test_names_and_shapes_are_the_published_ones(research: Path, file: str, make: str):
    with torch.device("meta"):
        net = getattr(retinaface, make)()
    listed = {name: shape for name, (shape, _) in listed_names(research, file).items()}
    check_names(listed, wanted={name: tuple(item.shape) for name, item in net.state_dict().items()}, net=file)


def test_heads_are_the_published_ones(golden: dict, outputs: list[np.ndarray]):
    for name, found in zip(("loc", "conf", "landms"), outputs, strict=True):
        compare(found, golden[name], atol=1e-3 * golden[name]["std"])


def test_anchors_are_the_published_ones(golden: dict, size: tuple[int, int]):
    width, height = size
    found = retinaface_boxes.priors(height, width)
    compare(found, golden["priors"], atol=1e-6)
    assert len(found) == sum(2 * -(-height // step) * -(-width // step) for step in (8, 16, 32))


def test_boxes_and_points_are_the_published_ones(golden: dict, outputs: list[np.ndarray], size: tuple[int, int]):
    # the published threshold is itself a score, rounded in its ninth digit: a step above it
    threshold = golden["threshold_used_for_this_test"] + 1e-6
    boxes, scores, points = retinaface_boxes.faces(
        outputs[0][0], outputs[1][0], outputs[2][0], width=size[0], height=size[1], threshold=threshold
    )
    assert len(boxes) == len(golden["boxes"]) > 0
    np.testing.assert_allclose(boxes, golden["boxes"], atol=1e-3)
    np.testing.assert_allclose(points.reshape(-1, 10), golden["landmarks"], atol=1e-3)
    assert np.all(scores > threshold)


# --------------------------------------------------------------------------- without research data


def test_offsets_of_zero_give_the_anchors():
    anchors = retinaface_boxes.priors(33, 70)
    assert anchors.shape == (2 * (5 * 9 + 3 * 5 + 2 * 3), 4)
    boxes = retinaface_boxes.decode_boxes(np.zeros((len(anchors), 4), np.float32), anchors)
    np.testing.assert_allclose((boxes[:, :2] + boxes[:, 2:]) / 2, anchors[:, :2], atol=1e-6)
    np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], anchors[:, 2:], atol=1e-6)
    points = retinaface_boxes.decode_points(np.zeros((len(anchors), 10), np.float32), anchors)
    assert points.shape == (len(anchors), 5, 2)
    np.testing.assert_allclose(points[:, 4], anchors[:, :2], atol=1e-6)
    # the first two anchors: the middle of the first 8 pixels, sides of 16 and 32 of 70 x 33
    np.testing.assert_allclose(anchors[0], [4 / 70, 4 / 33, 16 / 70, 16 / 33], rtol=1e-6)
    np.testing.assert_allclose(anchors[1], [4 / 70, 4 / 33, 32 / 70, 32 / 33], rtol=1e-6)


def test_an_offset_moves_a_box_by_a_tenth_of_its_anchor():
    anchor = np.array([[0.5, 0.5, 0.2, 0.4]], np.float32)
    boxes = retinaface_boxes.decode_boxes(np.array([[1, -1, np.log(2) / 0.2, 0]], np.float32), anchor)
    np.testing.assert_allclose(boxes[0], [0.52 - 0.2, 0.46 - 0.2, 0.52 + 0.2, 0.46 + 0.2], atol=1e-6)
    points = retinaface_boxes.decode_points(np.array([[1, 1] + [0] * 8], np.float32), anchor)
    np.testing.assert_allclose(points[0, :2], [[0.52, 0.54], [0.5, 0.5]], atol=1e-6)


def test_overlapping_boxes_leave_the_best_one():
    boxes = np.array([[0, 0, 9, 9], [1, 0, 10, 9], [20, 0, 29, 9], [0, 0, 9, 4]], np.float32)
    scores = np.array([0.8, 0.9, 0.3, 0.7], np.float32)
    # with pixels at both ends: 90 of 110 for the first pair, 45 of 105 for the second box and the last
    assert retinaface_boxes.suppress(boxes, scores, threshold=0.5).tolist() == [1, 3, 2]
    assert retinaface_boxes.suppress(boxes, scores, threshold=0.4).tolist() == [1, 2]
    assert retinaface_boxes.suppress(boxes, scores, threshold=0.82).tolist() == [1, 0, 3, 2]
    # without: 72 of 90 is 0.8
    assert retinaface_boxes.suppress(boxes, scores, threshold=0.81, inclusive=False).tolist() == [1, 0, 3, 2]
    assert retinaface_boxes.suppress(boxes, scores, threshold=0.81).tolist() == [1, 3, 2]
    assert (
        retinaface_boxes.suppress(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), threshold=0.5).tolist() == []
    )


def test_any_size_gives_one_row_an_anchor_and_scores_that_sum_to_one():
    torch.manual_seed(1)
    net = retinaface.mobilenet025().eval()
    for height, width in ((70, 101), (64, 64)):
        with torch.inference_mode():
            loc, conf, landms = net(torch.randn(1, 3, height, width))
        count = len(retinaface_boxes.priors(height, width))
        assert loc.shape == (1, count, 4)
        assert landms.shape == (1, count, 10)
        np.testing.assert_allclose(conf.sum(dim=2).numpy(), np.ones((1, count)), atol=1e-5)


def test_a_picture_is_given_as_blue_green_red_minus_the_mean():
    image = np.zeros((2, 3, 3), np.uint8)
    image[0, 0] = (255, 100, 10)
    found = retinaface_boxes.prepare(image)
    assert found.shape == (1, 3, 2, 3)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0, :, 0, 0], [10 - 104, 100 - 117, 255 - 123])
