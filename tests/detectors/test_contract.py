"""What every bundled detector keeps, whatever it is; one test a promise, run for every card found."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from PIL import Image

from backend.scores.aggregate import OWN, STRATEGIES
from base_detector import (
    FACE_DTYPE,
    BaseDetector,
    Card,
    ContractError,
    Face,
    FacePack,
    NotApplicable,
    Skip,
    WorkerFailure,
    detector_verbs,
    load_detector,
)
from shared.errors import SENTENCES
from tests.packs import finish_pack, write_faces

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path.parent for path in (ROOT / "detectors").glob("*/detector.toml"))

#: Those whose published weights are at hand; the others are asked the same, with recipe-filled weights, in tests/parity.
AT_HAND = [folder for folder in FOLDERS if folder.name in ("mesonet", "classnseg", "va", "selfblend")]

#: detector -> (real, fake): labelled pictures of what the detector claims to see. ``fixtures/`` is ours.
PAIRS = {
    "mesonet": ("crop_real00240.jpg", "crop_df00204.jpg"),
    "classnseg": ("crop_classnseg_real.jpg", "crop_classnseg_fake.jpg"),
    "va": ("fixtures/astronaut.jpg", "crop_df00204.jpg"),
    # a face and a blend of it, made by detectors.training.blends from the public-domain portrait
    "selfblend": ("fixtures/astronaut_face.png", "fixtures/astronaut_blend.png"),
}
MESOS = ("crop_real00240.jpg", "crop_real00772.jpg", "crop_df00204.jpg", "crop_df01254.jpg")


def test_the_three_bundled_detectors_are_here():
    assert {"mesonet", "classnseg", "va"} <= {folder.name for folder in FOLDERS}


@pytest.fixture(scope="module", params=AT_HAND, ids=lambda folder: folder.name)
def detector(request: pytest.FixtureRequest, weights_folder: Path, kept_here: None) -> BaseDetector:
    loaded = load_detector(f"detectors.{request.param.name}")
    folder = weights_folder / loaded.card.id
    if any(not (folder / item.file).is_file() for item in loaded.card.weights):
        pytest.skip(f"the weights of {loaded.card.id} are not in the research data")
    loaded.load(folder, "cpu")
    return loaded


def picture(research: Path, name: str) -> np.ndarray:
    path = ROOT / "tests" / name if name.startswith("fixtures/") else research / "media" / name
    image = np.asarray(Image.open(path).convert("RGB"))
    # the sample files of ClassNSeg show the crop in their left half and its mask in the right one
    return np.ascontiguousarray(image[:, :256]) if "classnseg" in name else image


def write_pack(folder: Path, images: list[np.ndarray]) -> FacePack:
    """A face pack with one whole-picture face an image, all of person 0."""
    folder.mkdir()
    faces = np.zeros(len(images), FACE_DTYPE)
    for row, image in zip(faces, images, strict=True):
        row["box"], row["landmarks"], row["confidence"] = (0, 0, *image.shape[1::-1]), np.nan, 1
    faces["frame"] = np.arange(len(images))
    write_faces(folder, faces, images)
    return finish_pack(folder, size=(640, 480))


def score_or_none(detector: BaseDetector) -> Callable[[np.ndarray], float | None]:
    """What ``run`` gives for a picture, None where the detector cannot judge it."""

    def score(image: np.ndarray) -> float | None:
        with contextlib.suppress(Skip):
            return detector.run(image)
        return None

    return score


def softlabel_by_hand(detector: BaseDetector, image: np.ndarray) -> float:
    """The detector's own methods, one after the other, on a picture that is all face."""
    whole = Face(np.array([0, 0, *image.shape[1::-1]], np.float32), np.full((5, 2), np.nan, np.float32))
    return detector.postproc(detector.get_softlabel(detector.preproc(detector.crop_face(image, whole))[None]))


@pytest.fixture(scope="module")
def images(detector: BaseDetector, research: Path) -> list[np.ndarray]:
    """Eleven pictures, more than a batch: labelled crops, scaled and mirrored."""
    first = [picture(research, name) for name in (*PAIRS.get(detector.card.id, ()), *MESOS)]
    mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in first]
    return (first + mirrored)[:11]


@pytest.fixture(scope="module")
def pack(images: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> FacePack:
    return write_pack(tmp_path_factory.mktemp("packs") / "pack", images)


# --------------------------------------------------------------------------- the card


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_card_is_complete(folder: Path):
    card = Card.read(folder)
    assert card.id == folder.name
    assert card.aggregation in {*STRATEGIES, OWN}
    assert card.limits
    assert card.sees
    assert card.licence
    for item in card.weights:
        assert item.url.startswith("https://")
        assert re.fullmatch("[0-9a-f]{64}|", item.sha256)  # empty: nobody of us has seen the file
        assert bool(item.bytes) == bool(item.sha256)
        assert item.licence
    assert (folder / "requirements.txt").is_file()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_model_card_answers_what_a_reader_must_know(folder: Path):
    text = (folder / "README.md").read_text(encoding="utf-8")
    for heading in ("Intended use", "Training data", "Published results", "Measured here", "When not to trust it", "Direction",
                    "Threshold", "Licences"):  # fmt: skip
        assert f"\n## {heading}" in text, heading
    card = Card.read(folder)
    for item in card.weights:
        assert item.file in text


# --------------------------------------------------------------------------- scores


def test_scores_lie_between_0_and_1_and_real_is_1_inside_the_class(
    detector: BaseDetector, research: Path, images: list[np.ndarray]
):
    scores = [score for score in map(score_or_none(detector), images) if score is not None]
    assert scores
    assert all(0 <= score <= 1 for score in scores)
    real, fake = (detector.run(picture(research, name)) for name in PAIRS.get(detector.card.id, PAIRS["mesonet"]))
    assert fake > real + 0.1
    assert [detector.get_hardlabel(1 - score) for score in (real, fake)] == ["real", "fake"]
    assert fake == pytest.approx(
        1 - softlabel_by_hand(detector, picture(research, PAIRS[detector.card.id][1])), abs=1e-6
    )


def test_a_batch_gives_what_its_faces_give_one_by_one(
    detector: BaseDetector, pack: FacePack, images: list[np.ndarray], tmp_path: Path
):
    scores = detector.run_pack(pack, tmp_path)
    single = [*map(score_or_none(detector), images)]
    assert scores["index"] == [i for i, score in enumerate(single) if score is not None]
    assert scores["index"]
    wanted = [score for score in single if score is not None]
    np.testing.assert_allclose(scores["fake_score"], wanted, atol=1e-6)
    assert sum(scores["skipped"].values()) == len(images) - len(wanted)


def test_the_same_pack_gives_the_same_bits(detector: BaseDetector, pack: FacePack, tmp_path: Path):
    answers = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        scores = detector.run_pack(pack, tmp_path / name)
        del scores["seconds"]
        masks = [(tmp_path / name / mask["file"]).read_bytes() for mask in scores["masks"]]
        answers.append((json.dumps(scores), masks))
    assert answers[0] == answers[1]


def test_labels_agree_with_scores_and_the_cards_threshold(detector: BaseDetector, pack: FacePack, tmp_path: Path):
    threshold = detector.card.threshold
    for person in detector.run_pack(pack, tmp_path)["persons"]:
        assert person["hard_label"] == ("fake" if person["fake_score"] >= threshold else "real")
    assert detector.get_hardlabel(1 - threshold) == "fake"
    assert detector.get_hardlabel(1 - threshold + 1e-6) == "real"
    assert detector.get_hardlabel(0.0) == "fake"
    assert detector.get_hardlabel(1.0) == "real"


def test_a_medium_without_a_face_is_not_applicable_and_gets_no_score(
    detector: BaseDetector, weights_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(detector, "load", lambda weights, device: None)  # it is loaded already
    write_pack(tmp_path / "pack", [])
    (tmp_path / "out").mkdir()
    verbs = detector_verbs(detector, weights_folder / detector.card.id, "cpu")
    with pytest.raises(NotApplicable, match="no_face"):
        verbs["predict"]({"pack": str(tmp_path / "pack"), "out": str(tmp_path / "out")}, lambda done, total: None)
    assert not list((tmp_path / "out").iterdir())


def test_faces_nobody_can_judge_are_skipped_with_a_known_code_or_scored_but_break_nothing(detector: BaseDetector):
    rng = np.random.default_rng(9)
    points = np.full((5, 2), np.nan, np.float32)
    for shape in ((1, 1), (3, 200), (64, 64)):
        image = rng.integers(0, 256, (*shape, 3), np.uint8)
        for box in ((0, 0, shape[1], shape[0]), (-50, -50, 20, 20), (shape[1] - 1, shape[0] - 1, 900, 900)):
            try:
                answer = detector.run(image, Face(box=np.array(box, np.float32), landmarks=points))
            except Skip as reason:
                answer = str(reason)
            assert answer in SENTENCES if isinstance(answer, str) else 0 <= answer <= 1


def test_evidence_is_one_grey_picture_a_face(detector: BaseDetector, pack: FacePack, tmp_path: Path):
    masks = detector.run_pack(pack, tmp_path)["masks"]
    has_evidence = type(detector).evidence is not BaseDetector.evidence
    assert len(masks) == (8 if has_evidence else 0)
    for mask in masks:
        drawn = np.load(tmp_path / mask["file"], allow_pickle=False)
        assert (drawn.dtype, drawn.ndim) == (np.uint8, 2)
        assert min(drawn.shape) >= 64


# --------------------------------------------------------------------------- weights


def test_absent_and_changed_weights_are_refused_by_code(detector: BaseDetector, weights_folder: Path, tmp_path: Path):
    card = detector.card
    fresh = type(detector)()
    if not card.weights:  # it ships its own, which its own tests damage: no folder is asked for
        assert detector_verbs(fresh, tmp_path / "nowhere", "cpu")["load"]({}, lambda done, total: None) == {}
        return
    with pytest.raises(WorkerFailure) as caught:
        detector_verbs(fresh, tmp_path / "nowhere", "cpu")["load"]({}, lambda done, total: None)
    assert caught.value.code == "weights_missing"
    copy = tmp_path / card.id
    shutil.copytree(weights_folder / card.id, copy)
    for item in card.weights:
        content = bytearray((copy / item.file).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / item.file).write_bytes(content)
    with pytest.raises(WorkerFailure) as caught:
        detector_verbs(fresh, copy, "cpu")["load"]({}, lambda done, total: None)
    assert caught.value.code == "weights_mismatch"
    assert {"weights_missing", "weights_mismatch"} <= set(SENTENCES)


def test_an_unknown_parameter_value_is_told_with_the_known_ones(detector: BaseDetector, weights_folder: Path):
    if not detector.card.parameters:
        pytest.skip("no parameters")
    fresh = type(detector)()
    fresh.card = replace(detector.card, parameters=dict.fromkeys(detector.card.parameters, "nonsense"))
    with pytest.raises(ContractError, match=r"parameters\..* must be .*, not .*nonsense"):
        fresh.load(weights_folder / detector.card.id, "cpu")


# --------------------------------------------------------------------------- mistakes, found when the class is defined

CARD = replace(Card.read(ROOT / "detectors" / "mesonet"), id="toy", weights=(), parameters={})
GOOD = {
    "card": CARD,
    "load": lambda self, weights, device: None,
    "get_softlabel": lambda self, batch: np.full(len(batch), 0.25),
}


def define(**changes) -> type[BaseDetector]:
    members = {name: value for name, value in (GOOD | changes).items() if value is not None}
    return type("Toy", (BaseDetector,), members)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"load": None}, r"Toy must define load\(\): see the example in docs/detector.md"),
        ({"get_softlabel": None}, r"Toy must define get_softlabel\(\)"),
        (
            {"run": lambda self, image: 0.5},
            "Toy.run is final: override crop_face, preproc",
        ),
        ({"run_pack": lambda self, pack, out: {}}, "Toy.run_pack is final"),
        ({"_draw": lambda self, picture: picture}, "Toy._draw is final"),
        ({"evidence": lambda self: None}, r"Toy.evidence must take \(self, batch\)"),
        ({"load": lambda self, weights: None}, r"Toy.load must take \(self, weights, device\)"),
        ({"preproc": lambda self, face, extra: face}, r"Toy.preproc must take \(self, face\)"),
        ({"crop_face": lambda self, image: image}, r"Toy.crop_face must take \(self, image, face\)"),
        ({"get_softlabel": lambda self: 0.5}, r"Toy.get_softlabel must take \(self, batch\)"),
        ({"get_hardlabel": lambda self: "fake"}, r"Toy.get_hardlabel must take \(self, softlabel\)"),
    ],
)
def test_a_mistake_in_the_class_is_told_with_its_remedy(changes: dict, sentence: str):
    with pytest.raises(ContractError, match=sentence):
        define(**changes)


def test_a_correct_class_needs_load_and_get_softlabel_only():
    detector = define()()
    assert detector.run(np.zeros((8, 8, 3), np.uint8)) == 0.75
    assert detector.get_hardlabel(0.25) == "fake"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (np.array([1.5]), r"soft labels must be \(1,\) in \[0, 1\]"),
        (np.array([np.nan]), r"soft labels must be \(1,\) in \[0, 1\]"),
        (np.zeros((1, 2)), r"soft labels must be \(1,\)"),
    ],
)
def test_a_wrong_answer_is_no_score(answer: np.ndarray, sentence: str):
    with pytest.raises(ContractError, match=sentence):
        define(get_softlabel=lambda self, batch: answer)().run(np.zeros((8, 8, 3), np.uint8))


def test_a_skipped_face_has_a_reason_and_no_score():
    def refuse(self, face):
        raise Skip("face_too_small")

    with pytest.raises(Skip, match="face_too_small"):
        define(preproc=refuse)().run(np.zeros((8, 8, 3), np.uint8))


def test_a_class_without_a_card_is_told_to_write_one():
    with pytest.raises(
        ContractError, match=r"detector\.toml is missing, or not a file: write the card next to detector\.py"
    ):
        define(card=None, __module__=__name__)
