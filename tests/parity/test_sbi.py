"""Our SBI against outputs of the published code with recipe weights (the golden vectors of the research data)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from base_detector import BaseDetector, ContractError, FacePack, Judgement, Skip, load_detector  # noqa: E402
from detectors.nets.efficientnet import EfficientNet, plan  # noqa: E402
from detectors.nets.faces import IMAGENET_MEAN, IMAGENET_STD, cut  # noqa: E402
from detectors.sbi import detector as sbi  # noqa: E402
from tests.parity.clips import write_people_pack  # noqa: E402
from tests.parity.recipe import (  # noqa: E402
    assert_each_difference_is_named,
    compare,
    context,
    filled_state,
    golden_of,
    listed_names,
)

GOLDEN = "sbi"


def write_weights(folder: Path, research: Path) -> None:
    """The published file as its authors save it, filled by the recipe."""
    state = filled_state(listed_names(research, "sbi_b4"), golden_of(research, "sbi")["scale_pow2"])
    torch.save({"model": state, "optimizer": {}, "epoch": 99}, folder / "FFraw.tar")


def crop_of(entry: dict, pictures: dict) -> np.ndarray:
    left, top, right, bottom = entry["crop_ltrb"]
    return pictures[entry["input"]][top:bottom, left:right]


def prepared(entries: list[dict], golden: dict, pictures: dict, detector: BaseDetector) -> np.ndarray:
    places = {(item["input"], item["face_index"]): item for item in golden["preprocess"]}
    return np.stack([detector.preproc(crop_of(places[e["input"], e["face_index"]], pictures)) for e in entries])


# --------------------------------------------------------------------------- against the published code


def test_names_and_shapes_are_the_published_ones(research: Path, golden: dict):
    with torch.device("meta"):
        net = EfficientNet("b4", classes=2, padding="0.7.1")
    found = {f"net.{name}": tuple(item.shape) for name, item in net.state_dict().items()}
    assert found == {name: shape for name, (shape, _) in listed_names(research, "sbi_b4").items()}
    assert len(found) == golden["state_dict"]["entries"]


def test_strided_convolutions_are_padded_as_published(golden: dict):
    numbers = plan("b4", padding="0.7.1")
    found = {f"net._blocks.{i}._depthwise_conv": block.pad for i, block in enumerate(numbers.blocks)}
    found["net._conv_stem"] = numbers.stem_pad
    assert golden["stride2_padding"]
    for entry in golden["stride2_padding"]:
        assert list(found[entry["conv"]]) == entry["static_padding_ltrb_order_l_r_t_b"]


def test_crops_are_the_published_ones(golden: dict, pictures: dict):
    assert golden["crop"]
    for entry in golden["crop"]:
        image, box = pictures[entry["input"]], np.array(entry["box_ltrb_given"], np.float32)
        assert list(sbi.padded_box(box, frame_size=(image.shape[1], image.shape[0]))) == entry["crop_ltrb"]
        # the same from the platform's context crop
        crop = load_detector("detectors.sbi").crop_face(*context(image, np.array(entry["box_ltrb_given"])))
        np.testing.assert_array_equal(crop, crop_of(entry, pictures))
    assert golden["crop_synthetic"]
    for entry in golden["crop_synthetic"]:
        height, width = entry["image_hw"]
        assert list(sbi.padded_box(np.array(entry["box_ltrb"]), frame_size=(width, height))) == entry["crop_ltrb"]


def test_preprocessing_is_the_published_one(golden: dict, pictures: dict, detector: BaseDetector):
    assert golden["preprocess"]
    for entry in golden["preprocess"]:
        compare(detector.preproc(crop_of(entry, pictures))[None], entry["tensor"], atol=1e-6)


def test_logits_and_scores_are_the_published_ones(golden: dict, pictures: dict, detector: BaseDetector):
    batch = prepared(golden["forward"], golden, pictures, detector)
    for entry, found, soft in zip(golden["forward"], detector._net(batch), detector.get_softlabel(batch), strict=True):
        wanted = np.array(entry["logits"])
        assert np.all(np.abs(found - wanted) <= 1e-4 * np.maximum(1, np.abs(wanted)))
        assert 1 - soft == pytest.approx(entry["p_fake"], abs=1e-4)


def test_what_is_done_wrongly_gives_what_the_published_code_gives_then(
    golden: dict, pictures: dict, detector: BaseDetector
):
    """Channels the other way, a mean taken off, the advprop convention: each is another score, and we have none of these faults."""
    wrong = {
        "BGR": lambda x: x[:, ::-1],
        "ImageNet mean/std": lambda x: (x - IMAGENET_MEAN[:, None, None]) / IMAGENET_STD[:, None, None],
        "x*2-1 (the advprop convention, NOT used upstream)": lambda x: x * 2 - 1,
    }
    controls = [entry for entry in golden["negative_controls"] if entry["what"] in wrong]
    assert {entry["what"] for entry in controls} == set(wrong)
    right = {(entry["input"], entry["face_index"]): entry["p_fake"] for entry in golden["forward"]}
    for entry in controls:
        x = wrong[entry["what"]](prepared([entry], golden, pictures, detector)).astype(np.float32)
        np.testing.assert_allclose(detector._net(x)[0], entry["logits"], rtol=1e-3, atol=1e-3)
        assert abs(entry["p_fake"] - right[entry["input"], entry["face_index"]]) > 1e-3


def test_the_score_of_a_clip_is_the_published_one(golden: dict):
    assert golden["aggregate"]
    for entry in golden["aggregate"]:
        frames, fake = np.array(entry["frame_index_per_face"]), np.array(entry["p_fake_per_face"])
        assert sbi.video_probability(frames, fake) == pytest.approx(entry["exact"], abs=1e-6)


# --------------------------------------------------------------------------- rules on their own


def test_small_faces_beside_a_large_one_do_not_count():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 4.9], [0, 0, 10, 5], [0, 0, 3, 3]], np.float32)
    assert sbi.large_faces(np.array([0, 0, 0, 1]), boxes).tolist() == [True, False, True, True]
    assert sbi.large_faces(np.zeros(0, np.int64), np.zeros((0, 4), np.float32)).tolist() == []


def judge(folder: Path, rows: list[tuple[int, int, int, int]]) -> Judgement:
    """Judge a pack of grey faces (frame, person, side of the box, grey level) by their brightness."""

    def logits(batch: np.ndarray) -> np.ndarray:
        chance = np.clip(batch[:, 0, 190, 190].astype(np.float64), 1e-6, 1 - 1e-6)
        return np.stack([np.zeros_like(chance), np.log(chance / (1 - chance))], axis=1)

    detector = load_detector("detectors.sbi")
    detector._net = logits
    grey = [(frame, person, side, np.full((40, 40, 3), level, np.uint8)) for frame, person, side, level in rows]
    write_people_pack(folder, grey)
    return detector.judge(FacePack(folder), lambda done, total: None)


def test_the_highest_face_of_each_of_32_pictures_counts(tmp_path: Path):
    people = ((0, 20, 51), (1, 20, 204), (2, 8, 255))
    rows = [(frame, *person) for frame in range(64) for person in people]
    judged = judge(tmp_path / "pack", rows)
    scored = np.flatnonzero(~np.isnan(judged.softlabels))
    assert len(scored) == 64
    assert {rows[i][1] for i in scored} == {0, 1}
    assert judged.video == pytest.approx(0.2, abs=1e-5)
    assert judged.persons == {0: pytest.approx(0.8, abs=1e-5), 1: pytest.approx(0.2, abs=1e-5)}
    assert judge(tmp_path / "none", []).video is None


def test_a_box_outside_the_frame_is_left_out():
    image, face = context(np.zeros((50, 50, 3), np.uint8), np.array([10, 10, 20, 20]))
    with pytest.raises(Skip, match="face_too_small"):
        cut(image, face, sbi.padded_box(np.array([80, 80, 99, 99]), frame_size=(50, 50)))


def test_an_unknown_variant_is_told_with_the_known_ones(tmp_path: Path):
    detector = load_detector("detectors.sbi")
    detector.card = replace(detector.card, parameters={"variant": "c40"})
    with pytest.raises(ContractError, match="must be one of raw, c23, not 'c40'"):
        detector.load(tmp_path, "cpu")


def test_every_missing_extra_and_misshapen_entry_is_named():
    assert_each_difference_is_named(
        EfficientNet("b4", classes=2, padding="0.7.1"),
        missing="_blocks.7._bn1.running_mean",
        extra="_swish.weight",
        misshapen=("_fc.weight", (1000, 1792), (2, 1792)),
    )
