"""Our Deepware against outputs of the published code (the golden vectors of the research data), and its rules on their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from backend.scores.aggregate import deepware_person, deepware_video, video_score  # noqa: E402
from base_detector import FACE_DTYPE, BaseDetector, Face, FacePack, load_detector  # noqa: E402
from detectors.deepware import detector as deepware  # noqa: E402
from detectors.nets import faces  # noqa: E402
from detectors.nets.checkpoint import WeightsUnusable  # noqa: E402
from detectors.nets.efficientnet import EncoderClassifier  # noqa: E402
from tests.parity.clips import write_people_pack  # noqa: E402
from tests.parity.recipe import compare, context, filled_state, golden_of, listed_names  # noqa: E402

GOLDEN = "deepware"


def write_weights(folder: Path, research: Path) -> None:
    """The published file, a plain state dict, filled by the recipe."""
    names, scale = listed_names(research, "selim_deepware_b7"), golden_of(research, "deepware")["scale_pow2"]
    torch.save(filled_state(names, scale), folder / "deepware.pt")


def prepared(entry: dict, pictures: dict) -> np.ndarray:
    detector = load_detector("detectors.deepware")
    return detector.preproc(detector.crop_face(*context(pictures[entry["input"]], np.float32(entry["box_float32"]))))


# --------------------------------------------------------------------------- against the published code


def test_the_one_published_file_is_enough(detector: BaseDetector):
    assert [item.file for item in detector.card.weights if not item.optional] == ["deepware.pt"]
    assert len(detector._nets) == 1


def test_names_and_shapes_are_the_published_ones(research: Path, golden: dict):
    assert golden["same_keys_as_selim"] is True
    with torch.device("meta"):
        net = EncoderClassifier("b7", size=(380, 380))
    found = {name: tuple(item.shape) for name, item in net.state_dict().items()}
    assert found == {name: shape for name, (shape, _) in listed_names(research, "selim_deepware_b7").items()}
    assert len(found) == golden["state_dict"]["entries"]


def test_crops_are_the_published_ones(golden: dict, pictures: dict):
    assert golden["crop"]
    padded = 0
    for entry in golden["crop"]:
        image, box = pictures[entry["input"]], np.array(entry["box_float32"], np.float32)
        left, top, right, bottom = deepware.square(box)
        assert right - left == bottom - top == entry["side_int"] // 2 * 2
        crop = faces.cut(*context(image, box), deepware.square(box), black_outside=True)
        assert list(crop.shape) == entry["crop_shape"]
        assert [int(crop.min()), int(crop.max())] == entry["crop_min_max"]
        compare(crop, entry["crop"], atol=1e-4)
        found = load_detector("detectors.deepware").crop_face(*context(image, box))
        compare(found, entry["after_minmax"], atol=1e-4)
        padded += left < 0 or top < 0 or right > image.shape[1] or bottom > image.shape[0]
    assert padded  # black borders took part


def test_preprocessing_is_the_published_one(golden: dict, pictures: dict):
    assert golden["preprocess"]
    for entry in golden["preprocess"]:
        compare(prepared(entry, pictures)[None], entry["tensor"], atol=1e-6)


def test_logits_are_the_published_ones(golden: dict, pictures: dict, detector: BaseDetector):
    assert golden["forward"]
    moved, places = [], {place["input"]: place for place in golden["preprocess"]}
    for entry in golden["forward"]:
        x = prepared(places[entry["input"]], pictures)[None]
        (logit,) = entry["logits"]
        found = float(detector._nets[0](x)[0, 0])
        assert abs(found - logit) <= 1e-3 * max(1, abs(logit))
        assert 1 - detector.get_softlabel(x)[0] == pytest.approx(entry["p_fake"], abs=1e-4)
        moved.append(abs(float(detector._nets[0](np.ascontiguousarray(x[:, ::-1]))[0, 0]) - logit))
    # negative control: channels the other way; a picture that is nearly grey may hardly care
    assert max(moved) > 0.01


def test_scores_of_persons_and_clips_are_the_published_ones(golden: dict):
    """The strategy is the platform's; upstream's NaN of a single clear real face is the one difference."""
    rules = golden["aggregate"]
    for entry in rules["id_strategy"]:
        wanted = entry["id_score"] if entry["id_score"] != "NaN" else entry["faces"][0]
        assert deepware_person(np.array(entry["faces"])) == pytest.approx(wanted, abs=1e-6)
    for entry in rules["strategy"]:
        assert deepware_video(np.array(entry["ids"])) == pytest.approx(entry["clipped"], abs=1e-6)
    assert rules["id_strategy"]
    assert rules["strategy"]


def test_clips_with_given_identities_get_the_published_score(golden: dict):
    """Upstream's clusters as persons: from face scores to the clip's, by our choice of faces and the platform's strategy."""
    judged = 0
    for entry in golden["aggregate"]["process"]:
        persons = np.array(entry["dbscan_labels"], np.int64)
        if not (persons >= 0).any():
            assert entry["process_score"] == 0.5  # upstream's answer without a cluster; ours is below
            continue
        scores, rows = np.full(len(persons), np.nan), np.arange(len(persons))
        kept = deepware.without_noise(rows, persons, least=5)
        scores[kept] = np.array(entry["face_scores"])[kept]
        table = np.zeros(len(persons), FACE_DTYPE)
        table["person"] = persons
        found = video_score("deepware", scores=scores, faces=table, persons_scores={})
        assert found == pytest.approx(entry["process_score"], abs=1e-6)
        judged += 1
    assert judged


# --------------------------------------------------------------------------- rules on their own


def test_people_seen_briefly_are_noise_unless_everybody_is():
    persons = np.array([0, 0, 0, 1, 1, -1])
    assert deepware.without_noise(np.arange(6), persons, least=3).tolist() == [0, 1, 2]
    assert deepware.without_noise(np.arange(6), persons, least=5).tolist() == [0, 1, 2, 3, 4]
    assert deepware.without_noise(np.arange(0), np.zeros(0, np.int64), least=5).tolist() == []


def test_contrast_is_stretched_over_all_channels_together():
    picture = np.array([[[10, 60, 110]]], np.uint8)
    assert deepware.stretched(picture).tolist() == [[[0, 128, 255]]]


def test_only_real_borders_of_the_frame_are_black():
    image = np.full((100, 100, 3), 50, np.uint8)
    image[0, 0] = 250
    face = Face(np.array([-10, -10, 30, 30], np.float32), np.zeros((5, 2)), frame_size=(100, 100))
    left, top, right, bottom = deepware.square(faces.box_in_frame(face))
    assert (left, top, right, bottom) == (-23, -23, 43, 43)
    crop = faces.cut(image, face, (left, top, right, bottom), black_outside=True)
    assert crop.shape == (66, 66, 3)
    assert crop[:23].max() == crop[:, :23].max() == 0
    assert crop[23, 23].tolist() == [250, 250, 250]
    assert crop[24:, 24:].min() == 50


def test_several_models_are_joined_by_the_mean_of_their_logits():
    detector = load_detector("detectors.deepware")
    detector._nets = [lambda batch: np.full((len(batch), 1), 3.0), lambda batch: np.full((len(batch), 1), -1.0)]
    found = 1 - detector.get_softlabel(np.zeros((2, 3, 380, 380), np.float32))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-1.0)))
    # not the mean of probabilities
    assert abs(found[0] - (1 / (1 + np.exp(-3.0)) + 1 / (1 + np.exp(1.0))) / 2) > 0.1


def test_optional_files_take_part_when_they_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With small nets in place of B7: which files are read is what matters."""
    from detectors.nets import efficientnet

    torch.manual_seed(3)
    small = EncoderClassifier("b0", size=(32, 32))
    monkeypatch.setattr(efficientnet, "EncoderClassifier", lambda variant, size: EncoderClassifier("b0", size=(32, 32)))
    monkeypatch.setattr(deepware, "SIDE", 32)
    detector = load_detector("detectors.deepware")
    with pytest.raises(WeightsUnusable, match=r"deepware\.pt is not there"):
        detector.load(tmp_path, "cpu")
    torch.save(small.state_dict(), tmp_path / "deepware.pt")
    detector.load(tmp_path, "cpu")
    assert len(detector._nets) == 1
    (tmp_path / "deepware_3.pt").hardlink_to(tmp_path / "deepware.pt")
    detector.load(tmp_path, "cpu")
    assert len(detector._nets) == 2


def write_pack(folder: Path, rows: list[tuple[int, int, int]]) -> FacePack:
    """A pack with a grey face a row: (frame, person, grey level); 25 pictures a second, all between first and last sampled."""

    def grey(level: int) -> np.ndarray:
        # the corner is black and another pixel white, so that the stretch leaves the grey alone
        picture = np.full((40, 40, 3), level, np.uint8)
        picture[8, 8], picture[8, 9] = 0, 255
        return picture

    return write_people_pack(folder, [(frame, person, 20, grey(level)) for frame, person, level in rows])


def bright(batch: np.ndarray) -> np.ndarray:
    """A network whose probability of fake is the middle pixel's brightness."""
    chance = np.clip(batch[:, 0, 190, 190] * faces.IMAGENET_STD[0] + faces.IMAGENET_MEAN[0], 1e-3, 1 - 1e-3)
    return np.log(chance / (1 - chance))[:, None].astype(np.float32)


def judged_scores(folder: Path, rows: list[tuple[int, int, int]], **parameters: int):
    detector = load_detector("detectors.deepware")
    detector.card = replace(detector.card, parameters={**detector.card.parameters, **parameters})
    detector._nets = [bright]
    pack = write_pack(folder, rows)
    judged = detector.judge(pack, lambda done, total: None)
    return pack, judged


def test_one_picture_a_second_is_judged(tmp_path: Path):
    pack, judged = judged_scores(tmp_path / "pack", [(frame, 0, 51) for frame in range(0, 251, 5)])
    scored = np.flatnonzero(~np.isnan(judged.softlabels))
    assert [int(pack.faces["frame"][i]) for i in scored] == list(range(0, 251, 25))
    np.testing.assert_allclose(judged.softlabels[scored], 0.8, atol=1e-5)
    assert judged.video is None  # the platform's strategy joins them


def test_brief_people_are_left_out_and_told_of(tmp_path: Path):
    rows = [
        (25 * second, person, level)
        for second in range(8)
        for person, level in ((0, 51), (1, 255))
        if person == 0 or second < 4
    ]
    pack, judged = judged_scores(tmp_path / "pack", rows)
    assert judged.skipped == {"person_too_brief": 4}
    assert {int(pack.faces["person"][i]) for i in np.flatnonzero(~np.isnan(judged.softlabels))} == {0}
    _, judged = judged_scores(tmp_path / "all", rows, min_faces=1)
    assert (judged.skipped, int(np.isnan(judged.softlabels).sum())) == ({}, 0)


def test_short_clips_and_single_faces_are_judged_and_no_face_gives_no_score(tmp_path: Path):
    _, judged = judged_scores(tmp_path / "one", [(0, 0, 204)])
    np.testing.assert_allclose(judged.softlabels, [0.2], atol=1e-5)  # upstream says 0.5: no cluster
    _, judged = judged_scores(tmp_path / "none", [])
    assert (len(judged.softlabels), judged.skipped) == (0, {})
