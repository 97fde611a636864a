"""Our CNNDetection against outputs of the published one with recipe weights (the golden vectors of the research data)."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from base_detector import BaseDetector, ContractError, load_detector  # noqa: E402
from detectors.cnndetection import detector as own  # noqa: E402
from detectors.nets.faces import IMAGENET_MEAN, IMAGENET_STD  # noqa: E402
from detectors.nets.pictures import centre, normalized  # noqa: E402
from detectors.nets.resnet import ResNet  # noqa: E402
from tests.parity.recipe import (  # noqa: E402
    assert_each_difference_is_named,
    compare,
    filled_state,
    golden_of,
    names_of,
    picture,
)

GOLDEN = "cnndetection"


def write_weights(folder: Path, research: Path) -> None:
    """Every file of the card in the published layout, filled by the recipe."""
    golden = golden_of(research, "cnndetection")
    names = names_of(golden["state_dict"]["tensors"])
    folder.mkdir(parents=True, exist_ok=True)
    first, second = (folder / file for file in own.VARIANTS.values())
    torch.save({"model": filled_state(names, golden["scale_pow2"]), "optimizer": {}, "total_steps": 0}, first)
    os.link(first, second)


def prepared(research: Path, entry: dict) -> np.ndarray:
    """The input of a golden entry, by the detector's own preparation: the middle 224, or the whole picture."""
    detector = load_detector("detectors.cnndetection")
    detector.card = replace(detector.card, parameters={"variant": "blur_jpg_prob0.5", "crop": entry["crop"] or 0})
    return detector.preproc(picture(research, entry["input"]))[None]


def test_names_and_shapes_are_the_published_ones(golden: dict):
    net = ResNet(50, classes=1)
    found = [[name, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")] for name, tensor in net.state_dict().items()]  # fmt: skip
    assert found == golden["state_dict"]["tensors"]
    assert sum(tensor.numel() for tensor in net.parameters()) == golden["state_dict"]["parameters"]


def test_preprocessing_is_the_published_one(golden: dict, research: Path):
    assert golden["preprocess"]
    for entry in golden["preprocess"]:
        compare(prepared(research, entry), entry["tensor"], atol=1e-6)


def test_logits_of_any_size_are_the_published_ones(golden: dict, research: Path, detector: BaseDetector):
    assert {entry["crop"] for entry in golden["forward"]} == {None, 224}
    for entry in golden["forward"]:
        batch = prepared(research, entry)
        (wanted,) = entry["logits"]
        (found,) = detector._net(batch)[0]
        assert abs(found - wanted) <= 1e-4 * max(1, abs(wanted))
        assert 1 - detector.get_softlabel(batch)[0] == pytest.approx(entry["p_fake"], abs=1e-4)


def test_swapped_channels_do_not_give_the_published_logits(golden: dict, research: Path, detector: BaseDetector):
    for entry in golden["forward"]:
        image = np.ascontiguousarray(picture(research, entry["input"])[..., ::-1])
        batch = normalized(centre(image, own.SIDE) if entry["crop"] else image)[None]
        assert abs(detector._net(batch)[0, 0] - entry["logits"][0]) > 1e-2


def test_both_published_files_are_read(weights: Path, detector: BaseDetector):
    assert (weights / "blur_jpg_prob0.5.pth").samefile(weights / "blur_jpg_prob0.1.pth")
    other = load_detector("detectors.cnndetection")
    other.card = replace(other.card, parameters={"variant": "blur_jpg_prob0.1", "crop": 224})
    other.load(weights, "cpu")
    batch = np.random.default_rng(1).standard_normal((3, 3, 224, 224)).astype(np.float32)
    np.testing.assert_array_equal(other.get_softlabel(batch), detector.get_softlabel(batch))


# --------------------------------------------------------------------------- without the research data


def test_an_unknown_variant_is_told_with_the_known_ones(tmp_path: Path):
    detector = load_detector("detectors.cnndetection")
    detector.card = replace(detector.card, parameters={"variant": "blur", "crop": 224})
    with pytest.raises(ContractError, match=r"must be one of blur_jpg_prob0.5, blur_jpg_prob0.1, not 'blur'"):
        detector.load(tmp_path, "cpu")


def test_the_probability_of_synthetic_is_turned_round_once():
    detector = load_detector("detectors.cnndetection")
    detector._net = lambda batch: np.array([[-800.0], [0.0], [2.0], [800.0]], np.float32)
    np.testing.assert_allclose(
        detector.get_softlabel(np.zeros((4, 3, 8, 8))), [1, 0.5, 1 / (1 + np.e**2), 0], atol=1e-12
    )


def test_a_picture_smaller_than_the_cut_gets_black_borders():
    """As torchvision pads: half of the missing pixels left and above, the odd one right and below; black, before the mean is taken off."""
    detector = load_detector("detectors.cnndetection")
    found = detector.preproc(np.full((101, 224, 3), 255, np.uint8))
    assert found.shape == (3, 224, 224)
    inside = found[0, :, 0] > 0
    assert (int(inside.argmax()), int(inside.sum())) == (61, 101)
    np.testing.assert_allclose(found[:, 0, 0], -IMAGENET_MEAN / IMAGENET_STD, atol=1e-6)


def test_a_whole_picture_is_judged_up_to_its_middle_of_2048():
    detector = load_detector("detectors.cnndetection")
    detector.card = replace(detector.card, parameters={"variant": "blur_jpg_prob0.5", "crop": 0})
    assert detector.preproc(np.zeros((300, 500, 3), np.uint8)).shape == (3, 300, 500)
    assert detector.preproc(np.zeros((10, 2052, 3), np.uint8)).shape == (3, 10, 2048)


@pytest.mark.parametrize(("crop", "batch", "told"), [(100, 1, "must be 224, or 0"), (0, 8, "set batch to 1")])
def test_a_cut_that_is_not_known_is_refused(crop: int, batch: int, told: str, tmp_path: Path):
    detector = load_detector("detectors.cnndetection")
    parameters = {"variant": "blur_jpg_prob0.5", "crop": crop}
    detector.card = replace(detector.card, parameters=parameters, batch=batch)
    with pytest.raises(ContractError, match=told):
        detector.load(tmp_path, "cpu")


def test_every_missing_extra_and_misshapen_entry_is_named():
    net = ResNet(50, classes=1)
    assert_each_difference_is_named(
        net,
        missing="layer3.5.bn2.running_mean",
        extra="layer5.0.conv1.weight",
        misshapen=("fc.weight", (1000, 2048), (1, 2048)),
    )
