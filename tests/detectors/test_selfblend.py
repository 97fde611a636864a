"""The detector that ships its own weights."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

import detectors.selfblend.detector as module
from base_detector import BaseDetector, ContractError, Face, load_detector
from detectors.nets.faces import resized
from detectors.nets.mtcnn import Mtcnn
from detectors.nets.selfblend import SelfBlendNet, mirrored
from detectors.training.evaluate import fake_scores
from detectors.training.faces import Bank, build_bank, identity_of, part_of
from detectors.training.measure import roc_auc
from detectors.training.selfblend import TEST_SEED, held_out
from detectors.training.views import COARSE, FINE, View

VIEWS = ("coarse", "fine")
NO_POINTS = np.full((5, 2), np.nan, np.float32)


@pytest.fixture(scope="module")
def detector(kept_here: None) -> BaseDetector:
    loaded = load_detector("detectors.selfblend")
    loaded.load(Path("nowhere"), "cpu")
    return loaded


def test_the_weights_are_in_the_checkout_and_small():
    assert sum(path.stat().st_size for path in module.WEIGHTS.iterdir()) < 12e6
    card = load_detector("detectors.selfblend").card
    assert card.weights == ()  # nothing to fetch
    nets = [SelfBlendNet(side=card.parameters[v]["side"], widths=tuple(card.parameters["widths"])) for v in VIEWS]
    assert sum(number.numel() for net in nets for number in net.parameters()) < 3_000_000


@pytest.fixture(params=VIEWS)
def copied(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """A view, and its weights file in a copy of the folder that the detector reads."""
    folder = Path(shutil.copytree(module.WEIGHTS, tmp_path / "weights"))
    monkeypatch.setattr(module, "WEIGHTS", folder)
    return request.param, folder / load_detector("detectors.selfblend").card.parameters[request.param]["file"]


def test_other_weights_than_the_cards_are_refused(copied: tuple[str, Path]):
    view, path = copied
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(bytes(changed))
    with pytest.raises(ContractError, match=rf"parameters\.{view}\.sha256.*check out both again"):
        load_detector("detectors.selfblend").load(Path("nowhere"), "cpu")


def test_weights_that_do_not_fit_the_net_are_refused(copied: tuple[str, Path], monkeypatch: pytest.MonkeyPatch):
    import hashlib

    from safetensors.torch import load, save

    view, path = copied
    state = load(path.read_bytes())
    state.pop(sorted(state)[0])
    content = save(state)
    path.write_bytes(content)
    loaded = load_detector("detectors.selfblend")
    monkeypatch.setitem(loaded.card.parameters[view], "sha256", hashlib.sha256(content).hexdigest())
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
    rng = np.random.default_rng(2)
    coarse, fine = (detector.card.parameters[view]["side"] for view in VIEWS)
    for size in (60, 96, 150, 199, 200, 301):
        luma = rng.integers(0, 256, (size, size), np.uint8)
        seen = detector.preproc(np.repeat(luma[:, :, None], 3, axis=2))
        if size >= round(detector.card.parameters["fine"]["from"] * detector.card.margin):
            whole = np.empty((fine, fine), np.float32)
            for phase in range(4):
                whole[phase // 2 :: 2, phase % 2 :: 2] = seen[phase]
            np.testing.assert_array_equal(whole, resized(luma, fine))
        else:
            np.testing.assert_array_equal(seen[0], resized(luma, coarse))
            assert (seen[1:] == module.NOTHING).all()


def test_a_batch_of_small_and_large_faces_scores_each_as_alone(detector: BaseDetector, astronaut: np.ndarray):
    places = ((0, 300, 100), (60, 210, 150), (20, 260, 120), (70, 200, 160))
    crops = [astronaut[top:bottom, left : left + bottom - top] for top, bottom, left in places]
    batch = np.stack([detector.preproc(crop) for crop in crops])
    assert [(planes[1:] >= 0).all() for planes in batch] == [True, False, True, False]
    together = detector.get_softlabel(batch)
    alone = [float(detector.get_softlabel(planes[None])[0]) for planes in batch]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    pictures = detector.evidence(batch)
    for index, planes in enumerate(batch):
        assert np.abs(pictures[index].astype(int) - detector.evidence(planes[None])[0]).max() <= 1


@pytest.mark.parametrize(("view", "size"), [("coarse", 150), ("fine", 300)])
def test_a_face_is_judged_by_the_net_for_its_size(detector: BaseDetector, astronaut: np.ndarray, view: str, size: int):
    import torch
    from safetensors.torch import load

    own = detector.card.parameters[view]
    net = SelfBlendNet(side=own["side"], widths=tuple(detector.card.parameters["widths"])).eval()
    net.load_state_dict(load((module.WEIGHTS / own["file"]).read_bytes()))
    crop = astronaut[30 : 30 + size, 110 : 110 + size]
    luma = resized(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), own["side"])
    with torch.inference_mode():
        logit = float(mirrored(net, torch.from_numpy(luma).float()[None, None])[0])
    expected = 1 / (1 + np.exp(-(own["slope"] * logit + own["offset"])))
    assert 1 - float(detector.get_softlabel(detector.preproc(crop)[None])[0]) == pytest.approx(expected, abs=1e-4)


def test_colour_is_no_cue(detector: BaseDetector, astronaut: np.ndarray):
    face = astronaut[60:210, 150:300]
    luma = np.round(face @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    grey = np.repeat(luma[:, :, None], 3, axis=2)
    assert detector.run(face) == pytest.approx(detector.run(grey), abs=0.05)


def test_evidence_is_a_picture_for_each_face(detector: BaseDetector, astronaut: np.ndarray):
    batch = np.stack([detector.preproc(astronaut[60:210, 150:300]), detector.preproc(astronaut[:400, 100:500])])
    pictures = detector.evidence(batch)
    assert pictures.shape == (2, 80, 80)
    assert pictures.dtype == np.uint8


@pytest.fixture(scope="module", params=[COARSE, FINE], ids=lambda view: view.name)
def view(request: pytest.FixtureRequest) -> View:
    return request.param


@pytest.fixture(scope="module")
def strangers(research: Path, view: View, tmp_path_factory: pytest.TempPathFactory) -> Bank:
    """A bank of some held-out people of the research faces, none of whom any training step used."""
    folder = tmp_path_factory.mktemp("strangers")
    with tarfile.open(research / "faces" / "real_faces_gray.tar") as archive:
        names = [m for m in archive.getmembers() if part_of(identity_of(Path(m.name)) or "unnamed") == "test"]
        archive.extractall(folder, members=names[::5], filter="data")
    mtcnn = Mtcnn()
    return build_bank(
        folder.rglob("*.jpg"),
        folder / "bank",
        detect=lambda image: mtcnn.detect(image, min_face=40.0),
        side=view.stored,
        smallest=view.smallest,
    )


def test_hard_blends_of_people_it_never_saw_are_told_from_the_real_ones(
    detector: BaseDetector, strangers: Bank, view: View
):
    assert len(strangers.of_part("test")) == len(strangers.rows) > 60
    held = held_out(strangers, part="test", recipe=replace(view.recipe, colour=None), seed=TEST_SEED + 7, batches=8)
    scores = fake_scores(detector, held.faces)
    # the large grey faces are soft; on sharp ones the fine net is better (model card)
    least = 0.80 if view is COARSE else 0.75
    assert roc_auc(held.labels, scores) >= least
    half = len(scores) // 2
    assert np.mean(scores[half:] > scores[:half]) >= least
    assert np.mean(scores[:half] >= detector.card.threshold) < 0.10


def test_the_package_needs_no_weights_folder(tmp_path: Path, detector: BaseDetector):
    assert not list(tmp_path.iterdir())
    again = load_detector("detectors.selfblend")
    again.load(tmp_path, "cpu")
    face = np.random.default_rng(3).integers(0, 256, (130, 130, 3), np.uint8)
    assert again.run(face) == detector.run(face)
    shutil.rmtree(tmp_path)
