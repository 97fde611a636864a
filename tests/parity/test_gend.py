"""Our GenD against outputs of the published code with recipe weights (the golden vectors of the research data)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from base_detector import BaseDetector, Face, Skip, load_detector  # noqa: E402
from detectors.gend import detector as gend  # noqa: E402
from detectors.nets.checkpoint import CheckpointError  # noqa: E402
from detectors.nets.clip_heads import UnitLinear  # noqa: E402
from detectors.nets.faces import IMAGENET_MEAN, IMAGENET_STD  # noqa: E402
from detectors.nets.pictures import CLIP_MEAN, CLIP_STD  # noqa: E402
from detectors.nets.vit import CLIP_L14, VisionTransformer, tower_of  # noqa: E402
from tests.parity.clip_files import as_they_are, filled_large  # noqa: E402
from tests.parity.recipe import compare, context, golden_of, listed_names, picture  # noqa: E402

GOLDEN = "gend"
RECIPE_WEIGHTS = True


def write_weights(folder: Path, research: Path) -> None:
    """The published file, filled by the recipe."""
    from safetensors.torch import save_file

    names = listed_names(research, "gend_clip_l14")
    save_file(filled_large(names, golden_of(research, "gend")["scale_pow2"]), folder / gend.FILE)


def at_its_own_size(golden: dict) -> dict[tuple[str, int], dict]:
    """The golden crops made as the authors' command makes them."""
    return {(e["input"], e["face_index"]): e for e in golden["crop"] if e["target_size"].startswith("none")}


def aligned(entry: dict, golden: dict, pictures: dict, research: Path) -> np.ndarray:
    """The face of a golden entry: aligned by its points, or the aligned picture that it names."""
    place = at_its_own_size(golden).get((entry["input"], entry["face_index"]))
    if place is None:
        return picture(research, entry["input"])
    points = np.array(place["points5_given_xy"])
    side = gend.aligned_side(points)
    return cv2.warpAffine(pictures[entry["input"]], gend.alignment(points, side=side), (side, side))


# --------------------------------------------------------------------------- against the published code


def test_every_tensor_of_the_published_file_has_its_place(research: Path):
    names = listed_names(research, "gend_clip_l14")
    tower = as_they_are([name for name in names if not name.startswith("model.")], research, "gend_clip_l14")
    ours = tower_of({name.removeprefix("feature_extractor."): item for name, item in tower.items()})
    with torch.device("meta"):
        net, head = VisionTransformer(CLIP_L14), UnitLinear(CLIP_L14.width, 2)
    assert {name: item.shape for name, item in ours.items()} == {
        name: item.shape for name, item in net.state_dict().items()
    }
    assert {f"model.{name}": tuple(item.shape) for name, item in head.state_dict().items()} == {
        name: shape for name, (shape, _) in names.items() if name.startswith("model.")
    }


def test_faces_are_aligned_as_published(golden: dict, pictures: dict):
    assert golden["crop"]
    for entry in golden["crop"]:
        points, side = np.array(entry["points5_given_xy"]), entry["out_wh"][0]
        if entry["target_size"].startswith("none"):
            assert gend.aligned_side(points) == side
        matrix = gend.alignment(points, side=side)
        np.testing.assert_allclose(matrix, entry["matrix_2x3_src_to_dst"], atol=1e-3)
        face = cv2.warpAffine(pictures[entry["input"]], matrix, (side, side), flags=cv2.INTER_LINEAR)
        compare(face, entry["aligned_rgb"], atol=0.5)


def test_the_context_crop_gives_what_the_frame_gives(golden: dict, pictures: dict):
    """The pixels that the alignment needs are in the crop that the card asks for."""
    detector = load_detector("detectors.gend")
    for (name, _), entry in at_its_own_size(golden).items():
        frame, points = pictures[name], np.array(entry["points5_given_xy"])
        # a face box as MTCNN draws it: 2.1 distances between the eyes to each side of its middle, its height a third more
        middle, reach = points.mean(axis=0), 1.15 * np.linalg.norm(points[1] - points[0])
        box = np.array([middle[0] - reach, middle[1] - 1.3 * reach, middle[0] + reach, middle[1] + 1.3 * reach])
        whole = Face(box, points.astype(np.float32), image_origin=(0, 0))
        cut = context(frame, box, margin=detector.card.margin, landmarks=points)
        found, wanted = detector.crop_face(*cut), detector.crop_face(frame, whole)
        assert np.abs(found.astype(int) - wanted).mean() < 0.5


def test_preprocessing_is_the_published_one(golden: dict, pictures: dict, research: Path):
    detector = load_detector("detectors.gend")
    assert golden["preprocess"]
    for entry in golden["preprocess"]:
        face = aligned(entry, golden, pictures, research)
        assert list(face.shape[1::-1]) == entry["size_wh"]
        compare(detector.preproc(face)[None], entry["tensor"], atol=1e-6)


def test_logits_and_scores_are_the_published_ones(
    golden: dict, pictures: dict, research: Path, detector: BaseDetector, monkeypatch: pytest.MonkeyPatch
):
    control = next(entry for entry in golden["negative_controls"] if entry["what"] == "ImageNet mean/std")
    same = [entry for entry in golden["forward"] if entry["input"] == control["input"]]
    # the warped face of the negative control, and one that is aligned already
    entries, net, seen = [same[0], golden["forward"][-1]], detector._net, []
    batch = np.stack([detector.preproc(aligned(entry, golden, pictures, research)) for entry in entries])
    monkeypatch.setattr(detector, "_net", lambda x: seen.append(net(x)) or seen[-1])
    for entry, soft, found in zip(entries, detector.get_softlabel(batch), seen[0], strict=True):
        wanted = np.array(entry["logits"])
        assert np.all(np.abs(found - wanted) <= 1e-4 * np.maximum(1, np.abs(wanted)))
        assert 1 - soft == pytest.approx(entry["p_fake"], abs=1e-4)
    # negative control: another mean and deviation
    plain = batch[0] * CLIP_STD[:, None, None] + CLIP_MEAN[:, None, None]
    wrong = ((plain - IMAGENET_MEAN[:, None, None]) / IMAGENET_STD[:, None, None]).astype(np.float32)
    np.testing.assert_allclose(net(wrong[None])[0], control["logits"], atol=1e-3)


# --------------------------------------------------------------------------- rules on their own


def test_one_landmark_far_off_does_not_turn_the_face():
    points = gend.PLACES * 200 + 50
    straight = gend.alignment(points, side=100)
    points[2] += 150
    np.testing.assert_allclose(gend.alignment(points, side=100), straight, atol=1e-3)


@pytest.mark.parametrize("points", [np.full((5, 2), np.nan), np.full((5, 2), 7.0)])
def test_a_face_without_landmarks_is_left_out(points: np.ndarray):
    face = Face(np.array([0, 0, 10, 10], np.float32), points.astype(np.float32))
    with pytest.raises(Skip, match="landmarks_not_found"):
        load_detector("detectors.gend").crop_face(np.zeros((20, 20, 3), np.uint8), face)


def test_every_missing_extra_and_misshapen_entry_is_named(research: Path):
    names = listed_names(research, "gend_clip_l14")
    state = as_they_are([name for name in names if "vision_model" in name], research, "gend_clip_l14")
    state = {name.removeprefix("feature_extractor."): item for name, item in state.items()}
    del state["vision_model.encoder.layers.3.self_attn.q_proj.weight"]
    state["vision_model.encoder.layers.24.mlp.fc1.bias"] = torch.empty(4096, device="meta")
    state["vision_model.pre_layrnorm.bias"] = torch.empty(768, device="meta")
    with pytest.raises(CheckpointError) as caught:
        tower_of(state)
    for part in (
        "missing vision_model.encoder.layers.3.self_attn.q_proj.weight",
        "extra vision_model.encoder.layers.24.mlp.fc1.bias",
        "vision_model.pre_layrnorm.bias has shape (768,), not (1024,)",
    ):
        assert part in str(caught.value)
