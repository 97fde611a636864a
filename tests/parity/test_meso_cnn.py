"""Meso-CNN: the architecture as the project describes it, strict weights, scores. There is nothing published to compare numbers with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from base_detector import BaseDetector, ContractError, Face, Skip, load_detector  # noqa: E402
from detectors.nets.checkpoint import CheckpointError  # noqa: E402
from detectors.nets.faces import resized  # noqa: E402
from detectors.nets.meso_cnn import MesoCnn, as_input  # noqa: E402
from detectors.nets.trained import pack_trained, read_trained  # noqa: E402
from tests.parity.recipe import made, write_trained  # noqa: E402


def made_net() -> MesoCnn:
    return made(MesoCnn())


def write_weights(folder: Path, research: Path) -> None:
    """The file of the card with the recipe's numbers; the research data hold nothing of this detector."""
    write_trained(folder, made_net(), detector="meso_cnn")


def test_the_maps_have_the_sizes_same_pooling_gives():
    net, sizes = made_net(), []
    for norm in net.norms:
        norm.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(output.shape[1:])))
    net.hidden.register_forward_hook(lambda module, inputs, output: sizes.append((inputs[0].shape[1],)))
    net(torch.zeros(2, 3, 150, 150))
    assert sizes == [(8, 150, 150), (8, 75, 75), (16, 38, 38), (16, 19, 19), (400,)]
    assert sum(parameter.numel() for parameter in net.parameters()) == 17_993


def test_the_compiled_net_answers_as_the_written_out_one_and_is_turned_around_once(detector: BaseDetector):
    rng = np.random.default_rng(3)
    batch = rng.random((5, 3, 150, 150), np.float32)
    with torch.no_grad():
        logits = made_net()(torch.from_numpy(batch)).double().numpy()
    np.testing.assert_allclose(detector.get_softlabel(batch), 1 / (1 + np.exp(logits)), atol=1e-5)
    assert np.ptp(logits) > 1e-3


def test_swapped_channels_give_other_scores(detector: BaseDetector, astronaut: np.ndarray):
    face = Face(box=np.array([176, 68, 275, 202], np.float32), landmarks=np.full((5, 2), np.nan, np.float32))
    swapped = np.ascontiguousarray(astronaut[..., ::-1])
    assert abs(detector.run(astronaut, face) - detector.run(swapped, face)) > 1e-4


def test_a_batch_gives_what_its_faces_give_one_by_one(detector: BaseDetector, astronaut: np.ndarray):
    batch = np.stack([detector.preproc(astronaut[60 + n : 210 + n, 150:300]) for n in range(11)])
    single = np.concatenate([detector.get_softlabel(item[None]) for item in batch])
    np.testing.assert_allclose(detector.get_softlabel(batch), single, atol=1e-6)


def test_a_face_is_scaled_in_rgb_to_the_unit_range():
    face = np.zeros((300, 200, 3), np.uint8)
    face[..., 0] = 255
    prepared = as_input(resized(face, 150))
    assert prepared.shape == (3, 150, 150)
    assert prepared.dtype == np.float32
    np.testing.assert_array_equal(prepared[0], 1)
    np.testing.assert_array_equal(prepared[1:], 0)


def test_a_small_face_is_skipped_with_a_reason(detector: BaseDetector):
    points = np.full((5, 2), np.nan, np.float32)
    image = np.zeros((200, 200, 3), np.uint8)
    with pytest.raises(Skip, match="face_too_small"):
        detector.crop_face(image, Face(box=np.array([10, 10, 41, 41], np.float32), landmarks=points))
    assert detector.crop_face(image, Face(box=np.array([50, 50, 82, 82], np.float32), landmarks=points)).shape[0] == 38


# --------------------------------------------------------------------------- weights


def test_every_missing_extra_and_misshapen_entry_is_named(weights: Path, tmp_path: Path):
    from safetensors import safe_open
    from safetensors.torch import load, save_file

    content = (weights / "meso_cnn.safetensors").read_bytes()
    with safe_open(weights / "meso_cnn.safetensors", "pt") as opened:
        header = opened.metadata()
    state = load(content)
    del state["norms.1.running_mean"]
    state["other"], state["hidden.bias"] = torch.zeros(2), torch.zeros(9)
    save_file(state, tmp_path / "meso_cnn.safetensors", header)
    with pytest.raises(CheckpointError) as caught:
        load_detector("detectors.meso_cnn").load(tmp_path, "cpu")
    for part in ("missing norms.1.running_mean", "extra other", "hidden.bias has shape (9,), not (16,)"):
        assert part in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"123", b"\xff" * 40, b"\x02" + bytes(7) + b"[]"])
def test_a_file_of_something_else_is_refused(content: bytes):
    with pytest.raises(CheckpointError, match="the weights are of nothing we know, not of meso_cnn: make them with"):
        read_trained(content, detector="meso_cnn", parameters={})


def test_a_damaged_file_and_one_of_another_net_are_refused(weights: Path):
    content = (weights / "meso_cnn.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match="damaged"):
        read_trained(content[:-4], detector="meso_cnn", parameters={})
    with pytest.raises(CheckpointError, match="the weights are of meso_cnn, not of noise_gru"):
        read_trained(content, detector="noise_gru", parameters={})


def test_a_card_that_differs_from_the_training_is_refused(weights: Path):
    detector = load_detector("detectors.meso_cnn")
    detector.card = replace(detector.card, margin=1.5)
    with pytest.raises(ContractError, match=r"parameters.margin must be 1.2, as the weights were trained, not 1.5"):
        detector.load(weights, "cpu")


@pytest.mark.parametrize(
    ("name", "value"),
    [("filters", "many"), ("filters", [8, 8, 16]), ("kernels", [3, 5, 5, 4]), ("kernels", [3, 5, 5, True])],
)
def test_impossible_parameters_are_told_with_the_possible_ones(weights: Path, name: str, value: object):
    detector = load_detector("detectors.meso_cnn")
    detector.card = replace(detector.card, parameters=detector.card.parameters | {name: value})
    with pytest.raises(ContractError, match=rf"parameters\.{name} must be .*, not .*"):
        detector.load(weights, "cpu")


def test_the_score_is_one_half_at_the_chosen_threshold(tmp_path: Path):
    net = made_net()
    batch = np.random.default_rng(4).random((1, 3, 150, 150), np.float32)
    with torch.no_grad():
        logit = float(net(torch.from_numpy(batch))[0])
    net.calibration.copy_(torch.tensor([2.0, logit]))
    detector = load_detector("detectors.meso_cnn")
    parameters = {"margin": detector.card.margin, **detector.card.parameters}
    (tmp_path / "meso_cnn.safetensors").write_bytes(pack_trained(net, detector="meso_cnn", parameters=parameters))
    detector.load(tmp_path, "cpu")
    assert detector.get_softlabel(batch)[0] == pytest.approx(0.5, abs=1e-5)
    assert detector.card.threshold == 0.5
