"""The 3-D CNN on noise maps: maps, windows, architecture, the score of a clip. There is nothing published to compare numbers with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from base_detector import BaseDetector, ContractError, FacePack, Skip, detector_verbs, load_detector  # noqa: E402
from detectors.nets.noise import LENGTH, STEP_S, Noise3dCnn, features, noise_map, windows  # noqa: E402
from tests.parity.clips import write_clip_pack  # noqa: E402
from tests.parity.recipe import made, write_trained  # noqa: E402


def made_net() -> Noise3dCnn:
    return made(Noise3dCnn(kernel=3, pool=2))


def write_weights(folder: Path, research: Path) -> None:
    """The file of the card with the recipe's numbers; the research data hold nothing of this detector."""
    write_trained(folder, made_net(), detector="noise_3dcnn")


@pytest.fixture(scope="module")
def face(astronaut: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(astronaut[60:210, 150:300])


def every(step_s: float, count: int, *, person: int = 0, shot: int = 0, start: float = 0.0) -> list:
    return [(start + step_s * n, person, shot) for n in range(count)]


def judged(detector: BaseDetector, pack: FacePack):
    return detector.judge(pack, lambda done, total: None)


# --------------------------------------------------------------------------- maps


def test_a_map_is_the_distance_from_the_blurred_face_as_the_mean_of_three_channels():
    face = np.full((100, 100, 3), 100, np.uint8)
    assert noise_map(face, sigma=2.0).max() < 1e-4
    face[50, 50] = (130, 160, 100)
    # a Gaussian of deviation 2 has 1 / (2 pi 4) of its mass in the middle pixel
    peak = 1 / (8 * np.pi)
    found = noise_map(face, sigma=2.0)
    assert found[50, 50] == pytest.approx((30 + 60) / 3 * (1 - peak), rel=0.01)
    assert found[50, 51] == pytest.approx((30 + 60) / 3 * peak * np.exp(-1 / 8), rel=0.05)
    assert (found >= 0).all()
    assert found.dtype == np.float32


def test_means_are_those_of_the_maps():
    faces = np.random.default_rng(1).integers(0, 256, (LENGTH, 100, 100, 3), np.uint8)
    maps, means = (features(faces, sigma=2.0, means=means) for means in (False, True))
    assert maps.shape == (20, 100, 100)
    assert means.shape == (20, 1)
    np.testing.assert_allclose(maps.mean((1, 2)), means[:, 0], rtol=1e-5)


# --------------------------------------------------------------------------- windows


def found_windows(rows: list, **options) -> list:
    times, persons, shots = (np.array(column) for column in zip(*rows, strict=True))
    return [list(window) for window in windows(times, persons, shots, **options)]


def test_thirty_pictures_a_second_give_every_fifth_face():
    assert found_windows(every(1 / 30, 93)) == []
    assert found_windows(every(1 / 30, 96)) == [list(range(0, 96, 5))]
    assert len(found_windows(every(1 / 30, 300))) == 3
    assert found_windows(every(1 / 30, 100), overlap=True)[:2] == [list(range(0, 96, 5)), list(range(1, 97, 5))]


@pytest.mark.parametrize("rate", [6, 10, 12, 15, 24, 25, 50, 60])
def test_other_rates_give_the_faces_nearest_to_a_sixth_of_a_second(rate: int):
    rows = every(1 / rate, 4 * rate)
    (window,) = found_windows(rows)
    times = np.array([rows[i][0] for i in window])
    assert len(set(window)) == LENGTH
    assert np.abs(times - times[0] - STEP_S * np.arange(LENGTH)).max() <= 0.5 / rate + 1e-9


def test_pictures_too_far_apart_and_clips_too_short_give_none():
    assert found_windows(every(0.2, 100)) == []
    assert found_windows(every(STEP_S, LENGTH - 1)) == []
    assert found_windows([(0.0, 0, 0)]) == []


def test_a_window_does_not_bridge_a_gap_a_cut_or_two_people():
    whole = every(STEP_S, 40)
    assert len(found_windows(whole)) == 2
    assert found_windows(whole[:15] + whole[17:35]) == []
    assert found_windows(whole[:10] + whole[11:]) == [list(range(10, 30))]
    assert found_windows([(t, 0, int(n >= 15)) for n, (t, _, _) in enumerate(whole[:30])]) == []
    assert found_windows([(t, n % 2, 0) for n, (t, _, _) in enumerate(whole)]) == []
    assert found_windows([(t, -1, 0) for t, _, _ in whole]) == []
    both = every(STEP_S, 20) + every(STEP_S, 20, person=1)
    order = np.argsort([t for t, _, _ in both], kind="stable")
    mixed = [both[i] for i in order]
    assert [{mixed[i][1] for i in window} for window in found_windows(mixed)] == [{0}, {1}]


# --------------------------------------------------------------------------- scores


def test_the_architecture_has_the_described_layers():
    net, shapes = made_net(), []
    for layer in (net.first, net.second, net.third):
        layer.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    with torch.no_grad():
        net(torch.zeros(1, 20, 100, 100))
    assert shapes == [(20, 20, 100, 100), (16, 10, 50, 50), (8, 10, 50, 50)]
    assert sum(parameter.numel() for parameter in net.parameters()) == 12_689


def test_a_windows_score_is_the_nets_and_stands_at_its_middle_face(
    detector: BaseDetector, face: np.ndarray, tmp_path: Path
):
    pack = write_clip_pack(tmp_path / "pack", face, every(STEP_S, 45))
    found = judged(detector, pack)
    assert np.flatnonzero(~np.isnan(found.softlabels)).tolist() == [10, 30]
    assert found.skipped == {"needs_a_clip": 5}
    crops = np.stack([np.asarray(pack.image(i)) for i in range(20)])
    maps = features(np.stack([detector_picture(crop) for crop in crops]), sigma=2.0, means=False)
    with torch.no_grad():
        logit = float(made_net()(torch.from_numpy(maps[None]))[0])
    assert found.softlabels[10] == pytest.approx(1 / (1 + np.exp(logit)), abs=1e-5)
    assert found.softlabels[10] != found.softlabels[30]
    assert found.persons == {0: pytest.approx(np.nanmean(found.softlabels))}
    assert found.video == found.persons[0]


def detector_picture(crop: np.ndarray) -> np.ndarray:
    from detectors.nets.faces import resized

    return resized(crop, 100)


def test_batches_of_windows_give_what_windows_give_one_by_one(detector: BaseDetector, face: np.ndarray, tmp_path: Path):
    pack = write_clip_pack(tmp_path / "pack", face, every(STEP_S, 100))
    told = []
    together = detector.judge(pack, lambda done, total: told.append((done, total)))
    assert told == [(4, 5), (5, 5)]
    alone = load_detector("detectors.noise_3dcnn")
    alone.card, alone._net = replace(detector.card, batch=1), detector._net
    np.testing.assert_allclose(judged(alone, pack).softlabels, together.softlabels, atol=1e-6)


def test_the_video_is_as_fake_as_its_most_suspicious_person(detector: BaseDetector, face: np.ndarray, tmp_path: Path):
    rows = every(STEP_S, 20) + every(STEP_S, 20, person=1, start=10.0) + every(STEP_S, 6, person=2, start=20.0)
    found = judged(detector, write_clip_pack(tmp_path / "pack", face, rows))
    assert set(found.persons) == {0, 1}
    assert found.persons[0] != found.persons[1]
    assert found.video == min(found.persons.values())
    assert found.skipped == {"needs_a_clip": 6}


@pytest.mark.parametrize(
    ("rows", "side", "reason"),
    [
        (every(STEP_S, 19), 0, "needs_a_clip"),
        ([(0.0, 0, 0)], 0, "needs_a_clip"),
        (every(0.5, 60), 0, "needs_a_clip"),
        (every(STEP_S, 40), 31, "face_too_small"),
        ([], 0, "no_face"),
    ],
)
def test_what_is_no_clip_gets_no_score_but_a_reason(
    detector: BaseDetector, weights: Path, face: np.ndarray, tmp_path: Path, rows: list, side: int, reason: str
):
    from base_detector import NotApplicable

    write_clip_pack(tmp_path / "pack", face, rows, side=side)
    (tmp_path / "out").mkdir()
    verbs = detector_verbs(detector, weights, "cpu")
    with pytest.raises(NotApplicable, match=reason):
        verbs["predict"]({"pack": str(tmp_path / "pack"), "out": str(tmp_path / "out")}, lambda done, total: None)
    assert not list((tmp_path / "out").iterdir())


def test_a_single_picture_needs_a_clip(detector: BaseDetector, face: np.ndarray):
    with pytest.raises(Skip, match="needs_a_clip"):
        detector.run(face)


@pytest.mark.parametrize(
    ("name", "value"), [("sigma", "soft"), ("sigma", 0), ("kernel", 4), ("kernel", 3.0), ("pool", True)]
)
def test_impossible_parameters_are_told_with_the_possible_ones(weights: Path, name: str, value: object):
    detector = load_detector("detectors.noise_3dcnn")
    detector.card = replace(detector.card, parameters=detector.card.parameters | {name: value})
    with pytest.raises(ContractError, match=rf"parameters\.{name} must be .*, not .*"):
        detector.load(weights, "cpu")


def test_another_blur_than_that_of_the_training_is_refused(weights: Path):
    detector = load_detector("detectors.noise_3dcnn")
    detector.card = replace(detector.card, parameters=detector.card.parameters | {"sigma": 3.0})
    with pytest.raises(ContractError, match=r"parameters.sigma must be 2.0, as the weights were trained, not 3.0"):
        detector.load(weights, "cpu")
