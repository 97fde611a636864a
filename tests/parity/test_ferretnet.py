"""Our FerretNet, S with the published weights and B filled by the recipe, against outputs of the authors' code (the golden vectors)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from base_detector import BaseDetector, ContractError, Skip, load_detector  # noqa: E402
from detectors.ferretnet import detector as own  # noqa: E402
from detectors.nets import ferretnet  # noqa: E402
from detectors.nets.pictures import centre  # noqa: E402
from detectors.nets.scores import sigmoid  # noqa: E402
from tests.parity.recipe import (  # noqa: E402
    assert_each_difference_is_named,
    compare,
    filled_state,
    golden_of,
    listed_names,
    picture,
)
from tests.parity.sounds import assert_differs, assert_logits  # noqa: E402

GOLDEN = "ferretnet"
#: Net of the golden vectors -> variant of the card, list of its names.
NETS = {"FerretNet-S": ("S", "ferretnet_s"), "FerretNet-B": ("B", "ferretnet_b")}


def write_weights(folder: Path, research: Path) -> None:
    """The published file of S; that of B, which is not at hand, filled by the recipe."""
    small, big = (folder / file for _, file in own.VARIANTS.values())
    shutil.copy(research / "weights" / "ferretnet" / small.name, small)
    scales = golden_of(research, GOLDEN)["scale_pow2"]["FerretNet-B"]
    torch.save({"model": filled_state(listed_names(research, "ferretnet_b"), scales)}, big)


@pytest.fixture(scope="module")
def nets(weights: Path) -> dict[str, BaseDetector]:
    """The detector with each of its networks, by the name that the golden vectors have for it."""
    found = {}
    for net, (variant, _) in NETS.items():
        found[net] = load_detector("detectors.ferretnet")
        found[net].card = replace(found[net].card, parameters={"variant": variant})
        found[net].load(weights, "cpu")
    return found


def input_of(net: BaseDetector, research: Path, entry: dict) -> np.ndarray:
    """What the net takes of an entry, (1, 3, H, W): its middle as the product cuts it, or the whole picture as the authors' demo."""
    image = picture(research, entry["input"])
    if (entry.get("from") or entry["how"]).startswith("whole"):
        return own.normalized(image)[None]
    if min(image.shape[:2]) < own.SIDE:  # no score in the product; the authors put black around it
        return own.normalized(centre(image, own.SIDE))[None]
    return net.preproc(image)[4:5]


def test_names_and_shapes_are_the_published_ones(golden: dict, research: Path):
    for name, (variant, file) in NETS.items():
        state = ferretnet.FerretNet(getattr(ferretnet, variant)).state_dict()
        found = {key: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for key, tensor in state.items()}
        assert found == listed_names(research, file)
        assert len(found) == golden["state_dict"][name]["entries"]
        assert sum(tensor.numel() for tensor in state.values()) == golden["state_dict"][name]["numbers_all_tensors"]


def test_preprocessing_is_the_published_one(golden: dict, research: Path, nets: dict[str, BaseDetector]):
    assert golden["preprocess"]
    for entry in golden["preprocess"]:
        compare(input_of(nets["FerretNet-S"], research, entry), entry["tensor"], atol=1e-6)


def test_logits_and_scores_are_the_published_ones(
    golden: dict, research: Path, weights: Path, nets: dict[str, BaseDetector]
):
    assert {entry["net"] for entry in golden["forward"]} == set(NETS)
    whole = {name: own._net(*published(weights, variant)).eval() for name, (variant, _) in NETS.items()}
    for entry in golden["forward"]:
        batch = input_of(nets[entry["net"]], research, entry)
        if batch.shape[2:] == (own.SIDE, own.SIDE):
            (logits,) = nets[entry["net"]]._net(batch)
        else:
            with torch.inference_mode():
                (logits,) = whole[entry["net"]](torch.from_numpy(batch)).numpy()
        assert_logits(logits, entry["logits"])
        assert sigmoid(logits)[0] == pytest.approx(entry["p_fake"], abs=1e-4)


def published(weights: Path, variant: str) -> tuple[str, bytes]:
    """The arguments of the function that builds the network."""
    width, file = own.VARIANTS[variant]
    return width, (weights / file).read_bytes()


def test_the_median_is_the_published_one(golden: dict, research: Path, nets: dict[str, BaseDetector]):
    checked = 0
    for entry in golden["forward"]:
        for probe in entry.get("probes", []):
            if probe["module"] == "lpd":
                batch = torch.from_numpy(input_of(nets[entry["net"]], research, entry))
                compare((batch - ferretnet.residual(batch)).numpy(), probe, atol=1e-6)
                checked += 1
    assert checked


#: What a negative control is made of, where the picture alone is wrong: (H, W, 3) -> (H, W, 3).
WRONG: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "BGR": lambda image: np.ascontiguousarray(image[..., ::-1]),
    "horizontal flip": lambda image: np.ascontiguousarray(image[:, ::-1]),
}


def test_what_is_wrong_in_one_thing_gives_other_logits(golden: dict, research: Path, nets: dict[str, BaseDetector]):
    """The authors' code with one fault each: ours has none of them, and has the same where the picture is at fault."""
    made = 0
    for control in golden["negative_controls"]:
        net, image = nets[control["net"]], picture(research, control["input"])
        assert_differs(net._net(net.preproc(image)[4:5])[0], control["logits"])
        if control["what"] in WRONG:
            made += 1
            assert_logits(net._net(net.preproc(WRONG[control["what"]](image))[4:5])[0], control["logits"])
    assert made >= 2


def test_the_median_of_nine_has_a_zero_in_the_pixels_own_place():
    x = torch.from_numpy(np.random.default_rng(4).standard_normal((2, 3, 9, 7)).astype(np.float32))
    nine = torch.nn.functional.unfold(x, 3, padding=1).reshape(2, 3, 9, 9, 7)
    nine[:, :, 4] = 0
    assert torch.equal(ferretnet.residual(x), x - nine.median(dim=2).values)


@pytest.mark.parametrize("kind", ["biggan", "cyclegan", "pix2pix", "realgan"])
def test_a_gans_picture_is_told_from_its_photograph(kind: str, research: Path, nets: dict[str, BaseDetector]):
    """As the authors' code on the same files: all of these fakes are found, no photograph is called synthetic."""
    for label in ("real", "fake"):
        with Image.open(research / "media" / "pictures" / f"gan_{label}_{kind}.png") as image:
            score = nets["FerretNet-S"].run(np.array(image.convert("RGB")))
        assert nets["FerretNet-S"].get_hardlabel(1 - score) == label


# --------------------------------------------------------------------------- without the research data


def test_a_picture_is_never_scaled_and_looked_at_from_border_to_border():
    image = np.random.default_rng(1).integers(0, 256, (1000, 333, 3), dtype=np.uint8)
    crops = load_detector("detectors.ferretnet").preproc(image)
    assert crops.shape == (9, 3, 256, 256)
    places = [(top, left) for top in (0, 372, 744) for left in (0, 38, 77)]
    for found, (top, left) in zip(crops, places, strict=True):
        np.testing.assert_array_equal(found, own.normalized(image[top : top + 256, left : left + 256]))


def test_a_picture_below_320_pixels_is_judged_by_its_middle():
    detector = load_detector("detectors.ferretnet")
    image = np.random.default_rng(1).integers(0, 256, (319, 900, 3), dtype=np.uint8)
    crops = detector.preproc(image)
    # (319 - 256) / 2 = 31.5 is rounded to even
    np.testing.assert_array_equal(crops, [own.normalized(image[32:288, 322:578])] * 9)


@pytest.mark.parametrize("size", [(255, 900), (900, 255), (1, 1)])
def test_a_picture_smaller_than_a_crop_gets_no_score(size: tuple[int, int]):
    with pytest.raises(Skip, match="picture_too_small"):
        load_detector("detectors.ferretnet").preproc(np.zeros((*size, 3), np.uint8))


def test_the_score_is_that_of_the_median_logit():
    detector = load_detector("detectors.ferretnet")
    detector._net = lambda crops: crops[:, 0, :1, 0]
    logits = np.array([-9, -8, -7, -6, 2, 5, 6, 7, 800], np.float32)
    batch = np.stack([logits, -logits])[:, [3, 1, 4, 0, 5, 8, 2, 6, 7], None, None, None]
    np.testing.assert_allclose(detector.get_softlabel(batch), [1 / (1 + np.exp(2)), 1 / (1 + np.exp(-2))], atol=1e-12)


def test_an_unknown_variant_is_named_with_the_known_ones(tmp_path: Path):
    detector = load_detector("detectors.ferretnet")
    detector.card = replace(detector.card, parameters={"variant": "L"})
    with pytest.raises(ContractError, match=r"must be one of S, B, not 'L'"):
        detector.load(tmp_path, "cpu")


def test_every_missing_extra_and_misshapen_entry_is_named():
    assert_each_difference_is_named(
        ferretnet.FerretNet(ferretnet.S),
        missing="feature.0.0.shortcut.0.bias",
        extra="feature.0.1.shortcut.0.bias",
        misshapen=("logit.1.weight", (1, 384), (1, 128)),
    )
