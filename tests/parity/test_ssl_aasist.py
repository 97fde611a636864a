"""Our SSL_AASIST filled by the recipe under fairseq's names, against the golden vectors: a front end that is not the authors' own library,
and their own back end."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from base_detector import BaseDetector, load_detector  # noqa: E402
from detectors.nets.aasist import SSLAASIST  # noqa: E402
from detectors.nets.checkpoint import Published  # noqa: E402
from detectors.ssl_aasist import detector as own  # noqa: E402
from tests.parity.recipe import filled_state, golden_of, listed_names  # noqa: E402
from tests.parity.sounds import assert_differs, assert_logits, prepared, sound  # noqa: E402

GOLDEN = "ssl_aasist"


def write_weights(folder: Path, research: Path) -> None:
    """The card's required file as published: with the prefix of a net that was trained on several GPUs, and the parts of pre-training."""
    state = filled_state(listed_names(research, GOLDEN), golden_of(research, GOLDEN)["scale_pow2"])
    published = {f"module.{name}": tensor for name, tensor in state.items()}
    published["module.ssl_model.model.quantizer.vars"] = torch.zeros(1, 640, 384)
    torch.save(published, folder / own.VARIANTS["DF"])


def test_names_and_shapes_are_the_published_ones(golden: dict, research: Path):
    with torch.device("meta"):
        state = SSLAASIST().state_dict()
    found = {key: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for key, tensor in state.items()}
    assert found == listed_names(research, GOLDEN)
    assert len(found) == golden["state_dict"]["entries"]


@pytest.fixture(scope="module")
def detector(weights: Path) -> BaseDetector:
    """The detector with its network as torch has it: compiling takes longer than all else here, and is checked against torch whenever it
    is done (``detectors.runtime``)."""
    loaded = load_detector("detectors.ssl_aasist")
    net = own._net(Published(weights, loaded.card, own.VARIANTS["DF"])).eval().requires_grad_(False)
    loaded._net = lambda batch: net(torch.from_numpy(batch)).numpy()
    return loaded


def test_logits_and_scores_are_the_published_ones(golden: dict, research: Path, detector: BaseDetector):
    assert golden["forward"]
    for entry in golden["forward"]:
        samples = sound(research, entry["input"])
        (logits,) = detector._net(prepared(detector, samples))
        assert_logits(logits, entry["logits"])
        for control in golden["negative_controls"]:
            if control["input"] == entry["input"]:
                assert_differs(logits, control["logits"])
    # the last one, through the contract
    assert detector.run(samples[:64_600]) == pytest.approx(entry["p_spoof"], abs=1e-4)
