"""Our Upconv against features made by the published rule (the golden vectors of the research data), and against scikit-learn."""

from __future__ import annotations

import hashlib
import pickle
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from base_detector import BaseDetector, Face, Skip, load_detector
from detectors.nets import spectrum
from detectors.nets.checkpoint import CheckpointError
from detectors.upconv import refit
from detectors.upconv.classifier import FAKE_LABEL, MODES, Classifier, as_bytes, read_classifier
from detectors.upconv.features import FeatureFileError, read_features
from detectors.upconv.refit import fit
from tests.parity.recipe import golden_folder, golden_of, picture, squares

#: what nine significant digits leave of a number about 1
CLOSE = {"rtol": 5e-9, "atol": 1e-9}


GOLDEN = "upconv"


def table(experiment: str, *, rows: int = 60, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Falling curves like those of faces; the rows of label 1 lie a little lower at high frequencies."""
    rng = np.random.default_rng(seed)
    bins = spectrum.BINS[experiment]
    labels = np.arange(rows) % 2
    falling = 1 - 0.6 * np.linspace(0, 1, bins) ** rng.uniform(0.2, 0.5, (rows, 1))
    lower = labels[:, None] * np.linspace(0, 0.1, bins)
    curves = falling - lower + rng.normal(0, 0.02, (rows, bins))
    return curves * (300 if experiment == "FacesHQ" else 1), labels


def write_weights(folder: Path, research: Path) -> None:
    """The file of the card, fitted on made-up curves: the authors publish features, no classifier."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "upconv.npz").write_bytes(as_bytes(fit(*table("FF"), mode="LR_FF")))


@pytest.fixture
def detector(tmp_path: Path) -> BaseDetector:
    write_weights(tmp_path / "upconv", tmp_path)
    made = load_detector("detectors.upconv")
    made.load(tmp_path / "upconv", "cpu")
    return made


# --------------------------------------------------------------------------- features


def test_grey_crops_and_their_curves_are_the_published_ones(research: Path, golden: dict, detector: BaseDetector):
    assert golden["features"]
    for entry, crop in zip(golden["features"], squares(research, golden["features"]), strict=True):
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
        assert list(grey.shape) == entry["grey"]["shape"]
        places, values = zip(*entry["grey"]["samples"], strict=True)
        assert grey.ravel()[list(places)].tolist() == list(values)
        profile = spectrum.radial_profile(grey)
        assert len(profile) == entry["radial_profile_bins"]
        np.testing.assert_allclose(profile[:10], entry["radial_profile_first10"], **CLOSE)
        np.testing.assert_allclose(profile[-5:], entry["radial_profile_last5"], **CLOSE)
        np.testing.assert_allclose(spectrum.features(grey, experiment="CelebA"), entry["feature80"], **CLOSE)
        assert list(spectrum.centre_third(grey).shape) == entry["centre_third_hw"]
        found = detector.preproc(crop)  # fitted for FF
        assert found.shape == (300,)
        np.testing.assert_allclose(found[::5], entry["feature300_every_5th"], **CLOSE)
        np.testing.assert_allclose(found[-1], entry["feature300_last"], **CLOSE)


def test_curves_of_made_up_pictures_are_the_published_ones(golden: dict):
    (seed,) = {int(n) for e in golden["synthetic"] for n in re.findall(r"default_rng\((\d+)\)", str(e["pixels"]))}
    rng = np.random.default_rng(seed)
    for entry in golden["synthetic"]:
        grey = rng.integers(0, 256, entry["hw"], np.uint8)
        if isinstance(entry["pixels"], list):
            assert grey.ravel().tolist() == entry["pixels"]
        profile = spectrum.radial_profile(grey)
        assert len(profile) == entry["bins"]
        np.testing.assert_allclose(profile, entry["profile"], **CLOSE)


def test_rows_that_the_authors_published_come_out_of_their_pictures(research: Path, golden: dict):
    assert golden["authors_rows"]
    for entry in golden["authors_rows"]:
        grey = cv2.imread(str(golden_folder(research) / "inputs" / entry["input"]), cv2.IMREAD_GRAYSCALE)
        found = spectrum.features(grey, experiment="CelebA")
        np.testing.assert_allclose(found, entry["authors_feature_row"], **CLOSE)
        assert entry["label"] == FAKE_LABEL["CelebA"]  # their pictures of generated faces carry the label of fake


def test_the_curve_of_faces_hq_is_the_published_one(research: Path, golden: dict):
    wanted = golden["faces_hq"]
    name, end, border = re.findall(r"^(\S+) grey, rows/cols 0:(\d+), numpy\.pad reflect \(0,(\d+)\)", wanted["input"])[
        0
    ]
    grey = cv2.cvtColor(picture(research, name), cv2.COLOR_RGB2GRAY)[: int(end), : int(end)]
    whole = np.pad(grey, ((0, int(border)), (0, int(border))), mode="reflect")
    found = spectrum.features(whole, experiment="FacesHQ")
    assert len(found) == wanted["bins"]
    np.testing.assert_allclose(found[::10], wanted["profile_every_10th"], **CLOSE)
    np.testing.assert_allclose(found[:3], wanted["first3"], **CLOSE)
    np.testing.assert_allclose(found[-3:], wanted["last3"], **CLOSE)
    # a larger face gives the 1024 pixels in its middle
    larger = np.pad(whole, ((3, 4), (6, 7)))
    np.testing.assert_array_equal(spectrum.features(larger, experiment="FacesHQ"), found)


def test_without_a_detail_of_the_rule_the_published_curve_is_missed(research: Path, golden: dict):
    for entry, crop in zip(golden["features"], squares(research, golden["features"]), strict=True):
        wanted = np.array(entry["feature80"])
        # the mean of the channels instead of luma, blue for red
        swapped = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
        if entry["input"] != "cnndet_real.png":
            assert np.abs(spectrum.features(swapped, experiment="CelebA") - wanted).max() > 1e-4
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
        scaled = cv2.resize(grey, (128, 128))
        assert np.abs(spectrum.features(scaled, experiment="CelebA") - wanted).max() > 1e-3


def test_labels_mean_what_the_authors_meant(golden: dict):
    told = golden["label_polarity"]
    assert told["celeba (N=80)"] == told["faces_hq (722)"] == "1 = fake"
    assert told["ff (N=300)"] == "0 = fake, 1 = real"
    assert FAKE_LABEL == {"CelebA": 1, "FF": 0, "FacesHQ": 1}


def test_published_decision_values_become_scores_of_fake(golden: dict):
    """Decision values of the reference run, through a classifier that answers the first number it is given."""
    compared = 0
    for entry in golden["features"]:
        for file, mode in (("celeba", "LR_CelebA"), ("ff_test_1000", "LR_FF")):
            decision = entry["scores"][file]["LR"]["decision"]
            first = _linear(mode, np.eye(1, spectrum.BINS[mode.split("_")[1]])[0])
            row = np.zeros((1, first.bins))
            row[0, 0] = decision
            label_1 = entry["scores"][file]["LR"]["proba1"]
            wanted = label_1 if mode == "LR_CelebA" else 1 - label_1
            assert first.fake_score(row)[0] == pytest.approx(wanted, abs=1e-8)
            compared += 1
    assert compared


def test_the_crop_is_the_published_one(research: Path, golden: dict, detector: BaseDetector):
    boxes = golden_of(research, "xception_ffpp")["crop"]
    compared = 0
    for entry, crop in zip(golden["features"], squares(research, golden["features"]), strict=True):
        for box in boxes:
            if box["input"] == entry["input"] and box["x_y_size"] == entry["crop_x_y_size"]:
                image = picture(research, entry["input"])
                face = Face(box=np.array(box["dlib_ltrb"], np.float32), landmarks=np.full((5, 2), np.nan, np.float32))
                np.testing.assert_array_equal(detector.crop_face(image, face), crop)
                compared += 1
    assert compared


# --------------------------------------------------------------------------- classifiers, without the research data


def _linear(mode: str, coefficients: np.ndarray) -> Classifier:
    bins = len(coefficients)
    return Classifier(
        mode, bins, FAKE_LABEL[mode.rpartition("_")[2]], 0.0, "", 2, coefficients=np.asarray(coefficients, np.float64)
    )


def _sklearn(mode: str, features: np.ndarray, labels: np.ndarray):
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    kinds = {
        "LR": LogisticRegression(solver="liblinear", max_iter=1000),
        "SVM": SVC(kernel="linear"),
        "SVM_r": SVC(C=6.37, kernel="rbf", gamma=0.86),
        "SVM_p": SVC(kernel="poly"),
    }
    return kinds[mode.rpartition("_")[0]].fit(features, labels)


@pytest.mark.parametrize("mode", MODES)
def test_a_fitted_file_gives_the_decision_values_of_scikit_learn(mode: str):
    experiment = mode.rpartition("_")[2]
    features, labels = table(experiment)
    unseen = table(experiment, seed=6)[0]
    theirs = _sklearn(mode, features, labels)
    ours = read_classifier(as_bytes(fit(features, labels, mode=mode, sha256="ab" * 32)))
    wanted = theirs.decision_function(unseen)
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(ours.decision(unseen), wanted, rtol=1e-9, atol=1e-9)
    assert (ours.bins, ours.rows, ours.features_sha256) == (spectrum.BINS[experiment], 60, "ab" * 32)
    score = ours.fake_score(unseen)
    assert ((score > 0.5) == (theirs.predict(unseen) == FAKE_LABEL[experiment])).all()
    if mode.startswith("LR"):
        np.testing.assert_allclose(score, theirs.predict_proba(unseen)[:, FAKE_LABEL[experiment]], atol=1e-9)


def test_a_score_on_the_boundary_is_one_half_and_far_ones_stay_in_range():
    score = _linear("LR_CelebA", np.eye(1, 80)[0]).fake_score(np.outer([0.0, 1e4, -1e4], np.eye(1, 80)[0]))
    assert score.tolist() == [0.5, 1.0, 0.0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"intercept": None}, "missing intercept"),
        ({"more": np.zeros(3)}, "extra more"),
        ({"coefficients": np.zeros(81)}, r"coefficients has shape \(81,\), not \(300,\)"),
        ({"coefficients": np.full(300, np.nan)}, "no finite numbers in coefficients"),
        ({"mode": "LR_Other"}, "mode is 'LR_Other', not one of LR_CelebA"),
        ({"mode": "SVM_r_FF"}, "missing dual"),
        ({"fake_label": 2}, "label of fake"),
        ({"bins": 80}, "number of bins"),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong(change: dict, sentence: str, tmp_path: Path):
    with np.load(_saved(tmp_path, as_bytes(fit(*table("FF"), mode="LR_FF")))) as file:
        entries = {name: file[name] for name in file.files} | change
    path = tmp_path / "changed.npz"
    np.savez(path, **{name: item for name, item in entries.items() if item is not None})
    with pytest.raises(CheckpointError, match=sentence):
        read_classifier(path.read_bytes())


def _saved(folder: Path, content: bytes) -> Path:
    (folder / "right.npz").write_bytes(content)
    return folder / "right.npz"


def test_pickles_are_no_classifiers(tmp_path: Path):
    np.savez(tmp_path / "objects.npz", mode=np.array(["LR_FF", None], object))
    for content in (b"", b"nonsense", pickle.dumps({"mode": "LR_FF"}), (tmp_path / "objects.npz").read_bytes()):
        with pytest.raises(CheckpointError, match="plain arrays"):
            read_classifier(content)


# --------------------------------------------------------------------------- feature files


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_feature_file_of_any_pickle_protocol_is_read(protocol: int, order: str):
    features, labels = table("CelebA")
    stored = {"data": np.asarray(features, order=order), "label": labels.astype(np.float64)}
    found, read = read_features(pickle.dumps(stored, protocol=protocol))
    np.testing.assert_array_equal(found, features)
    np.testing.assert_array_equal(read, labels)


def test_a_feature_file_with_the_module_names_of_2019_is_read():
    features, labels = table("CelebA")
    content = pickle.dumps({"data": features, "label": labels.astype(">i4")}, protocol=0)
    assert b"numpy._core.multiarray" in content
    found, read = read_features(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    np.testing.assert_array_equal(found, features)
    np.testing.assert_array_equal(read, labels)


class _Harm:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_nothing_in_a_feature_file_is_executed(tmp_path: Path):
    features, labels = table("CelebA")
    mark = tmp_path / "executed"
    for harm in ({"data": features, "label": labels, "more": _Harm(mark)}, _Harm(mark)):
        for protocol in range(6):
            with pytest.raises(FeatureFileError, match="was not opened"):
                read_features(pickle.dumps(harm, protocol=protocol))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not a readable pickle"),
        (b"\x80\x04garbage", "not a readable pickle"),
        (pickle.dumps([1, 2]), "not a dictionary"),
        (pickle.dumps({"data": np.zeros((2, 3))}), "not a dictionary"),
        (pickle.dumps({"data": np.zeros((2, 3)), "label": np.zeros(3)}), "one 'label' a row"),
        (pickle.dumps({"data": np.full((2, 3), np.inf), "label": np.array([0, 1])}), "finite numbers"),
        (pickle.dumps({"data": np.zeros((2, 3)), "label": np.array([0, 2])}), "hold 0 and 1"),
        (pickle.dumps({"data": np.zeros((2, 3)), "label": np.array(["a", "b"])}), "not numbers"),
        (pickle.dumps({"data": np.zeros((2, 3)), "label": np.array([0, None])}), "not numbers"),
        (pickle.dumps({"data": [[1.0]], "label": [1]}), "one 'label' a row"),
    ],
)
def test_an_unusable_feature_file_is_refused_with_the_reason(content: bytes, sentence: str):
    with pytest.raises(FeatureFileError, match=sentence):
        read_features(content)


def test_the_command_writes_a_file_that_the_detector_judges_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    features, labels = table("FF")
    source = tmp_path / "features.pkl"
    source.write_bytes(pickle.dumps({"data": features, "label": labels}))
    assert refit.main([str(source), str(tmp_path / "upconv.npz"), "--mode", "SVM_r_FF"]) == 0
    told = capsys.readouterr().out
    assert "not one of the authors files" in told
    assert "SVM_r_FF fitted on 60 rows of 300" in told
    made = load_detector("detectors.upconv")
    made.load(tmp_path, "cpu")
    assert made._classifier.features_sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    wanted = _sklearn("SVM_r_FF", features, labels).decision_function(features[:5])
    np.testing.assert_allclose(made.get_softlabel(features[:5]), 1 / (1 + np.exp(-wanted)), atol=1e-9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.pkl", "upconv.npz"]


@pytest.mark.parametrize(
    ("mode", "sentence"), [("LR_CelebA", "300 numbers a row; LR_CelebA takes 80"), ("LR_X", "LR_X")]
)
def test_the_command_refuses_what_does_not_fit(
    mode: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    features, labels = table("FF")
    (tmp_path / "features.pkl").write_bytes(pickle.dumps({"data": features, "label": labels}))
    with pytest.raises(SystemExit) as ended:
        refit.main([str(tmp_path / "features.pkl"), str(tmp_path / "upconv.npz"), "--mode", mode])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "upconv.npz").exists()


def test_the_authors_files_are_known_by_their_hashes(monkeypatch: pytest.MonkeyPatch):
    content = b"what git calls ce013625030ba8dba906f756967f9e9ca394464a is 'hello'"
    assert refit.identify(content) is None
    start = hashlib.sha256(content).hexdigest()[:16]
    celeba, train = refit.PUBLISHED[:2]
    known = replace(celeba, sha256_start=start), replace(train, blob="ce013625030ba8dba906f756967f9e9ca394464a")
    monkeypatch.setattr(refit, "PUBLISHED", known)
    assert refit.identify(content) is known[0]
    assert refit.identify(b"hello\n") is known[1]  # git's own name of this file
    assert refit.identify(b"hello") is None


# --------------------------------------------------------------------------- faces


def test_a_batch_gives_what_its_faces_give_one_by_one(detector: BaseDetector):
    rng = np.random.default_rng(8)
    pictures = [rng.integers(0, 256, (side, side, 3), np.uint8) for side in (40, 90, 121)]
    batch = np.stack([detector.preproc(picture) for picture in pictures])
    single = [detector.get_softlabel(item[None])[0] for item in batch]
    np.testing.assert_allclose(detector.get_softlabel(batch), single, atol=1e-12)
    assert len(set(single)) == 3


@pytest.mark.parametrize("experiment", list(spectrum.BINS))
@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (7, 7), (200, 3)])
def test_faces_too_small_for_a_curve_are_skipped(experiment: str, shape: tuple[int, int]):
    grey = np.random.default_rng(9).integers(0, 256, shape, np.uint8)
    if experiment == "CelebA" and shape == (200, 3):
        assert spectrum.features(grey, experiment=experiment).shape == (80,)
        return
    if experiment == "FF" and shape == (200, 3):
        assert spectrum.features(grey, experiment=experiment).shape == (300,)
        return
    with pytest.raises(Skip, match="face_too_small"):
        spectrum.features(grey, experiment=experiment)


def test_a_picture_of_one_colour_has_no_spectrum_and_no_score(detector: BaseDetector):
    with pytest.raises(Skip, match="not_judgeable"):
        detector.run(np.full((90, 90, 3), 77, np.uint8))
