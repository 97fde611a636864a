"""Our Effort against outputs of the published code with recipe weights (the golden vectors of the research data)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from base_detector import BaseDetector, ContractError, Face, Skip, load_detector  # noqa: E402
from detectors.effort import detector as effort  # noqa: E402
from detectors.nets.checkpoint import CheckpointError, Published  # noqa: E402
from detectors.nets.vit import CLIP_L14, Block, VisionTransformer, tower_of  # noqa: E402
from tests.parity.clip_files import as_they_are, filled_large  # noqa: E402
from tests.parity.recipe import compare, golden_of, listed_names, picture, unchecked  # noqa: E402

GOLDEN = "effort"
#: of each projection, for the loss of its training alone
LOSS = (".S_r", ".U_r", ".V_r")


def write_weights(folder: Path, research: Path) -> None:
    """The file as its authors save it, filled by the recipe; what only the training needs is left out, as in the published file."""
    names = {name: item for name, item in listed_names(research, "effort_clip_l14").items() if not name.endswith(LOSS)}
    state = filled_large(names, golden_of(research, "effort")["scale_pow2"])
    torch.save({f"module.{name}": item for name, item in state.items()}, folder / effort.VARIANTS["ffpp"])


@pytest.fixture(scope="module")
def net(weights: Path) -> Any:
    """The published network as the detector builds it, run by torch: compiling it would double the time of this module."""
    return effort._net(Published(weights, load_detector("detectors.effort").card, effort.VARIANTS["ffpp"])).eval()


def faces_of(golden: dict, pictures: dict) -> dict[tuple[str, int], np.ndarray]:
    """The faces as the published matrix warps them: its float32 sums differ between processors, by a grey level in a few pixels."""
    return {
        (entry["input"], entry["face_index"]): cv2.warpAffine(
            pictures[entry["input"]], np.array(entry["matrix_2x3"]), (effort.SIDE, effort.SIDE), flags=cv2.INTER_LINEAR
        )
        for entry in golden["crop"]
    }


def prepared(entry: dict, golden: dict, pictures: dict, research: Path) -> np.ndarray:
    """The input of a golden entry: an aligned face, or the whole picture where it says so."""
    (place,) = (
        e for e in golden["preprocess"] if (e["input"], e["face_index"]) == (entry["input"], entry["face_index"])
    )
    faces = faces_of(golden, pictures)
    unit = faces[entry["input"], entry["face_index"]] if place["from"] == "face" else picture(research, entry["input"])
    return load_detector("detectors.effort").preproc(unit)


# --------------------------------------------------------------------------- against the published code


@pytest.mark.parametrize("with_loss", [True, False])
def test_every_tensor_of_the_published_file_has_its_place(research: Path, with_loss: bool):
    names = [name for name in listed_names(research, "effort_clip_l14") if with_loss or not name.endswith(LOSS)]
    # the published file of GenImage has 681 tensors
    assert len(names) == (969 if with_loss else 681)
    state = as_they_are([name for name in names if name.startswith("backbone.")], research, "effort_clip_l14")
    renamed = {name.replace("backbone.", "vision_model.", 1): item for name, item in state.items()}
    ours = tower_of(effort.merged(renamed))
    with torch.device("meta"):
        net = VisionTransformer(CLIP_L14)
    assert {name: item.shape for name, item in ours.items()} == {
        name: item.shape for name, item in net.state_dict().items()
    }


def test_faces_are_aligned_as_published(golden: dict, pictures: dict):
    assert golden["crop"]
    for entry in golden["crop"]:
        matrix = effort.alignment(np.array(entry["points5_given_xy"]))
        np.testing.assert_allclose(matrix, entry["matrix_2x3"], atol=1e-3)
        wanted = faces_of(golden, pictures)[entry["input"], entry["face_index"]]
        compare(wanted, entry["aligned_rgb"], atol=1e-4)
        found = effort.aligned(pictures[entry["input"]], np.array(entry["points5_given_xy"])).astype(int)
        assert np.abs(found - wanted).max() <= 5
        assert np.mean(found != wanted) < 1e-3


def test_preprocessing_of_faces_and_whole_pictures_is_the_published_one(golden: dict, pictures: dict, research: Path):
    assert {entry["from"][:5] for entry in golden["preprocess"]} == {"face", "whole"}
    for entry in golden["preprocess"]:
        compare(prepared(entry, golden, pictures, research)[None], entry["tensor"], atol=1e-6)


@pytest.mark.slow
def test_logits_and_scores_are_the_published_ones(golden: dict, pictures: dict, research: Path, net: Any):
    """A face and the whole pictures. In the quick tests GenD's stand for the tower, and the sum below for what is Effort's own."""
    entries = golden["forward"][:1] + golden["forward"][-2:]
    batch = np.stack([prepared(entry, golden, pictures, research) for entry in entries])
    detector = load_detector("detectors.effort")

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return net(torch.from_numpy(x)).numpy()

    logits = run(batch)
    detector._net = lambda _: logits
    for entry, found, soft in zip(entries, logits, detector.get_softlabel(batch), strict=True):
        wanted = np.array(entry["logits"])
        assert np.all(np.abs(found - wanted) <= 1e-4 * np.maximum(1, np.abs(wanted)))
        assert 1 - soft == pytest.approx(entry["p_fake"], abs=1e-4)


@pytest.mark.slow
def test_the_compiled_network_gives_the_published_logits(
    golden: dict, pictures: dict, research: Path, detector: BaseDetector
):
    for entry in golden["forward"]:
        wanted = np.array(entry["logits"])
        found = detector._net(prepared(entry, golden, pictures, research)[None])[0]
        assert np.all(np.abs(found - wanted) <= 1e-4 * np.maximum(1, np.abs(wanted)))


# --------------------------------------------------------------------------- rules on their own


def test_a_projection_is_the_sum_of_its_parts():
    rng = np.random.default_rng(3)
    parts = {
        "weight_main": rng.standard_normal((4, 4)),
        "U_residual": rng.standard_normal((4, 1)),
        "S_residual": rng.standard_normal(1),
        "V_residual": rng.standard_normal((1, 4)),
    }
    state = {f"x.q_proj.{name}": torch.from_numpy(item) for name, item in parts.items()}
    found = effort.merged(state | {"x.q_proj.bias": torch.ones(4), "x.q_proj.U_r": torch.ones(4, 3)})
    wanted = parts["weight_main"] + parts["U_residual"] @ np.diag(parts["S_residual"]) @ parts["V_residual"]
    assert set(found) == {"x.q_proj.weight", "x.q_proj.bias"}
    np.testing.assert_allclose(found["x.q_proj.weight"].numpy(), wanted, atol=1e-12)


def test_a_projection_without_one_of_its_parts_is_named(research: Path):
    names = [name for name in listed_names(research, "effort_clip_l14") if name.startswith("backbone.")]
    state = as_they_are(names, research, "effort_clip_l14")
    renamed = {name.replace("backbone.", "vision_model.", 1): item for name, item in state.items()}
    del renamed["vision_model.encoder.layers.5.self_attn.v_proj.S_residual"]
    with pytest.raises(
        CheckpointError, match=r"missing vision_model.encoder.layers.5.self_attn.v_proj.weight.*extra .*weight_main"
    ):
        tower_of(effort.merged(renamed))


def test_points_of_one_place_and_faces_that_dlib_does_not_see_are_left_out():
    with pytest.raises(Skip, match="landmarks_not_found"):
        effort.alignment(np.full((5, 2), 9))
    pytest.importorskip("dlib")
    from detectors.nets.landmarks import Landmarker

    detector = load_detector("detectors.effort")
    detector._landmarker = Landmarker()
    face = Face(np.array([20, 20, 80, 80], np.float32), np.full((5, 2), np.nan, np.float32))
    with pytest.raises(Skip, match="landmarks_not_found"):
        detector.crop_face(np.zeros((100, 100, 3), np.uint8), face)


def test_the_portrait_is_aligned_upright(astronaut: np.ndarray):
    """Its eye-lids and the tip of its nose come where the template has them, to a few pixels of 224."""
    pytest.importorskip("dlib")
    from detectors.nets.landmarks import Landmarker

    detector = load_detector("detectors.effort")
    detector._landmarker = Landmarker()
    face = Face(np.array([170, 60, 280, 190], np.float32), np.full((5, 2), np.nan, np.float32))
    crop = detector.crop_face(np.ascontiguousarray(astronaut[:320, 60:400]), face)
    assert crop.shape == (224, 224, 3)
    _, points = detector._landmarker.find(crop)
    places = ((effort.PLACES + effort.ADDED) * 2 + 33.6) / 1.3
    assert np.linalg.norm(points[[37, 44, 30]] - places[:3], axis=1).max() < 8


def test_an_unknown_variant_is_told_with_the_known_ones(tmp_path: Path):
    detector = unchecked(load_detector("detectors.effort"))
    detector.card = replace(detector.card, parameters={"variant": "ff"})
    with pytest.raises(ContractError, match="must be one of ffpp, genimage, chameleon, not 'ff'"):
        detector.load(tmp_path, "cpu")


def test_only_clips_activation_is_quick():
    """The two activations differ: CLIP's is x * sigmoid(1.702 x), the other nets' the exact GELU."""
    small = replace(CLIP_L14, side=28, width=8, heads=2, layers=1)
    torch.manual_seed(0)
    quick = Block(small).eval()
    exact = Block(replace(small, clip=False)).eval()
    exact.load_state_dict(quick.state_dict())
    x = torch.randn(1, small.tokens, small.width)
    with torch.inference_mode():
        _, inner = quick(x)
        wide = quick.mlp.fc1(inner)
        np.testing.assert_allclose(quick.mlp(inner), quick.mlp.fc2(wide / (1 + torch.exp(-1.702 * wide))), atol=1e-6)
        np.testing.assert_allclose(
            exact.mlp(inner), exact.mlp.fc2(wide * (1 + torch.erf(wide / 2**0.5)) / 2), atol=1e-6
        )
