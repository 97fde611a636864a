"""Our DSP-FWA against outputs of the published one with recipe weights (the golden vectors of the research data)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")


from base_detector import BaseDetector, Skip, load_detector  # noqa: E402
from detectors.dsp_fwa import detector as own  # noqa: E402
from detectors.nets.heads import cut_heads  # noqa: E402
from detectors.nets.scores import softmax_at  # noqa: E402
from detectors.nets.spp_resnet import SppResNet, pyramid  # noqa: E402
from tests.parity.recipe import (  # noqa: E402
    assert_each_difference_is_named,
    compare,
    filled_state,
    golden_of,
    names_of,
    picture,
)

GOLDEN = "dsp_fwa"


def write_weights(folder: Path, research: Path) -> None:
    """The file of the card in the published layout, filled by the recipe."""
    golden = golden_of(research, "dsp_fwa")
    names = names_of(golden["state_dict"]["tensors"])
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"epoch": 0, "net": filled_state(names, golden["scale_pow2"])}, folder / "SPP-res50.pth")


def test_names_and_shapes_are_the_published_ones(golden: dict):
    with torch.device("meta"):
        net = SppResNet()
    wanted = {name: (shape, kind) for name, shape, kind in golden["state_dict"]["tensors"]}
    found = {k: (list(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in net.state_dict().items()}
    assert found == wanted
    assert sum(tensor.numel() for tensor in net.parameters()) == golden["state_dict"]["parameters"]


def test_preprocessing_is_the_published_one(golden: dict, heads: dict):
    assert golden["preprocess"]
    for entry in golden["preprocess"]:
        # 1e-5: the stored numbers have nine digits, the values three before the point
        compare(own.prepared(heads[entry["input"]])[entry["seed"]][None], entry["tensor"], atol=1e-5)


def test_logits_and_scores_are_the_published_ones(golden: dict, heads: dict, detector: BaseDetector):
    assert golden["forward"]
    for entry in golden["forward"]:
        batch = own.prepared(heads[entry["input"]])
        wanted = np.array(entry["logits_10"])
        found = detector._net(batch)
        assert np.all(np.abs(found - wanted) <= 1e-4 * np.maximum(1, np.abs(wanted)))
        np.testing.assert_allclose(softmax_at(found, index=0), entry["softmax_index0_10"], atol=1e-5)
        (softlabel,) = detector.get_softlabel(batch[None])
        assert softlabel == pytest.approx(entry["im_test_return_P_real"], abs=1e-5)
        assert 1 - softlabel == pytest.approx(entry["p_fake"], abs=1e-5)


def test_swapped_channels_do_not_give_the_published_logits(golden: dict, heads: dict, detector: BaseDetector):
    entry = golden["forward"][0]
    found = detector._net(own.prepared(heads[entry["input"]][..., ::-1]))
    assert np.abs(found - np.array(entry["logits_10"])).max() > 0.1


def test_a_face_of_a_batch_scores_as_alone(heads: dict, detector: BaseDetector):
    batch = np.stack([own.prepared(item) for item in heads.values()])
    alone = [detector.get_softlabel(item[None])[0] for item in batch]
    np.testing.assert_array_equal(detector.get_softlabel(batch), alone)


def test_a_picture_is_judged_from_the_pixels_to_the_score(research: Path, golden: dict, detector: BaseDetector):
    image = picture(research, golden["forward"][0]["input"])
    score = detector.run(image)
    _, points = detector._landmarker.find(image)
    batch = own.prepared(cut_heads(image, points))
    fake = np.sort(softmax_at(detector._net(batch), index=0))[5:].mean()
    assert score == pytest.approx(fake, abs=1e-9)


def test_a_picture_without_landmarks_is_skipped(detector: BaseDetector):
    with pytest.raises(Skip, match="landmarks_not_found"):
        detector.run(np.full((200, 200, 3), 128, np.uint8))


# --------------------------------------------------------------------------- without the research data


def test_the_pyramid_is_level_after_level_and_channel_by_channel_in_any_layout():
    features = torch.randn(2, 5, 7, 7, generator=torch.Generator().manual_seed(1))
    wanted = []
    for level, window, stride in ((1, 7, 7), (2, 4, 3), (6, 2, 1)):
        wanted += [
            features[:, c, y * stride : y * stride + window, x * stride : x * stride + window].amax(dim=(1, 2))
            for c in range(5)
            for y in range(level)
            for x in range(level)
        ]
    found = pyramid(features)
    assert found.shape == (2, 41 * 5)
    assert torch.equal(found, torch.stack(wanted, dim=1))
    assert torch.equal(pyramid(features.to(memory_format=torch.channels_last)), found)


def test_the_first_output_is_fake():
    detector = load_detector("detectors.dsp_fwa")
    detector._net = lambda heads: np.tile(np.array([[3.0, -900.0]], np.float32), (10, 1))
    assert detector.get_softlabel(np.zeros((1, 10, 3, 2, 2))) == pytest.approx(0)
    detector._net = lambda heads: np.tile(np.array([[-900.0, 3.0]], np.float32), (10, 1))
    assert detector.get_softlabel(np.zeros((1, 10, 3, 2, 2))) == pytest.approx(1)


def test_a_face_too_small_for_heads_is_skipped():
    detector = load_detector("detectors.dsp_fwa")
    detector._landmarker = type("Tiny", (), {"find": lambda self, image: ((0, 0, 6, 6), np.array([[3, 3], [9, 40]]))})()
    with pytest.raises(Skip, match="face_too_small"):
        detector.preproc(np.zeros((50, 50, 3), np.uint8))


def test_every_missing_extra_and_misshapen_entry_is_named():
    with torch.device("meta"):
        net = SppResNet()
    assert_each_difference_is_named(
        net, missing="resnet.fc.bias", extra="resnet.layer1.0.conv1.weight", misshapen=("classifier.bias", (3,), (2,))
    )
