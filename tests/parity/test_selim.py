"""Our Selim against outputs of the published code (the golden vectors of the research data), and its rules on their own."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import base_detector  # noqa: E402
from base_detector import BaseDetector, ContractError, Face, FacePack, Skip, load_detector  # noqa: E402
from detectors.nets import faces  # noqa: E402
from detectors.nets.checkpoint import WeightsUnusable  # noqa: E402
from detectors.nets.efficientnet import EncoderClassifier  # noqa: E402
from detectors.selim import detector as selim  # noqa: E402
from tests.parity.clips import write_people_pack  # noqa: E402
from tests.parity.recipe import compare, context, filled_state, golden_of, listed_names  # noqa: E402

GOLDEN = "selim"


def write_weights(folder: Path, research: Path) -> None:
    """The seven published files, filled by the recipe: one file under seven names."""
    state = filled_state(listed_names(research, "selim_deepware_b7"), golden_of(research, "selim")["scale_pow2"])
    first, *others = [folder / item.file for item in load_detector("detectors.selim").card.weights]
    torch.save(
        {"epoch": 36, "state_dict": {f"module.{name}": item for name, item in state.items()}, "bce_best": 0.5}, first
    )
    for other in others:
        os.link(first, other)


def only(name: str) -> BaseDetector:
    """The detector with one model instead of seven."""
    detector = load_detector("detectors.selim")
    detector.card = replace(detector.card, parameters={"models": [name]})
    return detector


@pytest.fixture(scope="module")
def loaded(weights: Path) -> BaseDetector:
    assert {path.name for path in weights.iterdir()} == set(selim.MODELS.values())
    detector = only("777_31")
    detector.load(weights, "cpu")
    return detector


# --------------------------------------------------------------------------- against the published code


def test_names_and_shapes_are_the_published_ones(research: Path, golden: dict):
    with torch.device("meta"):
        net = EncoderClassifier("b7", size=(380, 380))
    found = {name: tuple(item.shape) for name, item in net.state_dict().items()}
    assert found == {name: shape for name, (shape, _) in listed_names(research, "selim_deepware_b7").items()}
    assert found == {name: tuple(shape) for name, shape, _ in golden["state_dict"]["tensors"]}
    assert len(found) == golden["state_dict"]["entries"]
    assert sum(item.numel() for item in net.parameters()) == golden["state_dict"]["parameters"]


def test_crops_are_the_published_ones(golden: dict, pictures: dict):
    assert golden["crop"]
    for entry in golden["crop"]:
        image = pictures[entry["input"]]
        box = 2 * np.array(entry["mtcnn_box_on_half_image"], np.float32)
        assert [int(value) for value in box] == entry["box_times_2_int"]
        left, top, right, bottom = selim.padded_box(box, frame_size=(image.shape[1], image.shape[0]))
        assert [left, top, right, bottom] == entry["crop_ltrb"]
        crop = load_detector("detectors.selim").crop_face(*context(image, box))
        np.testing.assert_array_equal(crop, image[top:bottom, left:right])
        assert list(selim.scaled(crop, side=380).shape[:2]) == entry["resized_hw"]


def test_sizes_after_scaling_are_the_published_ones(golden: dict):
    assert golden["isotropic_resize_shapes"]
    for entry in golden["isotropic_resize_shapes"]:
        assert list(selim.scaled(np.zeros((*entry["hw_in"], 3), np.uint8), side=380).shape[:2]) == entry["hw_out"]


def prepared(entry: dict, pictures: dict) -> np.ndarray:
    left, top, right, bottom = entry["crop_ltrb"]
    return load_detector("detectors.selim").preproc(pictures[entry["input"]][top:bottom, left:right])


def test_preprocessing_is_the_published_one(golden: dict, pictures: dict):
    assert golden["preprocess"]
    for entry in golden["preprocess"]:
        compare(prepared(entry, pictures)[None], entry["tensor"], atol=1e-6)


def test_logits_are_the_published_ones(golden: dict, pictures: dict, loaded: BaseDetector):
    assert golden["forward"]
    places = {place["input"]: place for place in golden["preprocess"]}
    for entry in golden["forward"]:
        x = prepared(places[entry["input"]], pictures)[None]
        (logit,) = entry["logits"]
        found = float(loaded._nets[0](x)[0, 0])
        assert abs(found - logit) <= 1e-3 * max(1, abs(logit))
        assert 1 - loaded.get_softlabel(x)[0] == pytest.approx(entry["p_fake"], abs=1e-4)
        # negative controls: channels the other way, no mean taken off
        assert abs(float(loaded._nets[0](np.ascontiguousarray(x[:, ::-1]))[0, 0]) - logit) > 0.01
        raw = x * faces.IMAGENET_STD[:, None, None] + faces.IMAGENET_MEAN[:, None, None]
        assert abs(float(loaded._nets[0](raw)[0, 0]) - logit) > 0.01


def test_a_batch_gives_what_its_faces_give_one_by_one(golden: dict, pictures: dict, loaded: BaseDetector):
    batch = np.stack([prepared(entry, pictures) for entry in golden["preprocess"][:3]])
    single = np.concatenate([loaded.get_softlabel(item[None]) for item in batch])
    np.testing.assert_allclose(loaded.get_softlabel(batch), single, atol=1e-4)
    assert len(set(np.round(single, 3))) > 1


def test_the_score_of_a_clip_is_the_published_one(golden: dict):
    scored = [entry for entry in golden["aggregate"] if entry["faces"]]
    assert scored
    for entry in scored:
        for kind in (np.float64, np.float32):
            found = selim.confident_strategy(np.array(entry["faces"], kind))
            assert found == pytest.approx(entry["confident_strategy"], abs=1e-6)


# --------------------------------------------------------------------------- rules on their own


def test_a_clip_is_the_mean_of_its_models_strategies():
    fakes, mixed = np.array([0.9] * 12 + [0.3] * 12), np.full(24, 0.4)
    assert selim.video_probability(np.stack([fakes, mixed])) == pytest.approx((0.9 + 0.4) / 2)
    # not the strategy of the mean: 0.65 and 0.35 are clear to nobody
    assert selim.confident_strategy(np.stack([fakes, mixed]).mean(axis=0)) == pytest.approx(0.5)


def test_crops_stay_in_the_frame_and_lose_fractions_towards_zero():
    assert selim.padded_box(np.array([10.9, 10.9, 40.9, 70.9]), frame_size=(100, 100)) == (0, 0, 50, 90)
    assert selim.padded_box(np.array([-3.7, 50, 26, 79]), frame_size=(30, 80)) == (0, 41, 30, 80)
    with pytest.raises(Skip, match="face_too_small"):
        faces.cut(np.zeros((50, 50, 3), np.uint8), Face(np.zeros(4), np.zeros((5, 2))), (20, 20, 20, 40))


def test_pictures_are_centred_on_black():
    picture = np.full((2, 3, 3), 200, np.uint8)
    canvas = selim.centred(picture, side=6)
    assert canvas[2:4, 1:4].min() == 200
    assert int(canvas.sum()) == int(picture.sum())


@pytest.mark.parametrize("models", [[], ["111_36", "111_36"], ["111_37"], "all", 7])
def test_models_are_named_by_the_card(models: object, tmp_path: Path):
    detector = load_detector("detectors.selim")
    detector.card = replace(detector.card, parameters={"models": models})
    with pytest.raises(ContractError, match=r"111_36, 555_19.*each once"):
        detector.load(tmp_path, "cpu")


def test_each_of_the_named_models_is_wanted(tmp_path: Path):
    with pytest.raises(WeightsUnusable, match="final_999_DeepFakeClassifier_tf_efficientnet_b7_ns_0_23 is not there"):
        only("999_23").load(tmp_path, "cpu")


def test_without_a_choice_the_installed_models_take_part(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    chosen: list[str] = []
    monkeypatch.setattr("detectors.runtime.compiled", lambda build, file, **kwargs: chosen.append(file.file))
    with pytest.raises(WeightsUnusable, match="holds none of final_111"):
        load_detector("detectors.selim").load(tmp_path, "cpu")
    for name in ("888_40", "111_36"):
        os.link(weights / selim.MODELS[name], tmp_path / selim.MODELS[name])
    load_detector("detectors.selim").load(tmp_path, "cpu")
    assert chosen == [selim.MODELS["111_36"], selim.MODELS["888_40"]]
    load_detector("detectors.selim").load(weights, "cpu")
    assert chosen[2:] == list(selim.MODELS.values())


def write_pack(folder: Path, rows: list[tuple[int, int, int]]) -> FacePack:
    """A pack with a grey face a row: (frame, person, grey level); 25 pictures a second."""
    grey = [(frame, person, 20, np.full((40, 40, 3), level, np.uint8)) for frame, person, level in rows]
    return write_people_pack(folder, grey)


def nets(*offsets: float) -> list:
    """Networks whose probability of fake is the middle pixel's brightness plus an offset."""

    def net(offset: float):
        def logits(batch: np.ndarray) -> np.ndarray:
            bright = batch[:, 0, 190, 190] * faces.IMAGENET_STD[0] + faces.IMAGENET_MEAN[0]
            chance = np.clip(bright + offset, 0.001, 0.999)
            return np.log(chance / (1 - chance))[:, None].astype(np.float32)

        return logits

    return [net(offset) for offset in offsets]


def judge(folder: Path, rows: list[tuple[int, int, int]], *offsets: float) -> tuple[base_detector.Judgement, list]:
    detector, told = load_detector("detectors.selim"), []
    detector._nets = nets(*offsets)
    return detector.judge(write_pack(folder, rows), lambda done, total: told.append((done, total))), told


def test_a_clip_is_judged_by_32_pictures_and_persons_by_the_same_rule(tmp_path: Path):
    rows = [(frame, person, level) for frame in range(64) for person, level in ((0, 51 * 4 + 26), (1, 51))]
    judged, told = judge(tmp_path / "pack", rows, 0.0, 0.02)
    scored = ~np.isnan(judged.softlabels)
    frames = {rows[i][0] for i in np.flatnonzero(scored)}
    assert scored.sum() == 64
    assert (len(frames), min(frames), max(frames)) == (32, 0, 63)
    assert told[-1] == (64, 64)
    # half of the faces are clear fakes, more than n // 2.5
    assert judged.video == pytest.approx(1 - (230 / 255 + 0.01), abs=1e-5)
    assert judged.persons[0] == pytest.approx(1 - (230 / 255 + 0.01), abs=1e-5)
    assert judged.persons[1] == pytest.approx(1 - (0.2 + 0.01), abs=1e-5)
    np.testing.assert_allclose(judged.softlabels[scored][:2], [1 - 230 / 255 - 0.01, 0.79], atol=1e-5)


def test_no_more_faces_than_upstreams_batch_holds(tmp_path: Path):
    rows = [(frame, person, 128) for frame in range(40) for person in range(5)]
    judged, told = judge(tmp_path / "pack", rows, 0.0)
    assert int((~np.isnan(judged.softlabels)).sum()) == selim.MOST_FACES == 127
    assert told[-1] == (127, 127)


def test_one_face_is_judged_and_none_gives_no_score(tmp_path: Path):
    judged, _ = judge(tmp_path / "one", [(0, 0, 51 * 3)], 0.0)
    assert judged.video == pytest.approx(0.4, abs=1e-5)  # upstream fails here and says 0.5
    judged, told = judge(tmp_path / "none", [], 0.0)
    assert (judged.video, len(judged.softlabels), told) == (None, 0, [])


def test_run_takes_a_picture_of_a_face():
    detector = load_detector("detectors.selim")
    detector._nets = nets(0.0, 0.1)
    score = detector.run(np.full((80, 60, 3), 102, np.uint8))
    assert score == pytest.approx(0.45, abs=1e-5)
    assert detector.get_hardlabel(1 - score) == "real"
