"""Our DSFD against outputs of the published one (the golden vectors of the research data)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from detectors.nets import dsfd, dsfd_boxes  # noqa: E402
from detectors.nets.checkpoint import fill as fill_net  # noqa: E402
from tests.parity.recipe import (  # noqa: E402
    assert_each_difference_is_named,
    compare,
    filled_state,
    listed_names,
    numbers_of,
    picture,
    scaled_input,
)

GOLDEN = "ntech_dsfd"


@pytest.fixture(scope="module")
def net() -> dsfd.Dsfd:
    return dsfd.Dsfd().eval()


def test_names_and_shapes_are_the_published_ones(research: Path, golden: dict, net: dsfd.Dsfd):
    names = listed_names(research, "ntech_dsfd_resnet152")
    assert len(names) == golden["state_dict"]["entries"]
    assert {name: tuple(item.shape) for name, item in net.state_dict().items()} == {
        name: shape for name, (shape, _) in names.items()
    }
    assert sum(item.numel() for item in net.parameters()) == golden["state_dict"]["parameters"]


def test_the_net_gives_the_published_numbers(research: Path, golden: dict, net: dsfd.Dsfd):
    frame, size = scaled_input(research, golden["forward"]["input"])
    fill_net(net, filled_state(listed_names(research, "ntech_dsfd_resnet152"), golden["scale_pow2"]))
    batch = (cv2.resize(frame, size).astype(np.float32) - dsfd_boxes.MEAN).transpose(2, 0, 1)[None]
    with torch.inference_mode():
        eager = [item.numpy() for item in net(torch.from_numpy(batch))]
    for name, found in zip(("loc", "conf_logits"), eager, strict=True):
        summary = golden["forward"][name]
        # huge numbers, products of feature maps: the published tolerance is relative to their deviation
        compare(found, summary, atol=1e-3 * summary["std"])
    swapped = np.ascontiguousarray(batch[:, ::-1])
    with torch.inference_mode():
        wrong = net(torch.from_numpy(swapped))[1].numpy()
    assert np.abs(wrong - eager[1]).max() > 0.1 * golden["forward"]["conf_logits"]["std"]


def test_anchors_are_the_published_ones(research: Path, golden: dict):
    _, (width, height) = scaled_input(research, golden["forward"]["input"])
    compare(dsfd_boxes.anchors(height, width), golden["forward"]["priors"], atol=1e-7)


def test_boxes_of_given_numbers_are_the_published_ones(research: Path, golden: dict):
    wanted = golden["detect_synthetic"]
    offsets, scores = numbers_of(wanted["loc"]), numbers_of(wanted["score"])
    _, (width, height) = scaled_input(research, golden["forward"]["input"])
    found = dsfd_boxes.suppress(dsfd_boxes.decode(offsets, dsfd_boxes.anchors(height, width)), scores)
    assert len(found) == wanted["kept"]
    top = wanted["top15_score_x1_y1_x2_y2_relative"]
    np.testing.assert_allclose(found[: len(top)], top, atol=1e-6)
    np.testing.assert_allclose(found[-1], wanted["last_kept"], atol=1e-6)


def test_the_input_of_a_frame_is_the_published_one(research: Path, golden: dict):
    wanted = golden["transform"]
    frame = picture(research, wanted["input"].removesuffix(" BGR"))[..., ::-1]
    assert list(frame.shape[:2]) == wanted["original_hw"]
    batch, filled = dsfd_boxes.prepare(frame)
    assert [list(filled)] == wanted["image_sizes"]
    compare(batch, wanted["tensor"], atol=1e-3)
    assert not batch[:, :, filled[0] :].any()


def test_boxes_are_scaled_by_the_unpadded_size():
    found = np.array([[0.9, 0.5, 0.5, 1.0, 1.0], [0.31, 0, 0, 0.1, 0.1], [0.29, 0, 0, 1, 1]], np.float32)
    boxes, scores = dsfd_boxes.in_frame(found, filled=(300, 512), frame=(528, 900))
    np.testing.assert_allclose(scores, [0.9, 0.31])
    np.testing.assert_allclose(boxes[0], [450, 264, 900, 528], rtol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(160, 256), (320, 512), (512, 288)])
def test_there_is_an_anchor_for_every_place_of_every_map(height: int, width: int):
    """The maps' sides follow from the strided convolutions; the shape of a net without weights says the same."""
    with torch.device("meta"):
        net = dsfd.Dsfd().eval()
        offsets, logits = net(torch.zeros(1, 3, height, width))
    count = len(dsfd_boxes.anchors(height, width))
    assert offsets.shape == (1, count, 4)
    assert logits.shape == (1, count, 2)


def test_a_face_that_fills_its_anchor_is_found_there():
    places = dsfd_boxes.anchors(160, 256)
    logits = np.zeros((len(places), 2), np.float32)
    logits[:, 0], logits[700, 0], logits[700, 1] = 9, 0, 9
    scores = dsfd_boxes.face_probability(logits)
    assert scores[700] == pytest.approx(1 / (1 + np.exp(-9)), abs=1e-6)
    found = dsfd_boxes.suppress(dsfd_boxes.decode(np.zeros_like(places), places), scores)
    assert len(found) == 1
    x, y, width, height = places[700]
    np.testing.assert_allclose(found[0, 1:], [x - width / 2, y - height / 2, x + width / 2, y + height / 2], atol=1e-6)


def test_every_missing_extra_and_misshapen_entry_is_named(net: dsfd.Dsfd):
    assert_each_difference_is_named(
        net, missing="cpm7.cpm1.weight", extra="loc.9.conv1.bias", misshapen=("conf.0.conv4.bias", (2,), (4,))
    )
