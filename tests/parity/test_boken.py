"""Our BOKEN against outputs of the published code (the golden vectors of the research data), and its rules on their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import base_detector  # noqa: E402
from base_detector import BaseDetector, FacePack, Skip, load_detector  # noqa: E402
from detectors.boken import detector as boken  # noqa: E402
from detectors.nets.checkpoint import fill  # noqa: E402
from detectors.nets.efficientnet import EfficientNet  # noqa: E402
from detectors.runtime import compile_net  # noqa: E402
from tests.parity.clips import write_people_pack  # noqa: E402
from tests.parity.recipe import compare, context, filled_state, golden_of, listed_names  # noqa: E402

GOLDEN = "boken"


def state_of(research: Path, variant: str) -> dict:
    return filled_state(listed_names(research, f"boken_{variant}"), golden_of(research, "boken")["scale_pow2"][variant])


def write_weights(folder: Path, research: Path) -> None:
    """The three published files, plain state dicts, filled by the recipe."""
    for variant, file in boken.MODELS.items():
        torch.save(state_of(research, variant), folder / file)


def prepared(entry: dict, pictures: dict) -> np.ndarray:
    detector = load_detector("detectors.boken")
    return detector.preproc(detector.crop_face(*context(pictures[entry["input"]], np.float32(entry["box_float32"]))))


# --------------------------------------------------------------------------- against the published code


def test_the_card_names_the_published_files(weights: Path):
    files = {item.file for item in load_detector("detectors.boken").card.weights}
    assert {path.name for path in weights.iterdir()} == files


@pytest.mark.parametrize("variant", ["b0", "b1", "b2"])
def test_names_and_shapes_are_the_published_ones(variant: str, research: Path, golden: dict):
    with torch.device("meta"):
        net = EfficientNet(variant, classes=2, padding="0.7.0")
    found = {name: tuple(item.shape) for name, item in net.state_dict().items()}
    assert found == {name: shape for name, (shape, _) in listed_names(research, f"boken_{variant}").items()}
    listed = golden["state_dict"][variant]
    assert len(found) == listed["entries"]
    assert sum(item.numel() for item in net.parameters()) == listed["parameters"]


def test_crops_are_the_published_ones(golden: dict, pictures: dict):
    entries = [entry for entry in golden["crop"] if "input" in entry]
    assert entries
    for entry in entries:
        image, box = pictures[entry["input"]], np.array(entry["box_float32"], np.float32)
        assert list(boken.square(box, frame_size=(image.shape[1], image.shape[0]))) == entry["x1y1x2y2"]
        crop = load_detector("detectors.boken").crop_face(*context(image, box))
        assert list(crop.shape) == entry["crop_shape"]
        compare(crop, entry["crop"], atol=1e-6 * 255)


def test_preprocessing_is_the_published_one(golden: dict, pictures: dict):
    assert golden["preprocess"]
    places = {entry["input"]: entry for entry in golden["crop"] if "input" in entry}
    for entry in golden["preprocess"]:
        compare(prepared(places[entry["input"]], pictures)[None], entry["tensor"], atol=1e-6)


def test_logits_and_scores_are_the_published_ones(golden: dict, pictures: dict, detector: BaseDetector):
    assert golden["forward"]
    places = {entry["input"]: entry for entry in golden["crop"] if "input" in entry}
    for entry in golden["forward"]:
        x = prepared(places[entry["input"]], pictures)[None]
        index = list(boken.MODELS).index(entry["model"])
        found, wanted = detector._nets[index](x)[0], np.array(entry["logits"])
        assert np.all(np.abs(found - wanted) <= 1e-4 * np.maximum(1, np.abs(wanted)))
        assert detector.probabilities(x)[index, 0] == pytest.approx(entry["softmax1"], abs=1e-4)
        # negative control: channels the other way
        assert np.abs(detector._nets[index](np.ascontiguousarray(x[:, ::-1]))[0] - wanted).max() > 0.01


@pytest.mark.parametrize("variant", ["b0", "b1", "b2"])
@pytest.mark.parametrize("padding", ["0.6.3", "0.7.1"])
def test_other_versions_pad_otherwise_as_published(
    variant: str, padding: str, research: Path, golden: dict, pictures: dict
):
    """The same weights and picture under the two other rules: their published logits, which are not BOKEN's."""
    effect = golden["padding_version_effect"]
    place = next(entry for entry in golden["crop"] if entry.get("input") == effect["input"])
    net = EfficientNet(variant, classes=2, padding=padding).eval()
    fill(net, state_of(research, variant))
    with torch.no_grad():
        found = net(torch.from_numpy(prepared(place, pictures)[None]))[0].numpy()
    np.testing.assert_allclose(found, effect[padding][variant]["logits"], atol=1e-4)
    assert np.abs(found - effect["0.7.0"][variant]["logits"]).max() > 0.01


def test_static_padding_compiles_as_it_stands(research: Path, golden: dict, pictures: dict):
    """0.7.1 pads unevenly in one layer and evenly in the next: the compiled net answers as the published one."""
    effect = golden["padding_version_effect"]
    place = next(entry for entry in golden["crop"] if entry.get("input") == effect["input"])
    x = prepared(place, pictures)[None]
    net = EfficientNet("b1", classes=2, padding="0.7.1")
    fill(net, state_of(research, "b1"))
    np.testing.assert_allclose(
        compile_net(net, example=x, device="cpu")(x)[0], effect["0.7.1"]["b1"]["logits"], atol=3e-4
    )


def test_a_batch_gives_what_its_faces_give_one_by_one(golden: dict, pictures: dict, detector: BaseDetector):
    batch = np.stack([prepared(entry, pictures) for entry in golden["crop"] if "input" in entry])
    single = np.concatenate([detector.get_softlabel(item[None]) for item in batch])
    np.testing.assert_allclose(detector.get_softlabel(batch), single, atol=1e-5)
    assert len(set(np.round(single, 3))) > 1


def test_the_score_of_a_clip_is_the_published_one(golden: dict):
    scored = [entry for entry in golden["aggregate"] if "video" in entry and entry["face_probs_model_by_face"][0]]
    assert scored
    for entry in scored:
        found = boken.video_probability(np.array(entry["face_probs_model_by_face"]))
        assert found == pytest.approx(entry["video"], abs=1e-6)
    clipped = [entry for entry in golden["aggregate"] if "clip_pred_in" in entry]
    assert clipped
    for entry in clipped:
        assert boken.video_probability(np.full((3, 2), entry["clip_pred_in"])) == pytest.approx(entry["out"], abs=1e-9)


# --------------------------------------------------------------------------- rules on their own


def test_crops_move_inside_at_the_left_and_shrink_at_the_right():
    assert boken.square(np.array([-20, 40, 80, 140]), frame_size=(300, 300)) == (0, 30, 120, 150)
    assert boken.square(np.array([200, 220, 300, 320]), frame_size=(300, 300)) == (190, 210, 280, 300)
    with pytest.raises(Skip, match="face_too_small"):
        boken.square(np.array([400, 10, 440, 50]), frame_size=(300, 300))


def write_pack(folder: Path, rows: list[tuple[int, int, int, int]]) -> FacePack:
    """A pack with a grey face a row: (frame, person, side of the box, grey level)."""
    grey = [(frame, person, side, np.full((40, 40, 3), level, np.uint8)) for frame, person, side, level in rows]
    return write_people_pack(folder, grey)


def stub(batch: np.ndarray) -> np.ndarray:
    """Logits whose softmax is the middle pixel's brightness."""
    chance = np.clip(batch[:, 0, 112, 112], 1e-6, 1 - 1e-6)
    return np.stack([np.zeros_like(chance), np.log(chance / (1 - chance))], axis=1).astype(np.float32)


def judge(folder: Path, rows: list[tuple[int, int, int, int]]) -> base_detector.Judgement:
    detector = load_detector("detectors.boken")
    detector._nets = [stub, stub, lambda batch: stub(batch / 2)]
    return detector.judge(write_pack(folder, rows), lambda done, total: None)


def test_the_largest_face_of_fifteen_pictures_counts(tmp_path: Path):
    rows = [(frame, person, side, level) for frame in range(45) for person, side, level in ((0, 16, 51), (1, 20, 204))]
    judged = judge(tmp_path / "pack", rows)
    scored = np.flatnonzero(~np.isnan(judged.softlabels))
    assert len(scored) == 15
    assert all(rows[i][1] == 1 for i in scored)
    assert (rows[scored[0]][0], rows[scored[-1]][0]) == (0, 44)
    np.testing.assert_allclose(judged.softlabels[scored], 1 - (0.8 + 0.8 + 0.4) / 3, atol=1e-5)
    assert judged.video == pytest.approx(1 - 2 / 3, abs=1e-5)


def test_clips_are_never_quite_certain_and_no_face_is_no_score(tmp_path: Path):
    assert judge(tmp_path / "black", [(0, 0, 20, 0)]).video == pytest.approx(0.99)
    judged = judge(tmp_path / "none", [])
    assert (judged.video, len(judged.softlabels)) == (None, 0)


def test_faces_outside_the_frame_are_left_out(tmp_path: Path):
    pack = write_pack(tmp_path / "pack", [(0, 0, 20, 128), (1, 0, 20, 128)])
    rows = np.load(tmp_path / "pack" / "faces.npy")
    rows["box"][0] = (700, 500, 720, 520)
    np.save(tmp_path / "pack" / "faces.npy", rows)
    pack = FacePack(tmp_path / "pack")
    detector = load_detector("detectors.boken")
    detector._nets = [stub]
    judged = detector.judge(pack, lambda done, total: None)
    assert judged.skipped == {"face_too_small": 1}
    assert np.isnan(judged.softlabels).tolist() == [True, False]
