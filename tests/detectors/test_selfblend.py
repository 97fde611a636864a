"""The detector that ships its own weights."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import detectors.selfblend.detector as module
from base_detector import BaseDetector, ContractError, Face, load_detector
from detectors.nets.mtcnn import Mtcnn
from detectors.nets.selfblend import SelfBlendNet
from detectors.training.evaluate import fake_scores
from detectors.training.faces import Bank, build_bank, identity_of, part_of
from detectors.training.measure import roc_auc
from detectors.training.selfblend import TEST_SEED, held_out
from detectors.training.stream import Recipe

NO_POINTS = np.full((5, 2), np.nan, np.float32)


@pytest.fixture(scope="module")
def detector() -> BaseDetector:
    loaded = load_detector("detectors.selfblend")
    loaded.load(Path("nowhere"), "cpu")
    return loaded


def test_the_weights_are_in_the_checkout_and_small():
    assert module.WEIGHTS.stat().st_size < 12e6
    card = load_detector("detectors.selfblend").card
    assert card.weights == ()  # nothing to fetch
    net = SelfBlendNet(side=card.parameters["side"], widths=tuple(card.parameters["widths"]))
    assert sum(number.numel() for number in net.parameters()) < 3_000_000


def test_other_weights_than_the_cards_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    changed = bytearray(module.WEIGHTS.read_bytes())
    changed[-1] ^= 1
    (tmp_path / "selfblend.safetensors").write_bytes(bytes(changed))
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "selfblend.safetensors")
    with pytest.raises(ContractError, match="check out both anew"):
        load_detector("detectors.selfblend").load(Path("nowhere"), "cpu")


def test_weights_that_do_not_fit_the_net_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import hashlib

    from safetensors.torch import load, save

    state = load(module.WEIGHTS.read_bytes())
    state.pop(sorted(state)[0])
    content = save(state)
    (tmp_path / "selfblend.safetensors").write_bytes(content)
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "selfblend.safetensors")
    loaded = load_detector("detectors.selfblend")
    monkeypatch.setitem(loaded.card.parameters, "weights_sha256", hashlib.sha256(content).hexdigest())
    with pytest.raises(ContractError, match="missing"):
        loaded.load(Path("nowhere"), "cpu")


def test_a_face_at_the_border_keeps_its_shape(detector: BaseDetector):
    image = np.random.default_rng(1).integers(0, 256, (120, 160, 3), np.uint8)
    inside = detector.crop_face(image, Face(box=np.array([40, 20, 100, 95], np.float32), landmarks=NO_POINTS))
    assert inside.shape == (78, 78, 3)
    outside = detector.crop_face(image, Face(box=np.array([-20, 60, 40, 135], np.float32), landmarks=NO_POINTS))
    assert outside.shape == (78, 78, 3)
    np.testing.assert_array_equal(outside[:, 0], outside[:, 20])  # the border is repeated
    np.testing.assert_array_equal(outside[-1], outside[-10])


def test_the_detector_sees_what_the_training_saw(detector: BaseDetector):
    # the same luma and the same scaling on both sides
    from detectors.training.stream import scaled

    rng = np.random.default_rng(2)
    for size in (60, 96, 150, 301):
        luma = rng.integers(0, 256, (size, size), np.uint8)
        seen = detector.preproc(np.repeat(luma[:, :, None], 3, axis=2))
        np.testing.assert_array_equal(seen[0], scaled(luma, detector.card.parameters["side"]))


def test_colour_is_no_cue(detector: BaseDetector, astronaut: np.ndarray):
    face = astronaut[60:210, 150:300]
    luma = np.round(face @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    grey = np.repeat(luma[:, :, None], 3, axis=2)
    assert detector.run(face).fake_score == pytest.approx(detector.run(grey).fake_score, abs=0.05)


def test_evidence_is_a_picture_for_each_face(detector: BaseDetector, astronaut: np.ndarray):
    batch = np.stack([detector.preproc(astronaut[60:210, 150:300]), detector.preproc(astronaut[:400, 100:500])])
    pictures = detector.evidence(batch)
    assert pictures.shape == (2, detector.card.parameters["side"], detector.card.parameters["side"])
    assert pictures.dtype == np.uint8


@pytest.fixture(scope="module")
def strangers(research: Path, tmp_path_factory: pytest.TempPathFactory) -> Bank:
    """A bank of some held-out people of the research faces, none of whom any training step used."""
    folder = tmp_path_factory.mktemp("strangers")
    with tarfile.open(research / "faces" / "real_faces_gray.tar") as archive:
        names = [m for m in archive.getmembers() if part_of(identity_of(Path(m.name)) or "unnamed") == "test"]
        archive.extractall(folder, members=names[::5], filter="data")
    mtcnn = Mtcnn()
    return build_bank(folder.rglob("*.jpg"), folder / "bank", detect=lambda image: mtcnn.detect(image, min_face=40.0))


def test_hard_blends_of_people_it_never_saw_are_told_from_the_real_ones(detector: BaseDetector, strangers: Bank):
    assert len(strangers.of_part("test")) == len(strangers.rows) > 60
    recipe = Recipe(side=detector.card.parameters["side"], map_side=detector.card.parameters["side"] // 8)
    held = held_out(strangers, part="test", recipe=recipe, seed=TEST_SEED + 7, batches=8)
    scores = fake_scores(detector, held.faces)
    assert roc_auc(held.labels, scores) >= 0.80
    half = len(scores) // 2
    assert np.mean(scores[half:] > scores[:half]) >= 0.80
    assert np.mean(scores[:half] >= detector.card.threshold) < 0.10


def test_the_package_needs_no_weights_folder(tmp_path: Path, detector: BaseDetector):
    assert not list(tmp_path.iterdir())
    again = load_detector("detectors.selfblend")
    again.load(tmp_path, "cpu")
    face = np.random.default_rng(3).integers(0, 256, (130, 130, 3), np.uint8)
    assert again.run(face).fake_score == detector.run(face).fake_score
    shutil.rmtree(tmp_path)
