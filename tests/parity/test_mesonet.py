"""Our MesoNet against outputs of the published one (the golden vectors of the research data)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("h5py")


from base_detector import load_detector  # noqa: E402
from detectors.nets import meso  # noqa: E402
from detectors.nets.checkpoint import CheckpointError, read_keras  # noqa: E402
from tests.parity.recipe import compare, fill, made, picture  # noqa: E402

GOLDEN = "mesonet"
NETS = {"Meso4": meso.Meso4, "MesoInception4": meso.MesoInception4}
VARIANTS = {
    "Meso4_DF.h5": "Meso4_DF",
    "Meso4_F2F.h5": "Meso4_F2F",
    "MesoInception_DF.h5": "MesoInception4_DF",
    "MesoInception_F2F.h5": "MesoInception4_F2F",
}


@pytest.fixture(scope="module")
def loaded(weights_folder: Path) -> dict:
    """Published file -> our detector with it."""
    detectors = {}
    for file, variant in VARIANTS.items():
        detector = load_detector("detectors.mesonet")
        detector.card = replace(detector.card, parameters={"variant": variant})  # an attribute of this object only
        detector.load(weights_folder / "mesonet", "cpu")
        detectors[file] = detector
    return detectors


def test_preprocessing_is_the_published_one(golden: dict, research: Path, loaded: dict):
    assert golden["preprocess"]
    for entry in golden["preprocess"]:
        found = loaded["Meso4_DF.h5"].preproc(picture(research, entry["input"]))
        assert found.dtype == np.float32
        compare(found.transpose(1, 2, 0)[None], entry["tensor"], atol=1e-6)


def test_scores_of_all_four_networks_are_the_published_ones(golden: dict, research: Path, loaded: dict):
    assert {entry["weights"] for entry in golden["forward"]} == set(VARIANTS)
    for entry in golden["forward"]:
        score = loaded[entry["weights"]].run(picture(research, entry["input"]))
        assert 1 - score == pytest.approx(entry["raw"][0], abs=1e-4), entry["weights"]
        assert score == pytest.approx(entry["p_fake"], abs=1e-4), entry["weights"]


def test_swapped_channels_and_unscaled_pixels_give_the_published_wrong_scores(
    golden: dict, research: Path, loaded: dict
):
    """Negative controls: the published code shows what these two mistakes give, and we see that they are told apart."""
    apart = 0
    for entry in golden["forward"]:
        detector = loaded[entry["weights"]]
        image = picture(research, entry["input"])
        swapped = 1 - detector.run(np.ascontiguousarray(image[..., ::-1]))
        assert swapped == pytest.approx(entry["negative_control_bgr_raw"][0], abs=1e-4)
        unscaled = float(detector.get_softlabel(255 * detector.preproc(image)[None])[0])
        assert unscaled == pytest.approx(entry["negative_control_0_255_raw"][0], abs=1e-4)
        apart += abs(swapped - entry["raw"][0]) > 1e-3
    assert apart


def test_networks_with_recipe_weights_give_the_published_outputs(golden: dict, research: Path, loaded: dict):
    assert golden["recipe_forward"]
    for entry in golden["recipe_forward"]:
        net = NETS[entry["network"]]().eval()
        arrays = {name: fill(name, shape, channels_last=True) for name, shape in meso.keras_shapes(net).items()}
        meso.fill_from_keras(net, arrays)
        batch = loaded["Meso4_DF.h5"].preproc(picture(research, entry["input"]))[None]
        with torch.no_grad():
            assert float(net(torch.from_numpy(batch))[0]) == pytest.approx(entry["raw"][0], abs=1e-4)
            turned = np.ascontiguousarray(batch.transpose(0, 1, 3, 2))
            assert float(net(torch.from_numpy(turned))[0]) != pytest.approx(entry["raw"][0], abs=1e-4)


def test_the_networks_hold_as_many_numbers_as_the_published_files(golden: dict):
    for name, net in NETS.items():
        shapes = meso.keras_shapes(net())
        assert sum(int(np.prod(shape)) for shape in shapes.values()) == golden["state_dict"][name]["numbers"]


def test_every_missing_extra_and_misshapen_entry_is_named(research: Path):
    arrays = read_keras((research / "weights" / "mesonet" / "MesoInception_DF.h5").read_bytes())
    del arrays["conv2d_7/kernel"], arrays["batch_normalization_2/moving_mean"]
    arrays["conv2d_99/bias"] = np.zeros(3, np.float32)
    arrays["dense_1/kernel"] = arrays["dense_1/kernel"].T
    net = meso.MesoInception4()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        meso.fill_from_keras(net, arrays)
    for part in (
        "missing conv2d_7/kernel",
        "missing batch_normalization_2/moving_mean",
        "extra conv2d_99/bias",
        "dense_1/kernel has shape (16, 1024), not (1024, 16)",
    ):
        assert part in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_the_other_networks_file_is_refused(research: Path):
    arrays = read_keras((research / "weights" / "mesonet" / "Meso4_DF.h5").read_bytes())
    with pytest.raises(CheckpointError, match="do not fit MesoInception4"):
        meso.fill_from_keras(meso.MesoInception4(), arrays)


# --------------------------------------------------------------------------- the order of operations


def test_maps_added_in_their_own_channels_are_the_branches_side_by_side():
    net, x = made(meso._Inception(3, 1, 4, 4, 2)), torch.from_numpy(fill("x", (2, 3, 20, 24)))
    relu = torch.nn.functional.relu
    pairs = ((net.b1, net.b2), (net.c1, net.c2), (net.d1, net.d2))
    with torch.inference_mode():
        branches = [relu(net.a(x)), *(relu(second(relu(first(x)))) for first, second in pairs)]
        torch.testing.assert_close(net(x), torch.cat(branches, dim=1), rtol=0, atol=0)


@pytest.mark.parametrize("factor", [1.0, -1.0])
def test_norm_and_pooling_give_the_same_in_either_order_also_where_a_norm_falls(factor: float):
    norm, x = made(torch.nn.BatchNorm2d(4)), torch.from_numpy(fill("x", (2, 4, 12, 12)))
    with torch.inference_mode():
        norm.weight[2] *= factor
        expected = torch.nn.functional.max_pool2d(norm(x), 2)
        torch.testing.assert_close(meso._normed_and_pooled(x, norm, 2), expected, rtol=0, atol=1e-6)
        swapped = norm(torch.nn.functional.max_pool2d(x, 2))
        assert torch.allclose(swapped, expected, atol=1e-6) == (factor > 0)
