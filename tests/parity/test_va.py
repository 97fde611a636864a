"""Our VA against outputs of the published one under the library versions of its authors (the golden vectors)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cv2")

from base_detector import Card
from detectors.va import classifiers, texture
from tests.parity.recipe import golden_folder, picture

GOLDEN = "va"
FILES = ("mlp_df", "logreg_df", "mlp_f2f", "logreg_f2f")
REGIONS = {"deepfake": ("eyes", "teeth"), "face2face": ("nose", "faceborder")}


@pytest.fixture(scope="module")
def published(research: Path) -> dict[str, classifiers.Classifier]:
    folder = research / "weights" / "va"
    return {name: classifiers.read_classifier(f"{name}.pkl", (folder / f"{name}.pkl").read_bytes()) for name in FILES}


@pytest.fixture(scope="module")
def cases(research: Path, golden: dict) -> list[tuple[str, np.ndarray, np.ndarray, dict]]:
    """(pipeline, picture, landmarks, golden face) of every face of every case."""
    folder = golden_folder(research) / "inputs"
    landmarks = json.loads((folder / "landmarks.json").read_text())["faces"]
    found = []
    for case in golden["cases"]:
        image = picture(research, case["input"])
        for face in case["faces"]:
            points = np.array(landmarks[case["input"]][face["landmark_face_index"]][case["landmark_set"]])
            found.append((case["pipeline"], image, points, face))
    return found


def measured(pipeline: str, image: np.ndarray, points: np.ndarray, face: dict) -> np.ndarray | None:
    measure = texture.eyes_and_teeth if pipeline == "deepfake" else texture.nose_and_border
    return measure(image, points, tuple(face["dlib_box_ltrb"]))


def test_features_are_the_published_ones(cases: list):
    compared = 0
    for pipeline, image, points, face in cases:
        if "original_versions" in face:
            wanted = [value for region in REGIONS[pipeline] for value in face["original_versions"][region]]
            np.testing.assert_allclose(measured(pipeline, image, points, face), wanted, atol=1e-4)
            compared += 1
    assert compared


def test_masks_have_the_published_numbers_of_pixels(cases: list):
    compared = 0
    for pipeline, image, points, face in cases:
        if "original_versions" not in face:
            continue
        margin = 0.0 if pipeline == "deepfake" else 0.1
        crop, inside = texture._cut(image, points, tuple(face["dlib_box_ltrb"]), margin=margin)
        assert [crop.shape[1], crop.shape[0]] == face["crop_xywh"][2:]
        assert inside[:3].tolist() == face["landmarks_in_crop_first3"]
        shape = crop.shape[:2]
        if pipeline == "deepfake":
            eyes = texture.hull_mask(inside[36:42], shape) | texture.hull_mask(inside[42:48], shape)
            crop, eyes, mouth = texture._scale(crop, eyes, texture.hull_mask(inside[60:68], shape))
            masks = {"eyes": eyes, "teeth": texture.brighter_half(texture.grey_of(crop), mouth)}
        else:
            nose, border = texture.hull_mask(inside[30:36], shape), texture.hull_mask(inside, shape)
            crop, nose, border = texture._scale(crop, nose, border)
            masks = {"nose": nose, "faceborder": border}
        assert list(crop.shape[:2]) == face["resized_hw"]
        for region, mask in masks.items():
            assert int(mask.sum()) == face["original_versions"][f"{region}_mask_pixels"]
            compared += 1
    assert compared


def test_scores_of_both_classifiers_are_the_published_ones(cases: list, published: dict):
    for pipeline, image, points, face in cases:
        if "original_versions" in face:
            ending = "df" if pipeline == "deepfake" else "f2f"
            features = measured(pipeline, image, points, face)[None]
            for kind in ("mlp", "logreg"):
                found = published[f"{kind}_{ending}"].probability(features)[0]
                assert found == pytest.approx(face["original_versions"][kind], abs=1e-4)


def test_swapped_channels_and_mirrored_pictures_do_not_give_the_published_features(cases: list):
    """Negative controls: grey weights and mask positions matter."""
    for pipeline, image, points, face in cases:
        if "original_versions" in face:
            wanted = [value for region in REGIONS[pipeline] for value in face["original_versions"][region]]
            for wrong in (image[..., ::-1], image[:, ::-1]):
                found = measured(pipeline, np.ascontiguousarray(wrong), points, face)
                assert found is None or np.abs(found - wanted).max() > 0.01


def test_open_and_closed_mouths_and_eyes_are_told_as_published(cases: list):
    closed = 0
    for pipeline, image, points, face in cases:
        assert texture.mouth_open(points) == face["mouth_open"]
        assert texture.eyes_open(points) == face["eyes_open"]
        if pipeline == "deepfake" and not face["mouth_open"]:
            assert measured(pipeline, image, points, face) is None
            closed += 1
    assert closed


def test_classifiers_give_the_published_probabilities(golden: dict, published: dict):
    assert golden["classifiers"]
    for entry in golden["classifiers"]:
        for name in FILES:
            assert published[name].probability(np.array([entry["x"]]))[0] == pytest.approx(entry[name], abs=1e-6)


def test_numbers_read_at_byte_offsets_are_the_published_arrays(research: Path, published: dict):
    for name in FILES:
        arrays = np.load(research / "weights" / "va" / f"{name}.npz", allow_pickle=False)
        if name.startswith("logreg"):
            wanted = [arrays["coef"].T, arrays["intercept"]]
        else:
            wanted = [arrays[f"W{i}"] for i in range(4)] + [arrays[f"b{i}"] for i in range(4)]
        for ours, theirs in zip(published[name].weights + published[name].biases, wanted, strict=True):
            assert np.array_equal(ours, theirs)


def test_nothing_in_a_weights_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A pickle that would run code is only bytes to us: it fails the sha256, and the reader never unpickles."""
    import pickle
    import pickletools

    from detectors.nets.checkpoint import WeightsUnusable, read_published

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    evil = pickle.dumps(Bomb())
    assert any(op.name == "REDUCE" for op, _, _ in pickletools.genops(evil))
    (tmp_path / "mlp_df.pkl").write_bytes(evil)
    card = Card.read(Path(classifiers.__file__).parent)
    with pytest.raises(WeightsUnusable, match="not the published file") as caught:
        read_published(tmp_path, card, "mlp_df.pkl")
    assert caught.value.code == "weights_mismatch"
    with pytest.raises(ValueError, match="buffer"):
        classifiers.read_classifier("mlp_df.pkl", evil)
    assert not (tmp_path / "executed").exists()


def test_the_split_of_grey_values_is_one_that_no_step_improves():
    """As k-means ends: each value is on the side whose mean is nearer. The best split of all is often another one, so it is not taken."""
    rng, others = np.random.default_rng(5), 0
    for _ in range(40):
        sides = rng.normal(80, 25, 300), rng.normal(rng.uniform(100, 170), 20, 100)
        grey = np.concatenate(sides).clip(0, 255).astype(np.uint8)[:, None]
        found = texture.brighter_half(grey, np.ones_like(grey, bool))
        dark, bright = grey[~found], grey[found]
        assert dark.max() < bright.min()
        middle = (dark.mean() + bright.mean()) / 2
        assert dark.max() <= middle + 1e-9
        assert bright.min() >= middle - 1e-9
        spread = {
            split: sum(float(((side - side.mean()) ** 2).sum()) for side in (grey[grey <= split], grey[grey > split]))
            for split in range(int(grey.min()), int(grey.max()))
        }
        best = min(spread.values())
        assert spread[int(dark.max())] <= 1.05 * best
        others += spread[int(dark.max())] > best * (1 + 1e-9)
    assert others


def test_one_grey_level_has_no_brighter_half():
    assert not texture.brighter_half(np.full((4, 4), 90, np.uint8), np.ones((4, 4), bool)).any()


def test_dlib_finds_the_published_boxes(research: Path, weights_folder: Path):
    pytest.importorskip("dlib")
    from detectors.nets.landmarks import Landmarker

    folder = golden_folder(research) / "inputs"
    known = json.loads((folder / "inputs.json").read_text())["files"]
    landmarker = Landmarker()
    one_face = [name for name, item in known.items() if len(item.get("dlib_rgb_up0", ())) == 1]
    for name in sorted(one_face, key=lambda name: np.prod(known[name]["size_wh"]))[:4]:
        box, points = landmarker.find(np.asarray(Image.open(folder / name).convert("RGB")))
        assert list(box) == known[name]["dlib_rgb_up0"][0][:4]
        assert points.shape == (68, 2)
        height, width = known[name]["size_wh"][::-1]
        assert ((points >= 0) & (points < (width, height))).all()
