"""Our RINE against outputs of the published code: CLIP with recipe weights, and the published head for two classes of ProGAN."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from base_detector import BaseDetector, ContractError, load_detector  # noqa: E402
from detectors.nets.checkpoint import Published  # noqa: E402
from detectors.nets.clip_heads import RineHead  # noqa: E402
from detectors.rine import detector as rine  # noqa: E402
from tests.parity.clip_files import write_clip  # noqa: E402
from tests.parity.recipe import (  # noqa: E402
    assert_each_difference_is_named,
    compare,
    listed_names,
    picture,
    unchecked,
)

GOLDEN = "rine"
RECIPE_WEIGHTS = True
HEAD, DEPTH, WIDTH = rine.VARIANTS["2class"]


def write_weights(folder: Path, research: Path) -> None:
    """CLIP filled by the recipe, and the published head."""
    write_clip(folder / rine.CLIP, research)
    shutil.copy(research / "weights" / "rine" / HEAD, folder)


@pytest.fixture(scope="module")
def net(weights: Path) -> Any:
    """The network as the detector builds it: compiling it would double the time of this module."""
    card = unchecked(load_detector("detectors.rine")).card
    return rine._net(Published(weights, card, rine.CLIP), (weights / HEAD).read_bytes(), DEPTH, WIDTH).eval()


def prepared(research: Path, entries: list[dict]) -> np.ndarray:
    detector = load_detector("detectors.rine")
    return np.stack([detector.preproc(picture(research, entry["input"])) for entry in entries])


# --------------------------------------------------------------------------- against the published code


def test_names_and_shapes_are_the_published_ones(research: Path, golden: dict):
    found = {name: tuple(item.shape) for name, item in RineHead(depth=DEPTH, width=WIDTH).state_dict().items()}
    assert found == {name: shape for name, (shape, _) in listed_names(research, "rine_2class").items()}
    assert found == {name: tuple(shape) for name, (shape,) in golden["state_dict"].items()}


def test_preprocessing_is_the_published_one(golden: dict, research: Path):
    assert golden["preprocess"]
    for entry in golden["preprocess"]:
        compare(prepared(research, [entry]), entry["tensor"], atol=1e-6)


@pytest.mark.slow
def test_tokens_logits_and_scores_are_the_published_ones(golden: dict, research: Path, net: Any):
    detector, entries = load_detector("detectors.rine"), golden["forward"][:2]
    with torch.inference_mode():
        tokens = net.tower.inner_tokens(torch.from_numpy(prepared(research, entries)))
        logits = net.head(tokens).numpy()
    detector._net = lambda _: logits
    for i, (entry, soft) in enumerate(zip(entries, detector.get_softlabel(logits), strict=True)):
        compare(tokens[i : i + 1].numpy(), entry["g_stack_batch_24_1024"], atol=1e-3)
        (wanted,) = entry["logits"]
        assert abs(logits[i, 0] - wanted) <= 1e-4 * max(1, abs(wanted))
        assert 1 - soft == pytest.approx(entry["p_fake"], abs=1e-4)


@pytest.mark.slow
def test_the_compiled_network_gives_the_published_logits(golden: dict, research: Path, detector: BaseDetector):
    for entry in golden["forward"]:
        (wanted,) = entry["logits"]
        assert abs(detector._net(prepared(research, [entry]))[0, 0] - wanted) <= 1e-4 * max(1, abs(wanted))


# --------------------------------------------------------------------------- rules on their own


def test_an_unknown_variant_is_told_with_the_known_ones(tmp_path: Path):
    detector = load_detector("detectors.rine")
    detector.card = replace(detector.card, parameters={"variant": "ldm"})
    with pytest.raises(ContractError, match="must be one of 1class, 2class, 4class, not 'ldm'"):
        detector.load(tmp_path, "cpu")


def test_every_missing_extra_and_misshapen_entry_is_named():
    assert_each_difference_is_named(
        RineHead(depth=DEPTH, width=WIDTH),
        missing="proj2.10.weight",
        extra="proj2.13.weight",
        misshapen=("alpha", (1, 12, 128), (1, 24, 128)),
    )
