"""The GRU on noise levels: architecture, the score of a clip. Maps and windows: test_noise_3dcnn.py. Nothing is published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from base_detector import BaseDetector, ContractError, load_detector  # noqa: E402
from detectors.nets.faces import resized  # noqa: E402
from detectors.nets.noise import STEP_S, NoiseGru, features  # noqa: E402
from tests.parity.clips import write_clip_pack  # noqa: E402
from tests.parity.recipe import made, write_trained  # noqa: E402


def made_net() -> NoiseGru:
    return made(NoiseGru(units=16))


def write_weights(folder: Path, research: Path) -> None:
    """The file of the card with the recipe's numbers; the research data hold nothing of this detector."""
    write_trained(folder, made_net(), detector="noise_gru")


def test_the_net_is_torchs_own_gru_written_out():
    net = made_net()
    reference = torch.nn.GRU(1, 16, batch_first=True)
    for ours, name in ((net.own, "ih"), (net.past, "hh")):
        getattr(reference, f"weight_{name}_l0").data.copy_(ours.weight)
        getattr(reference, f"bias_{name}_l0").data.copy_(ours.bias)
    levels = torch.from_numpy(np.random.default_rng(7).uniform(2, 9, (3, 20, 1)).astype(np.float32))
    mean, variance = net.standard.running_mean, net.standard.running_var
    with torch.no_grad():
        _, last = reference((levels - mean) / torch.sqrt(variance + 1e-5))
        torch.testing.assert_close(net(levels), net.score(last[0]).squeeze(1), atol=1e-5, rtol=0)
        assert net(levels).std() > 1e-3


def test_a_windows_score_comes_from_its_twenty_levels(detector: BaseDetector, astronaut: np.ndarray, tmp_path: Path):
    face = np.ascontiguousarray(astronaut[60:210, 150:300])
    pack = write_clip_pack(tmp_path / "pack", face, [(STEP_S * n, 0, 0) for n in range(64)])
    found = detector.judge(pack, lambda done, total: None)
    scored = np.flatnonzero(~np.isnan(found.softlabels))
    assert scored.tolist() == [10, 30, 50]
    assert found.skipped == {"needs_a_clip": 4}
    for number, middle in enumerate(scored):
        crops = [resized(np.asarray(pack.image(20 * number + i)), 100) for i in range(20)]
        levels = features(np.stack(crops), sigma=2.0, means=True)
        with torch.no_grad():
            logit = float(made_net()(torch.from_numpy(levels[None]))[0])
        assert found.softlabels[middle] == pytest.approx(1 / (1 + np.exp(logit)), abs=1e-5)
    assert found.video == pytest.approx(float(np.mean(found.softlabels[scored])))


def test_the_order_of_the_faces_matters(detector: BaseDetector):
    levels = np.linspace(2, 9, 20, dtype=np.float32)[None, :, None]
    assert abs(float(detector._net(levels)[0]) - float(detector._net(levels[:, ::-1])[0])) > 1e-4


def test_a_batch_gives_what_its_windows_give_one_by_one(detector: BaseDetector):
    batch = np.random.default_rng(2).uniform(1, 9, (9, 20, 1)).astype(np.float32)
    single = np.concatenate([detector._net(item[None]) for item in batch])
    np.testing.assert_allclose(detector._net(batch), single, atol=1e-6)


@pytest.mark.parametrize(("name", "value"), [("units", "some"), ("units", 0), ("sigma", None)])
def test_impossible_parameters_are_told_with_the_possible_ones(weights: Path, name: str, value: object):
    detector = load_detector("detectors.noise_gru")
    detector.card = replace(detector.card, parameters=detector.card.parameters | {name: value})
    with pytest.raises(ContractError, match=rf"parameters\.{name} must be .*, not .*"):
        detector.load(weights, "cpu")
